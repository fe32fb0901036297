"""Who does what is due on time: one worker of a queue, which holds a lock; the others only when it is late.

The locks are chasquimq's, and shared with its workers. They spare work, no more: whatever a lock's holder does, anybody
may do, and nothing happens twice.
"""

from __future__ import annotations

from typing import Final

from .._redis.client import Client

#: Milliseconds that a lock lasts, as chasquimq has it.
LOCK_MS: Final = 5000

#: Milliseconds after which somebody who does not hold the lock does what is due.
COURTESY_MS: Final = 50


async def resign(client: Client, lock: bytes, worker: bytes) -> None:
    """Give the lock up, if it is ours, so that somebody else leads at once."""
    if await client.call(b"GET", lock) == worker:
        await client.call(b"DEL", lock)
