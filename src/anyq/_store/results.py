"""What became of jobs, for those who wait for it."""

from __future__ import annotations

from .._core.keys import Keys
from .._redis.client import Client


async def fetch(client: Client, keys: Keys, job_id: str) -> tuple[bytes | None, bytes | None]:
    """Get the encoded result and the encoded failure of a job; at most one of them is there."""
    result, failure = await client.call(b"MGET", keys.result(job_id), keys.failure(job_id))
    return result, failure
