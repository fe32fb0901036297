"""What the promoter and the scheduler have in common: they sleep until something is due, or until they are woken.

When that is they know by the server's clock, and are woken when something is added that is due earlier. A foreign
program wakes nobody, and a wake-up can be lost: so a sleeper looks at least every so often by itself.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import anyio
import attrs

from .._core.keys import Keys
from .._redis.subscriber import Subscriber
from .._store.leading import COURTESY_MS

#: Seconds that resigning may take.
_FAREWELL = 0.5


@attrs.frozen
class Sleep:
    """How long a sleeper sleeps at most, in seconds.

    Attributes:
        longest: While it is woken by whoever adds something.
        shared: On a queue that is shared with programs that wake nobody.
        unheard: While its subscription is not in force yet, and nobody could wake it.
    """

    longest: float
    shared: float
    unheard: float


class Sleeper(ABC):
    """Looks, acts, and sleeps until the next look.

    Args:
        keys: The queue's keys.
        subscriber: Where it listens.
        channel: The channel on which it is woken.
        sleep: How long it sleeps at most.
    """

    def __init__(self, keys: Keys, subscriber: Subscriber, channel: bytes, sleep: Sleep) -> None:
        self._keys = keys
        self._subscriber = subscriber
        self._channel = channel
        self._sleep = attrs.evolve(sleep, longest=sleep.shared) if keys.shared else sleep
        self._woken = anyio.Event()
        self._leaving = False
        self._ended = anyio.Event()

    async def run(self) -> None:
        """Go on until cancelled or told to resign."""
        try:
            with self._subscriber.subscribe(self._channel, self._wake, on_gap=self._wake) as subscription:
                while not self._leaving:
                    self._woken = anyio.Event()
                    longest = self._sleep.longest if subscription.confirmed else self._sleep.unheard
                    pause = await self._look()
                    if pause:
                        with anyio.move_on_after(min(pause, longest)):
                            await self._woken.wait()
        finally:
            self._ended.set()

    async def resign(self) -> None:
        """End, and then let somebody else lead at once: a look after that would take the lock again."""
        self._leaving = True
        self._woken.set()
        with anyio.move_on_after(_FAREWELL):  # in an outage the lock runs out by itself
            await self._ended.wait()
            await self._give_up()

    @abstractmethod
    async def _look(self) -> float:
        """Look, do what is due, and say when to look again: seconds, or 0 when there may be more."""

    @abstractmethod
    async def _give_up(self) -> None:
        """Give up the lock."""

    def _wake(self, *_: object) -> None:
        self._woken.set()


def until(next_due: float | None, *, leads: bool) -> float:
    """Say after how many seconds there is something to do, for whoever leads and for the others."""
    if next_due is None:
        return math.inf
    return next_due if leads else next_due + COURTESY_MS / 1000
