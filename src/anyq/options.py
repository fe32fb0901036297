"""What a caller can ask for: the options of tasks and of single jobs, each listed once.

Rule of this file: an option stands in one of the typed maps below, is checked in `Options.of` or `policy_of`, and is
passed on under its name everywhere else (``**options: Unpack[JobOptions]``), so that type checkers know it at every
call and nobody repeats the list.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Protocol, TypedDict, cast

import attrs

from ._core.job import NO_EXTRAS, NO_OVERRIDE, Extras, Override
from ._core.keys import DEFAULT_PRIORITY
from ._core.middleware import Middleware
from ._core.runnable import Policy
from ._core.schedules import ONCE, Cron, Every, Missed, Spec, milliseconds
from .settings import Backoff, Duration, at_least, flag, moment, name, optional_seconds, seconds


class Identified(Protocol):
    """A job, by what names it: a `JobHandle`."""

    @property
    def id(self) -> str:
        """Its id."""
        ...


class RunOptions(TypedDict, total=False):
    """How jobs run: what a queue, a task and a single job can all say, the nearest to the job being heard.

    Attributes:
        attempts: Runs in total, at least 1.
        backoff: The wait before each retry.
        timeout: Seconds that a run may take.
        result_ttl: Seconds for which the result (or the failure) is kept for `JobHandle.result`.
    """

    attempts: int | None
    backoff: Backoff | None
    timeout: Duration | None
    result_ttl: Duration | None


class TaskOptions(RunOptions, total=False):
    """What `Queue.task` takes besides the function: how the task's jobs run, and those of `RunOptions`.

    Attributes:
        name: The task's name; the function's name if left out.
        middleware: Coroutine functions of ``(job, call_next)`` around each run, outermost first; inside of the
            worker's and the queue's.
        threads: How many runs of this plain function may be in threads at the same time in a worker: threads of its
            own, beside the worker's ``threads``.
        executor: Where this plain function runs: in a ``thread`` (the default), or in a ``process``, which is killed at
            the timeout, when the job is cancelled, and when the drain is over.
        priority: From 0 to 9: jobs with a higher one start first; 5 if left out.
    """

    name: str | None
    middleware: Sequence[Middleware] | None
    threads: int | None
    executor: Literal["thread", "process"] | None
    priority: int | None


class JobOptions(RunOptions, total=False):
    """What one job asks for, in `Task.options`, `Queue.enqueue`, `Queue.enqueue_many`: these, and `RunOptions`.

    Attributes:
        id: The job's id, chosen by you: until the job has ended (and ``Retention.ids`` longer) enqueuing it again adds
            nothing, and the handle says so (``handle.new``).
        unique: A key of which the queue has one job at a time: until that job has ended, enqueuing another with the
            same key adds nothing. The handle is then one on the job that is there, and says so (``handle.new``).
        window: With ``unique``: seconds from the first call for which its job keeps the key, ended or not.
        debounce: With ``unique`` and ``window``: the last call wins instead of the first. The job waits until
            ``window`` seconds have passed without another call, and runs with the arguments of the last one. A job that
            took the key without ``debounce`` is never replaced.
        tracked: Whether other jobs may wait for this one, with ``after``.
        after: Jobs that must have ended before this one starts: their handles or ids. Each is a tracked one, or waits
            for others itself.
        on_failure: What becomes of this job when one of those was given up or cancelled: ``"fail"`` (the default), it
            is given up too, as ``parent_failed``, and so are those that wait for it; ``"run"``, it runs all the same.
        delay: Seconds until the job is due, by the server's clock.
        at: The moment it is due, an aware ``datetime``; instead of ``delay``.
        deadline: The moment from which on the job is not started any more, an aware ``datetime``, or seconds from its
            enqueuing, by the server's clock; retries and delays included. Then it is given up as ``expired``.
        priority: From 0 to 9: jobs with a higher one start first; the task's, else 5, if left out.
        wait: When the queue holds ``max_length`` jobs, wait for room (the default); ``False`` raises `QueueFull`.
    """

    id: str | None
    unique: str | None
    window: Duration | None
    debounce: bool
    tracked: bool
    after: Sequence[Identified | str]
    on_failure: Literal["fail", "run"]
    delay: Duration | None
    at: datetime | None
    deadline: datetime | Duration | None
    priority: int | None
    wait: bool


class ScheduleOptions(RunOptions, total=False):
    """What a schedule asks for, in `Queue.cron`, `Queue.every`, `Schedules.upsert`: these, and how its jobs run.

    Attributes:
        limit: Runs in all; then it has ended.
        start: The moment before which no run is planned, an aware ``datetime``; an interval counts from it.
        end: The moment after which no run is planned.
        jitter: Seconds: each job waits for up to so long, by chance, after its planned time.
        deadline: Seconds after its planned time from which on a job is not started any more: it is given up as
            ``expired``.
        missed: What becomes of runs that nobody could start in time: see `Missed`.
        unique: A key of which the queue has one job at a time: each of the schedule's jobs holds it from its planned
            time until it has ended, retries included, and a run whose time comes while any job holds it is left out.
        priority: From 0 to 9: jobs with a higher one start first; the task's, else 5, if left out.
    """

    limit: int | None
    start: datetime | None
    end: datetime | None
    jitter: Duration | None
    deadline: Duration | None
    missed: Missed | None
    unique: str | None
    priority: int | None


@attrs.frozen(kw_only=True)
class Options:
    """What one call asks for, checked, and what that means for the envelope.

    Attributes:
        id: The chosen id.
        unique: The unique key.
        window_ms: Milliseconds for which it is held at least.
        debounce: Whether the last call wins.
        tracked: Whether other jobs may wait for it.
        after: What it waits for: handles and ids.
        runs_anyway: Whether it is run though one of those was given up.
        delay_ms: Milliseconds to wait.
        due_ms: The epoch millisecond it is due, instead.
        expires: Seconds after its enqueuing from which on the job is not started any more.
        priority: The priority that was asked for.
        wait: Whether to wait for room.
        result_ttl: Seconds for which the result is kept.
        override: What travels in the envelope, for every program.
        extras: What travels behind it, for AnyQ.
    """

    id: str | None = None
    unique: str | None = None
    window_ms: int = 0
    debounce: bool = False
    tracked: bool = False
    after: tuple[Identified | str, ...] = ()
    runs_anyway: bool = False
    delay_ms: int | None = None
    due_ms: int | None = None
    expires: float | None = None
    priority: int | None = None
    wait: bool = True
    result_ttl: float | None = None
    override: Override = NO_OVERRIDE
    extras: Extras = NO_EXTRAS

    @staticmethod
    def of(given: JobOptions) -> Options:
        """Check options and write down what they mean for the envelope."""
        if not given:
            return NO_OPTIONS
        known("a job", given, _JOB)
        policy = policy_of(given)
        if policy.backoff is not None and policy.backoff.function is not None:
            raise ValueError("a Backoff.of function cannot travel with a job: set it on the task")
        after = _parents(given.get("after"))
        _refuse_contradictions(given, after)
        job_id, unique, debounce = (
            given.get("id"),
            given.get("unique"),
            flag("debounce", given.get("debounce")),
        )
        window = optional_seconds("window", given.get("window"))
        wait_ms, due_ms = _start(window if debounce else given.get("delay"), given.get("at"))
        deadline_ms, expires = _end(given.get("deadline"), wait_ms, due_ms)
        tracked = flag("tracked", given.get("tracked")) or bool(after)
        extras = Extras(
            deadline_ms=deadline_ms,
            timeout=policy.timeout,
            result_ttl=policy.result_ttl,
            full_jitter=policy.backoff is not None and policy.backoff.jitter,
            unique="" if unique is None else name("unique", unique),
            tracked=tracked,
            priority=DEFAULT_PRIORITY if policy.priority is None else policy.priority,
        )
        overrides = policy.attempts is not None or policy.backoff is not None
        return Options(
            id=None if job_id is None else name("id", job_id),
            unique=unique,
            window_ms=0 if window is None or debounce else round(window * 1000),
            debounce=debounce,
            tracked=tracked,
            after=after,
            runs_anyway=given.get("on_failure") == "run",
            delay_ms=wait_ms or None,
            due_ms=due_ms,
            expires=expires,
            priority=policy.priority,
            wait=flag("wait", given.get("wait"), default=True),
            result_ttl=policy.result_ttl,
            override=Override(policy.attempts, policy.backoff) if overrides else NO_OVERRIDE,
            extras=NO_EXTRAS if extras == NO_EXTRAS else extras,
        )

    @property
    def plain(self) -> bool:
        """Whether the job is ready at once, has no priority and needs no check."""
        return (
            self.delay_ms is None
            and self.due_ms is None
            and not self.tracked
            and self.id is None
            and self.unique is None
            and self.extras.priority == DEFAULT_PRIORITY
        )

    def within(self, seconds: float) -> Options:
        """Give the same for a job that is not to be started later than in so many seconds, from its enqueuing."""
        return attrs.evolve(self, expires=min(seconds, math.inf if self.expires is None else self.expires))

    def defaulting(self, policy: Policy) -> Options:
        """Fill what the call left out from its task, where the producer needs to know it."""
        if policy.priority is None or self.priority is not None:
            return self
        extras = attrs.evolve(self.extras, priority=policy.priority)
        return attrs.evolve(self, priority=policy.priority, extras=extras)


NO_OPTIONS = Options()

#: How many jobs one may wait for.
_MOST_PARENTS = 1000


def _refuse_contradictions(given: JobOptions, after: Collection[object]) -> None:
    """Refuse what excludes each other, and what is about something that was not given."""
    delay, at, job_id, unique = (given.get("delay"), given.get("at"), given.get("id"), given.get("unique"))
    window, debounce, on_failure = given.get("window"), given.get("debounce"), given.get("on_failure")
    if delay is not None and at is not None:
        raise ValueError(f"delay and at exclude each other, and both were given: {delay!r} and {at!r}")
    if unique is None and (window is not None or debounce):
        raise ValueError(
            "window and debounce are about a unique key, and none was given: set unique='...' too"
        )
    if debounce and window is None:
        raise ValueError("debounce waits for a quiet window, and none was given: set window=... too")
    if debounce and any(value is not None for value in (delay, at, job_id)):
        raise ValueError("debounce chooses the job's time and id: it excludes delay, at and id")
    if after and (debounce or any(value is not None for value in (delay, at))):
        raise ValueError("after makes the job wait for others: it excludes delay, at and debounce")
    if on_failure not in (None, "fail", "run"):
        raise ValueError(f"on_failure must be 'fail' or 'run', not {on_failure!r}")
    if on_failure is not None and not after:
        raise ValueError(
            "on_failure is about jobs that this one waits for, and none was given: set after=[...] too"
        )


def _start(delay: Duration | None, at: datetime | None) -> tuple[int | None, int | None]:
    """Give the milliseconds to wait, or the epoch millisecond of the start."""
    due_ms = None if at is None else moment("at", at)
    wait_ms = None if delay is None else round(seconds("delay", delay) * 1000)
    if wait_ms is not None and wait_ms >= 2**53:  # what Redis's scripts can count
        raise ValueError(f"delay must be at most {2**53 // 1000} seconds, not {delay!r}")
    return wait_ms, due_ms


def _end(
    deadline: datetime | Duration | None, wait_ms: int | None, due_ms: int | None
) -> tuple[int | None, float | None]:
    """Give the epoch millisecond of the deadline, or the seconds until then."""
    deadline_ms, expires = None, None
    if isinstance(deadline, datetime):
        deadline_ms = max(1, moment("deadline", deadline))
        over = due_ms is not None and deadline_ms <= due_ms
    else:
        expires = optional_seconds("deadline", deadline)
        over = wait_ms is not None and expires is not None and expires * 1000 <= wait_ms
    if over:
        raise ValueError(f"deadline {deadline!r} is over before the job is due: it would never be started")
    return deadline_ms, expires


def _parents(given: object) -> tuple[Identified | str, ...]:
    """Check for whom a job waits."""
    if given is None:
        return ()
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise TypeError(f"after must be a list of jobs, or of their ids, not {given!r}")
    parents: dict[str, Any] = {}
    jobs: Iterable[Any] = cast("Any", given)
    for parent in jobs:
        parents[name("a job of after", getattr(parent, "id", parent))] = parent
    if len(parents) > _MOST_PARENTS:
        raise ValueError(f"a job can wait for {_MOST_PARENTS} others at most, not {len(parents)}")
    return tuple(parents.values())


def policy_of(given: RunOptions, base: Policy | None = None) -> Policy:
    """Check how jobs are to run, and fill what is left out from ``base``."""
    asked: Mapping[str, Any] = cast("Any", given)
    attempts, backoff = asked.get("attempts"), asked.get("backoff")
    if backoff is not None and not isinstance(backoff, Backoff):
        raise TypeError(f"backoff must be a Backoff, such as Backoff.fixed(5), not {backoff!r}")
    policy = Policy(
        attempts=None if attempts is None else at_least("attempts", attempts, 1),
        backoff=backoff,
        timeout=optional_seconds("timeout", asked.get("timeout")),
        result_ttl=optional_seconds("result_ttl", asked.get("result_ttl")),
        priority=None if asked.get("priority") is None else at_least("priority", asked["priority"], 0, 9),
    )
    return policy if base is None else policy.over(base)


def schedule_of(
    called: str, task: str, when: Cron | Every, body: bytes, given: ScheduleOptions, *, declared: bool
) -> Spec:
    """Check what is asked of a schedule, and write it down.

    Args:
        called: The schedule's name.
        task: The task's name.
        when: When it is due.
        body: The arguments, encoded.
        given: The options.
        declared: Whether code declares it.
    """
    known("a schedule", given, _SCHEDULE)
    if not isinstance(when, Cron | Every):
        raise TypeError(f"when must be a Cron or an Every, such as Every(60), not {when!r}")
    limit, start, end, jitter = given.get("limit"), given.get("start"), given.get("end"), given.get("jitter")
    deadline, missed = given.get("deadline"), cast("object", given.get("missed"))
    if missed is not None and not isinstance(missed, Missed):
        raise TypeError(f"missed must be a Missed, such as Missed.skip(), not {missed!r}")
    if given.get("unique") is not None and missed is not None and missed.kind == "all":
        raise ValueError(
            f"missed={missed!r} makes up several runs, and with unique=... there is one at a time: "
            "use Missed.once() or Missed.skip()"
        )
    start_ms = None if start is None else moment("start", start)
    end_ms = None if end is None else moment("end", end)
    if start_ms is not None and end_ms is not None and end_ms < start_ms:
        raise ValueError(f"end must not be before start, and {end!r} is before {start!r}")
    run: Mapping[str, Any] = cast("Any", {key: value for key, value in given.items() if key in _RUN})
    options = Options.of(cast("JobOptions", run))
    return Spec(
        name=name("the schedule's name", called),
        task=name("the task's name", task),
        when=when,
        body=body,
        limit=None if limit is None else at_least("limit", limit, 1),
        start_ms=None if start_ms is None else max(0, start_ms),
        end_ms=None if end_ms is None else max(0, end_ms),
        missed=missed or ONCE,
        jitter_ms=0 if jitter is None else milliseconds("jitter", jitter),
        deadline_ms=None if deadline is None else max(1, milliseconds("deadline", deadline)),
        declared=declared,
        override=options.override,
        extras=options.extras,
    )


def known(whose: str, given: Collection[str], names: Collection[str]) -> None:
    """Refuse an option that does not exist, and say which do."""
    for option in given:
        if option not in names:
            raise TypeError(f"{whose} has no option {option!r}; there are: {', '.join(sorted(names))}")


_RUN = RunOptions.__required_keys__ | RunOptions.__optional_keys__ | {"priority", "unique"}
_SCHEDULE = ScheduleOptions.__required_keys__ | ScheduleOptions.__optional_keys__
_JOB = JobOptions.__required_keys__ | JobOptions.__optional_keys__
TASK_OPTIONS = TaskOptions.__required_keys__ | TaskOptions.__optional_keys__
