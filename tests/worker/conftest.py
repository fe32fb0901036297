"""What the engine's tests share: a queue on the server under test, workers that run beside the test, and notes.

Rule: handlers and tests meet through events and notes; whoever waits here waits for a thing that happens, within
`SECONDS`.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

import anyio
import attrs
import msgpack
import pytest
from tests.support.servers import SECONDS
from tests.support.working import AT_ONCE as AT_ONCE
from tests.support.working import working as working

from anyq import Queue, Worker
from anyq._core.codec import decode

T = TypeVar("T")

NO_ARGUMENTS: dict[str, Any] = {}

"""For tests of retries that are not about the wait."""


@attrs.define
class Notes(Generic[T]):
    """What handlers noted so far, in order; from any thread."""

    made: list[T] = attrs.field(factory=list[Any])

    def add(self, note: T) -> None:
        self.made.append(note)

    async def first(self, count: int) -> list[T]:
        """The first so many, when they have been made."""
        await until(lambda: len(self.made) >= count)
        return self.made[:count]

    async def one(self) -> T:
        """The first."""
        return (await self.first(1))[0]


async def until(happened: Callable[[], object]) -> None:
    """Look, again and again, whether something has happened that tells nobody, or tells it to another thread."""
    with anyio.fail_after(SECONDS):
        while not happened():
            with anyio.move_on_after(0.002):
                await anyio.sleep_forever()


@pytest.fixture
def queue(redis_url: str) -> Queue:
    """A queue on an empty server; the test enters it, or a worker does."""
    return Queue("work", redis_url)


@pytest.fixture
def notes() -> Notes[Any]:
    return Notes[Any]()


async def drained(*queues: Queue, **settings: Any) -> Worker:
    """Run a worker until the queues are empty."""
    async with working(*queues, **settings) as worker:
        await worker.wait_idle()
    return worker


@asynccontextmanager
async def closing(event: threading.Event) -> AsyncGenerator[None]:
    """Let threads that wait for this event go, whatever happens in the block."""
    try:
        yield
    finally:
        event.set()


async def put(queue: Queue, *fields: Any) -> bytes:
    """Put an entry into the stream as a foreign program might: raw fields and values."""
    entry: bytes = await queue.redis.call("XADD", queue.keys.stream, "*", *fields)
    return entry


def envelope(payload: Any = NO_ARGUMENTS, *, id: str = "foreign", body: bytes | None = None) -> bytes:
    """The field ``d`` of an entry."""
    fields = [id, msgpack.packb(payload) if body is None else body, 1_795_000_000_000, 0]
    packed: bytes = msgpack.packb(fields)
    return packed


async def rows(queue: Queue, stream: bytes) -> list[Mapping[str, bytes]]:
    """The entries of a stream, oldest first, each a map."""
    entries = await queue.redis.call("XRANGE", stream, "-", "+")
    return [
        {fields[index].decode(): fields[index + 1] for index in range(0, len(fields), 2)}
        for _, fields in entries
    ]


async def dead_letters(queue: Queue) -> list[Mapping[str, bytes]]:
    return await rows(queue, queue.keys.dead_letters)


async def dead_letter(queue: Queue) -> Mapping[str, bytes]:
    """The only one."""
    [letter] = await dead_letters(queue)
    return letter


async def payloads(queue: Queue) -> list[Any]:
    """What lies in the stream, decoded."""
    return [msgpack.unpackb(decode(row["d"])[1]) for row in await rows(queue, queue.keys.stream)]


async def length(queue: Queue) -> int:
    """Entries in the stream: ready jobs and those in workers' hands."""
    count: int = await queue.redis.call("XLEN", queue.keys.stream)
    return count
