"""Limits in time, on a machine that others use too.

Rule: a limit counts from the moment that it is about, not from when the test began to prepare it; and what the kernel
let this thread wait for a core, though it was ready to run, is nobody's slowness.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import attrs

#: Seconds that a loaded machine adds all the same: servers and other processes wait for cores too.
MARGIN = 1.0

_HERE = Path("/proc/thread-self/schedstat")


def starved(*processes: int) -> float:
    """Seconds that this thread, and the first threads of ``processes``, ever waited for a core while ready to run.

    0 where nobody counts them.
    """
    try:
        places = [_HERE, *(Path(f"/proc/{pid}/schedstat") for pid in processes)]
        return sum(int(place.read_bytes().split()[1]) for place in places) / 1e9
    except (OSError, IndexError):
        return 0.0


def now(*processes: int) -> float:
    """Monotonic seconds in which nobody waited for a core; for differences within one thread."""
    return time.monotonic() - starved(*processes)


@attrs.define
class Limit:
    """What is under way in a block that must not last long."""

    began: float = attrs.field(factory=now)

    def counts_from_here(self) -> None:
        """What came before was preparation."""
        self.began = now()


@contextmanager
def lasting_at_most(seconds: float) -> Generator[Limit]:
    """The block takes no longer than this, and a loaded machine's margin."""
    limit = Limit()
    yield limit
    took = now() - limit.began
    assert took <= seconds + MARGIN, f"took {took:.2f} s, and {seconds:g} s were allowed"
