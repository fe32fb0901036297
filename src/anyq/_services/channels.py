"""The wiring diagram: every channel of a worker, with its size and the reason for it.

Channels of outcomes have no bound of their own: what is in them is held, and how much is held is bounded by what the
reader takes. So a finished job's outcome goes on with ``put``, which is no cancellation point: nothing finished is
lost.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from .._core.entry import Spoiled
from .._core.job import Job
from .._core.notices import Notice, begin
from .._core.outcome import Aside, Cancelled, Dead, Released, Retry
from ..metrics.sink import Observation

T = TypeVar("T")

#: More than there will ever be; compared as quickly as a small number is.
_NO_BOUND = 2**30 - 1

#: Notices that may wait to be written, and observations to be taken: more are dropped and counted, so that
#: observability never slows a job.
_NOTICES = 50_000


class Channel(Generic[T]):
    """A memory object stream whose items travel in batches: what is put before the last batch was taken joins it.

    So one hand-over, and one wake-up, serves hundreds of items; a single item is no later than it would be alone.

    Args:
        size: How many items may wait at most.
    """

    __slots__ = ("_batch", "_size", "receive", "send")

    def __init__(self, size: int = _NO_BOUND) -> None:
        self.send: MemoryObjectSendStream[list[T]]
        self.receive: MemoryObjectReceiveStream[list[T]]
        self.send, self.receive = anyio.create_memory_object_stream[Any](math.inf)
        self._size = size
        self._batch: list[T] | None = None

    def put(self, item: T) -> None:
        """Hand an item over. No cancellation point.

        Raises:
            WouldBlock: As many wait as may.
            BrokenResourceError, ClosedResourceError: Nobody will take it.
        """
        batch = self._batch
        if batch is None:
            fresh: list[T] = []
            self.send.send_nowait(fresh)
            self._batch = batch = fresh
        elif len(batch) >= self._size:
            raise anyio.WouldBlock
        batch.append(item)

    async def take(self) -> list[T]:
        """Wait for items, and give all that there are.

        Raises:
            EndOfStream: Nothing more will come.
        """
        batch = await self.receive.receive()
        self._batch = None
        return batch

    def take_nowait(self) -> list[T]:
        """Give all items that there are.

        Raises:
            WouldBlock: There are none now.
            EndOfStream: Nothing more will come.
        """
        batch = self.receive.receive_nowait()
        self._batch = None
        return batch

    def close(self) -> None:
        """Close both ends."""
        self.send.close()
        self.receive.close()


class Outcomes:
    """Where the ends of one queue's jobs go."""

    __slots__ = ("acks", "asides", "cancelled", "dead", "releases", "retries")

    def __init__(self) -> None:
        self.acks: Channel[Job] = Channel()
        self.retries: Channel[Retry] = Channel()
        self.dead: Channel[Dead | Spoiled] = Channel()
        self.releases: Channel[Released] = Channel()
        self.asides: Channel[Aside] = Channel()
        self.cancelled: Channel[Cancelled] = Channel()

    @property
    def _all(self) -> tuple[Channel[Any], ...]:
        return (self.acks, self.retries, self.dead, self.releases, self.asides, self.cancelled)

    def end(self) -> None:
        """Nothing more will come: whoever receives finishes what is left, and ends."""
        for channel in self._all:
            channel.send.close()

    def close(self) -> None:
        """Close all ends."""
        for channel in self._all:
            channel.close()


class Bulletin:
    """Where services say what happened: to the events stream, to the metrics sink, to both or to nobody.

    Args:
        events: The events stream, or ``None`` if none are wanted.

    Attributes:
        events: Whether events are wanted.
        metrics: Whether observations are wanted.
        telling: How many verbs are under way that let jobs run, which is told when they are answered.
        dropped: Notices and observations that nobody had time for.
    """

    __slots__ = ("_begin", "dropped", "events", "metrics", "notices", "observations", "telling")

    def __init__(self, *, events: bytes | None, metrics: bool) -> None:
        self.events = events is not None
        self._begin = begin(events or b"")
        self.metrics = metrics
        # As bytes: thousands may wait, and the garbage collector has no need to look at bytes.
        self.notices: Channel[bytes] = Channel(_NOTICES)
        self.observations: Channel[Observation] = Channel(_NOTICES)
        self.telling = 0
        self.dropped = 0

    def notice(self, notice: Notice) -> None:
        """Say what happened, to the events stream."""
        count, words = notice
        try:
            self.notices.put(f"{count}{self._begin}{words}".encode("latin-1"))
        except (anyio.WouldBlock, anyio.ClosedResourceError, anyio.BrokenResourceError):
            self.dropped += 1

    def observe(self, observation: Observation) -> None:
        """Say what was observed, to the metrics sink."""
        try:
            self.observations.put(observation)
        except (anyio.WouldBlock, anyio.ClosedResourceError, anyio.BrokenResourceError):
            self.dropped += 1

    @contextmanager
    def about_to_tell(self) -> Generator[None]:
        """Let jobs run, and tell of it: what the same worker then says of these jobs comes after that."""
        self.telling += 1
        try:
            yield
        finally:
            self.telling -= 1

    def end(self) -> None:
        """Nothing more will come."""
        self.notices.send.close()
        self.observations.send.close()

    def close(self) -> None:
        """Close all ends."""
        self.notices.close()
        self.observations.close()


Jobs = Channel[Job]
