"""Ids are ULIDs, and one program's ids sort by the order in which it made them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from hypothesis import given
from hypothesis import strategies as st

from anyq._core.ids import IdMaker

ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
NOW = 1_795_355_030_957


def ones(bits: int) -> int:
    return (1 << bits) - 1


def zeros(_bits: int) -> int:
    return 0


def clock(moments: Iterable[int]) -> Callable[[], int]:
    return iter(moments).__next__


def test_an_id_has_the_shape_of_a_ulid_with_its_time_in_front() -> None:
    made = IdMaker(lambda: NOW, zeros)()
    assert ULID.fullmatch(made)
    assert made == "01M81QZDDD0000000000000000"  # chasquimq made 01M81QZDDD... in that millisecond


def test_the_largest_time_and_draw_still_make_a_ulid() -> None:
    assert IdMaker(lambda: 2**48 - 1, ones)() == "7ZZZZZZZZZZZZZZZZZZZFZZZZZ"


def test_ids_of_one_millisecond_count_up() -> None:
    make = IdMaker(lambda: NOW, zeros)
    made = [make() for _ in range(5000)]
    assert made == sorted(set(made))
    assert {id[:20] for id in made} == {made[0][:20]}


def test_a_clock_that_steps_back_keeps_the_order() -> None:
    make = IdMaker(clock([NOW, NOW - 3_600_000, NOW - 1, NOW, NOW + 1]), zeros)
    made = [make() for _ in range(5)]
    assert made == sorted(set(made))
    assert [id[:10] for id in made[:4]] == [made[0][:10]] * 4
    assert made[4][:10] > made[0][:10]


def test_a_millisecond_whose_numbers_are_used_up_borrows_the_next() -> None:
    make = IdMaker(lambda: NOW, zeros)
    make()
    make._low = 2**30 - 2  # as after a thousand million ids
    last, first = make(), make()
    assert last.endswith("ZZZZZZ")
    assert last < first
    assert make() > first


def test_the_borrowed_millisecond_is_kept_until_the_clock_is_past_it() -> None:
    make = IdMaker(clock([NOW, NOW, NOW, NOW + 1, NOW + 2]), ones)
    made = [make()]
    make._low = 2**30 - 1
    made += [make() for _ in range(4)]
    assert made == sorted(set(made))


def test_a_millisecond_begins_with_room_to_count() -> None:
    assert IdMaker(lambda: NOW, ones)()[-6:] == "FZZZZZ"


@given(
    steps=st.lists(st.integers(-10_000, 10_000), max_size=200),
    draw=st.integers(0, 2**50 - 1),
)
def test_ids_strictly_increase_whatever_the_clock_does(steps: list[int], draw: int) -> None:
    moments = [NOW]
    for step in steps:
        moments.append(moments[-1] + step)
    make = IdMaker(clock(moments), lambda bits: draw & ones(bits))
    made = [make() for _ in moments]
    assert all(ULID.fullmatch(id) for id in made)
    assert made == sorted(set(made))
