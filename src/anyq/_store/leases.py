"""Holding on to entries, and taking them from workers that are gone."""

from __future__ import annotations

from collections.abc import Sequence

from .._core.keys import CONSUMER_PREFIX, GROUP, Keys
from .._core.lanes import Lanes
from .._redis.client import Client
from .._redis.replies import field
from . import scripts
from .clock import server_ms
from .tally import MINUTES, Tally


class Leasing:
    """How one consumer keeps its own entries, and watches over those of others.

    Args:
        client: The connection.
        keys: The queue's keys.
        consumer: The consumer's name.
        lanes: Those that it reads; shared by all who act for this consumer.
        minutes: Minutes of history that are kept.
    """

    def __init__(
        self,
        client: Client,
        keys: Keys,
        consumer: bytes,
        lanes: Lanes | None = None,
        minutes: int = MINUTES,
    ) -> None:
        self._client = client
        self._tally = Tally(client, keys, minutes)
        self._keys = keys
        self._consumer = consumer
        self._lanes = lanes or Lanes(keys)

    async def renew(self, lane: bytes, entries: Sequence[bytes]) -> list[bytes]:
        """Renew up to some hundred entries; give those that are not ours any more."""
        lost: list[bytes] = await self._client.run(scripts.RENEW, (lane,), (GROUP, self._consumer, *entries))
        return lost

    async def server_ms(self) -> float:
        """Give the server's epoch milliseconds."""
        return await server_ms(self._client)

    async def silent(self) -> list[bytes]:
        """Name the consumers of AnyQ's that have no heartbeat.

        Nobody is named while this worker's own heartbeat is not there: what ended it (the server's clock that jumped, a
        flush) ended those of all who live.
        """
        names: set[bytes] = set()
        for lane in self._lanes.read:
            for row in await self._client.call(b"XINFO", b"CONSUMERS", lane, GROUP):
                name = field(row, b"name")
                if isinstance(name, bytes) and name.startswith(CONSUMER_PREFIX) and name != self._consumer:
                    names.add(name)
        ordered = sorted(names)
        if not ordered:
            return []
        own, *alive = await self._client.call_many(
            [(b"EXISTS", self._keys.heartbeat(name)) for name in (self._consumer, *ordered)]
        )
        if own == 0:
            return []
        return [name for name, lives in zip(ordered, alive, strict=True) if lives == 0]

    async def take_over(self, consumer: bytes, count: int = 50) -> int:
        """Hand back what a silent consumer held, up to ``count`` entries a lane at once, fewer if they are large.

        Returns:
            How many it was: 0 when none is left, and -1 if the consumer lives after all.
        """
        keys = (self._keys.heartbeat(consumer), self._keys.returned, *self._lanes.read)
        moved: int = await self._tally.run(scripts.TAKE_OVER, keys, (GROUP, consumer, count))
        return moved

    async def sweep(self, idle: float, count: int = 50) -> int:
        """Hand back what foreign programs have not touched for ``idle`` seconds, up to ``count`` entries a lane.

        Returns:
            How many it was.
        """
        total = 0
        for lane in self._lanes.read:
            left = count
            while left:
                args = (GROUP, round(idle * 1000), left, CONSUMER_PREFIX)
                moved: int = await self._tally.run(scripts.SWEEP, (lane, self._keys.returned), args)
                if not moved:
                    break
                left -= moved
            total += count - left
        return total

    async def depart(self) -> bool:
        """Leave the group and end the heartbeat, unless something is still held; whether it was done."""
        keys = (self._keys.heartbeat(self._consumer), *self._lanes.read)
        return bool(await self._client.run(scripts.DEPART, keys, (GROUP, self._consumer)))
