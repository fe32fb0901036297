"""Job ids: ULIDs that sort by the order in which one program made them.

26 characters of Crockford's base 32: 48 bits of milliseconds, then 80 random bits, which count up within a millisecond
(chasquimq's ids are ULIDs too, though not monotonic ones). Made on the path of every job, so the upper part is kept
between calls.
"""

from __future__ import annotations

from collections.abc import Callable

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [a + b for a in _ALPHABET for b in _ALPHABET]  # ten bits at a time

#: Characters of an id.
ID_LENGTH = 26

_HIGH_BITS = 50
_LOW_BITS = 30
_LOW_MASK = (1 << _LOW_BITS) - 1


def _encode(value: int, pairs: int) -> str:
    return "".join([_PAIRS[(value >> shift) & 1023] for shift in range(10 * (pairs - 1), -1, -10)])


def made_at(job_id: str) -> int | None:
    """Read from an id the epoch millisecond when it was made, or give ``None``: it is no ULID."""
    if len(job_id) != ID_LENGTH or not set(job_id) <= set(_ALPHABET) or job_id[0] > "7":
        return None
    milliseconds = 0
    for letter in job_id[:10]:
        milliseconds = milliseconds * 32 + _ALPHABET.index(letter)
    return milliseconds


class IdMaker:
    """Makes ids.

    Args:
        clock: Gives epoch milliseconds.
        random_bits: ``random_bits(n)`` gives an integer of n random bits.
    """

    __slots__ = ("_clock", "_head", "_low", "_millisecond", "_random_bits")

    def __init__(self, clock: Callable[[], int], random_bits: Callable[[int], int]) -> None:
        self._clock = clock
        self._random_bits = random_bits
        self._millisecond = -1
        self._head = ""
        self._low = 0

    def __call__(self) -> str:
        """Make the next id."""
        return self.at(self._clock())

    def at(self, now: int) -> str:
        """Make the next id, at epoch millisecond ``now`` or later: for who makes many at once."""
        low = self._low + 1
        # A clock that steps back keeps the old millisecond: ids of one program never go backwards.
        if now > self._millisecond or low > _LOW_MASK:
            self._millisecond = max(now, self._millisecond + (low > _LOW_MASK))
            bits = self._random_bits(_HIGH_BITS + _LOW_BITS - 1)
            self._head = _encode((self._millisecond << _HIGH_BITS) | bits >> (_LOW_BITS - 1), 10)
            low = bits & (_LOW_MASK >> 1)  # the top bit stays free, so that there is room to count
        self._low = low
        return f"{self._head}{_PAIRS[low >> 20]}{_PAIRS[(low >> 10) & 1023]}{_PAIRS[low & 1023]}"
