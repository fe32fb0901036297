"""How long to wait between two tries to connect: exponential, full jitter, never past the maximum."""

from __future__ import annotations

import random

import anyio

from .settings import TransportSettings


class Pauses:
    """The pauses of one reconnecting thing."""

    __slots__ = ("_failures", "_not_before", "_settings")

    def __init__(self, settings: TransportSettings) -> None:
        self._settings = settings
        self._failures = 0
        self._not_before = 0.0

    async def wait(self) -> None:
        """Sleep until the next try may begin. Always a checkpoint."""
        await anyio.sleep(max(0.0, self._not_before - anyio.current_time()))

    def ended(self, *, lasted: float = 0.0) -> None:
        """A try failed, or a connection that lasted so many seconds broke.

        Only one that lasted counts as a success: a server that lets in and hangs up at once
        gets longer and longer pauses too.
        """
        if lasted > self._settings.backoff_maximum:
            self._failures = 0
        ceiling = min(
            self._settings.backoff_maximum, self._settings.backoff_base * 2 ** min(self._failures, 30)
        )
        self._failures += 1
        self._not_before = anyio.current_time() + random.uniform(0, ceiling)
