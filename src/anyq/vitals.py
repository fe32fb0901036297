"""How workers are doing, and a queue: the values that they answer with."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import attrs

from ._core.workers import RunningJob as RunningJob
from ._core.workers import WorkerInfo as WorkerInfo


@attrs.frozen(kw_only=True)
class Statistics:
    """What a worker has done and is doing.

    Attributes:
        running: Handlers at work now.
        buffered: Jobs taken and not yet begun.
        held: Entries that the server counts as this worker's: begun, not begun, or being settled.
        started: Runs that began.
        done: Jobs finished and confirmed by Redis.
        failed: Runs that raised or timed out.
        retried: Jobs that were put off, by a failure or `RetryLater`.
        dead: Jobs given up.
        cancelled: Jobs ended because somebody cancelled them.
        released: Jobs handed back.
        lost: Jobs that were taken over by another worker while held here.
        late: Outcomes that found their job settled already.
        parked: Times that a job was put aside because no task had its name.
        set_aside: Times that a job was set aside because its task was paused.
        unknown_tasks: The names of those, and how often each came.
        paused: What this worker knows to be paused: queues, and tasks as ``queue:task``.
        dropped: Events and observations for which there was no time.
    """

    running: int
    buffered: int
    held: int
    started: int
    done: int
    failed: int
    retried: int
    dead: int
    cancelled: int
    released: int
    lost: int
    late: int
    parked: int
    set_aside: int
    unknown_tasks: dict[str, int]
    paused: tuple[str, ...]
    dropped: int


@attrs.frozen(kw_only=True)
class Health:
    """How a worker is.

    Attributes:
        ok: Whether it is well and takes jobs.
        problems: What is wrong, one sentence each.
        state: ``new``, ``running``, ``draining`` or ``stopped``.
        heartbeat_age: Seconds since the server last took its heartbeat.
        stuck: Ids of jobs whose run was cut (by its timeout or the drain) and goes on all the same.
    """

    ok: bool
    problems: tuple[str, ...]
    state: str
    heartbeat_age: float
    stuck: tuple[str, ...]


@attrs.frozen(kw_only=True)
class QueueStats:
    """What a queue holds, and how long it has waited.

    Attributes:
        ready: Jobs that wait for a worker.
        running: Jobs in workers' hands: begun, or about to be.
        delayed: Jobs that wait for their time: a delay, a retry, or a name that no worker knows yet.
        due: Those of them whose time has come.
        aside: Jobs that are set aside because their task is paused.
        dead: Dead letters.
        trimmed: Dead letters that were ever trimmed.
        oldest: Seconds for which the oldest ready job has waited; ``None`` if there is none.
        next_due: Seconds until the next delayed job is due, negative if it is late; ``None`` if there is none.
        paused: Whether the whole queue is paused.
        paused_until: When that pause ends by itself; ``None`` if it does not.
        paused_tasks: The tasks that are paused by themselves, each with the moment when that ends by itself.
    """

    ready: int
    running: int
    delayed: int
    due: int
    aside: int
    dead: int
    trimmed: int
    oldest: float | None
    next_due: float | None
    paused: bool
    paused_until: datetime | None = None
    paused_tasks: Mapping[str, datetime | None] = attrs.field(factory=dict[str, datetime | None])
