"""What became of jobs, for those who wait for it."""

from __future__ import annotations

from .._core.keys import Keys
from .._redis.client import Client


async def fetch(client: Client, keys: Keys, job_id: str) -> tuple[bytes | None, bytes | None]:
    """Get the encoded result and the encoded failure of a job; at most one of them is there."""
    result, failure = await client.call(b"MGET", keys.result(job_id), keys.failure(job_id))
    return result, failure


async def holds(client: Client, claim: bytes, job_id: str) -> tuple[bool, bool]:
    """Tell whether a job still holds what it took with this key, its chosen id or a unique key; and for how long.

    Returns:
        Whether it does: it has not ended then, unless it holds a unique key for a while longer; and whether it may.
    """
    value = await client.call(b"GET", claim)
    if value is None:
        return False, False
    until, separator, owner = value.replace(b"~", b":", 1).partition(b":")
    mine = b":unique:" not in claim or not separator or owner == job_id.encode()
    return mine, separator == b":" and until != b"0"
