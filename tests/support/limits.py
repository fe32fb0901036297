"""Limits in time, on a machine that others use too.

Rule: a limit counts from the moment that it is about, not from when the test began to prepare it; and what the kernel
let us wait for a core, though we were ready to run, is nobody's slowness.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs

#: Seconds that a loaded machine adds all the same: servers and other processes wait for cores too.
MARGIN = 1.0

_OURS = Path("/proc/self/task")

#: What was last read of each thread of ours, and of other processes, in nanoseconds: who has ended has waited all the
#: same.
_threads: dict[Path, int] = {}
_others: dict[Path, int] = {}


def starved(*processes: int) -> float:
    """Seconds that the threads of this process, and the first ones of ``processes``, ever waited for a core.

    All of ours, since one that waits for a core may hold the interpreter's lock, for which the others wait in vain. 0
    where nobody counts them.
    """
    with suppress(OSError):
        for thread in _OURS.iterdir():
            _look(thread, _threads)
    others = [Path("/proc", str(pid)) for pid in processes]
    for place in others:
        _look(place, _others)
    return (sum(_threads.values()) + sum(_others.get(place, 0) for place in others)) / 1e9


def _look(place: Path, seen: dict[Path, int]) -> None:
    with suppress(OSError, IndexError):
        waited = int((place / "schedstat").read_bytes().split()[1])
        seen[place] = max(waited, seen.get(place, 0))


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
