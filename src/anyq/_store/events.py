"""The events stream: chasquimq's fields, written in batches, and read by whoever follows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import msgpack
from redis.exceptions import RedisError

from .._core.keys import Keys
from .._core.notices import Notice
from .._redis.client import Argument, Client, ScriptCall
from .._redis.replies import field, is_map
from .._redis.solo import Solo
from . import scripts

#: Events in one script: a bounded time in which the server serves nobody else.
_IN_ONE_SCRIPT = 250

#: Seconds past its BLOCK that a read may take before its connection counts as frozen.
_MARGIN = 2.0

_array_of = msgpack.Packer().pack_array_header


async def append(client: Client, keys: Keys, events: Sequence[Notice], keep: int) -> list[Any]:
    """Write events in one write; error replies are elements, one per script."""
    # One argument a script: a dozen words of each event as arguments of their own took a fifth of a worker's time.
    parts = [events[start : start + _IN_ONE_SCRIPT] for start in range(0, len(events), _IN_ONE_SCRIPT)]
    calls: list[ScriptCall] = [
        (scripts.APPEND, (keys.events,), (keep, _array_of(len(part)) + b"".join(part))) for part in parts
    ]
    return await client.run_many(calls)


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
