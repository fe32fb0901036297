"""The wiring diagram: every channel of a worker, with its size and the reason for it.

Channels of outcomes have no bound of their own: what is in them is held, and how much is held is bounded by what the
reader takes. So a finished job's outcome goes on with ``send_nowait``, which is no cancellation point: nothing finished
is lost.
"""

from __future__ import annotations

import math
from typing import Any, Generic, TypeVar

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from .._core.entry import Spoiled
from .._core.job import Job
from .._core.notices import Notice
from .._core.outcome import Dead, Done, Released, Retry
from ..metrics.sink import Observation

T = TypeVar("T")

#: Notices that may wait to be written, and observations to be taken: more are dropped and counted, so that
#: observability never slows a job.
_NOTICES = 50_000


class Channel(Generic[T]):
    """Both ends of a memory object stream."""

    __slots__ = ("receive", "send")

    def __init__(self, size: float = math.inf) -> None:
        self.send: MemoryObjectSendStream[T]
        self.receive: MemoryObjectReceiveStream[T]
        self.send, self.receive = anyio.create_memory_object_stream[Any](size)

    def close(self) -> None:
        """Close both ends."""
        self.send.close()
        self.receive.close()


class Outcomes:
    """Where the ends of one queue's jobs go."""

    __slots__ = ("acks", "dead", "releases", "retries")

    def __init__(self) -> None:
        self.acks: Channel[Done] = Channel()
        self.retries: Channel[Retry] = Channel()
        self.dead: Channel[Dead | Spoiled] = Channel()
        self.releases: Channel[Released] = Channel()

    def end(self) -> None:
        """Nothing more will come: whoever receives finishes what is left, and ends."""
        for channel in (self.acks, self.retries, self.dead, self.releases):
            channel.send.close()

    def close(self) -> None:
        """Close all ends."""
        for channel in (self.acks, self.retries, self.dead, self.releases):
            channel.close()


class Bulletin:
    """Where services say what happened: to the events stream, to the metrics sink, to both or to nobody.

    Attributes:
        events: Whether events are wanted.
        metrics: Whether observations are wanted.
        dropped: Notices and observations that nobody had time for.
    """

    __slots__ = ("dropped", "events", "metrics", "notices", "observations")

    def __init__(self, *, events: bool, metrics: bool) -> None:
        self.events = events
        self.metrics = metrics
        self.notices: Channel[Notice] = Channel(_NOTICES)
        self.observations: Channel[Observation] = Channel(_NOTICES)
        self.dropped = 0

    def notice(self, notice: Notice) -> None:
        """Say what happened, to the events stream."""
        try:
            self.notices.send.send_nowait(notice)
        except (anyio.WouldBlock, anyio.ClosedResourceError, anyio.BrokenResourceError):
            self.dropped += 1

    def observe(self, observation: Observation) -> None:
        """Say what was observed, to the metrics sink."""
        try:
            self.observations.send.send_nowait(observation)
        except (anyio.WouldBlock, anyio.ClosedResourceError, anyio.BrokenResourceError):
            self.dropped += 1

    def end(self) -> None:
        """Nothing more will come."""
        self.notices.send.close()
        self.observations.send.close()

    def close(self) -> None:
        """Close all ends."""
        self.notices.close()
        self.observations.close()


Jobs = Channel[Job]
