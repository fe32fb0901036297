"""Waiting for a queue to be empty: whoever works on it, and without being told by them.

Nobody says that a queue is empty, since nobody knows it: the last job may be any worker's. So it looks, in one script
that sees every job in one place or another, and the longer it has waited, the less often; a look costs the same however
many jobs there are.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import anyio

#: Seconds between two looks: at first, and at most while jobs run; growing by half each time.
_FIRST_LOOK, _LONGEST_LOOK = 0.005, 0.25

#: The same while only jobs are left whose time has not come.
_LONGEST_SLEEP = 2.0


class Look(Protocol):
    """What a look must say."""

    @property
    def ready(self) -> int:
        """Jobs that wait for a worker."""
        ...

    @property
    def running(self) -> int:
        """Jobs in workers' hands."""
        ...

    @property
    def delayed(self) -> int:
        """Jobs that wait for their time."""
        ...

    @property
    def due(self) -> int:
        """Those of them whose time has come."""
        ...

    @property
    def paused(self) -> bool:
        """Whether the queue is paused: nothing but what runs will end."""
        ...

    @property
    def next_due(self) -> float | None:
        """Seconds until the next job's time comes."""
        ...


L = TypeVar("L", bound=Look)


def left(look: Look, *, delayed: bool) -> int:
    """Count the jobs that are waited for.

    Args:
        look: What the queue holds.
        delayed: Whether jobs whose time has not come are.
    """
    if look.paused:
        return look.running
    return look.running + look.ready + (look.delayed if delayed else look.due)


async def until_empty(
    look: Callable[[], Awaitable[L]], *, delayed: bool, progress: Callable[[int, int], object] | None
) -> L:
    """Look until nothing is left, and give the last look.

    Args:
        look: Looks.
        delayed: Whether jobs whose time has not come are waited for.
        progress: Called after each look with how many are gone of those that were there, and how many those were.
    """
    pause, most = _FIRST_LOOK, 0
    while True:
        found = await look()
        rest = left(found, delayed=delayed)
        most = max(most, rest)
        if progress is not None:
            progress(most - rest, most)
        if not rest:
            return found
        asleep = not (found.running or found.ready or found.due)
        await anyio.sleep(min(max(pause, found.next_due or 0), _LONGEST_SLEEP) if asleep else pause)
        pause = min(pause * 1.5, _LONGEST_LOOK)
