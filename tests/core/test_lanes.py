"""The order in which lanes are read: the highest first, and every tenth time another one, so that none starves."""

from __future__ import annotations

from collections import Counter

import pytest

from anyq._core.keys import CHASQUI, DEFAULT_PRIORITY, PRIORITIES, Keys
from anyq._core.lanes import TURN_EVERY, Lanes

KEYS = Keys("anyq", "q")


def test_a_queue_without_priorities_reads_what_it_always_reads() -> None:
    lanes = Lanes(KEYS)
    assert lanes.read == KEYS.lanes == (KEYS.returned, KEYS.stream)
    assert not lanes.several
    assert lanes.unknown([DEFAULT_PRIORITY]) == []
    assert Lanes(Keys(CHASQUI, "q")).read == (Keys(CHASQUI, "q").stream,)


def test_the_highest_priority_is_read_first_and_returned_jobs_before_all() -> None:
    lanes = Lanes(KEYS)
    assert lanes.unknown([9, 5, 0]) == [9, 0]
    lanes.widen([9, 0])
    assert lanes.several
    assert list(lanes.read) == [KEYS.returned, KEYS.lane(9), KEYS.stream, KEYS.lane(0)]
    lanes.widen([7])
    assert list(lanes.read) == [KEYS.returned, KEYS.lane(9), KEYS.lane(7), KEYS.stream, KEYS.lane(0)]
    assert lanes.unknown([0, 9]) == []


def test_the_keys_of_lanes() -> None:
    assert KEYS.lane(5) == KEYS.stream
    assert KEYS.lane(9) == b"{anyq:q}:stream:9"
    assert KEYS.priority_lanes == tuple(KEYS.lane(priority) for priority in PRIORITIES)
    assert Keys(CHASQUI, "q").priority_lanes == ()


def reads(lanes: Lanes, waiting: set[int], count: int) -> Counter[int]:
    """Which lane the first entry came from, when these always have some."""
    seen: Counter[int] = Counter()
    of = {KEYS.lane(priority): priority for priority in PRIORITIES}
    for _ in range(count):
        order = lanes.order()
        assert sorted(order) == sorted(lanes.read)
        first = next(lane for lane in order if of.get(lane) in waiting)
        lanes.served(order, first)
        seen[of[first]] += 1
    return seen


def test_one_read_in_ten_begins_with_a_lower_lane() -> None:
    lanes = Lanes(KEYS)
    lanes.widen([0, 9])
    seen = reads(lanes, {0, 9}, 100 * TURN_EVERY)
    # Of the ten in a hundred reads that begin elsewhere, every second one is the highest lane's own turn.
    assert seen == {9: 1000 - 50, 0: 50}


@pytest.mark.parametrize("waiting", [{0, 9}, {0, 5, 9}, set(PRIORITIES), {3, 4}])
def test_no_lane_with_waiting_jobs_is_left_out_for_long(waiting: set[int]) -> None:
    """However steady the flow of higher ones: each is first in one of ten reads for each lane in use, or more often."""
    lanes = Lanes(KEYS)
    lanes.widen(PRIORITIES)
    bound = TURN_EVERY * len(PRIORITIES)
    for _ in range(5):
        assert reads(lanes, waiting, bound).keys() == waiting


def test_empty_lanes_cost_no_turn() -> None:
    lanes = Lanes(KEYS)
    lanes.widen(PRIORITIES)
    assert reads(lanes, {2, 9}, 200) == {9: 190, 2: 10}


def test_what_was_returned_takes_nobody_s_turn() -> None:
    lanes = Lanes(KEYS)
    lanes.widen([0, 9])
    orders = [lanes.order() for _ in range(TURN_EVERY)]
    lanes.served(orders[-1], KEYS.returned)
    lanes.served(orders[0], KEYS.lane(9))
    orders = [lanes.order() for _ in range(TURN_EVERY)]
    assert orders[-1] == (KEYS.lane(0), KEYS.stream, KEYS.lane(9), KEYS.returned)
