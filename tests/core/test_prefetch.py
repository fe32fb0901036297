"""How many entries are taken ahead: large batches of quick jobs, none of slow ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyq._core.prefetch import HORIZON, Prefetch


def test_at_first_an_entry_is_taken_for_each_idle_runner_and_none_ahead() -> None:
    prefetch = Prefetch(limit=1000)
    assert prefetch.room(idle=100, buffered=0) == 100
    assert prefetch.room(idle=0, buffered=0) == 0


def test_quick_jobs_are_taken_ahead_as_many_as_run_in_a_moment() -> None:
    prefetch = Prefetch(limit=10_000)
    prefetch.look(0, 100.0)
    prefetch.look(20_000, 102.0)  # after a pause the new rate counts alone: 10,000 a second
    assert prefetch.ahead == 10_000 * HORIZON
    assert prefetch.room(idle=5, buffered=0) == 505


def test_slow_jobs_are_not_hoarded() -> None:
    prefetch = Prefetch(limit=1000)
    prefetch.look(0, 100.0)
    prefetch.look(10, 102.0)
    assert prefetch.ahead == 0
    assert prefetch.room(idle=0, buffered=0) == 0
    assert prefetch.room(idle=1, buffered=0) == 1


def test_never_more_than_the_limit_is_taken_ahead() -> None:
    prefetch = Prefetch(limit=64)
    prefetch.look(0, 100.0)
    prefetch.look(10**9, 102.0)
    assert prefetch.ahead == 64


def test_a_busy_workers_buffer_is_filled_again_when_half_of_it_is_used_up() -> None:
    prefetch = Prefetch(limit=100, ahead=100)
    assert prefetch.room(idle=0, buffered=51) == 0
    assert prefetch.room(idle=0, buffered=50) == 50


def test_an_idle_runner_does_not_wait_for_the_buffer_to_be_half_empty() -> None:
    assert Prefetch(limit=100, ahead=100).room(idle=1, buffered=0) == 101
    assert Prefetch(limit=100, ahead=10).room(idle=20, buffered=10) == 20


def test_a_moment_too_short_to_measure_teaches_nothing() -> None:
    prefetch = Prefetch(limit=1000)
    prefetch.look(0, 100.0)
    prefetch.look(1000, 100.001)
    assert prefetch.ahead == 0


def test_slow_jobs_that_end_together_are_not_taken_for_quick_ones() -> None:
    prefetch = Prefetch(limit=400)
    prefetch.look(0, 100.0)
    prefetch.look(100, 100.003)
    assert prefetch.ahead == 0
    prefetch.look(400, 100.004)
    assert prefetch.ahead == 400


def test_a_burst_that_ends_is_forgotten() -> None:
    prefetch = Prefetch(limit=1000)
    prefetch.look(0, 100.0)
    prefetch.look(100_000, 102.0)
    for tick in range(30):
        prefetch.look(100_000, 102.1 + tick / 10)
    assert prefetch.ahead == 0


@pytest.mark.parametrize("limit", [1, 100])
@given(
    looks=st.lists(st.tuples(st.integers(0, 10**6), st.floats(0, 10))),
    idle=st.integers(0, 500),
    buffered=st.integers(0, 5000),
)
def test_room_is_never_negative_and_never_more_than_idle_and_limit(
    limit: int, looks: list[tuple[int, float]], idle: int, buffered: int
) -> None:
    prefetch, finished, now = Prefetch(limit=limit), 0, 50.0
    for more, later in looks:
        finished, now = finished + more, now + later
        prefetch.look(finished, now)
    assert 0 <= prefetch.room(idle, buffered) <= max(0, idle + limit - buffered)
