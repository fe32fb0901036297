"""Schedules as a user holds them: declared beside a task, or made, looked at and changed while programs run.

Rule: what is asked for is checked here, before anything is sent; all that changes Redis is in `_store.schedules`.
"""

from __future__ import annotations

import builtins
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import datetime
from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Protocol, TypeVar, Unpack, cast

import attrs

from ._core.job import NO_EXTRAS
from ._core.keys import DEFAULT_PRIORITY
from ._core.schedules import Cron, Every, Missed, Spec, resumed, upcoming
from ._core.values import unpack
from ._making import packed, too_large
from ._services.patience import Patience
from ._services.planning import write_down
from ._store.schedules import Known, Scheduling
from .errors import UnknownSchedule
from .handles import JobHandle
from .options import Options, RunOptions, ScheduleOptions, schedule_of
from .settings import at_least, from_milliseconds
from .settings import name as checked_name
from .tasks import Task, TaskDecorator

if TYPE_CHECKING:
    from .queue import Queue

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class ScheduleDecorator(TaskDecorator, Protocol):
    """What ``@queue.cron(...)`` and ``@queue.every(...)`` give: it takes a function, or a task (which stays one)."""


@attrs.frozen(kw_only=True)
class Schedule:
    """A schedule, as it stood when it was looked at.

    Attributes:
        name: Its name.
        task: The name of the task whose jobs it makes.
        when: When it is due.
        payload: The jobs' arguments by name.
        state: ``active``, ``paused``, or ``ended``: its limit or its end was reached.
        next_at: The next planned time; that of a paused one passes unless it is resumed before. ``None`` when it has
            ended.
        last_at: The last planned time whose run was started.
        fired: Runs that it started since it was defined as it is.
        limit: Runs in all.
        start: No run is planned before.
        end: No run is planned after.
        jitter: Seconds that a job waits at most, by chance, after its planned time.
        deadline: Seconds after its planned time from which on a job is not started any more.
        missed: What becomes of missed runs.
        declared: Whether code declares it.
        options: How its jobs run: what the schedule says of `RunOptions`.
        priority: The priority of its jobs.
        unique: The key that its jobs hold, one at a time.
        left_out: Runs that were left out since it was defined as it is, because a job held that key.
    """

    name: str
    task: str
    when: Cron | Every
    payload: Any = attrs.field(repr=False)
    state: Literal["active", "paused", "ended"]
    next_at: datetime | None
    last_at: datetime | None
    fired: int
    limit: int | None
    start: datetime | None
    end: datetime | None
    jitter: float
    deadline: float | None
    missed: Missed
    declared: bool
    options: RunOptions
    priority: int = DEFAULT_PRIORITY
    unique: str | None = None
    left_out: int = 0


@attrs.frozen(kw_only=True)
class PlannedRun:
    """A run that a schedule will start.

    Attributes:
        at: When it is planned; a moment that has passed if it is late, or was missed and is made up. By its jitter, its
            job may wait a little longer.
        schedule: The schedule's name.
        task: The task's name.
    """

    at: datetime
    schedule: str
    task: str


class Schedules:
    """The schedules of a queue: ``queue.schedules``.

    All of it works while the queue is open. Nothing here waits for a worker; workers take notice at once.

    Example:
        >>> from anyq import Cron, Every, Missed
        >>> await queue.schedules.upsert("report:ada", "report", Cron("0 7 * * MON-FRI"), {"customer": "ada"})
        >>> [schedule.next_at for schedule in await queue.schedules.list()]
    """

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self.declared: dict[str, Spec] = {}

    # -- in code ------------------------------------------------------------------------------------------------------

    def declare(
        self,
        when: Cron | Every,
        called: str | None,
        payload: Mapping[str, Any] | None,
        options: ScheduleOptions,
    ) -> ScheduleDecorator:
        """Make a decorator that declares a schedule: what `Queue.cron` and `Queue.every` come down to."""

        def declare(function: Callable[..., Any]) -> Task[Any, Any]:
            given: Any = function
            task: Task[Any, Any] = given if isinstance(given, Task) else self._queue.task(function)  # pyright: ignore[reportUnknownVariableType]
            if task.queue is not self._queue:
                raise ValueError(f"task {task.name!r} belongs to {task.queue!r}: declare its schedule there")
            spec = self._spec(called or task.name, task.name, when, payload, options, declared=True)
            known = self.declared.get(spec.name)
            if known is not None and known != spec:  # the same once more is a module that was loaded again
                raise ValueError(
                    f"queue {self._queue.name!r} has a schedule {spec.name!r} already, {known.when!r}: "
                    "give one of them another name, with name=..."
                )
            self.declared[spec.name] = spec
            return task

        return cast("ScheduleDecorator", declare)

    # -- at run time --------------------------------------------------------------------------------------------------

    async def upsert(
        self,
        name: str,
        task: str | Task[Any, Any],
        when: Cron | Every,
        payload: Mapping[str, Any] | None = None,
        **options: Unpack[ScheduleOptions],
    ) -> Schedule:
        """Make a schedule, or make the one of this name what is asked for.

        Asking for the same again changes nothing, so a program may do so at every start: the planned time stays while
        ``when`` and ``start`` do. Whatever else changes, its counters start anew. A paused one stays paused.

        Args:
            name: The schedule's name.
            task: The task, or its name.
            when: When it is due: `Cron` or `Every`. An interval counts from ``start``, or else from now: its first run
                is planned one interval from now.
            payload: The jobs' arguments by name.
            **options: What else is asked for: see `ScheduleOptions`.

        Returns:
            How it stands now.

        Raises:
            ValueError, TypeError: Something is wrong; the message says what. Also when it would never be due.
            PayloadRefused: MessagePack cannot carry an argument, or the jobs would be too large.
            RedisUnavailable: Redis was away for longer than the queue's ``outage_timeout``.
            NotOpen: The queue is not open here.

        Safe to cancel: it is written as a whole or not at all.

        Example:
            >>> await queue.schedules.upsert(
            ...     "report:ada", "report", Every(3600), {"customer": "ada"}, limit=24
            ... )
        """
        named = task.name if isinstance(task, Task) else task
        spec = self._spec(name, named, when, payload, options, declared=False)

        async def work(scheduling: Scheduling, patience: Patience) -> Schedule | None:
            if not await write_down(scheduling, patience, spec):
                raise ValueError(
                    f"schedule {name!r} would never be due: {spec.when!r} from {spec.start_ms} to {spec.end_ms}"
                )
            return _schedule(await _read(scheduling, patience, spec.name))

        while True:
            written = await self._ask(work)
            if written is not None:  # else somebody has removed it again
                return written

    async def get(self, name: str) -> Schedule | None:
        """Look at a schedule; ``None`` if there is none of this name, or none that AnyQ understands. Safe to cancel."""
        known = await self._known(name)
        return _schedule(known)

    async def list(self) -> list[Schedule]:
        """Look at all schedules of the queue, by name; what AnyQ does not understand is left out. Safe to cancel."""

        async def work(scheduling: Scheduling, patience: Patience) -> dict[str, Schedule]:
            found: dict[str, Schedule] = {}
            async for names in scheduling.pages():
                _, page = await patience(scheduling.read, names)
                found |= {known.name: one for known in page if (one := _schedule(known)) is not None}
            return found

        found = await self._ask(work)
        return [found[name] for name in sorted(found)]

    async def upcoming(self, *names: str, count: int = 5) -> builtins.list[PlannedRun]:
        """Tell what will be started next, as schedules stand now, by the server's clock.

        Args:
            *names: The schedules; left out, all of the queue.
            count: How many runs at most, of all of them together.

        Returns:
            The runs, in the order of time. Schedules that are paused or have ended start none.

        Raises:
            UnknownSchedule: There is none of such a name.
            RedisUnavailable: Redis was away for longer than the queue's ``outage_timeout``.
            NotOpen: The queue is not open here.

        Safe to cancel: nothing is changed.

        Example:
            >>> for run in await queue.schedules.upcoming(count=3):
            ...     print(run.at, run.schedule)
        """
        at_least("count", count, 1)
        for name in names:
            checked_name("the schedule's name", name)

        async def work(scheduling: Scheduling, patience: Patience) -> builtins.list[PlannedRun]:
            found: dict[str, Known] = {}
            now_ms, known = 0, builtins.list[Known]()
            if names:
                now_ms, known = await patience(scheduling.read, names)
                found = {one.name: one for one in known}
                for name in names:
                    self._existing(name, found.get(name))
            else:
                async for page in scheduling.pages():
                    now_ms, known = await patience(scheduling.read, page)
                    found |= {one.name: one for one in known}
            plans = [_plan(one, now_ms) for one in found.values()]
            return builtins.list(islice(merge(*plans, key=lambda run: (run.at, run.schedule)), count))

        return await self._ask(work)

    async def remove(self, name: str) -> bool:
        """Remove a schedule; jobs that it made stay. Tell whether there was one.

        A declared one comes back with the next worker that starts and declares it: take it out of the code, or pause
        it. Safe to cancel; asked twice, nothing more happens.
        """
        checked_name("the schedule's name", name)
        return await self._ask(lambda scheduling, patience: patience(scheduling.remove, name))

    async def pause(self, name: str) -> Schedule:
        """Let a schedule start nothing until it is resumed; jobs that it made go on.

        Returns:
            How it stands now. One that has ended stays so.

        Raises:
            UnknownSchedule: There is none of this name.

        Safe to cancel; asked twice, nothing more happens.
        """
        checked_name("the schedule's name", name)
        await self._ask(lambda scheduling, patience: patience(scheduling.pause, name))
        return self._existing(name, await self._known(name))

    async def resume(self, name: str) -> Schedule:
        """Let a paused schedule go on: an interval in step with before, and what was due meanwhile is not made up.

        Returns:
            How it stands now.

        Raises:
            UnknownSchedule: There is none of this name.

        Safe to cancel; asked twice, nothing more happens.
        """

        async def work(scheduling: Scheduling, patience: Patience) -> Known | None:
            while True:
                now_ms, found = await patience(scheduling.read, [name])
                known = found[0] if found else None
                if known is None or known.spec is None or known.place != "paused":
                    return known
                planned = resumed(known.spec, known.planned_ms, now_ms)
                await patience(scheduling.resume, known, planned)

        checked_name("the schedule's name", name)
        return self._existing(name, await self._ask(work))

    async def run_now(self, name: str) -> JobHandle[Any]:
        """Enqueue a job of a schedule now, whatever its state; its plan and its counters stay as they are.

        Returns:
            A handle on the job; its ``scheduled_at`` is this moment. With a ``unique`` key that another job holds, a
            handle on that one, and it says so (``handle.new``).

        Raises:
            UnknownSchedule: There is none of this name.
            Exception: As `Queue.enqueue` does.

        Safe to cancel as `Task.enqueue` is.
        """

        async def work(scheduling: Scheduling, patience: Patience) -> tuple[int, Known | None]:
            now_ms, found = await patience(scheduling.read, [name])
            return now_ms, found[0] if found else None

        checked_name("the schedule's name", name)
        now_ms, known = await self._ask(work)
        self._existing(name, known)
        assert known is not None
        assert known.spec is not None
        spec = known.spec
        extras = attrs.evolve(spec.extras, scheduled=now_ms)
        if spec.deadline_ms is not None:
            extras = attrs.evolve(extras, deadline_ms=now_ms + spec.deadline_ms)
        priority = None if extras.priority == DEFAULT_PRIORITY else extras.priority
        options = Options(
            priority=priority,
            result_ttl=extras.result_ttl,
            override=spec.override,
            unique=extras.unique or None,
            extras=extras,
        )
        keeps = True if spec.extras.result_ttl is not None else None
        [handle] = await self._queue.add(spec.task, [unpack(spec.body)], options, keeps=keeps)
        return handle

    # -- how it is done -----------------------------------------------------------------------------------------------

    def _spec(
        self,
        called: str,
        task: str,
        when: Cron | Every,
        payload: Mapping[str, Any] | None,
        options: ScheduleOptions,
        *,
        declared: bool,
    ) -> Spec:
        arguments: Mapping[str, Any] = {} if payload is None else payload
        runnable = self._queue.runnables.get(task)
        if runnable is not None and runnable.parameters is not None:
            misfit = runnable.parameters.misfit(arguments)
            if misfit is not None:
                raise TypeError(
                    f"task {task!r} cannot be called so, {misfit}: give its arguments with payload={{...}}"
                )
        limits = self._queue.limits
        body = packed(task, arguments, limits)
        spec = schedule_of(called, task, when, body, options, declared=declared)
        if options.get("priority") is None and runnable is not None and runnable.policy.priority is not None:
            spec = attrs.evolve(spec, extras=attrs.evolve(spec.extras, priority=runnable.policy.priority))
        if spec.extras.priority != DEFAULT_PRIORITY:
            self._queue.check_priority(spec.extras.priority)
        size = len(spec.envelope("0" * 26, 2**48, 2**48))
        if size > limits.payload:
            raise too_large(f"a job of {task!r} has", size, limits.payload)
        return spec

    async def _known(self, name: str) -> Known | None:
        checked_name("the schedule's name", name)
        return await self._ask(lambda scheduling, patience: _read(scheduling, patience, name))

    async def _ask(self, work: Callable[[Scheduling, Patience], Awaitable[T]]) -> T:
        return await self._queue.with_session(
            lambda session: work(Scheduling(session.client, self._queue.keys), session.patience)
        )

    def _existing(self, name: str, known: Known | None) -> Schedule:
        schedule = _schedule(known)
        if schedule is None:
            raise UnknownSchedule(self._queue.name, name, "" if known is None else known.why)
        return schedule

    def __repr__(self) -> str:
        return f"<Schedules of {self._queue.name!r}, {len(self.declared)} declared>"


async def _read(scheduling: Scheduling, patience: Patience, name: str) -> Known | None:
    _, found = await patience(scheduling.read, [name])
    return found[0] if found else None


def _schedule(known: Known | None) -> Schedule | None:
    if known is None or known.spec is None:
        return None
    spec = known.spec
    options = RunOptions()
    if spec.override.attempts is not None:
        options["attempts"] = spec.override.attempts
    if spec.override.backoff is not None:
        options["backoff"] = spec.override.backoff
    if spec.extras is not NO_EXTRAS:
        if spec.extras.timeout is not None:
            options["timeout"] = spec.extras.timeout
        if spec.extras.result_ttl is not None:
            options["result_ttl"] = spec.extras.result_ttl
    return Schedule(
        name=spec.name,
        task=spec.task,
        when=spec.when,
        payload=unpack(spec.body),
        state=known.place,
        next_at=None if known.place == "ended" else from_milliseconds(known.planned_ms),
        last_at=_moment(known.last_ms),
        fired=known.fired,
        limit=spec.limit,
        start=_moment(spec.start_ms),
        end=_moment(spec.end_ms),
        jitter=spec.jitter_ms / 1000,
        deadline=None if spec.deadline_ms is None else spec.deadline_ms / 1000,
        missed=spec.missed,
        declared=spec.declared,
        priority=spec.extras.priority,
        unique=spec.extras.unique or None,
        left_out=known.left_out,
        options=options,
    )


def _plan(known: Known, now_ms: int) -> Iterator[PlannedRun]:
    spec = known.spec
    if spec is not None and known.place == "active":
        for moment in upcoming(spec, known.planned_ms, now_ms, known.fired):
            yield PlannedRun(at=from_milliseconds(moment), schedule=spec.name, task=spec.task)


def _moment(value: int | None) -> datetime | None:
    return None if value is None else from_milliseconds(value)


__all__ = ["PlannedRun", "Schedule", "ScheduleDecorator", "Schedules"]
