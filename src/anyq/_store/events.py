"""The events stream: chasquimq's fields, in batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._core.keys import Keys
from .._redis.client import Argument, Client
from . import scripts

#: Events in one script: a bounded time in which the server serves nobody else.
_IN_ONE_SCRIPT = 250


async def append(client: Client, keys: Keys, events: Sequence[Sequence[Argument]], keep: int) -> list[Any]:
    """Write events, each a row of fields and values, in one write; error replies are elements, one per script."""
    calls: list[tuple[Sequence[Argument], Sequence[Argument]]] = []
    for start in range(0, len(events), _IN_ONE_SCRIPT):
        args: list[Argument] = [keep]
        for event in events[start : start + _IN_ONE_SCRIPT]:
            args.append(len(event))
            args += event
        calls.append(((keys.events,), args))
    return await client.run_many(scripts.APPEND, calls)
