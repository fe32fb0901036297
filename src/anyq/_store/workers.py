"""Who works on a queue: the consumers of its group, and what each tells about itself.

Which consumers there are is known to the group alone, and their heartbeats to nobody else: so it takes two looks, and a
third one when somebody seems to be gone, who may only have left in between.
"""

from __future__ import annotations

from collections.abc import Sequence

from redis.exceptions import RedisError

from .._core.keys import GROUP, Keys
from .._core.workers import Consumer, WorkerInfo, describe
from .._redis.client import Client
from .._redis.replies import error_code, field
from .clock import server_ms

#: Heartbeats that are asked for at once.
_BATCH = 50


async def workers(client: Client, keys: Keys) -> list[WorkerInfo]:
    """List the workers of a queue, those that live first; as many looks as there are workers, however many jobs."""
    consumers = await _consumers(client, keys)
    records = await _records(client, keys, list(consumers))
    if any(record is None for record in records.values()):
        still = await _consumers(client, keys)
        consumers = {
            name: one for name, one in consumers.items() if records[name] is not None or name in still
        }
    now = await server_ms(client)
    found = [describe(name, one, records[name], now) for name, one in consumers.items()]
    return sorted(found, key=lambda one: (not one.lives, one.host or "", one.pid or 0, one.name))


async def _consumers(client: Client, keys: Keys) -> dict[bytes, Consumer]:
    replies = await client.call_many([(b"XINFO", b"CONSUMERS", lane, GROUP) for lane in keys.all_lanes])
    found: dict[bytes, Consumer] = {}
    for reply in replies:
        if isinstance(reply, RedisError):
            if error_code(reply) == "NOGROUP" or "no such key" in str(reply):  # there never was a worker
                continue
            raise reply
        for row in reply:
            name = field(row, b"name")
            known = found.get(name)
            held, idle = int(field(row, b"pending")), int(field(row, b"idle")) / 1000
            if known is not None:
                held, idle = held + known.held, min(idle, known.idle)
            found[name] = Consumer(held, idle)
    return found


async def _records(client: Client, keys: Keys, names: Sequence[bytes]) -> dict[bytes, bytes | None]:
    records: dict[bytes, bytes | None] = {}
    for start in range(0, len(names), _BATCH):
        batch = names[start : start + _BATCH]
        found = await client.call(b"MGET", *map(keys.heartbeat, batch))
        records.update(zip(batch, found, strict=True))
    return records
