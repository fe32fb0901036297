"""The queue: a named line of jobs, and the producing side of it.

A `Queue` is cheap and importable; it opens nothing until it is entered. It knows how to add jobs and nothing of
workers, so a web process that only enqueues never loads them.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, ParamSpec, Protocol, TypeVar, Unpack, cast, overload

import attrs
from redis.credentials import CredentialProvider

from ._core.codec import encode
from ._core.job import Job
from ._core.middleware import Middleware, checked
from ._core.runnable import Policy, Runnable
from ._core.schedules import Cron, Every
from ._making import id_maker, new_id, packed, packed_all, too_large
from ._operating import Operating
from ._services.clock import wall_ms
from ._services.lifespans import Lifespan
from ._services.lifespans import checked as checked_lifespans
from ._services.publisher import Leaving
from ._session import Session
from ._store.publish import MOST_CHILDREN, Addition, Answer, Holder, Obstacle
from .aggregates import AggregateDecorator, AggregateTask, Grouping, decorator
from .dead_letters import DeadLetters
from .handles import JobHandle
from .options import TASK_OPTIONS, JobOptions, Options, ScheduleOptions, TaskOptions, known, policy_of
from .schedules import ScheduleDecorator, Schedules
from .settings import Backoff, Duration, Limits, Retention, at_least, optional_seconds
from .settings import name as checked_name
from .tasks import AsyncTask, PlainTask, Task, TaskDecorator

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
M = TypeVar("M", bound=Middleware)
L = TypeVar("L", bound=Lifespan)

DEFAULT_URL = "redis://localhost:6379/0"

#: Jobs of one call whose ids share a look at the clock: those of a few milliseconds.
_SAME_MOMENT = 200


class Enqueuing(Protocol):
    """Some jobs on their way to Redis, as whoever traces them sees it.

    Attributes:
        carried: Headers that travel with the jobs.
    """

    @property
    def carried(self) -> Mapping[str, str]: ...

    def added(self, handles: Sequence[JobHandle[Any]], /) -> None:
        """Redis has them."""
        ...


class Tracing(Protocol):
    """Called with a task's name and how many of its jobs are to be enqueued."""

    def __call__(self, task: str, count: int, /) -> AbstractContextManager[Enqueuing]: ...


class Queue(Operating):
    """A named line of jobs.

    Args:
        name: The queue's name: its keys are ``{prefix:name}:...``.
        url: Where Redis or Valkey is: ``redis://``, ``rediss://`` (TLS), ``unix://`` or ``embedded://``.
            ``None`` takes ``$ANYQ_URL``, else ``redis://localhost:6379/0``.
        prefix: What the keys begin with. ``"chasqui"`` shares the queue with chasquimq's programs.
        attempts: Runs in total of its tasks' jobs; ``None`` leaves it to the worker.
        backoff: The wait before each retry; ``None`` leaves it to the worker.
        timeout: Seconds that a run may take; ``None`` for no limit.
        result_ttl: Seconds for which results are kept; ``None`` keeps none.
        max_length: Jobs that the queue may hold ready; above it `enqueue` waits. ``None`` for any number.
        limits: Bounds on what one job may bring along.
        retention: How long what is kept.
        outage_timeout: Seconds for which enqueuing waits through an outage before it raises `RedisUnavailable`;
            ``None`` waits for ever.
        credential_provider: Asked for user and password at every connect, as redis-py's providers are.

    Raises:
        ValueError, TypeError: A setting is wrong; the message names it, its value and what is allowed.

    Example:
        >>> from anyq import Queue
        >>> queue = Queue("emails", "embedded://")
        >>> @queue.task
        ... async def welcome(to: str) -> None:
        ...     print("welcome", to)
        >>> async def main() -> None:
        ...     async with queue:
        ...         await welcome.enqueue("ada@example.com")
    """

    def __init__(
        self,
        name: str,
        url: str | None = None,
        *,
        prefix: str = "anyq",
        attempts: int | None = None,
        backoff: Backoff | None = None,
        timeout: Duration | None = None,
        result_ttl: Duration | None = None,
        max_length: int | None = None,
        limits: Limits | None = None,
        retention: Retention | None = None,
        outage_timeout: Duration | None = 30.0,
        credential_provider: CredentialProvider | None = None,
    ) -> None:
        super().__init__(
            name,
            os.environ.get("ANYQ_URL", DEFAULT_URL) if url is None else url,
            prefix=prefix,
            credential_provider=credential_provider,
            outage_timeout=optional_seconds("outage_timeout", outage_timeout, zero=True),
            max_length=None if max_length is None else at_least("max_length", max_length, 1),
            retention=_setting("retention", retention, Retention),
        )
        self.policy: Policy = policy_of(
            {"attempts": attempts, "backoff": backoff, "timeout": timeout, "result_ttl": result_ttl}
        )
        self.limits: Limits = _setting("limits", limits, Limits)
        self.runnables: dict[str, Runnable] = {}
        self.fallback_runnable: Runnable | None = None
        self.around: list[Middleware] = []
        self.tracing: Tracing | None = None
        self.lifespans: list[Lifespan] = []
        self.watchers: set[Callable[[str], object]] = set()
        self.schedules: Schedules = Schedules(self)
        self.dead_letters: DeadLetters = DeadLetters(self)

    # -- tasks ----------------------------------------------------------------------------------------------------

    @overload
    def task(  # type: ignore[overload-overlap]  # as in `TaskDecorator`
        self, function: Callable[P, Coroutine[Any, Any, R]], /, **options: Unpack[TaskOptions]
    ) -> AsyncTask[P, R]: ...
    @overload
    def task(self, function: Callable[P, R], /, **options: Unpack[TaskOptions]) -> PlainTask[P, R]: ...
    @overload
    def task(self, /, **options: Unpack[TaskOptions]) -> TaskDecorator: ...

    def task(self, function: Callable[..., Any] | None = None, /, **options: Unpack[TaskOptions]) -> Any:
        """Make a function a task of this queue; a decorator, with or without arguments.

        Args:
            function: An ``async def``, or a plain ``def``, which runs in a thread or a process.
            **options: How the task's jobs run: see `TaskOptions`. What is left out is the queue's setting.

        Raises:
            ValueError: Another function has this name already, or a setting is wrong.
            TypeError: The function has ``*args``: a payload gives parameters by name. Or it is a method, which nobody
                could call without its object, or has no name of its own and was given none.

        Example:
            >>> @queue.task(attempts=5, timeout=30)
            ... async def welcome(to: str, name: str = "you") -> None: ...
        """
        known("a task", options, TASK_OPTIONS)
        name, policy = options.get("name"), policy_of(options, self.policy)
        middleware, threads = checked("middleware", options.get("middleware")), options.get("threads")
        if threads is not None:
            at_least("threads", threads, 1)

        def register(function: Callable[..., Any]) -> Task[Any, Any]:
            task_name = _task_name_of(function, name)
            known = self.runnables.get(task_name)
            if known is not None and _origin(known.function) != _origin(function):
                raise ValueError(
                    f"queue {self.name!r} has a task {task_name!r} already: {known.function!r}; "
                    "give one of them another name, as in @queue.task(name='...')"
                )
            runnable = self.runnables[task_name] = Runnable.of(
                task_name, function, policy, middleware=middleware, threads=threads,
                executor=options.get("executor"),
            )  # fmt: skip
            for changed in self.watchers:
                changed(task_name)
            return (AsyncTask if runnable.style == "async" else PlainTask)(self, runnable)

        return register if function is None else register(function)

    def fallback(self, function: Callable[[Job], Any], /) -> Callable[[Job], Any]:
        """Take the jobs whose name no task has, and those without a name; a decorator.

        The function gets the `Job`; its ``payload`` is what the producer sent. Without a fallback such jobs are parked:
        offered again with growing delay, and dead-lettered after the worker's ``unknown_task_grace``.

        Raises:
            ValueError: The queue has another fallback already.

        Example:
            >>> @queue.fallback
            ... async def anything(job: Job) -> None:
            ...     print(job.name, job.payload)
        """
        if not callable(function):
            raise TypeError(f"a fallback is a function of a Job, not {function!r}")
        known = self.fallback_runnable
        if known is not None and _origin(known.function) != _origin(function):
            raise ValueError(f"queue {self.name!r} has a fallback already: {known.function!r}")
        self.fallback_runnable = Runnable.of("", function, self.policy, takes_job=True)
        return function

    def middleware(self, function: M, /) -> M:
        """Put a coroutine function of ``(job, call_next)`` around each run of this queue's jobs; a decorator.

        A run goes through the worker's middleware first, then the queue's, then the task's, each in the order in which
        it was given. Register it before a worker starts. See `Middleware`.

        Raises:
            TypeError: It is no ``async def``.

        Example:
            >>> @queue.middleware
            ... async def polite(job: Job, call_next: CallNext) -> Any:
            ...     result = await call_next({**job.payload, "name": "dear " + job.payload["name"]})
            ...     return result or "nothing to say"
        """
        checked("middleware", (function,))
        self.around.append(function)
        return function

    @overload
    def aggregate(self, function: Callable[[list[T]], Coroutine[Any, Any, R]], /) -> AggregateTask[T, R]: ...
    @overload
    def aggregate(self, function: Callable[[list[T]], R], /) -> AggregateTask[T, R]: ...
    @overload
    def aggregate(
        self,
        /,
        *,
        key: Callable[[Any], str] | None = None,
        size: int = 100,
        delay: Duration = 5.0,
        maximum_delay: Duration = 60.0,
        **options: Unpack[TaskOptions],
    ) -> AggregateDecorator: ...

    def aggregate(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        key: Callable[[Any], str] | None = None,
        size: int = 100,
        delay: Duration = 5.0,
        maximum_delay: Duration = 60.0,
        **options: Unpack[TaskOptions],
    ) -> Any:
        """Make a function of one list a task whose items are enqueued one by one; a decorator, also without arguments.

        Args:
            function: The function, where nothing else is asked for.
            key: Gives the group that an item belongs to, a string: items of different groups never share a call.
                ``None`` for one group.
            size: Items that a call takes at most, up to 10,000; with so many it starts at once.
            delay: Seconds without another item after which a call starts.
            maximum_delay: Seconds after a call's first item when it starts at the latest.
            **options: How the calls run: see `TaskOptions`.

        Raises:
            ValueError: Another function has this name already, or a setting is wrong.
            TypeError: The function takes anything but one list (and what a worker fills with `Depends`).

        Until it starts, a call is a delayed job, that of its first item: it can be cancelled or let run at once, and
        survives whoever made it. It also starts when its items come to 256 KiB.

        Example:
            >>> @queue.aggregate(key=lambda message: message["to"], delay=5, maximum_delay=60)
            ... async def digest(messages: list[dict[str, str]]) -> None:
            ...     print(messages[0]["to"], "has", len(messages), "new messages")
            >>> await digest.enqueue({"to": "ada@example.com", "text": "hello"})
        """
        made: Callable[..., Any] = decorator(self, Grouping.of(key, size, delay, maximum_delay), options)
        return made if function is None else made(function)

    # -- schedules ------------------------------------------------------------------------------------------------

    def cron(
        self,
        expression: str,
        /,
        *,
        tz: str | None = None,
        name: str | None = None,
        payload: Mapping[str, Any] | None = None,
        **options: Unpack[ScheduleOptions],
    ) -> ScheduleDecorator:
        """Run a task when a clock on the wall shows a time that matches; a decorator for a function or a task.

        Args:
            expression: When: see `Cron`.
            tz: Where the clock hangs: an IANA name; ``None`` for UTC.
            name: The schedule's name; the task's name if left out.
            payload: The jobs' arguments by name.
            **options: What else is asked for: see `ScheduleOptions`.

        Raises:
            ValueError: The queue has another schedule of this name, or a setting is wrong.
            TypeError: The function cannot be called with that payload.

        Workers whose code declares it write it down when they start, and only they start its runs.

        Example:
            >>> @queue.cron("0 2 * * *", tz="Europe/Berlin")
            ... async def tidy_up() -> None: ...
        """
        return self.schedules.declare(Cron(expression, tz=tz), name, payload, options)

    def every(
        self,
        interval: Duration,
        /,
        *,
        name: str | None = None,
        payload: Mapping[str, Any] | None = None,
        **options: Unpack[ScheduleOptions],
    ) -> ScheduleDecorator:
        """Run a task again and again, after the same time each; a decorator for a function or a task.

        The first run is planned one interval after a worker first declared it. Later starts do not move it.

        Args:
            interval: Seconds (or a ``timedelta``) from one planned time to the next.
            name: The schedule's name; the task's name if left out.
            payload: The jobs' arguments by name.
            **options: What else is asked for: see `ScheduleOptions`.

        Raises:
            ValueError, TypeError: As `cron` does.

        Example:
            >>> @queue.every(60)
            ... async def look() -> None: ...
        """
        return self.schedules.declare(Every(interval), name, payload, options)

    def lifespan(self, function: L, /) -> L:
        """Make something live as long as a worker of this queue takes and runs jobs; a decorator.

        Args:
            function: An async generator function that yields once, or a function that gives an async context manager.
                What it yields fills the parameters of handlers that ask for its type with `Depends`; its own
                parameters may ask for what was entered before it.

        A worker enters the lifespans of its queues, in the order in which they were given, before it takes jobs, and
        leaves them in reverse after it has drained. The queue is open inside of them. An error on entering or leaving
        comes out of the worker's ``async with``; so does one between, after the worker has drained. Opening the queue
        alone does not enter them.

        Raises:
            TypeError: It is no such function.

        Example:
            >>> @queue.lifespan
            ... async def database() -> AsyncIterator[Database]:
            ...     async with Database.connect() as database:
            ...         yield database
            >>> @queue.task
            ... async def welcome(to: str, database: Database = Depends()) -> None: ...
        """
        checked_lifespans((function,))
        self.lifespans.append(function)
        return function

    # -- producing ------------------------------------------------------------------------------------------------

    async def enqueue(self, name: str, payload: Any = None, **options: Unpack[JobOptions]) -> JobHandle[Any]:
        """Enqueue a job by the task's name, from a program that does not have the function.

        Args:
            name: The task's name; ``""`` makes a job without one, for a fallback.
            payload: The arguments by name. (Any value, for a fallback.)
            **options: What the job asks for: see `JobOptions`.

        Returns:
            A handle on the job, once Redis has it.

        Raises:
            Exception: As `Task.enqueue` does. What the task's parameters are is not known here: a payload that does not
                fit is dead-lettered by the worker as ``bad_payload``.

        Safe to cancel as `Task.enqueue` is.

        Example:
            >>> await queue.enqueue("welcome", {"to": "ada@example.com"}, delay=60)
        """
        [handle] = await self._enqueue(name, [{} if payload is None else payload], options)
        return handle

    async def enqueue_many(
        self, name: str, payloads: Iterable[Any], **options: Unpack[JobOptions]
    ) -> list[JobHandle[Any]]:
        """Enqueue many jobs by the task's name; Redis is at work on the first while the next are being encoded.

        Args:
            name: The task's name.
            payloads: The arguments by name, for each job.
            **options: What each of the jobs asks for: see `JobOptions`.

        Raises:
            ValueError: The options name an ``id``, which belongs to one job.
            Exception: As `Task.enqueue_many` does.

        Safe to cancel: what was sent before stays.

        Example:
            >>> await queue.enqueue_many("welcome", [{"to": "ada@example.com"}, {"to": "alan@example.com"}])
        """
        return await self._enqueue(name, list(payloads), options)

    async def _enqueue(self, name: str, payloads: Sequence[Any], given: JobOptions) -> list[JobHandle[Any]]:
        options = Options.of(given)
        # Without the function nobody knows whether the task keeps results, unless the call says so.
        keeps = True if options.result_ttl is not None else None
        if (runnable := self.runnables.get(name)) is not None:
            options = options.defaulting(runnable.policy)
        return await self.add(_task_name(name), payloads, options, keeps=keeps)

    def job(self, id: str) -> JobHandle[Any]:
        """Give a handle on a job by its id: to ask how it is, to wait for it, to cancel it; nothing is asked of Redis.

        Example:
            >>> await queue.job("welcome:ada").cancel()
        """
        return JobHandle(self, checked_name("id", id), "", keeps=None)

    def add(
        self, name: str, payloads: Sequence[Any], options: Options, *, keeps: bool | None
    ) -> Coroutine[Any, Any, list[JobHandle[Any]]]:
        """Encode and add jobs: what `Task` and the methods above come down to.

        Args:
            name: The task's name.
            payloads: The payloads.
            options: What the calls ask for.
            keeps: Whether results are kept, as far as is known here.

        Safe to cancel as `Task.enqueue` is.
        """
        if self.tracing is None:
            return self._add(name, payloads, options, keeps=keeps)
        return self._add_traced(self.tracing, name, payloads, options, keeps=keeps)

    async def _add_traced(
        self, tracing: Tracing, name: str, payloads: Sequence[Any], options: Options, *, keeps: bool | None
    ) -> list[JobHandle[Any]]:
        with tracing(name, len(payloads)) as enqueuing:
            options = attrs.evolve(options, extras=attrs.evolve(options.extras, trace=enqueuing.carried))
            handles = await self._add(name, payloads, options, keeps=keeps)
            enqueuing.added(handles)
            return handles

    async def _add(
        self, name: str, payloads: Sequence[Any], options: Options, *, keeps: bool | None
    ) -> list[JobHandle[Any]]:
        session = self.session
        self.check_priority(options.priority)
        if options.tracked:
            options = self._ready_to_wait(options)
        for option, value in (("id", options.id), ("unique", options.unique)):
            if value is not None and len(payloads) != 1:
                raise ValueError(f"{option} {value!r} belongs to one job, and {len(payloads)} were given")
        if options.expires is not None:
            latest = round(await self.server_ms() + options.expires * 1000)
            latest = min(latest, options.extras.deadline_ms or latest)
            options = attrs.evolve(options, extras=attrs.evolve(options.extras, deadline_ms=latest))
            session = self.session  # whoever opened the other one may have left meanwhile
        if options.unique is not None or options.id is not None:
            return [await self._add_claiming(name, payloads[0], options, keeps=keeps)]
        bodies = packed_all(name, payloads, options, self.limits)
        handles: list[JobHandle[Any]] = []
        envelopes = self._envelopes(name, bodies, options, handles, keeps=keeps)
        if len(bodies) > 1 and options.plain and self.max_length is None:
            await session.publisher.stream(name, envelopes)
            return handles
        delay, due, priority = options.delay_ms, options.due_ms, options.extras.priority
        jobs = [Addition(name, envelope, None, delay, due, priority) for envelope in envelopes]
        if options.tracked:
            for job, handle in zip(jobs, handles, strict=True):
                job.job_id, job.tracked = handle.id, True
                job.after, job.runs_anyway = options.extras.after, options.runs_anyway
        if jobs:
            for answer in await self._send(session, jobs, wait=options.wait):
                if isinstance(answer, Obstacle):
                    raise _cannot_wait(answer)
        return handles

    def _envelopes(
        self,
        name: str,
        bodies: Sequence[bytes],
        options: Options,
        handles: list[JobHandle[Any]],
        *,
        keeps: bool | None,
    ) -> Iterator[bytes]:
        """Make jobs one after the other, and their handles."""
        make_id, override, extras = id_maker().at, options.override, options.extras
        now = wall_ms()
        for first in range(0, len(bodies), _SAME_MOMENT):
            # When they are about to be sent: about there in the stream a job is looked for, by the time in its id.
            moment = wall_ms()
            for body in bodies[first : first + _SAME_MOMENT]:
                job_id = make_id(moment)
                handles.append(JobHandle(self, job_id, name, keeps=keeps))
                yield encode(job_id, body, now, 0, override, extras)

    def _ready_to_wait(self, options: Options) -> Options:
        """Look whether jobs can wait for others here, and write down for whom."""
        if self.keys.shared:
            raise ValueError(
                "jobs cannot wait for others on a queue shared with chasquimq, whose workers let nobody go"
            )
        for parent in options.after:
            if isinstance(parent, JobHandle) and parent.queue is not self and parent.queue.keys != self.keys:
                raise ValueError(
                    f"{parent!r} is of queue {parent.queue.name!r}, and jobs wait for those of their own"
                )
        ids = tuple(parent if isinstance(parent, str) else parent.id for parent in options.after)
        return attrs.evolve(options, extras=attrs.evolve(options.extras, after=ids))

    async def _add_claiming(
        self, name: str, payload: Any, options: Options, *, keeps: bool | None
    ) -> JobHandle[Any]:
        """Add one job that takes a chosen id or a unique key, unless that is taken."""
        now, body = wall_ms(), packed(name, payload, self.limits)
        claim = "" if options.id is None else new_id()
        extras = attrs.evolve(options.extras, claim=claim) if claim else options.extras
        fresh = options.id or new_id()
        job_id, replaces = fresh, "" if options.debounce else None
        while True:
            envelope = encode(job_id, body, now, 0, options.override, extras)
            if len(envelope) > self.limits.payload:
                raise too_large(f"a job of {name!r} has", len(envelope), self.limits.payload)
            job = Addition(
                name, envelope, job_id, options.delay_ms, options.due_ms, extras.priority, claim=claim,
                unique=options.unique, window_ms=options.window_ms, replaces=replaces, tracked=options.tracked,
                after=extras.after, runs_anyway=options.runs_anyway,
            )  # fmt: skip
            [answer] = await self._send(self.session, [job], wait=options.wait)
            if isinstance(answer, Obstacle):
                raise _cannot_wait(answer)
            if not isinstance(answer, Holder):
                known: bool | bytes | None = keeps if answer else self.keys.taken_id(job_id)
                return JobHandle(self, job_id, name, new=answer, keeps=known)
            if answer.done:
                held = self.keys.unique(options.unique or "")
                return JobHandle(self, answer.job_id, name, new=False, keeps=held)
            # Another job holds the key than we thought: become it, or, if it does not wait any more, take the key over.
            job_id = fresh if answer.job_id == replaces == job_id else answer.job_id or fresh
            replaces = answer.job_id

    async def _send(self, session: Session, jobs: Sequence[Addition], *, wait: bool) -> list[Answer]:
        answers: list[Answer] = []
        while True:
            try:
                return answers + await session.publisher.add(jobs[len(answers) :], wait=wait)
            except Leaving as leaving:
                answers += leaving.answers
            session = self.session  # whoever opened the queue leaves it: go on with the next who did

    def check_priority(self, priority: int | None) -> None:
        """Refuse a priority where nobody could keep it.

        Raises:
            ValueError: The queue is shared with ChasquiMQ's programs.
        """
        if priority is not None and self.keys.shared:
            raise ValueError(
                f"priority must not be set on queue {self.name!r}: chasquimq's programs, which share it, read one "
                f"stream in its order, and {priority!r} was given"
            )

    def __repr__(self) -> str:
        return f"<Queue {self.name!r} at {self.url}, {len(self.runnables)} tasks>"


def _task_name_of(function: Any, given: str | None) -> str:
    """Look whether something can be a task, and under which name.

    Raises:
        TypeError: It cannot.
        ValueError: A name was given that is none.
    """
    if isinstance(function, Task):
        raise TypeError(
            f"{cast('object', function)!r} is a task already; to have its function in this queue too, pass that: "
            "queue.task(task.function)"
        )
    if not callable(function):
        hint = f"; its name is given as @queue.task(name={function!r})" if isinstance(function, str) else ""
        raise TypeError(f"a task is a function, not {cast('object', function)!r}{hint}")
    own = getattr(cast("Any", function), "__name__", None)
    if _lacks_its_object(function):
        raise TypeError(
            f"task {own!r} is a method, and a worker has no object to call it on: make it a plain function, or make a "
            "task of one object's method, queue.task(service.method)"
        )
    if given is None and (own is None or own == "<lambda>"):
        raise TypeError(
            f"{function!r} has no name of its own: give the task one, queue.task(..., name='...')"
        )
    return checked_name("the task's name", own if given is None else given)


def _lacks_its_object(function: Callable[..., Any]) -> bool:
    """Tell whether a function was written in a class body and waits for its object."""
    if not inspect.isfunction(function):
        return False
    within = function.__qualname__.rpartition(".")[0]
    first = next(iter(inspect.signature(function).parameters), "")
    return bool(within) and not within.endswith("<locals>") and first in {"self", "cls"}


def one_or_several(queues: Queue | Iterable[Queue]) -> tuple[Queue, ...]:
    """Give queues as a tuple, or refuse what is none.

    Raises:
        TypeError: It is neither a queue nor some of them.
    """
    given: object = (queues,) if isinstance(queues, Queue) else queues
    if (
        not isinstance(given, Iterable)
        or not (given := tuple(given))
        or not all(isinstance(queue, Queue) for queue in given)
    ):
        raise TypeError(f"queues must be a Queue or several, not {queues!r}")
    return given


def _cannot_wait(obstacle: Obstacle) -> ValueError:
    if obstacle.crowded:
        return ValueError(
            f"{MOST_CHILDREN} jobs wait for job {obstacle.job_id!r} already, and that is the limit"
        )
    return ValueError(
        f"nothing is known of job {obstacle.job_id!r}, so nothing can wait for it: enqueue it with "
        "options(tracked=True), and what comes after it within Retention(outcomes=...) of its end"
    )


def _task_name(value: object) -> str:
    if isinstance(value, Task):
        raise TypeError(f"queue.enqueue takes a task's name; {value!r} has an enqueue of its own")
    return "" if value == "" else checked_name("the task's name", value)


def _setting(what: str, value: T | None, kind: type[T]) -> T:
    """Give settings that belong together, or the defaults, or refuse what is none."""
    if value is None:
        return kind()
    if not isinstance(cast("object", value), kind):
        raise TypeError(f"{what} must be a {kind.__name__}, not {value!r}")
    return value


def _origin(function: Callable[..., Any]) -> tuple[Any, Any]:
    """Say where a function was written, so that a reloaded module may register its tasks again."""
    inner = cast("Any", function)
    return getattr(inner, "__module__", None), getattr(inner, "__qualname__", None)


__all__ = ["Queue", "TaskDecorator"]
