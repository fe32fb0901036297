"""The watch: learns at once what was said to all workers of a queue, and confirms it where somebody waits for that.

Messages only wake it, the state in Redis decides: so it looks there when it is woken, when messages may have been lost,
and every few seconds. A pause that ends by itself needs no message: the watch looks again when its time is over.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import anyio

from .._core.keys import Keys
from .._core.lanes import Lanes
from .._redis.client import Client
from .._redis.subscriber import Subscriber
from .._store import pauses
from .._store.consume import Consuming
from .._store.pauses import Pauses
from .gate import Gate
from .ledger import Ledger
from .patience import Patience
from .room import Room

logger = logging.getLogger("anyq.watch")

#: Seconds after which it looks by itself, in case that a message was lost.
_LOOK_AGAIN = 5.0

#: The same for a queue that is shared with programs that wake nobody: as often as they look themselves.
_LOOK_AGAIN_SHARED = 0.25

#: The same while its subscription is not in force yet, and nobody could wake it.
_LOOK_AGAIN_UNHEARD = 0.05


class Watch:
    """Keeps the gate and the lanes of one queue as Redis says.

    Args:
        interrupt: Ends a read that is under way, so that it takes no more jobs than it must.
    """

    def __init__(
        self,
        *,
        queue: str,
        keys: Keys,
        consumer: bytes,
        client: Client,
        subscriber: Subscriber,
        patience: Patience,
        gate: Gate,
        lanes: Lanes,
        consuming: Consuming,
        ledger: Ledger,
        room: Room,
        interrupt: Callable[[], Awaitable[object]],
    ) -> None:
        self._queue = queue
        self._keys = keys
        self._consumer = consumer
        self._client = client
        self._subscriber = subscriber
        self._patience = patience
        self._gate = gate
        self._lanes = lanes
        self._consuming = consuming
        self._ledger = ledger
        self._room = room
        self._interrupt = interrupt
        self._woken = anyio.Event()
        self._leaving = False
        self._longest = _LOOK_AGAIN_SHARED if keys.shared else _LOOK_AGAIN

    def wake(self, *_: object) -> None:
        """Look again, at once."""
        self._woken.set()

    def leave(self) -> None:
        """The worker is about to leave the group: do not enter it again."""
        self._leaving = True

    async def run(self) -> None:
        """Watch until cancelled."""
        with (
            self._subscriber.subscribe(self._keys.pausing, self.wake, on_gap=self.wake) as subscription,
            self._subscriber.subscribe(self._keys.widened, self.wake, on_gap=self.wake) as widened,
        ):
            while True:
                self._woken = anyio.Event()
                unheard = not subscription.confirmed or not widened.confirmed
                found = await self._patience(self._look)
                await self._widen(found)
                await self._apply(found)
                await self._readmit(found)
                longest = _LOOK_AGAIN_UNHEARD if unheard else self._longest
                with anyio.move_on_after(longest if found.next_end is None else min(longest, found.next_end)):
                    await self._woken.wait()

    async def _look(self) -> Pauses:
        return await pauses.look(self._client, self._keys, None if self._leaving else self._consumer)

    async def _widen(self, found: Pauses) -> None:
        news = self._lanes.unknown(found.priorities)
        if news:
            await self._patience(self._consuming.widen, news)
            self._ledger.open(self._lanes.read)
            self._room.narrow()
            logger.info("%s: priorities in use: %s", self._queue, ", ".join(map(str, self._lanes.priorities)))
            await self._interrupt()

    async def _apply(self, found: Pauses) -> None:
        gate = self._gate
        before = (gate.queue, gate.tasks) if gate.known else (False, frozenset[str]())
        gate.set(queue=found.queue is not None, tasks=found.tasks)
        if found.number:
            await self._patience(pauses.confirm, self._client, self._keys, self._consumer, found.number)
        if (gate.queue, gate.tasks) != before:
            names = ["the queue"] if gate.queue else sorted(map(repr, gate.tasks))
            logger.info("%s: paused: %s", self._queue, ", ".join(names) or "nothing")
            if gate.queue:
                await self._interrupt()

    async def _readmit(self, found: Pauses) -> None:
        for task in found.stranded:
            while not self._woken.is_set():
                if await self._patience(pauses.readmit, self._client, self._keys, task) <= 0:
                    break
