"""The events stream: chasquimq's fields, in batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import hiredis

from .._core.keys import Keys
from .._redis.client import Client


async def append(client: Client, keys: Keys, events: Sequence[Sequence[bytes | str | int]], keep: int) -> list[Any]:
    """Write events, each a row of fields and values, in one write; error replies are elements."""
    key = keys.events
    packed = b"".join(
        [hiredis.pack_command((b"XADD", key, b"MAXLEN", b"~", keep, b"*", *event)) for event in events]
    )
    return await client.call_packed(packed, len(events))
