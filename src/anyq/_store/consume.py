"""Reading: the group, the deliveries, and what the server says is ours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

from .._core.keys import GROUP, Keys
from .._core.lanes import Lanes
from .._redis.client import Client
from .._redis.solo import Solo
from . import scripts

#: Seconds past its BLOCK that a read may take before its connection counts as frozen.
READ_MARGIN = 2.0

#: A lane and what was read from it, entry by entry; the list is its reader's, who uses it up.
Delivery = tuple[bytes, list[tuple[bytes, Sequence[bytes] | None]]]


class Consuming:
    """How one consumer reads one queue.

    Args:
        client: To read by, a connection of its own: that blocks.
        keys: The queue's keys.
        consumer: The consumer's name.
        lanes: Those that it reads; shared by all who act for this consumer.
    """

    def __init__(
        self, client: Client | Solo, keys: Keys, consumer: bytes, lanes: Lanes | None = None
    ) -> None:
        self._client = client
        self._keys = keys
        self._consumer = consumer
        self._lanes = lanes or Lanes(keys)
        self._tail: tuple[bytes, ...] = ()
        self._tail_of: tuple[bytes, ...] = ()

    async def ensure_group(self) -> None:
        """Make sure that the group is there, from the first entry on: a stream holds unfinished work only.

        And that the consumer is in it, before it reads anything: whoever pauses the queue waits for all who are.
        """
        stream = self._keys.stream
        await self._join(
            [stream, *(lane for lane in self._lanes.read if lane != stream)], consumer=self._consumer
        )

    async def widen(self, priorities: Sequence[int]) -> None:
        """Read the lanes of these priorities too."""
        await self._join([self._keys.lane(priority) for priority in priorities])
        self._lanes.widen(priorities)

    async def _join(self, lanes: Sequence[bytes], consumer: bytes = b"") -> None:
        await self._client.run(scripts.JOIN, lanes, (GROUP, consumer))

    async def take(self, count: int) -> Sequence[Delivery]:
        """Take up to ``count`` new entries in all, in the order of priorities, without waiting."""
        order = self._lanes.order()
        deliveries: Sequence[Delivery] = await self._client.run(
            scripts.TAKE, order, (GROUP, self._consumer, count), timeout=READ_MARGIN
        )
        if deliveries:
            self._lanes.served(order, deliveries[0][0])
        return deliveries

    async def read(self, count: int, block_ms: int) -> Iterable[Delivery]:
        """Take up to ``count`` new entries per lane, waiting for the first at most ``block_ms``."""
        if self._tail_of is not self._lanes.read:
            self._tail_of = self._lanes.read
            self._tail = (b"STREAMS", *self._tail_of, *(b">" for _ in self._tail_of))
        reply = await self._client.call(
            b"XREADGROUP", b"GROUP", GROUP, self._consumer, b"COUNT", count, b"BLOCK", block_ms, *self._tail,
            timeout=block_ms / 1000 + READ_MARGIN,
        )  # fmt: skip
        if not reply:
            return ()
        if isinstance(reply, dict):  # RESP3; a list of pairs on RESP2
            return cast("dict[bytes, Any]", reply).items()
        deliveries: Iterable[Delivery] = reply
        return deliveries

    async def pending(self, lane: bytes, after: bytes = b"-", count: int = 500) -> list[bytes]:
        """List entries of one lane that the server says are ours, from entry id ``after`` on (``(id`` excludes it)."""
        rows: list[Any] = await self._client.call(
            b"XPENDING", lane, GROUP, after, b"+", count, self._consumer
        )
        return [row[0] for row in rows]
