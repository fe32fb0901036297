"""The events stream: chasquimq's fields, in batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgpack

from .._core.keys import Keys
from .._redis.client import Argument, Client
from . import scripts

#: Events in one script: a bounded time in which the server serves nobody else.
_IN_ONE_SCRIPT = 250

# One argument a script: to pack a dozen words of each event as arguments of their own took a fifth of a worker's time.
# Bytes and text are one to Redis, and to its Lua.
_pack = msgpack.Packer(use_bin_type=False).pack


async def append(client: Client, keys: Keys, events: Sequence[Sequence[Argument]], keep: int) -> list[Any]:
    """Write events, each a row of fields and values, in one write; error replies are elements, one per script."""
    calls: list[tuple[Sequence[Argument], Sequence[Argument]]] = [
        ((keys.events,), (keep, _pack(events[start : start + _IN_ONE_SCRIPT])))
        for start in range(0, len(events), _IN_ONE_SCRIPT)
    ]
    return await client.run_many(scripts.APPEND, calls)
