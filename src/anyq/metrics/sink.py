"""What the engine observes, and the protocol of whoever wants to know.

Observations are frozen values; a sink takes them in batches, in a thread of its own, so that one that is slow or raises
harms nobody: what it cannot keep up with is dropped and counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

import attrs


@attrs.frozen(kw_only=True)
class PromoterTick:
    """The promoter looked at the delayed jobs.

    Attributes:
        queue: The queue's name.
        promoted: How many jobs it moved into the stream.
        waiting: How many wait for their time.
        late: Seconds by which the first one was late.
    """

    queue: str
    promoted: int
    waiting: int
    late: float


@attrs.frozen(kw_only=True)
class LockOutcome:
    """This worker became, or stopped being, the one that promotes on time; observed on changes only.

    Attributes:
        queue: The queue's name.
        held: Whether it holds the lock now.
    """

    queue: str
    held: bool


@attrs.frozen(kw_only=True)
class ReaderBatch:
    """The reader took entries.

    Attributes:
        queue: The queue's name.
        size: How many.
    """

    queue: str
    size: int


@attrs.frozen(kw_only=True)
class JobOutcome:
    """A run ended.

    Attributes:
        queue: The queue's name.
        task: The task's name.
        outcome: ``done``, ``failed`` (retried or dead), ``cancelled`` (while it ran) or ``released`` (handed back).
        attempt: Which run it was, counted from 1.
        duration_us: How long it took, in microseconds.
    """

    queue: str
    task: str
    outcome: Literal["done", "failed", "cancelled", "released"]
    attempt: int
    duration_us: int


@attrs.frozen(kw_only=True)
class RetryScheduled:
    """A job will come back.

    Attributes:
        queue: The queue's name.
        task: The task's name.
        attempt: The coming run, counted from 1.
        delay: Seconds until then.
    """

    queue: str
    task: str
    attempt: int
    delay: float


@attrs.frozen(kw_only=True)
class DeadLettered:
    """A job was given up.

    Attributes:
        queue: The queue's name.
        task: The task's name.
        reason: Why, in one word.
    """

    queue: str
    task: str
    reason: str


@attrs.frozen(kw_only=True)
class ScheduleFired:
    """A schedule made jobs.

    Attributes:
        queue: The queue's name.
        schedule: The schedule's name.
        task: The task's name.
        jobs: How many; none when its missed runs are skipped, or one was left out.
        late: Seconds from its planned time.
        left_out: Whether its run was left out, since a job still held its unique key.
    """

    queue: str
    schedule: str
    task: str
    jobs: int
    late: float
    left_out: bool = False


@attrs.frozen(kw_only=True)
class TakenOver:
    """This worker made jobs startable again that another one had left: it was gone, or had not touched them for long.

    Attributes:
        queue: The queue's name.
        jobs: How many.
    """

    queue: str
    jobs: int


Observation = (
    PromoterTick
    | LockOutcome
    | ReaderBatch
    | JobOutcome
    | RetryScheduled
    | DeadLettered
    | ScheduleFired
    | TakenOver
)


@runtime_checkable
class Sink(Protocol):
    """Somebody who wants to know. ``observe`` is called in a thread, never twice at the same time."""

    def observe(self, observations: Sequence[Observation], /) -> None:
        """Take a batch of observations, in the order in which they were made."""
        ...


class NoSink:
    """The default: nobody wants to know, and nothing is observed."""

    def observe(self, observations: Sequence[Observation], /) -> None:
        """Do nothing."""


class MemorySink:
    """Keeps everything, for tests.

    Attributes:
        observations: All of them, in order.
    """

    def __init__(self) -> None:
        self.observations: list[Observation] = []

    def observe(self, observations: Sequence[Observation], /) -> None:
        """Keep a batch."""
        self.observations.extend(observations)
