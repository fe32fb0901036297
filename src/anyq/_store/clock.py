"""The server's time."""

from __future__ import annotations

from .._redis.client import Client


async def server_ms(client: Client) -> float:
    """Give the server's epoch milliseconds."""
    seconds, microseconds = await client.call(b"TIME")
    return int(seconds) * 1000 + int(microseconds) / 1000
