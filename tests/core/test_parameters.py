"""Whether a payload fits a function, and why it does not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from inspect import signature
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyq._core.runnable import Parameters, Policy, Runnable


def plain(to: str, name: str = "you") -> None: ...


def keywords(*, a: int, b: int = 2) -> None: ...


def open_ended(a: int, **more: int) -> None: ...


def positional(a: int, b: int = 1, /, c: int = 2) -> None: ...


def nothing() -> None: ...


class Service:
    def method(self, a: int) -> None: ...

    async def run(self, a: int) -> None: ...

    @staticmethod
    async def static(a: int) -> None: ...

    async def __call__(self, a: int) -> None: ...


FITS: list[tuple[Callable[..., Any], Any]] = [
    (plain, {"to": "x"}),
    (plain, {"to": "x", "name": "y"}),
    (keywords, {"a": 1}),
    (open_ended, {"a": 1, "z": 2, "y": 3}),
    (positional, {"a": 1}),
    (positional, {"a": 1, "b": 2, "c": 3}),
    (nothing, {}),
    (Service().method, {"a": 1}),
    (partial(plain, name="z"), {"to": "x"}),
]


@pytest.mark.parametrize(("function", "payload"), FITS)
def test_a_payload_that_fits_has_no_misfit(function: Callable[..., Any], payload: Any) -> None:
    assert Parameters.of(function, "task").misfit(payload) is None


@pytest.mark.parametrize(
    ("function", "payload", "reason"),
    [
        (plain, {}, "missing: to"),
        (plain, {"name": "y"}, "missing: to"),
        (plain, {"to": "x", "extra": 1}, "no such parameter: 'extra'"),
        (nothing, {"b": 1, "a": 2}, "no such parameter: 'a', 'b'"),
        (nothing, {"x" * 100: 1}, f"no such parameter: {'x' * 40!r}"),
        (keywords, {"b": 1}, "missing: a"),
        (open_ended, {"z": 1}, "missing: a"),
        (Service().method, {"a": 1, "self": 2}, "no such parameter: 'self'"),
        (plain, ["x"], "the payload is a list, not a map of parameters by name"),
        (plain, None, "the payload is a NoneType, not a map of parameters by name"),
        (plain, "to", "the payload is a str, not a map of parameters by name"),
        (plain, {"to": 1, b"x": 1, "y": 2}, "the payload is a map whose keys are not all strings"),
        (open_ended, {"a": 1, b"x": 1}, "the payload is a map whose keys are not all strings"),
    ],
)
def test_a_payload_that_does_not_fit_says_why(
    function: Callable[..., Any], payload: Any, reason: str
) -> None:
    assert Parameters.of(function, "task").misfit(payload) == reason


def test_a_long_list_of_surplus_names_is_cut() -> None:
    misfit = Parameters.of(nothing, "task").misfit({f"n{index}": 0 for index in range(1000)})
    assert misfit is not None
    assert len(misfit) < 100


def test_a_function_with_any_number_of_arguments_is_refused_when_it_becomes_a_task() -> None:
    def takes_all(*parts: int) -> None: ...

    with pytest.raises(TypeError, match=r"task 'takes' takes \*parts.*declare a list instead"):
        Parameters.of(takes_all, "takes")


@given(
    st.dictionaries(
        st.text(max_size=3) | st.binary(max_size=3) | st.sampled_from(["to", "name"]), st.none(), max_size=4
    )
)
def test_a_payload_fits_exactly_if_the_function_can_be_called_with_it(payload: dict[Any, Any]) -> None:
    try:
        plain(**payload)
    except TypeError:
        fits = False
    else:
        fits = True
    assert (Parameters.of(plain, "task").misfit(payload) is None) == fits


@pytest.mark.parametrize(
    ("function", "style"),
    [
        (plain, "thread"),
        (Service().method, "thread"),
        (Service().run, "async"),
        (Service.static, "async"),
        (Service(), "async"),
        (partial(Service().run), "async"),
        (partial(plain), "thread"),
    ],
)
def test_a_coroutine_function_runs_in_the_loop_and_any_other_in_a_thread(
    function: Callable[..., Any], style: str
) -> None:
    assert Runnable.of("task", function, Policy()).style == style


async def shown(a: int) -> None: ...


@wraps(shown)
async def wrapping(*args: Any, **kwargs: Any) -> None: ...


async def signed(*args: Any, **kwargs: Any) -> None: ...


signed.__signature__ = signature(shown)  # type: ignore[attr-defined]


async def one_or_none(a: int, /) -> None: ...


@pytest.mark.parametrize(
    ("function", "policy", "binds"),
    [
        (shown, Policy(), True),
        (Service().run, Policy(), True),
        (Service.static, Policy(), True),
        (shown, Policy(timeout=1), False),
        (plain, Policy(), False),
        (Service(), Policy(), False),
        (partial(shown), Policy(), False),
        (wrapping, Policy(), False),
        (signed, Policy(), False),
        (one_or_none, Policy(), False),
    ],
)
def test_a_call_says_what_does_not_fit_if_it_does_nothing_else(
    function: Callable[..., Any], policy: Policy, binds: bool
) -> None:
    assert Runnable.of("task", function, policy).binds is binds


def test_the_quick_check_is_only_for_what_can_be_called_by_name() -> None:
    assert Runnable.of("task", plain, Policy()).exact == frozenset({"to", "name"})
    assert Runnable.of("task", positional, Policy()).exact is None


def test_a_fallback_takes_the_job_itself() -> None:
    def fallback(job: object, *more: int) -> None: ...

    prepared = Runnable.of("", fallback, Policy(), takes_job=True)
    assert prepared.parameters is None
    assert prepared.exact is None
