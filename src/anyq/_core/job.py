"""The noun that everything else carries.

A `Job` is one delivery of one call to be made: what the reader puts in the workers' hands, what a handler sees as
``current_job()``, and what the settling services need to find it again in Redis. It has slots and is made once per
delivery. Arguments are secret: ``repr`` never shows them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import attrs

from ..settings import Backoff, from_milliseconds
from .keys import DEFAULT_PRIORITY
from .notes import Notes
from .values import unpack

#: Characters that a retry carries along of what its last run failed with: type and text.
ERROR_LIMIT = 500


@attrs.frozen
class Override:
    """What one job asked for instead of its task's settings.

    Attributes:
        attempts: Runs in total.
        backoff: The wait before each retry.
    """

    attempts: int | None = None
    backoff: Backoff | None = None


@attrs.frozen
class Extras:
    """What AnyQ adds behind the envelope, only when needed; foreign programs ignore it.

    Attributes:
        timeout: Seconds that a run may take.
        result_ttl: Seconds for which the result is kept; ``None`` keeps none.
        parked: Seconds for which the job has waited for a worker that knows its name.
        full_jitter: The override's backoff draws its waits from zero to the step.
        lost: Deliveries of the job that were lost with their workers, before the one that this envelope went out with.
        claim: With what the job holds its chosen id; ``""`` when its id was made.
        unique: The unique key that the job holds, or ``""``.
        deadline_ms: The epoch millisecond, by the server's clock, from which on the job is not started any more.
        scheduled: The epoch millisecond for which a schedule planned the job.
        noted: Whether an earlier run of the job told its progress, or logged.
        trace: What was going on when the job was enqueued, as tracing propagates it (``traceparent`` and the like).
        tracked: Whether other jobs may wait for this one.
        after: The ids of those that it waited for.
        priority: Which lane it goes by: 9 is read first, 0 last.
        error: What the run before failed with: type and text, cut to `ERROR_LIMIT` characters.
        others: What a newer AnyQ put there; carried along untouched.
    """

    timeout: float | None = None
    result_ttl: float | None = None
    parked: float = 0.0
    full_jitter: bool = False
    lost: int = 0
    claim: str = ""
    unique: str = ""
    deadline_ms: int | None = None
    scheduled: int | None = None
    noted: bool = False
    trace: Mapping[str, str] = {}
    tracked: bool = False
    after: tuple[str, ...] = ()
    priority: int = DEFAULT_PRIORITY
    error: tuple[str, str] | None = None
    others: Mapping[str, Any] = {}

    @property
    def owns(self) -> bool:
        """Whether the job owns keys that end with it."""
        return bool(self.claim or self.unique or self.noted or self.tracked)


NO_OVERRIDE = Override()
NO_EXTRAS = Extras()


@attrs.define(eq=False, kw_only=False)
class Job:
    """One delivery of a job to this worker.

    Attributes:
        queue: The queue's name.
        id: The job's id.
        name: The task's name; ``""`` for a job that a foreign program made without one.
        attempt: Which run this is, counted from 1; deliveries lost with a worker count.
        attempts: How many runs the job has in total; known once a task was found for it.
        result_ttl: Seconds for which its result is kept, or ``None``; known once a task was found for it.
        payload: The arguments by name, decoded when somebody asks for them.
        recorded: Whether its end changes more in Redis than its entry (a result that is kept, keys that end with it):
            then a script ends it. Known once a task was found for it.
        seconds: How long its run took; known when it has returned.
        result: What it returned, encoded, if that is kept; empty when only what the job owns has to end, and ``None``
            when it ends by a bare acknowledgement.
        cut: Why the run was cut short: ``timeout``, ``shutdown``, ``cancelled`` or ``lost``; or, before it began,
            ``put off`` or ``paused``.
    """

    queue: str
    id: str
    name: str
    attempt: int
    created_ms: int
    override: Override
    extras: Extras
    body: bytes
    lane: bytes
    entry: bytes
    lost: int
    home: Any = None
    attempts: int = 0
    result_ttl: float | None = None
    recorded: bool = False
    seconds: float = 0.0
    result: bytes | None = None
    _payload: Any = None
    deadline_ms: int | None = None
    ended: bool = False
    cut: str | None = None
    overdue: Callable[[], bool] | None = None
    notes: Notes | None = None

    @property
    def payload(self) -> Any:
        """The arguments by name."""
        # Decoded again where it is asked for, which the quickest runs never do: they leave nothing behind to be freed.
        if self._payload is None:
            self._payload = unpack(self.body, depth=len(self.body) + 1)
        return self._payload

    @payload.setter
    def payload(self, payload: Any) -> None:
        self._payload = payload

    @property
    def created_at(self) -> datetime:
        """When the job was enqueued, by the clock of the program that did."""
        return from_milliseconds(self.created_ms)

    @property
    def scheduled_at(self) -> datetime | None:
        """For when a schedule planned this job, however late it runs; ``None`` for a job that no schedule made."""
        planned = self.extras.scheduled
        return None if planned is None else from_milliseconds(planned)

    @property
    def after(self) -> tuple[str, ...]:
        """The ids of the jobs that this one waited for; ``queue.job(id).result()`` gives what they returned.

        That is, if they kept their results (``result_ttl``).
        """
        return self.extras.after

    @property
    def priority(self) -> int:
        """The job's priority, from 0 to 9: the higher, the sooner."""
        return self.extras.priority

    @property
    def deadline(self) -> datetime | None:
        """When the timeout of this run ends it, or the job's own deadline if that comes first; or ``None``."""
        ends = [moment for moment in (self.deadline_ms, self.extras.deadline_ms) if moment is not None]
        return from_milliseconds(min(ends)) if ends else None

    @property
    def cancelled(self) -> bool:
        """Whether this run was asked to stop.

        Its timeout passed, somebody cancelled the job, the worker stops, or another worker has the job. A coroutine
        need not look, it is cancelled. A plain function in a thread cannot be: it looks here, and leaves early.
        """
        return self.cut is not None or (self.overdue is not None and self.overdue())

    def progress(self, current: float, total: float | None = None, message: str = "") -> None:
        """Say how far this run is; `JobHandle.progress` and the event ``progress`` show it.

        Args:
            current: What is done.
            total: What there is to do, if that is known.
            message: What to say about it; cut at 1000 characters.

        Raises:
            TypeError, ValueError: These are no numbers, or no string.

        Returns at once, from a coroutine or from a thread: the worker writes it, a few times a second at most, and the
        last one always, before the run's end. A later run of the job goes on from what this one said.

        Example:
            >>> current_job().progress(3, 10, "three of ten pages")
        """
        if self.home is not None:
            self.home.journal.progress(self, current, total, message)

    def log(self, text: str) -> None:
        """Add a line to the log that is kept with the job; `JobHandle.log` gives it.

        Args:
            text: The line; cut at 4000 characters.

        Raises:
            TypeError: It is no string.

        Returns at once, as `progress` does. Of many lines the last ones are kept (``Limits.log_lines``,
        ``Limits.log_bytes``), those of all runs of the job together.

        Example:
            >>> current_job().log("the second page is blank")
        """
        if self.home is not None:
            self.home.journal.log(self, text)

    def __repr__(self) -> str:
        return f"<Job {self.id!r} {self.name!r} of {self.queue!r}, attempt {self.attempt} of {self.attempts or '?'}>"


_blank = object.__new__


def ordinary(
    queue: str,
    job_id: str,
    name: str,
    attempt: int,
    created_ms: int,
    body: bytes,
    lane: bytes,
    entry: bytes,
    home: Any,
) -> Job:
    """Make a job that asks for nothing of its own, as `Job` itself would: this is the path of every job.

    A class is called by way of a look-up, a tuple and a frame that is no part of the caller's: a quarter of the time.
    """
    job = _blank(Job)
    job.queue = queue
    job.id = job_id
    job.name = name
    job.attempt = attempt
    job.created_ms = created_ms
    job.override = NO_OVERRIDE
    job.extras = NO_EXTRAS
    job.body = body
    job.lane = lane
    job.entry = entry
    job.lost = 0
    job.home = home
    job.attempts = 0
    job.result_ttl = None
    job.recorded = False
    job.seconds = 0.0
    job.result = None
    job._payload = None  # pyright: ignore[reportPrivateUsage]  # its own maker
    job.deadline_ms = None
    job.ended = False
    job.cut = None
    job.overdue = None
    job.notes = None
    return job
