"""The tests' end of `chasquimq_peer.py`: ChasquiMQ as an object, on either event loop.

Rule: whoever waits here waits for a thing to be told, within a limit that no sound run comes near.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

import anyio
import attrs
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream
from bench.environments import python_of

PROGRAM = Path(__file__).parent / "chasquimq_peer.py"
PATIENCE = 15.0  # seconds
LONGEST_LINE = 1 << 20

T = TypeVar("T")

#: Every test has a server of its own, so all can use one name.
QUEUE = "shared"


@attrs.frozen
class Run:
    """One run of a job, on whichever side; ``attempt`` counts from 1."""

    id: str
    name: str
    payload: Any
    attempt: int = 1


@attrs.define
class Notes(Generic[T]):
    """What was told so far, in order, and a way to wait for more."""

    told: list[T] = attrs.field(factory=list[Any])
    _more: anyio.Event = attrs.field(factory=anyio.Event)

    def add(self, note: T) -> None:
        self.told.append(note)
        self._more.set()
        self._more = anyio.Event()

    async def first(self, count: int) -> list[T]:
        """The first so many, when they have been told."""
        with anyio.fail_after(PATIENCE):
            while len(self.told) < count:
                await self._more.wait()
        return self.told[:count]

    async def where(self, wanted: Callable[[T], bool]) -> T:
        """The first note that is as wanted, when it has been told."""
        seen = 0
        with anyio.fail_after(PATIENCE):
            while True:
                for note in self.told[seen:]:
                    if wanted(note):
                        return note
                seen = len(self.told)
                await self._more.wait()


@attrs.define
class Peer:
    """A running ChasquiMQ on the queue; each method is a verb of the program.

    Attributes:
        runs: What its worker ran.
        events: The entries of the events stream, as its reader of them gives them (after `follow`).
    """

    _process: Process
    runs: Notes[Run] = attrs.field(factory=Notes[Run])
    events: Notes[dict[str, Any]] = attrs.field(factory=Notes[dict[str, Any]])
    _answers: Notes[dict[str, Any]] = attrs.field(factory=Notes[dict[str, Any]])
    _asked: int = 0

    async def add(self, name: str, data: Any, **options: Any) -> str:
        return str(await self._ask("add", name=name, data=data, **options))

    async def add_bulk(self, jobs: list[dict[str, Any]]) -> list[str]:
        ids: list[str] = await self._ask("add_bulk", jobs=jobs)
        return ids

    async def cancel_delayed(self, job_id: str) -> bool:
        return bool(await self._ask("cancel_delayed", job_id=job_id))

    async def upsert(self, name: str, data: Any, repeat: dict[str, Any], **options: Any) -> str:
        """Make a schedule; gives its key."""
        return str(await self._ask("upsert", name=name, data=data, repeat=repeat, **options))

    async def repeatables(self) -> list[dict[str, Any]]:
        """Its view of the schedules."""
        found: list[dict[str, Any]] = await self._ask("repeatables")
        return found

    async def remove_repeatable(self, key: str) -> bool:
        return bool(await self._ask("remove_repeatable", key=key))

    async def work(self, **options: Any) -> None:
        """Start a worker; it goes on until this process is ended."""
        await self._ask("work", **options)

    async def follow(self) -> None:
        """Start reading the events stream from its beginning."""
        await self._ask("follow")

    async def result(self, job_id: str) -> Any:
        return await self._ask("result", job_id=job_id)

    async def dead_letters(self) -> list[dict[str, Any]]:
        letters: list[dict[str, Any]] = await self._ask("dead_letters")
        return letters

    async def replay(self) -> int:
        return int(await self._ask("replay"))

    async def event(self, name: str, job_id: str) -> dict[str, Any]:
        """The first event of this name about this job, when it has been told."""
        return await self.events.where(lambda event: event["e"] == name and event["id"] == job_id)

    async def _ask(self, verb: str, **arguments: Any) -> Any:
        self._asked += 1
        serial = self._asked
        assert self._process.stdin
        await self._process.stdin.send(json.dumps({"ask": serial, "do": verb, **arguments}).encode() + b"\n")
        answer = await self._answers.where(lambda told: told["answer"] == serial)
        assert "error" not in answer, f"{verb}: {answer['error']}"
        return answer["value"]

    async def listen(self) -> None:
        """Sort what the program says, until it is ended."""
        assert self._process.stdout
        lines = BufferedByteReceiveStream(self._process.stdout)
        while True:
            try:
                message = json.loads(await lines.receive_until(b"\n", LONGEST_LINE))
            except (anyio.EndOfStream, anyio.IncompleteRead):
                return
            if "answer" in message:
                self._answers.add(message)
            elif "run" in message:
                run = message["run"]
                self.runs.add(Run(run["id"], run["name"], run["data"], run["attempt"] + 1))
            elif "event" in message:
                self.events.add(message["event"])
            else:
                raise AssertionError(f"ChasquiMQ's side ended: {message}")


@asynccontextmanager
async def chasquimq(url: str, queue: str = QUEUE) -> AsyncIterator[Peer]:
    """ChasquiMQ on a queue, for the length of the block; ended by a kill, as its own way out may crash.

    It runs in an environment of its own, the one of the benchmarks: it needs another redis-py than AnyQ.
    """
    command = [str(python_of("chasquimq")), str(PROGRAM), url, queue]
    async with await anyio.open_process(command, stderr=None) as process, anyio.create_task_group() as group:
        peer = Peer(process)
        group.start_soon(peer.listen)
        try:
            yield peer
        finally:
            process.kill()
