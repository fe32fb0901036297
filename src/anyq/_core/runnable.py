"""A task as the engine needs it: everything that is the same for each of its jobs, looked up once.

`fit` decides whether a payload fits the function's parameters, so that one that never can is not tried again and again.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal, cast

import attrs

from ..settings import Backoff
from .depends import Dependency, needs
from .middleware import Middleware, is_async

#: How a task's function is called: directly, in a thread, in a process, or through middleware.
Style = Literal["async", "thread", "process", "chain"]


@attrs.frozen(kw_only=True)
class Policy:
    """What holds for a run unless the job says otherwise.

    Attributes:
        attempts: Runs in total; ``None`` leaves it to the worker.
        backoff: The wait before each retry; ``None`` leaves it to the worker.
        timeout: Seconds that a run may take; ``None`` for no limit.
        result_ttl: Seconds for which the result is kept; ``None`` keeps none.
        priority: Which lane its jobs go by; ``None`` for the default one.
    """

    attempts: int | None = None
    backoff: Backoff | None = None
    timeout: float | None = None
    result_ttl: float | None = None
    priority: int | None = None

    def over(self, base: Policy) -> Policy:
        """Fill what is left out, but for the priority: that is the task's alone."""
        return Policy(
            attempts=self.attempts or base.attempts,
            backoff=self.backoff or base.backoff,
            timeout=self.timeout or base.timeout,
            result_ttl=self.result_ttl or base.result_ttl,
            priority=self.priority,
        )


@attrs.frozen
class Parameters:
    """The parameters that a payload must fill.

    Attributes:
        names: All that can be given by name.
        required: Those without a default.
        positional: Those that can only be given by position, in order.
        open: Whether the function takes any further name (``**kwargs``).
    """

    names: frozenset[str]
    required: frozenset[str]
    positional: tuple[str, ...]
    open: bool

    @staticmethod
    def of(function: Callable[..., Any], name: str) -> Parameters:
        """Read a function's signature.

        Raises:
            TypeError: It has ``*args``: a payload gives parameters by name.
        """
        names: list[str] = []
        required: list[str] = []
        positional: list[str] = []
        is_open = False
        for parameter in inspect.signature(function).parameters.values():
            if parameter.kind is parameter.VAR_POSITIONAL:
                raise TypeError(
                    f"task {name!r} takes *{parameter.name}, and a job's payload gives its parameters by name: "
                    f"declare a list instead"
                )
            if parameter.kind is parameter.VAR_KEYWORD:
                is_open = True
                continue
            if isinstance(parameter.default, Dependency):
                continue
            names.append(parameter.name)
            if parameter.default is parameter.empty:
                required.append(parameter.name)
            if parameter.kind is parameter.POSITIONAL_ONLY:
                positional.append(parameter.name)
        return Parameters(frozenset(names), frozenset(required), tuple(positional), is_open)

    def misfit(self, payload: Any) -> str | None:
        """Say why a payload cannot be the arguments, or give ``None`` if it can."""
        if not isinstance(payload, Mapping):
            return f"the payload is a {type(payload).__name__}, not a map of parameters by name"
        # MessagePack has maps with keys of bytes; Python's parameters have names.
        given: Mapping[Any, Any] = cast("Any", payload)
        if not all(isinstance(name, str) for name in given):
            return "the payload is a map whose keys are not all strings"
        missing = self.required - given.keys()
        if missing:
            return f"missing: {', '.join(sorted(missing))}"
        surplus = given.keys() - self.names
        if surplus and not self.open:
            shown = ", ".join(repr(name[:40]) for name in sorted(surplus)[:5])
            return f"no such parameter: {shown}"
        gap = ""
        for name in self.positional:
            if name not in given:
                gap = gap or name
            elif gap:
                return f"{name!r} is given by position, and {gap!r} before it is missing"
        return None


@attrs.define
class Runnable:
    """A task, ready to run.

    Attributes:
        name: The task's name.
        function: The function.
        style: ``async`` for a coroutine function, ``thread`` or ``process`` for a plain one; ``chain`` for one that a
            worker put middleware around.
        parameters: What its payload must fill; ``None`` for a fallback, which takes the job itself.
        exact: The parameters' names, if a payload that has just these fits: the quick check.
        policy: What holds for its runs.
        middleware: The task's own, outermost first.
        threads: How many of its runs may be in threads at the same time; ``None`` shares the worker's.
        limiter: The worker's limiter for those.
        inner: What the chain calls innermost.
        needs: The parameters that the worker fills.
        attempts: How many runs a job has that says nothing of it.
        binds: Whether a run is nothing but a call with the payload, and that call tells by a `TypeError` that the
            payload does not fit: of a coroutine function as it was written, without a timeout.
    """

    name: str
    function: Callable[..., Any]
    style: Style
    parameters: Parameters | None
    exact: frozenset[str] | None
    policy: Policy
    middleware: tuple[Middleware, ...] = ()
    threads: int | None = None
    limiter: Any = None
    inner: Runnable | None = None
    needs: tuple[str, ...] = ()
    attempts: int = attrs.field(init=False)
    binds: bool = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.attempts = self.policy.attempts or 1
        self.binds = (
            self.style == "async"
            and self.exact is not None
            and self.policy.timeout is None
            and _only_binds(self.function)
        )

    @staticmethod
    def of(
        name: str,
        function: Callable[..., Any],
        policy: Policy,
        *,
        takes_job: bool = False,
        middleware: tuple[Middleware, ...] = (),
        threads: int | None = None,
        executor: str | None = None,
    ) -> Runnable:
        """Prepare a function.

        Raises:
            TypeError: It cannot be a task: a generator, which nobody would iterate, or one with ``*args``.
        """
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(
                f"task {name!r} is a generator, and nobody would iterate it: return a value instead"
            )
        style: Style = "async" if is_async(function) else "thread"
        if threads is not None and style != "thread":
            raise TypeError(f"task {name!r} is an async def, and threads= is for plain functions")
        if executor is not None:
            style = _executed(executor, style, function, name)
        if threads is not None and style == "process":
            raise TypeError(f"task {name!r} runs in a process, and threads= is for threads")
        parameters = None if takes_job else Parameters.of(function, name)
        exact = None if parameters is None or parameters.positional else parameters.names
        return Runnable(
            name,
            function,
            style,
            parameters,
            exact,
            policy,
            middleware,
            threads,
            needs=needs(function, _title(name)),
        )

    @property
    def title(self) -> str:
        """What it is called in an error."""
        return _title(self.name)

    def misfit(self, payload: Any) -> str | None:
        """Say why a payload cannot be the arguments, or give ``None`` if it can."""
        if self.parameters is None or (type(payload) is dict and payload.keys() == self.exact):
            return None
        return self.parameters.misfit(payload)


def _only_binds(function: Callable[..., Any]) -> bool:
    """Tell whether to call it binds its arguments, by the signature that it shows, and runs nothing yet."""
    code = getattr(function, "__code__", None)
    return (
        (inspect.isfunction(function) or inspect.ismethod(function))
        and code is not None
        and bool(code.co_flags & inspect.CO_COROUTINE)
        and not hasattr(function, "__wrapped__")
        and not hasattr(function, "__signature__")
    )


def _title(name: str) -> str:
    return f"task {name!r}" if name else "the fallback"


def _executed(executor: str, style: Style, function: Callable[..., Any], name: str) -> Style:
    """Check an executor for a function."""
    if executor not in {"thread", "process"}:
        raise ValueError(f'executor must be "thread" or "process", not {executor!r}')
    if style != "thread":
        raise TypeError(f"task {name!r} is an async def, and executor= is for plain functions")
    if executor == "thread":
        return "thread"
    if not inspect.isfunction(function) or "<" in function.__qualname__:
        raise TypeError(
            f"task {name!r} runs in a process, which imports it: it must be a function on the top level of a module, "
            f"and {function!r} is not one"
        )
    if needs(function, _title(name)):
        raise TypeError(
            f"task {name!r} runs in a process, where nothing fills Depends: its resources are not there"
        )
    return "process"
