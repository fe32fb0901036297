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
class Rates:
    """How fast a queue was lately, per second.

    Attributes:
        added: Jobs that came: enqueued, made by schedules, or replayed.
        ended: Jobs that left: done, given up or cancelled.
        failed: Runs that failed.
    """

    added: float
    ended: float
    failed: float


@attrs.frozen(kw_only=True)
class Minute:
    """What happened in a queue in one minute.

    Attributes:
        start: When it began, by the server's clock.
        added: Jobs that were enqueued, or made by schedules.
        replayed: Dead letters that were made jobs again.
        done: Jobs that were done.
        failed: Runs that failed: those whose job came back, and those that were its last.
        retried: The first of these.
        given_up: Jobs that became dead letters.
        cancelled: Jobs that ended because somebody cancelled them.
        lost: Deliveries that were lost with their workers.
    """

    start: datetime
    added: int
    replayed: int
    done: int
    failed: int
    retried: int
    given_up: int
    cancelled: int
    lost: int


@attrs.frozen(kw_only=True)
class QueueStats:
    """What a queue holds, how long it has waited, and what was ever counted.

    What happens is counted in Redis by the step that does it: for all programs together, and nothing twice. On a queue
    that is shared with other programs than AnyQ's, these count nothing.

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
        waiting: Jobs that wait for others to end.
        parked: Those of the delayed ones that are parked: no worker that took them knew their task.
        parked_by_task: How many of each task that is; of the hundred tasks with the most. Not on a queue that is shared
            with other programs than AnyQ's.
        added: Jobs that were ever added: enqueued, or made by schedules. One that was replayed is not added again, nor
            is one that takes the place of another (``debounce``).
        replayed: Dead letters that were made jobs again.
        done: Jobs that were done.
        failed: Runs that failed: those whose job came back, and those that were its last.
        retried: The first of these. `RetryLater` is no failure.
        given_up: Jobs that became dead letters, whatever became of these.
        cancelled: Jobs that ended because somebody cancelled them.
        lost: Deliveries that were lost with their workers.
        last_minute: How fast it was in the last minute.
        last_five_minutes: How fast it was in the last five.
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
    waiting: int
    parked: int
    parked_by_task: Mapping[str, int]
    added: int
    replayed: int
    done: int
    failed: int
    retried: int
    given_up: int
    cancelled: int
    lost: int
    last_minute: Rates
    last_five_minutes: Rates
    paused_until: datetime | None = None
    paused_tasks: Mapping[str, datetime | None] = attrs.field(factory=dict[str, datetime | None])
