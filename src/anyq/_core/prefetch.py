"""How many entries to take: for every idle runner one, and ahead of them what the runners get through in a moment.

Quick jobs are read in large batches, so that no runner waits for the network; slow jobs are never hoarded behind busy
runners while another worker is idle.
"""

from __future__ import annotations

import attrs

#: Seconds of work that may wait in the buffer.
HORIZON = 0.05

#: The same in a queue with priorities.
NARROW_HORIZON = 0.01

#: Weight of the newest measurement in the running average.
_NEWEST = 0.5

#: No measurement is taken over a shorter time than this, in seconds.
_SHORTEST = 0.002


@attrs.define
class Prefetch:
    """The rule, with its memory.

    Attributes:
        limit: The most that is ever taken ahead.
        ahead: What may wait in the buffer now.
        horizon: Seconds of work that may wait there.
    """

    limit: int
    ahead: int = 0
    horizon: float = HORIZON
    _rate: float = 0.0
    _seen: int = 0
    _at: float = 0.0

    def look(self, finished: int, now: float) -> None:
        """Learn from the number of jobs finished so far, at ``now`` seconds."""
        elapsed, more = now - self._at, finished - self._seen
        # In a shorter time than the horizon only a crowd of jobs tells a rate: slow ones may end together.
        if elapsed < _SHORTEST or (elapsed < HORIZON and more < self.limit):
            return
        rate = more / elapsed
        # After a pause the old rate says nothing about what comes.
        weight = 1.0 if elapsed > 1.0 else _NEWEST
        self._rate += (rate - self._rate) * weight
        self._seen, self._at = finished, now
        self.ahead = min(self.limit, int(self._rate * self.horizon))

    def room(self, idle: int, buffered: int) -> int:
        """Give how many entries to take now; 0 means wait."""
        room = idle + self.ahead - buffered
        # Small sips cost a round trip each: with no runner idle, wait until half of the buffer is used up.
        if room < 1 or (idle <= buffered and room * 2 < self.ahead):
            return 0
        return room
