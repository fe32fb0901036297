"""Tasks: functions under a name, whose calls become jobs.

A payload is a map of the parameters by name, so that a program in any language can enqueue one. Positional arguments
are bound through the signature; their types are checked through it too (``ParamSpec``).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, Self, TypeVar, Unpack, cast, overload

import anyio
import attrs

from ._core.depends import without
from ._core.runnable import Runnable
from .handles import JobHandle, within
from .options import JobOptions, Options
from .settings import LONGEST, Duration, optional_seconds

if TYPE_CHECKING:
    from .queue import Queue

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

#: Seconds for which the result of a `Task.call` is kept for its caller.
_CALL_RESULT_TTL = 300.0


@attrs.frozen
class Call(Generic[R_co]):
    """Arguments for one job of a task, made by `Task.bind` and type-checked there.

    Attributes:
        arguments: The arguments by name.
        task: The name of the task that they are for.
    """

    arguments: Mapping[str, Any] = attrs.field(repr=False)
    task: str = ""


class Task(Generic[P, R]):
    """A function under a name in a queue; made by `Queue.task`.

    Call it like the function itself to run it here and now, without Redis: handy in unit tests.

    Attributes:
        name: The task's name.
        queue: Its queue.
        function: The function.
    """

    def __init__(self, queue: Queue, runnable: Runnable, asked: JobOptions | None = None) -> None:
        self.name: str = runnable.name
        self.queue: Queue = queue
        self.function: Callable[..., Any] = runnable.function
        self._runnable = runnable
        self._asked: JobOptions = asked or {}
        self._options = Options.of(self._asked).defaulting(runnable.policy)
        self._signature = without(inspect.signature(runnable.function))
        # A call that fills all parameters by position needs no binding.
        self._names = tuple(self._signature.parameters) if runnable.exact is not None else ()
        if len(self._names) != len(runnable.exact or ()):
            self._names = ()
        if any(p.kind is p.KEYWORD_ONLY for p in self._signature.parameters.values()):
            self._names = ()
        self.__doc__ = runnable.function.__doc__

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Call the function itself, here and now; nothing is enqueued."""
        self._check_needs(args, kwargs)
        return self.function(*args, **kwargs)

    def options(self, **options: Unpack[JobOptions]) -> Self:
        """Give this task with other settings for the calls made through it; the task itself stays as it is.

        Args:
            **options: What the jobs ask for: see `JobOptions`. What is left out stays as this task has it, ``None``
                takes it back: ``task.options(priority=9).options(delay=60)`` asks for both.

        Raises:
            ValueError, TypeError: A setting is wrong; the message names it, its value and what is allowed.

        Example:
            >>> handle = await welcome.options(delay=60, id="welcome:ada").enqueue("ada@example.com")
        """
        return type(self)(self.queue, self._runnable, {**self._asked, **options})

    def bind(self, *args: P.args, **kwargs: P.kwargs) -> Call[R]:
        """Check arguments against the signature and keep them, for `enqueue_many`.

        Raises:
            TypeError: They do not fit.
        """
        return Call(self._bind(args, kwargs), self.name)

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
        """Enqueue many calls; Redis is at work on the first while the next are being encoded.

        Args:
            calls: For each job the arguments: what `bind` gave (type-checked), a tuple of positional arguments, or a
                map of arguments by name.

        Returns:
            A handle for each, in order.

        Raises:
            ValueError: The options name an ``id``, which belongs to one job.
            TypeError: A call is none of these, or was bound for another task.
            Exception: As `enqueue` does. Arguments are checked before anything is sent. An outage in the middle leaves
                the first of them added.

        Example:
            >>> await welcome.enqueue_many([("ada@example.com",), {"to": "alan@example.com", "name": "Alan"}])
        """
        names, bound = self._names, self._arguments
        wanted = len(names) or -1  # the shortcut of `_bind`, without its calls: there are thousands
        arguments = [
            dict(zip(names, call, strict=True))
            if isinstance(call, tuple) and len(call) == wanted
            else bound(call)
            for call in calls
        ]
        handles = await self.queue.add(self.name, arguments, self._options, keeps=self._keeps)
        return cast("list[JobHandle[R]]", handles)

    # A type checker can check the arguments, or know of one more that the function has not, but not both.
    @overload
    async def call(self, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def call(self, *args: Any, timeout: Duration | None, **kwargs: Any) -> R: ...

    async def call(self, *args: Any, timeout: Any = None, **kwargs: Any) -> R:
        """Enqueue a call, wait for it, and return what the function returned in the worker, or raise.

        Args:
            *args: The function's arguments; checked against its signature when called. Type checkers check them too,
                unless a ``timeout`` is given: ``with anyio.fail_after(5): await add.call(1, 2)`` has both.
            timeout: Seconds to wait; ``None`` waits for as long as it takes, or as the cancel scopes around it allow.
            **kwargs: More of the function's arguments. One that is itself named ``timeout`` cannot be given here:
                enqueue the call and wait for its result.

        Raises:
            JobFailed: The job was given up.
            TimeoutError: It did not end in time. If it has begun, the job goes on.
            Exception: As `enqueue` does.

        What the caller will not wait for is not begun: the nearest deadline of ``timeout`` and the cancel scopes around
        the call is the job's deadline too (see `JobOptions`). Cancelling the wait does not cancel the job.

        Example:
            >>> await add.call(1, 2, timeout=5)
            3
        """
        options = self._options
        if options.result_ttl is None and self._runnable.policy.result_ttl is None:
            extras = attrs.evolve(options.extras, result_ttl=_CALL_RESULT_TTL)
            options = attrs.evolve(options, result_ttl=_CALL_RESULT_TTL, extras=extras)
        patience = optional_seconds("timeout", timeout, zero=True)
        scope = anyio.current_effective_deadline() - anyio.current_time()
        left = min(scope, math.inf if patience is None else patience)
        if left <= LONGEST:
            options = options.within(max(left, 0.0))
        arguments = self._bind(args, kwargs)
        with within(patience, f"a call of task {self.name!r} did not end"):
            [handle] = await self.queue.add(self.name, [arguments], options, keeps=True)
            return cast("R", await handle.result())

    @property
    def _keeps(self) -> bool:
        return self._options.result_ttl is not None or self._runnable.policy.result_ttl is not None

    def _check_needs(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if self._runnable.needs:
            given = inspect.signature(self.function).bind_partial(*args, **kwargs).arguments
            for name in self._runnable.needs:
                if name not in given:
                    raise TypeError(
                        f"task {self.name!r}: a worker fills {name!r}; called directly, it wants it given"
                    )

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
            if call.task not in ("", self.name):
                raise TypeError(f"arguments bound for task {call.task!r} were given to task {self.name!r}")
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
        self._check_needs(args, kwargs)
        coroutine: Coroutine[Any, Any, R] = self.function(*args, **kwargs)
        return coroutine


class PlainTask(Task[P, R]):
    """A task that is a plain ``def``: a call of it returns what the function returns."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function itself, here and now; nothing is enqueued."""
        self._check_needs(args, kwargs)
        value: R = self.function(*args, **kwargs)
        return value


class TaskDecorator(Protocol):
    """What ``@queue.task(...)`` with arguments gives: it takes the function."""

    # A coroutine function is a function too, and would fit below: what fits first counts.
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> AsyncTask[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> PlainTask[P, R]: ...
