"""Which streams a worker reads, and in which order: the rule of priorities.

A queue has one lane, `Keys.stream`, and before it the lane of returned jobs, until a job is enqueued with another
priority than the default; from then on there is one more lane for each priority in use. The highest is read first.
So that a steady flow of high ones never stops the low ones for good, every tenth read begins elsewhere: at the lowest
lane, the next time at the one above, and so on in turn; empty ones are passed over. Whatever else is there, a lane with
waiting jobs is first in one of ten reads for each lane in use.
"""

from __future__ import annotations

from collections.abc import Iterable

from .keys import DEFAULT_PRIORITY, Keys

#: One read in so many begins elsewhere than at the top.
TURN_EVERY = 10


class Lanes:
    """The lanes of one queue, as far as this worker knows them.

    Attributes:
        read: The streams, in the order in which they are read.
        several: Whether there is any besides those that every queue has.
        priorities: Those in use, from the lowest to the highest.
    """

    __slots__ = ("_keys", "_reads", "_start", "priorities", "read", "several")

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._reads = 0
        self._start = 0
        self.read: tuple[bytes, ...] = keys.lanes
        self.priorities: tuple[int, ...] = (DEFAULT_PRIORITY,)
        self.several = False

    def unknown(self, priorities: Iterable[int]) -> list[int]:
        """Tell which of these are news."""
        return [priority for priority in priorities if priority not in self.priorities]

    def widen(self, priorities: Iterable[int]) -> None:
        """Read the lanes of these priorities too, from now on."""
        self.priorities = tuple(sorted({*self.priorities, *priorities}))
        self.several = len(self.priorities) > 1
        self.read = (self._keys.returned, *map(self._keys.lane, reversed(self.priorities)))

    def order(self) -> tuple[bytes, ...]:
        """Give the order for the next read."""
        self._reads += 1
        if self._reads % TURN_EVERY:
            return self.read
        upward = [*map(self._keys.lane, self.priorities)]
        return (*upward[self._start :], *upward[: self._start], self._keys.returned)

    def served(self, order: tuple[bytes, ...], first: bytes) -> None:
        """Learn which lane the first entry came from, when ``order`` was read."""
        if order is not self.read and first != self._keys.returned:
            upward = [*map(self._keys.lane, self.priorities)]
            self._start = (upward.index(first) + 1) % len(upward)
