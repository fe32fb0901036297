"""How long a failed job waits. The random draw is an argument, so that a table of cases can test the rule."""

from __future__ import annotations

import math
from datetime import timedelta

from ..settings import Backoff

#: Where a wait ends up that no number can express: a year. Later is never.
_LONGEST = 366 * 86_400.0


def wait(backoff: Backoff, failures: int, draw: float) -> float:
    """Give the seconds to wait after ``failures`` failed runs.

    Args:
        backoff: The rule.
        failures: Runs that failed so far, counted from 1.
        draw: A random number in [0, 1).

    Raises:
        ValueError: The rule is a function, and it gave no usable number of seconds.
    """
    if backoff.function is not None:
        return _ask(backoff, failures)
    try:
        step = backoff.delay * backoff.multiplier ** max(0, failures - 1)
    except OverflowError:
        step = math.inf if backoff.delay else 0.0
    step = min(step, backoff.maximum)
    if backoff.jitter:
        step *= draw
    elif backoff.spread:
        # chasquimq adds its jitter above the cap; here the maximum stays a maximum.
        step = min(step + backoff.spread * draw, max(backoff.maximum, step))
    return min(step, _LONGEST)


def _ask(backoff: Backoff, failures: int) -> float:
    assert backoff.function is not None
    given = backoff.function(failures)
    value = given.total_seconds() if isinstance(given, timedelta) else given
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(
            f"Backoff.of's function gave {given!r} for {failures} failures, which is no number of seconds >= 0"
        )
    return min(float(value), _LONGEST)
