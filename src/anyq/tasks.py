"""Tasks: functions under a name, whose calls become jobs.

A payload is a map of the parameters by name, so that a program in any language can enqueue one. Positional arguments
are bound through the signature; their types are checked through it too (``ParamSpec``).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Self, TypeVar, cast

import attrs

from ._core.job import NO_EXTRAS, NO_OVERRIDE, Extras, Override
from ._core.runnable import Runnable
from .handles import JobHandle
from .settings import Backoff, Duration, at_least, moment, name, optional_seconds, seconds

if TYPE_CHECKING:
    from .queue import Queue

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

#: Seconds for which the result of a `Task.call` is kept for its caller.
_CALL_RESULT_TTL = 300.0


@attrs.frozen(kw_only=True)
class Options:
    """What one call asks for; validated at the door."""

    id: str | None = None
    delay_ms: int | None = None
    due_ms: int | None = None
    attempts: int | None = None
    backoff: Backoff | None = None
    timeout: float | None = None
    result_ttl: float | None = None
    wait: bool = True
    override: Override = NO_OVERRIDE
    extras: Extras = NO_EXTRAS

    @staticmethod
    def of(
        *,
        id: str | None = None,
        delay: Duration | None = None,
        at: datetime | None = None,
        attempts: int | None = None,
        backoff: Backoff | None = None,
        timeout: Duration | None = None,
        result_ttl: Duration | None = None,
        wait: bool = True,
    ) -> Options:
        """Check options and write down what they mean for the envelope."""
        if delay is not None and at is not None:
            raise ValueError(f"delay and at exclude each other, and both were given: {delay!r} and {at!r}")
        if backoff is not None and not isinstance(backoff, Backoff):
            raise TypeError(f"backoff must be a Backoff, such as Backoff.fixed(5), not {backoff!r}")
        if backoff is not None and backoff.function is not None:
            raise ValueError("a Backoff.of function cannot travel with a job: set it on the task")
        run_timeout = optional_seconds("timeout", timeout)
        ttl = optional_seconds("result_ttl", result_ttl)
        runs = None if attempts is None else at_least("attempts", attempts, 1)
        wait_ms = None if delay is None else round(seconds("delay", delay) * 1000)
        if wait_ms is not None and wait_ms >= 2**53:  # what Redis's scripts can count
            raise ValueError(f"delay must be at most {2**53 // 1000} seconds, not {delay!r}")
        jitter = backoff is not None and backoff.jitter
        return Options(
            id=None if id is None else name("id", id),
            delay_ms=wait_ms or None,
            due_ms=None if at is None else moment("at", at),
            attempts=runs,
            backoff=backoff,
            timeout=run_timeout,
            result_ttl=ttl,
            wait=bool(wait),
            override=NO_OVERRIDE if runs is None and backoff is None else Override(runs, backoff),
            extras=NO_EXTRAS
            if run_timeout is None and ttl is None and not jitter
            else Extras(run_timeout, ttl, 0.0, jitter),
        )


NO_OPTIONS = Options()


@attrs.frozen
class Call(Generic[R_co]):
    """Arguments for one job of a task, made by `Task.bind` and type-checked there.

    Attributes:
        arguments: The arguments by name.
    """

    arguments: Mapping[str, Any] = attrs.field(repr=False)


class Task(Generic[P, R]):
    """A function under a name in a queue; made by `Queue.task`.

    Call it like the function itself to run it here and now, without Redis: handy in unit tests.

    Attributes:
        name: The task's name.
        queue: Its queue.
        function: The function.
    """

    def __init__(self, queue: Queue, runnable: Runnable, options: Options = NO_OPTIONS) -> None:
        self.name: str = runnable.name
        self.queue: Queue = queue
        self.function: Callable[..., Any] = runnable.function
        self._runnable = runnable
        self._options = options
        self._signature = inspect.signature(runnable.function)
        # A call that fills all parameters by position needs no binding.
        self._names = tuple(self._signature.parameters) if runnable.exact is not None else ()
        if len(self._names) != len(runnable.exact or ()):
            self._names = ()
        if any(p.kind is p.KEYWORD_ONLY for p in self._signature.parameters.values()):
            self._names = ()
        self.__doc__ = runnable.function.__doc__

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Call the function itself, here and now; nothing is enqueued."""
        return self.function(*args, **kwargs)

    def options(
        self,
        *,
        id: str | None = None,
        delay: Duration | None = None,
        at: datetime | None = None,
        attempts: int | None = None,
        backoff: Backoff | None = None,
        timeout: Duration | None = None,
        result_ttl: Duration | None = None,
        wait: bool = True,
    ) -> Self:
        """Give this task with other settings for the calls made through it.

        Args:
            id: The job's id, chosen by you: enqueuing it again adds nothing while the id is remembered
                (``Retention.ids``), and the handle says so (``handle.new``).
            delay: Seconds until the job is due, by the server's clock.
            at: The moment it is due, an aware ``datetime``.
            attempts: Runs in total.
            backoff: The wait before each retry.
            timeout: Seconds that a run may take.
            result_ttl: Seconds for which the result (or the failure) is kept for `JobHandle.result`.
            wait: When the queue holds ``max_length`` jobs, wait for room; ``False`` raises `QueueFull`.

        Raises:
            ValueError, TypeError: A setting is wrong; the message names it, its value and what is allowed.

        Example:
            >>> handle = await welcome.options(delay=60, id="welcome:ada").enqueue("ada@example.com")
        """
        options = Options.of(
            id=id,
            delay=delay,
            at=at,
            attempts=attempts,
            backoff=backoff,
            timeout=timeout,
            result_ttl=result_ttl,
            wait=wait,
        )
        return type(self)(self.queue, self._runnable, options)

    def bind(self, *args: P.args, **kwargs: P.kwargs) -> Call[R]:
        """Check arguments against the signature and keep them, for `enqueue_many`.

        Raises:
            TypeError: They do not fit.
        """
        return Call(self._bind(args, kwargs))

    async def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R]:
        """Enqueue a call of the function with these arguments.

        Returns:
            A handle on the job, once Redis has it.

        Raises:
            TypeError: The arguments do not fit the function.
            PayloadRefused: MessagePack cannot carry one of them, or the job is too large; the message says which.
            QueueFull: The queue holds its ``max_length`` of jobs, and the options said not to wait.
            RedisUnavailable: Redis was away for longer than the queue's ``outage_timeout``.
            NotOpen: The queue is not open here.

        A lost reply never doubles a job: what was sent is sent again under the same number. Cancelled while it waits
        for Redis, the job may or may not have been added; with an ``id`` of your own, enqueue it again to be sure.

        Example:
            >>> handle = await welcome.enqueue("ada@example.com")
        """
        [handle] = await self.queue.add(
            self.name, [self._bind(args, kwargs)], self._options, keeps=self._keeps
        )
        return cast("JobHandle[R]", handle)

    async def enqueue_many(
        self, calls: Iterable[Call[R] | tuple[Any, ...] | Mapping[str, Any]]
    ) -> list[JobHandle[R]]:
        """Enqueue many calls, a thousand in one round trip.

        Args:
            calls: For each job the arguments: what `bind` gave (type-checked), a tuple of positional arguments, or a
                map of arguments by name.

        Returns:
            A handle for each, in order.

        Raises:
            ValueError: The options name an ``id``, which belongs to one job.
            Exception: As `enqueue` does. Arguments are checked before anything is sent. An outage in the middle leaves
                whole batches of a thousand added.

        Example:
            >>> await welcome.enqueue_many([("ada@example.com",), {"to": "alan@example.com", "name": "Alan"}])
        """
        handles = await self.queue.add(
            self.name, [self._arguments(call) for call in calls], self._options, keeps=self._keeps
        )
        return cast("list[JobHandle[R]]", handles)

    async def call(self, *args: Any, timeout: Duration | None = None, **kwargs: Any) -> R:
        """Enqueue a call, wait for it, and return what the function returned in the worker, or raise.

        Args:
            *args: The function's arguments; checked against its signature when called. (For arguments that a type
                checker checks: ``(await task.options(result_ttl=60).enqueue(...)).result()``.)
            timeout: Seconds to wait; ``None`` waits for as long as it takes.
            **kwargs: More of the function's arguments. One that is itself named ``timeout`` cannot be given here:
                enqueue the call and wait for its result.

        Raises:
            JobFailed: The job was given up.
            TimeoutError: It did not end in time. The job goes on.
            Exception: As `enqueue` does.

        Cancelling the wait does not cancel the job.

        Example:
            >>> await add.call(1, 2, timeout=5)
            3
        """
        options = self._options
        if options.result_ttl is None and self._runnable.policy.result_ttl is None:
            extras = attrs.evolve(options.extras, result_ttl=_CALL_RESULT_TTL)
            options = attrs.evolve(options, result_ttl=_CALL_RESULT_TTL, extras=extras)
        [handle] = await self.queue.add(self.name, [self._bind(args, kwargs)], options, keeps=True)
        return cast("R", await handle.result(timeout))

    @property
    def _keeps(self) -> bool:
        return self._options.result_ttl is not None or self._runnable.policy.result_ttl is not None

    def _bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
        if self._names and not kwargs and len(args) == len(self._names):
            return dict(zip(self._names, args, strict=True))
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"task {self.name!r}: {error}") from None
        arguments = dict(bound.arguments)
        for parameter in self._signature.parameters.values():
            if parameter.kind is parameter.VAR_KEYWORD:
                further = arguments.pop(parameter.name, {})
                # beside a positional-only parameter Python would take it
                if twice := arguments.keys() & further.keys():
                    raise TypeError(f"task {self.name!r}: a payload cannot give {min(twice)!r} twice")
                arguments.update(further)
        return arguments

    def _arguments(self, call: Call[R] | tuple[Any, ...] | Mapping[str, Any]) -> Mapping[str, Any]:
        if isinstance(call, tuple):
            return self._bind(call, {})
        if isinstance(call, Call):
            return call.arguments
        if isinstance(call, Mapping):
            return self._bind((), call)
        raise TypeError(
            "enqueue_many takes tuples of positional arguments, maps of arguments by name, or what task.bind(...) "
            f"gave, not {type(call).__name__}"
        )

    def __repr__(self) -> str:
        return f"<Task {self.name!r} of {self.queue.name!r}>"


class AsyncTask(Task[P, R]):
    """A task that is an ``async def``: a call of it is awaited, as one of the function is."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Call the function itself, here and now; nothing is enqueued."""
        coroutine: Coroutine[Any, Any, R] = self.function(*args, **kwargs)
        return coroutine


class PlainTask(Task[P, R]):
    """A task that is a plain ``def``: a call of it returns what the function returns."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function itself, here and now; nothing is enqueued."""
        value: R = self.function(*args, **kwargs)
        return value
