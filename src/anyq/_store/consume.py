"""Reading: the group, the deliveries, and what the server says is ours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

from redis.exceptions import ResponseError

from .._core.keys import GROUP, Keys
from .._redis.client import Client
from .._redis.replies import error_code

#: Seconds past its BLOCK that a read may take before its connection counts as frozen.
READ_MARGIN = 2.0

Delivery = tuple[bytes, Sequence[tuple[bytes, Sequence[bytes] | None]]]


class Consuming:
    """How one consumer reads one queue.

    Args:
        client: A connection of its own: it blocks.
        keys: The queue's keys.
        consumer: The consumer's name.
    """

    def __init__(self, client: Client, keys: Keys, consumer: bytes) -> None:
        self._client = client
        self._keys = keys
        self._consumer = consumer
        self._tail = (b"STREAMS", *keys.lanes, *(b">" for _ in keys.lanes))

    async def ensure_group(self) -> None:
        """Make sure that the group is there, from the first entry on: a stream holds unfinished work only.

        And that the consumer is in it, before it reads anything: whoever pauses the queue waits for all who are.
        """
        for lane in self._keys.lanes:
            try:
                await self._client.call(b"XGROUP", b"CREATE", lane, GROUP, b"0", b"MKSTREAM")
            except ResponseError as error:
                if error_code(error) != "BUSYGROUP":
                    raise
        await self._client.call(b"XGROUP", b"CREATECONSUMER", self._keys.stream, GROUP, self._consumer)

    async def read(self, count: int, block_ms: int) -> Iterable[Delivery]:
        """Take up to ``count`` new entries per lane, waiting for the first at most ``block_ms``."""
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
