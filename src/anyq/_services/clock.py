"""Clocks: the wall's, for what is shown to people only, and the server's, by which everybody decides the same."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable


def wall_ms() -> int:
    """Give epoch milliseconds."""
    return time.time_ns() // 1_000_000


class ServerClock:
    """The server's time of day, told by this process's monotonic clock since the server was last asked."""

    __slots__ = ("_ahead", "_asked")

    def __init__(self) -> None:
        self._ahead: float | None = None
        self._asked = 0.0

    async def ask(self, server_ms: Callable[[], Awaitable[float]]) -> None:
        """Set the clock.

        Args:
            server_ms: Asks the server; gives epoch milliseconds.
        """
        before = time.monotonic()
        now = await server_ms()
        self._asked = time.monotonic()
        self._ahead = now - (before + self._asked) * 500  # the answer was true half way, most likely

    def fresh(self, seconds: float) -> bool:
        """Tell whether the server was asked within so many seconds."""
        return self._ahead is not None and time.monotonic() - self._asked < seconds

    def ms(self) -> float:
        """Give the server's epoch milliseconds; the wall's before the server was ever asked."""
        return wall_ms() if self._ahead is None else time.monotonic() * 1000 + self._ahead
