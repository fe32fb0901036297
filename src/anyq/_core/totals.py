"""What a queue has counted, and what follows from it: how much happened in each minute, and how fast.

The scripts write down what the totals were before each minute in which something happened. So what happened in such a
minute is the difference to the next that is written down, and to the totals themselves in the last one; in all other
minutes nothing did.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import attrgetter

import attrs

#: Milliseconds.
MINUTE = 60_000


@attrs.frozen
class Totals:
    """How often what happened.

    Attributes:
        added: Jobs enqueued, and jobs that schedules made.
        replayed: Dead letters that were made jobs again.
        done: Jobs that were done.
        retried: Runs that failed, and whose job comes back.
        dead: Jobs that were given up.
        cancelled: Jobs that ended because somebody cancelled them.
        lost: Deliveries that were lost with their worker.
    """

    added: int = 0
    replayed: int = 0
    done: int = 0
    retried: int = 0
    dead: int = 0
    cancelled: int = 0
    lost: int = 0

    @property
    def failed(self) -> int:
        """Runs that failed."""
        return self.retried + self.dead

    @property
    def came(self) -> int:
        """Jobs that came to the queue."""
        return self.added + self.replayed

    @property
    def ended(self) -> int:
        """Jobs that left it."""
        return self.done + self.dead + self.cancelled

    @staticmethod
    def read(flat: Sequence[bytes]) -> Totals:
        """Read names and numbers, one after the other; what is neither is left out."""
        found = dict(zip(flat[::2], flat[1::2], strict=False))
        return Totals(*[_number(found.get(name, b"")) for name in _WORDS])

    def since(self, before: Totals) -> Totals:
        """Tell what happened since; a total that has become less was begun anew."""
        return Totals(
            *[
                now - then if now >= then else now
                for now, then in zip(_numbers(self), _numbers(before), strict=True)
            ]
        )


_NAMES = tuple(field.name for field in attrs.fields(Totals))
_WORDS = tuple(name.encode() for name in _NAMES)  # a history has many minutes: nothing is done twice for each
_numbers = attrgetter(*_NAMES)  # attrs.astuple takes ten times as long


def by_minute(totals: Totals, rows: Sequence[tuple[int, Totals]]) -> Iterator[tuple[int, Totals]]:
    """Tell what happened in each minute in which something did, with its first millisecond; the newest first.

    Args:
        totals: The totals now.
        rows: What was written down, the newest first: the first millisecond of a minute, and the totals before it.
    """
    after = totals
    for start, before in rows:
        yield start, after.since(before)
        after = before


def lately(minutes: dict[int, Totals], now_ms: int, span: int) -> tuple[float, float, float]:
    """Tell how many jobs came, how many ended and how many runs failed, per second over the last ``span`` minutes.

    The minute that has only begun is counted as far as it goes, and of the oldest one the part that it leaves, as if
    everything had been evenly spread in it.
    """
    present = now_ms // MINUTE * MINUTE
    left = 1 - (now_ms - present) / MINUTE
    came = ended = failed = 0.0
    for start, happened in minutes.items():
        ago = (present - start) // MINUTE
        # A minute to come was begun before the clock was set back.
        weight = 1.0 if ago < span else left if ago == span else 0.0
        came += weight * happened.came
        ended += weight * happened.ended
        failed += weight * happened.failed
    return came / (60 * span), ended / (60 * span), failed / (60 * span)


def _number(digits: bytes) -> int:
    return int(digits) if digits.isdigit() and len(digits) < 20 else 0
