"""Waiting before the next try: longer each time, and never in step with somebody else who tries too."""

from __future__ import annotations

import random


class Hesitation:
    """The pauses of one who tries again and again.

    Args:
        first: Seconds of the first pause at most; the least is half of it.
        longest: Seconds of any pause at most.
    """

    __slots__ = ("_first", "_longest", "_pause")

    def __init__(self, first: float, longest: float) -> None:
        self._first = first
        self._longest = longest
        self._pause = first

    def next(self) -> float:
        """Give the seconds to wait now; the next time they are twice as many."""
        pause = self._pause
        self._pause = min(pause * 2, self._longest)
        return random.uniform(pause / 2, pause)

    def over(self) -> None:
        """It worked: begin anew."""
        self._pause = self._first
