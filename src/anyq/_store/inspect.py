"""Looking, without touching: how long, how many, how soon."""

from __future__ import annotations

import attrs

from .._core.keys import Keys
from .._redis.client import Client
from . import scripts


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
    """Count, in one round trip and nearly constant time."""
    counts = await client.run(scripts.DEPTHS, (keys.delayed, keys.dead_letters, *keys.lanes))
    return Depths(*counts)
