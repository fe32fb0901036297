"""Looking, without touching: how long, how many, how soon."""

from __future__ import annotations

import attrs

from .._core.keys import Keys
from .._redis.client import Client


@attrs.frozen
class Depths:
    """How much of everything a queue holds.

    Attributes:
        ready: Entries in its streams, those in workers' hands included.
        delayed: Jobs that wait for their time.
        due: Those of them whose time has come.
        dead_letters: Jobs that were given up.
    """

    ready: int
    delayed: int
    due: int
    dead_letters: int


async def depths(client: Client, keys: Keys) -> Depths:
    """Count, in one round trip and a constant time."""
    time, *lengths = await client.call_many(
        [(b"TIME",), *((b"XLEN", lane) for lane in keys.lanes), (b"ZCARD", keys.delayed), (b"XLEN", keys.dead_letters),
         (b"ZRANGE", keys.delayed, 0, 0, b"WITHSCORES")]
    )  # fmt: skip
    for reply in (time, *lengths):
        if isinstance(reply, Exception):
            raise reply
    *ready, delayed, dead_letters, first = lengths
    now_ms = int(time[0]) * 1000 + int(time[1]) // 1000
    due = 0
    if first:
        score = first[0][1] if isinstance(first[0], list) else first[1]
        if float(score) <= now_ms:
            due = await client.call(b"ZCOUNT", keys.delayed, b"-inf", now_ms)
    return Depths(sum(ready), delayed, due, dead_letters)
