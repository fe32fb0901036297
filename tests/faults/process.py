"""A worker in a process of its own, for tests to kill and to stop: it says on stdout what happens, in JSON lines.

``python process.py BACKEND URL NAME SETTINGS``; ends when its stdin does.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from typing import Any

import anyio
import attrs
from anyio import to_thread

from anyq import Queue, Worker, current_job


def say(**what: Any) -> None:
    """One line in one write: a killed process leaves no half of it."""
    line = json.dumps({"pid": os.getpid(), "at": time.monotonic(), **what}) + "\n"
    os.write(1, line.encode())


class Said(logging.Handler):
    """What AnyQ logs is said too."""

    def emit(self, record: logging.LogRecord) -> None:
        say(log=record.getMessage(), level=record.levelname)


def tasks_of(queue: Queue) -> None:
    @queue.task
    async def work(number: int, seconds: float) -> None:
        say(ran=number, attempt=current_job().attempt)
        try:
            await anyio.sleep(seconds)
        except anyio.get_cancelled_exc_class():
            say(cancelled=number, cut=current_job().cut)
            raise
        say(ended=number)

    @queue.task(attempts=2)
    async def fail(number: int, seconds: float) -> None:
        say(ran=number, attempt=current_job().attempt)
        await anyio.sleep(seconds)
        say(ended=number)
        raise ValueError(number)

    @queue.task
    async def planned() -> None:
        job = current_job()
        assert job.scheduled_at is not None
        say(planned=round(job.scheduled_at.timestamp() * 1000), id=job.id)

    @queue.task
    async def alone() -> None:
        job = current_job()
        say(alone=job.id, attempt=job.attempt)
        await anyio.sleep(0.2)
        say(was_alone=job.id)

    @queue.aggregate(size=20, delay=0.5)
    async def digest(numbers: list[int]) -> None:
        job = current_job()
        say(digest=numbers, id=job.id, attempt=job.attempt)
        await anyio.sleep(0.3)
        say(digested=numbers, id=job.id)

    @queue.task
    async def poison(number: int) -> None:
        say(ran=number, attempt=current_job().attempt)
        os._exit(1)

    @queue.task
    async def block(number: int, seconds: float) -> None:
        say(ran=number, attempt=current_job().attempt)
        time.sleep(seconds)  # noqa: ASYNC251 - the fault itself
        say(ended=number)


async def main(url: str, name: str, settings: dict[str, Any]) -> None:
    queue = Queue(name, url)
    tasks_of(queue)
    async with Worker(queue, **settings) as worker:
        say(ready=worker.name)
        await to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
    say(left=worker.name, **attrs.asdict(worker.statistics()))


if __name__ == "__main__":
    logging.getLogger("anyq").addHandler(Said())
    logging.getLogger("anyq").setLevel(logging.INFO)
    backend, url, name, settings = sys.argv[1:]
    anyio.run(main, url, name, json.loads(settings), backend=backend)
