"""One consumer and all its verbs, as the worker's services use them; and what the server says lies where.

For tests that play a queue by hand, verb by verb.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any, cast

import attrs
from redis.exceptions import ResponseError

from anyq._core.codec import delayed_member, encode
from anyq._core.job import NO_EXTRAS, Extras
from anyq._core.keys import DEFAULT_PRIORITY, GROUP, Keys
from anyq._core.lanes import Lanes
from anyq._redis.client import Client
from anyq._store import pauses, scripts
from anyq._store.consume import Consuming
from anyq._store.control import Controlling
from anyq._store.leases import Leasing
from anyq._store.promote import Promoting
from anyq._store.publish import Addition, Publishing
from anyq._store.schedules import Scheduling
from anyq._store.settle import Settling
from anyq.settings import Retention

Fields = dict[bytes, bytes]

_claims = itertools.count(1)


def envelope(job_id: str, failed: int = 0, extras: Extras = NO_EXTRAS) -> bytes:
    """A job with nothing to it but its id."""
    return encode(job_id, b"\x80", 1000, failed, extras=extras)


def addition(job: str, /, **options: Any) -> Addition:
    """A job of the task ``task``; with ``job_id`` among the options its id is a chosen one."""
    if "job_id" in options:
        options.setdefault("claim", f"claim-{next(_claims)}")
    extras = Extras(priority=options["priority"]) if "priority" in options else NO_EXTRAS
    return Addition("task", envelope(job, extras=extras), **options)


def claiming(
    job: str, /, *, chosen: bool = False, unique: str | None = None, tracked: bool = False, **options: Any
) -> Addition:
    """A job that carries what it owns, as `Queue` makes them: a chosen id, a unique key, a track."""
    number = next(_claims)
    extras = Extras(
        claim=f"claim-{number}" if chosen else "",
        unique=unique or "",
        tracked=tracked,
        priority=options.get("priority", DEFAULT_PRIORITY),
    )
    data = encode(job, b"\x80", 1000 + number, extras=extras)
    return Addition("task", data, job_id=job, claim=extras.claim, unique=unique, tracked=tracked, **options)


def member(job_id: str, failed: int = 0, extras: Extras = NO_EXTRAS, *, parked: bool = False) -> bytes:
    """A job of the task ``task``, as it lies in the delayed set."""
    return delayed_member("task", envelope(job_id, failed, extras), extras.priority, parked=parked)


@attrs.frozen
class Entry:
    """An entry in somebody's hands."""

    lane: bytes
    id: bytes
    fields: Fields


class Hands:
    """A consumer of a queue.

    Attributes:
        name: The consumer's name.
    """

    def __init__(self, client: Client, keys: Keys, name: bytes, *, dead_letters: int = 100_000) -> None:
        self.client = client
        self.keys = keys
        self.name = name
        self.lanes = Lanes(keys)
        self.consuming = Consuming(client, keys, name, self.lanes)
        self.settling = Settling(client, keys, name, dead_letters=dead_letters)
        self.leasing = Leasing(client, keys, name, self.lanes)
        self.promoting = Promoting(client, keys, name)
        self.scheduling = Scheduling(client, keys, name)

    async def take(self, count: int = 100, block_ms: int = 1) -> list[Entry]:
        """Read what is there, per lane."""
        return [
            Entry(lane, entry, as_fields(fields))
            for lane, deliveries in await self.consuming.read(count, block_ms)
            for entry, fields in deliveries
        ]

    async def pick(self, count: int = 100) -> list[Entry]:
        """Take what is there, in the order of priorities."""
        return [
            Entry(lane, entry, as_fields(fields))
            for lane, deliveries in await self.consuming.take(count)
            for entry, fields in deliveries or ()
        ]

    async def learn(self) -> None:
        """Learn which lanes there are, and read them all."""
        found = await pauses.look(self.client, self.keys, self.name)
        await self.consuming.widen(self.lanes.unknown(found.priorities))

    async def beat(self, milliseconds: int = 60_000) -> None:
        """Live for so long."""
        await self.client.run(scripts.BEAT, (self.keys.heartbeat(self.name),), (milliseconds, 1))

    async def fall_silent(self) -> None:
        """As after the heartbeat ran out."""
        await self.client.call("DEL", self.keys.heartbeat(self.name))


class Table:
    """A queue, seen from outside."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self.client = client
        self.keys = keys
        self._producers = 0

    def producer(self) -> Publishing:
        """A producer of its own."""
        self._producers += 1
        return Publishing(self.client, self.keys, b"producer-%d" % self._producers)

    def controlling(self) -> Controlling:
        """Somebody who looks for single jobs and changes them; its batches are numbered by the test."""
        self._producers += 1
        return Controlling(self.client, self.keys, b"producer-%d" % self._producers, Retention(logs=0))

    async def hands(self, name: bytes, *, alive: bool = True, **options: Any) -> Hands:
        """A consumer in the group."""
        hands = Hands(self.client, self.keys, name, **options)
        await hands.consuming.ensure_group()
        if alive:
            await hands.beat()
        return hands

    async def add(self, *ids: str) -> None:
        """Put jobs into the stream."""
        for job_id in ids:
            await self.client.call("XADD", self.keys.stream, "*", "d", envelope(job_id), "n", "task")

    async def delay(self, *ids: str, by_ms: int = 0) -> None:
        """Put jobs into the delayed set, due so many milliseconds from the server's now."""
        now = await self.now_ms()
        for job_id in ids:
            await self.client.call("ZADD", self.keys.delayed, now + by_ms, member(job_id))

    async def now_ms(self) -> int:
        """The server's clock."""
        seconds, micros = await self.client.call("TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    async def entries(self, stream: bytes) -> list[tuple[bytes, Fields]]:
        """What a stream holds."""
        rows = await self.client.call("XRANGE", stream, "-", "+")
        return [(row[0], as_fields(row[1])) for row in rows]

    async def fields(self, stream: bytes) -> list[Fields]:
        """What a stream holds, without the entry ids."""
        return [fields for _, fields in await self.entries(stream)]

    async def delayed(self) -> dict[bytes, int]:
        """What is delayed, and until which millisecond."""
        flat = await self.client.call("ZRANGE", self.keys.delayed, 0, -1, "WITHSCORES")
        rows = flat if not flat or isinstance(flat[0], list) else zip(flat[::2], flat[1::2], strict=True)
        return {member: int(float(score)) for member, score in rows}

    async def pending(self) -> list[tuple[bytes, bytes, bytes, int]]:
        """What is in hands: lane, entry, consumer, how many deliveries."""
        rows: list[tuple[bytes, bytes, bytes, int]] = []
        for lane in self.keys.all_lanes:
            if await self.client.call("EXISTS", lane):
                try:
                    found = await self.client.call("XPENDING", lane, GROUP, "-", "+", 100_000)
                except ResponseError:  # nobody has read it yet
                    continue
                rows += [(lane, entry, consumer, count) for entry, consumer, _, count in found]
        return rows

    async def consumers(self) -> set[bytes]:
        """Who is in the group."""
        names: set[bytes] = set()
        for lane in self.keys.all_lanes:
            if not await self.client.call("EXISTS", lane):
                continue
            try:
                rows = await self.client.call("XINFO", "CONSUMERS", lane, GROUP)
            except ResponseError:  # nobody has read it yet
                continue
            for row in rows:
                values = row if isinstance(row, dict) else dict(zip(row[::2], row[1::2], strict=True))
                names.add(cast("bytes", values[b"name"]))
        return names

    async def everything(self) -> dict[str, object]:
        """All of it, to see that nothing changed."""
        lanes = {lane.decode(): await self.entries(lane) for lane in self.keys.all_lanes}
        return {
            **lanes,
            "delayed": await self.delayed(),
            "dead": await self.entries(self.keys.dead_letters),
            "aside": await self.entries(self.keys.aside("task")),
            "pauses": await self.client.call("HGETALL", self.keys.pauses),
            "pending": await self.pending(),
        }


def as_fields(flat: Iterable[bytes] | None) -> Fields:
    """Fields and values as a map."""
    parts = list(flat or ())
    return dict(zip(parts[::2], parts[1::2], strict=True))
