"""What follows from totals: differences, and how fast it was."""

from __future__ import annotations

import pytest

from anyq._core.totals import MINUTE, Totals, by_minute, lately


def test_what_happened_in_a_minute_is_the_difference_to_what_was_written_down_next() -> None:
    rows = [(9 * MINUTE, Totals(added=7, done=5)), (4 * MINUTE, Totals(added=2)), (3 * MINUTE, Totals())]
    assert dict(by_minute(Totals(added=10, done=10), rows)) == {
        9 * MINUTE: Totals(added=3, done=5),
        4 * MINUTE: Totals(added=5, done=5),
        3 * MINUTE: Totals(added=2),
    }
    assert list(by_minute(Totals(added=10), [])) == []


def test_a_total_that_became_less_began_anew() -> None:
    assert Totals(added=3, done=9).since(Totals(added=100, done=5)) == Totals(added=3, done=4)


def test_what_is_no_number_counts_nothing() -> None:
    flat = [
        b"added",
        b"12",
        b"done",
        b"-3",
        b"dead",
        b"x",
        b"\xff",
        b"1",
        b"minute",
        b"9",
        b"lost",
        b"9" * 30,
    ]
    assert Totals.read(flat) == Totals(added=12)
    assert Totals.read([b"done"]) == Totals()


@pytest.mark.parametrize(
    ("second", "minutes", "span", "expected"),
    [
        (0, {10: 60}, 1, 1.0),
        (30, {10: 30}, 1, 0.5),
        (30, {10: 30, 9: 60}, 1, 1.0),  # of the one before, the half that belongs to the last minute
        (30, {10: 30, 8: 6000}, 1, 0.5),
        (15, {10: 15, 9: 60, 8: 60, 7: 60, 6: 60, 5: 60, 4: 6000}, 5, 1.0),
        (30, {11: 60}, 1, 1.0),  # the clock was set back
    ],
)
def test_rates_are_about_the_last_minutes(
    second: int, minutes: dict[int, int], span: int, expected: float
) -> None:
    happened = {start * MINUTE: Totals(added=count) for start, count in minutes.items()}
    assert lately(happened, 10 * MINUTE + second * 1000, span) == pytest.approx((expected, 0, 0))


def test_rates_tell_what_came_what_ended_and_what_failed() -> None:
    happened = {0: Totals(added=60, replayed=60, done=60, dead=60, cancelled=60, retried=60, lost=60)}
    assert lately(happened, 30_000, 1) == (2.0, 3.0, 2.0)
