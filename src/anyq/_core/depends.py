"""Dependencies: parameters that a worker fills with what its lifespans gave, chosen by type.

They are no part of a payload. A parameter is one because its default says so: a type checker then knows that a call
need not give it.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import SimpleNamespace, UnionType
from typing import Any, TypeVar, Union, overload

import attrs

T = TypeVar("T")


@attrs.frozen(repr=False)
class Dependency:
    """What `Depends` gives: a default that marks a parameter.

    Attributes:
        kind: The type asked for; ``None`` for the parameter's annotation.
    """

    kind: type | None = None

    def __repr__(self) -> str:
        return f"Depends({'' if self.kind is None else self.kind.__name__})"


@overload
def Depends() -> Any: ...
@overload
def Depends(kind: type[T], /) -> T: ...


def Depends(kind: type | None = None, /) -> Any:  # noqa: N802 - what FastAPI, taskiq and docket call it
    """Mark a parameter of a handler, as its default, that the worker fills with what a lifespan gave.

    Args:
        kind: The type of the value; the parameter's annotation if left out.

    The value is the one that is an instance of the type. Such parameters come last; a job's payload has no place for
    them, and `Task.enqueue` refuses them. Called directly, a task wants them given.

    Example:
        >>> @queue.task
        ... async def welcome(to: str, mailer: Mailer = Depends()) -> None:
        ...     await mailer.send(to, "welcome")
    """
    if kind is not None and not isinstance(kind, type):
        raise TypeError(f"Depends takes a type, not {kind!r}")
    return Dependency(kind)


def needs(function: Callable[..., Any], what: str) -> tuple[str, ...]:
    """Give the names of a function's parameters that a worker fills.

    Args:
        function: The function.
        what: What it is called in an error.

    Raises:
        TypeError: They are not the last ones, or cannot be given by name.
    """
    found: list[str] = []
    for parameter in inspect.signature(function).parameters.values():
        if isinstance(parameter.default, Dependency):
            if parameter.kind is parameter.POSITIONAL_ONLY:
                raise TypeError(
                    f"{what}: {parameter.name!r} is filled by name, and is given by position only"
                )
            found.append(parameter.name)
        elif found and parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            raise TypeError(
                f"{what}: {parameter.name!r} comes after {found[-1]!r}, which the worker fills: such parameters come "
                "last"
            )
    return tuple(found)


def without(signature: inspect.Signature) -> inspect.Signature:
    """Give a signature without the parameters that a worker fills."""
    return signature.replace(
        parameters=[p for p in signature.parameters.values() if not isinstance(p.default, Dependency)]
    )


def fill(
    function: Callable[..., Any], names: Sequence[str], what: str, given: Sequence[Sequence[Any]]
) -> Mapping[str, Any]:
    """Choose the values for a function's dependencies.

    Args:
        function: The function.
        names: The parameters to fill.
        what: What it is called in an error.
        given: The values at hand, the nearest level first.

    Raises:
        LookupError: There is none, or more than one; the message says of which type.
    """
    if not names:
        return {}
    parameters = inspect.signature(function).parameters
    return {name: _choose(_kind(function, parameters[name], what), name, what, given) for name in names}


def _choose(kind: type, name: str, what: str, given: Sequence[Sequence[Any]]) -> Any:
    for level in given:
        fitting = [value for value in level if isinstance(value, kind)]
        found = [value for value in fitting if type(value) is kind] or fitting
        if len(found) == 1:
            return found[0]
        if found:
            raise LookupError(
                f"{what} wants a {kind.__qualname__} for {name!r}, and {len(found)} lifespans give one: let them give "
                "values of different types"
            )
    at_hand = ", ".join(sorted({type(value).__qualname__ for value in _flat(given)})) or "nothing"
    raise LookupError(
        f"{what} wants a {kind.__qualname__} for {name!r}, and no lifespan of its queue or worker gives one; "
        f"they give: {at_hand}"
    )


def _flat(given: Iterable[Iterable[Any]]) -> list[Any]:
    return [value for level in given for value in level]


def _kind(function: Callable[..., Any], parameter: inspect.Parameter, what: str) -> type:
    kind: Any = parameter.default.kind
    if kind is None:
        annotation = parameter.annotation
        if isinstance(annotation, str):
            inner: Any = inspect.unwrap(function)
            while isinstance(inner, functools.partial):
                inner = inspect.unwrap(inner.func)
            alone: Any = SimpleNamespace(__annotations__={parameter.name: annotation})
            try:
                annotation = typing.get_type_hints(alone, globalns=getattr(inner, "__globals__", {}))[
                    parameter.name
                ]
            except NameError as error:
                raise LookupError(
                    f"{what}: the type of {parameter.name!r} is not known where it is needed ({error}): name it in "
                    "the default, as Depends(ThatType)"
                ) from None
        origin = typing.get_origin(annotation)
        kind = annotation if origin in {None, Union, UnionType} else origin
    if kind is parameter.empty or not isinstance(kind, type):
        raise LookupError(
            f"{what}: {parameter.name!r} must be annotated with a class, or its default be Depends(ThatClass)"
        )
    return kind
