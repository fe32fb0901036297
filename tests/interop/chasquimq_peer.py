"""ChasquiMQ on the other side of a pipe: a program that speaks JSON lines.

ChasquiMQ needs asyncio and threads of its own, and may crash while the interpreter ends. So it lives in a process
of its own, which the tests on either backend drive through its standard streams and kill at the end.

Asked on stdin, one line each: ``{"ask": SERIAL, "do": VERB, ...arguments}``; answered on stdout with
``{"answer": SERIAL, "value": ...}`` or ``{"answer": SERIAL, "error": TEXT}``. In between come notices:
``{"run": {...}}`` for each run of a job, before it acts, and ``{"event": {...}}`` for each entry of the events stream.

What a job does when this worker runs it is said by its data, a map:

- ``{"give": VALUE}``: returns it; without any of these keys, nothing.
- ``{"fail": N}``: fails its first N runs.
- ``{"unrecoverable": TEXT}``: asks not to be retried.

`ours.py` has a task for AnyQ's side that does the same.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import chasquimq  # type: ignore[import-not-found]  # it lives in an environment of its own


class Peer:
    """One queue, seen through ChasquiMQ; each public method is a verb."""

    def __init__(self, url: str, queue: str) -> None:
        self._url = url
        self._name = queue
        self._queue = chasquimq.Queue(queue, redis_url=url)
        self._tasks: set[asyncio.Task[None]] = set()
        self._workers: list[chasquimq.Worker] = []

    # -- producing ----------------------------------------------------------------------------------------------------

    async def add(self, name: str, data: Any, **options: Any) -> str:
        if isinstance(options.get("backoff"), dict):
            options["backoff"] = chasquimq.BackoffSpec(**options["backoff"])
        job = await self._queue.add(name, data, **options)
        return str(job.id)

    async def add_bulk(self, jobs: list[dict[str, Any]]) -> list[str]:
        return [str(job.id) for job in await self._queue.add_bulk(jobs)]

    async def cancel_delayed(self, job_id: str) -> bool:
        return bool(await self._queue.cancel_delayed(job_id))

    async def upsert(
        self, name: str, data: Any, repeat: dict[str, Any], missed: Any = None, **options: Any
    ) -> str:
        pattern = chasquimq.RepeatPattern(**repeat)
        policy = None if missed is None else chasquimq.MissedFiresPolicy(**missed)
        job = await self._queue.upsert_repeatable_job(
            name, data, repeat=pattern, missed_fires=policy, **options
        )
        return str(job.id)

    async def repeatables(self) -> list[dict[str, Any]]:
        found = await self._queue.get_repeatable_jobs()
        return [{"key": one.key, "name": one.job_name, "next": one.next_fire_ms} for one in found]

    async def remove_repeatable(self, key: str) -> bool:
        return bool(await self._queue.remove_repeatable_by_key(key))

    # -- consuming ----------------------------------------------------------------------------------------------------

    async def work(self, **options: Any) -> None:
        # A short block: what a worker that is being stopped still reads is lost to the others for a while.
        worker = chasquimq.Worker(
            self._name, self._run, redis_url=self._url, **{"read_block_ms": 200, **options}
        )
        self._workers.append(worker)
        self._start(worker.run())

    async def _run(self, job: chasquimq.Job) -> Any:
        say(run={"id": job.id, "name": job.name, "data": job.data, "attempt": job.attempt})
        todo = job.data if isinstance(job.data, dict) else {}
        if "unrecoverable" in todo:
            raise chasquimq.UnrecoverableError(todo["unrecoverable"])
        if job.attempt < todo.get("fail", 0):
            raise RuntimeError(f"run {job.attempt} was told to fail")
        return todo.get("give")

    # -- looking ------------------------------------------------------------------------------------------------------

    async def result(self, job_id: str) -> Any:
        return await self._queue.get_job_result(job_id)

    async def dead_letters(self) -> list[dict[str, Any]]:
        # Its envelope is bytes, which JSON cannot carry; everything else is text.
        letters = await self._queue.peek_dlq(100)
        return [{key: value for key, value in letter.items() if key != "payload"} for letter in letters]

    async def replay(self, limit: int = 100) -> int:
        return int(await self._queue.replay_dlq(limit))

    async def follow(self) -> None:
        self._start(self._follow())

    async def _follow(self) -> None:
        events = chasquimq.QueueEvents(self._name, redis_url=self._url, last_event_id="0", block_ms=200)
        async for event in events:
            say(event={"e": event.name, "id": event.job_id, "n": event.job_name, **event.fields})

    # -- the pipe -----------------------------------------------------------------------------------------------------

    def _start(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            say(died=repr(error))

    async def answer(self, line: str) -> None:
        question = json.loads(line)
        serial, verb = question.pop("ask"), question.pop("do")
        try:
            value = await getattr(self, verb)(**question)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test on the other side wants to know
            say(answer=serial, error=f"{type(error).__name__}: {error}")
        else:
            say(answer=serial, value=value)


def say(**message: Any) -> None:
    print(json.dumps(message), flush=True)


async def main(url: str, queue: str) -> None:
    peer = Peer(url, queue)
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        await peer.answer(line.decode())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
