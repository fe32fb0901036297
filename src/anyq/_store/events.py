"""The events stream: chasquimq's fields, written in batches, and read by whoever follows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
from redis.exceptions import RedisError

from .._core.keys import Keys
from .._redis.client import Argument, Client
from .._redis.packing import pack
from .._redis.replies import field, is_map
from .._redis.solo import Solo

#: Seconds past its BLOCK that a read may take before its connection counts as frozen.
_MARGIN = 2.0


async def append(client: Client, keys: Keys, events: Sequence[bytes], keep: int) -> list[Any]:
    """Write events in one write, each a command; their replies are given, error replies too, and the trimming's."""
    trim = pack((b"XTRIM", keys.events, b"MAXLEN", b"~", keep))
    replies = await client.call_packed(b"".join(events) + trim, len(events) + 1)
    trimmed = replies.pop()
    return [*replies, trimmed] if isinstance(trimmed, RedisError) else replies


@attrs.frozen
class Page:
    """Events that were read.

    Attributes:
        rows: Each an id, and fields with their values.
        unbroken: Whether the event after which they were to be read is still there: then none between is missing.
    """

    rows: Sequence[tuple[bytes, Sequence[bytes]]]
    unbroken: bool


async def read(solo: Solo, keys: Keys, after: bytes, *, count: int, block_ms: int) -> Page:
    """Read up to ``count`` events after an id, waiting for the first at most ``block_ms``; 0 does not wait."""
    block: Sequence[Argument] = (b"BLOCK", block_ms) if block_ms else ()
    # Asked for second: what is there after the read was there during the read.
    reply, before = await solo.ask(
        (b"XREAD", b"COUNT", count, *block, b"STREAMS", keys.events, after),
        (b"XRANGE", keys.events, after, after),
        timeout=block_ms / 1000 + _MARGIN,
    )
    for answer in (reply, before):
        if isinstance(answer, RedisError):
            raise answer
    streams: Any = reply.values() if is_map(reply) else [rows for _, rows in reply or ()]
    return Page(rows=next(iter(streams), ()), unbroken=bool(before))


async def newest(solo: Solo, keys: Keys) -> bytes:
    """Give the id after which there is nothing yet: the last one that was ever given."""
    [reply] = await solo.ask((b"XINFO", b"STREAM", keys.events), timeout=_MARGIN)
    if isinstance(reply, RedisError):
        if "no such key" in str(reply):
            return b"0-0"
        raise reply
    last: bytes = field(reply, b"last-generated-id")
    return last
