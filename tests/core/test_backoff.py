"""How long a failed job waits: never longer than asked for, whatever the numbers or a user's function do."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyq._core.backoff import wait
from anyq.settings import Backoff

YEAR = 366 * 86_400.0

JUST_BELOW_ONE = math.nextafter(1.0, 0.0)


@pytest.mark.parametrize(
    ("backoff", "failures", "draw", "seconds"),
    [
        (Backoff.fixed(2), 1, 0.9, 2.0),
        (Backoff.fixed(2), 1000, 0.9, 2.0),
        (Backoff.fixed(0), 3, 0.5, 0.0),
        (Backoff.exponential(0.5, jitter=False), 1, 0.0, 0.5),
        (Backoff.exponential(0.5, jitter=False), 2, 0.0, 1.0),
        (Backoff.exponential(0.5, jitter=False), 3, 0.0, 2.0),
        (Backoff.exponential(0.5, jitter=False), 50, 0.0, 60.0),
        (Backoff.exponential(1, multiplier=1, jitter=False), 9, 0.0, 1.0),
        (Backoff.exponential(1, multiplier=3, maximum=20, jitter=False), 3, 0.0, 9.0),
        (Backoff.exponential(1, multiplier=3, maximum=20, jitter=False), 4, 0.0, 20.0),
        (Backoff.exponential(100, maximum=7, jitter=False), 1, 0.0, 7.0),
        (Backoff.exponential(1), 3, 0.0, 0.0),
        (Backoff.exponential(1), 3, 0.25, 1.0),
        (Backoff.exponential(1, maximum=2), 30, 0.5, 1.0),
        (Backoff.of(lambda failures: failures * 1.5), 4, 0.0, 6.0),
        (Backoff.of(lambda _: timedelta(minutes=1)), 1, 0.0, 60.0),
        (Backoff.of(lambda _: 0), 1, 0.0, 0.0),
    ],
)
def test_a_wait_is_the_step_or_drawn_from_it(
    backoff: Backoff, failures: int, draw: float, seconds: float
) -> None:
    assert wait(backoff, failures, draw) == seconds


@pytest.mark.parametrize("failures", [1025, 10**6, 10**18, 2**64])
def test_an_exponent_that_no_number_holds_is_the_maximum(failures: int) -> None:
    assert wait(Backoff.exponential(0.5, maximum=30, jitter=False), failures, 0.0) == 30.0
    assert wait(Backoff.exponential(0, maximum=30, jitter=False), failures, 0.0) == 0.0
    assert wait(Backoff.exponential(1, multiplier=1e300, maximum=30), failures, 0.5) == 15.0


def test_no_wait_is_longer_than_a_year() -> None:
    assert wait(Backoff.fixed(timedelta.max), 1, 0.0) == YEAR
    assert wait(Backoff.exponential(10, maximum=timedelta.max, jitter=False), 2000, 0.0) == YEAR
    assert wait(Backoff.of(lambda _: 1e300), 1, 0.0) == YEAR


@given(
    delay=st.floats(0, 1e12),
    maximum=st.floats(0, 1e12),
    multiplier=st.floats(1, 1e308),
    jitter=st.booleans(),
    failures=st.integers(1, 2**64),
    draw=st.floats(0, 1, exclude_max=True),
)
def test_the_maximum_is_never_exceeded(
    delay: float, maximum: float, multiplier: float, jitter: bool, failures: int, draw: float
) -> None:
    backoff = Backoff.exponential(delay, maximum=maximum, multiplier=multiplier, jitter=jitter)
    assert 0 <= wait(backoff, failures, draw) <= maximum


@given(failures=st.integers(1, 100), draw=st.floats(0, 1, exclude_max=True))
def test_full_jitter_stays_within_the_step(failures: int, draw: float) -> None:
    step = wait(Backoff.exponential(0.1, jitter=False), failures, 0.0)
    assert 0 <= wait(Backoff.exponential(0.1), failures, draw) <= step


def foreign(
    delay: float, *, maximum: float, spread: float, kind: str = "exponential", multiplier: float = 2.0
) -> Backoff:
    """As a chasquimq job's override is read."""
    return Backoff(
        kind=kind, delay=delay, maximum=maximum, multiplier=multiplier, jitter=False, spread=spread
    )


@pytest.mark.parametrize(
    ("draw", "failures", "seconds"), [(0.0, 1, 1.0), (0.5, 1, 1.05), (0.0, 3, 4.0), (0.5, 3, 4.05)]
)
def test_chasquimqs_jitter_is_added_to_the_step(draw: float, failures: int, seconds: float) -> None:
    assert wait(foreign(1, maximum=30, spread=0.1), failures, draw) == pytest.approx(seconds)


@pytest.mark.parametrize("draw", [0.0, 0.5, JUST_BELOW_ONE])
def test_chasquimqs_jitter_is_not_added_above_the_maximum_as_chasquimq_does(draw: float) -> None:
    assert wait(foreign(40, maximum=30, spread=0.1), 1, draw) == 30.0
    assert wait(foreign(60, maximum=60, spread=0.1, kind="fixed", multiplier=1.0), 1, draw) == 60.0


@pytest.mark.parametrize(
    "answer", [-1, -0.001, math.nan, math.inf, -math.inf, True, None, "5", timedelta(seconds=-1), 1j, [1]]
)
def test_a_function_that_gives_no_seconds_is_named_with_its_answer(answer: object) -> None:
    with pytest.raises(ValueError, match="for 3 failures") as caught:
        wait(Backoff.of(lambda _: answer), 3, 0.0)  # type: ignore[arg-type, return-value]
    assert repr(answer) in str(caught.value)


def test_what_a_function_raises_comes_out() -> None:
    def fails(failures: int) -> float:
        raise LookupError(failures)

    with pytest.raises(LookupError):
        wait(Backoff.of(fails), 1, 0.0)


def test_a_function_is_told_the_failures_counted_from_one() -> None:
    told: list[int] = []

    def function(failures: int) -> float:
        told.append(failures)
        return 1.0

    wait(Backoff.of(function), 1, 0.5)
    wait(Backoff.of(function), 7, 0.5)
    assert told == [1, 7]
