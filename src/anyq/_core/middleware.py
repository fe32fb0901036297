"""Middleware: what a run passes through on its way to the handler and back.

Rule of this file: it says who calls whom, and nothing else; what lies innermost is handed in.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Protocol, cast

from .job import Job

_AS_IT_IS: Any = object()


class CallNext(Protocol):
    """Goes on inwards, to the next middleware or the handler, and gives what the handler returned.

    Called without an argument, the run goes on with ``job.payload`` as it is; with one, it goes on with that instead,
    and only this run: a retry begins with what was enqueued.
    """

    def __call__(self, payload: Any = ..., /) -> Awaitable[Any]: ...


class Middleware(Protocol):
    """An ``async def middleware(job, call_next)`` around each run.

    What it returns is the run's result, what it raises is the run's failure; `RetryLater` and `Unrecoverable` mean what
    they mean in a handler. Cancelled as the handler is: at the timeout, and when the worker stops.

    Example:
        >>> async def timed(job: Job, call_next: CallNext) -> Any:
        ...     began = anyio.current_time()
        ...     try:
        ...         return await call_next()
        ...     finally:
        ...         print(job.name, anyio.current_time() - began)
    """

    def __call__(self, job: Job, call_next: CallNext, /) -> Awaitable[Any]: ...


def checked(setting: str, middleware: Any) -> tuple[Middleware, ...]:
    """Give middleware as a tuple, outermost first, or refuse what is none.

    Raises:
        TypeError: One of them is no ``async def`` of two arguments.
    """
    if middleware is None:
        return ()
    if not isinstance(middleware, Iterable):
        raise TypeError(f"{setting} must be a list of coroutine functions, not {middleware!r}")
    found: tuple[Any, ...] = tuple(cast("Any", middleware))
    for one in found:
        if not is_async(one):
            raise TypeError(
                f"{setting}: middleware is an async def of (job, call_next), and {one!r} is not one"
            )
        try:
            inspect.signature(one).bind(None, None)
        except TypeError as error:  # else each job would fail of it
            raise TypeError(
                f"{setting}: middleware is called with (job, call_next), and {one!r} cannot be: {error}"
            ) from None
    return found


def is_async(function: Any) -> bool:
    """Tell whether calling something gives a coroutine: a coroutine function, or an object with ``async __call__``."""
    if inspect.iscoroutinefunction(function):
        return True
    return callable(function) and inspect.iscoroutinefunction(type(function).__call__)


async def through(layers: Sequence[Middleware], job: Job, innermost: Callable[[], Awaitable[Any]]) -> Any:
    """Make a run through its middleware.

    Args:
        layers: The middleware, outermost first.
        job: The job.
        innermost: Calls the handler with the job's payload of that moment.
    """

    def inwards(depth: int) -> CallNext:
        async def call_next(payload: Any = _AS_IT_IS, /) -> Any:
            if payload is not _AS_IT_IS:
                job.payload = payload
            if depth == len(layers):
                return await innermost()
            return await layers[depth](job, inwards(depth + 1))

        return call_next

    return await inwards(0)()
