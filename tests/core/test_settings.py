"""Settings at the door: what a duration may be, and what becomes of the longest."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest

from anyq.settings import LONGEST, seconds


def test_the_longest_timedelta_is_a_duration_and_nothing_is_longer() -> None:
    assert seconds("delay", timedelta.max) == LONGEST
    for longer in (1e14, 1e300, 10**400):
        with pytest.raises(ValueError, match="delay must be at most 86400000000000 seconds, not 1"):
            seconds("delay", longer)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, -1, -(10**400)])
def test_a_duration_without_an_end_or_below_zero_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="delay must be a finite number of seconds >= 0"):
        seconds("delay", value)
