"""The facts about a queue by which `_core.soundness` judges it.

Rule: to ask changes nothing, takes a few round trips however many jobs there are, and what is refused is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import attrs
from redis.exceptions import RedisError

from .._core.keys import CONSUMER_PREFIX, GROUP, Keys
from .._core.soundness import QueueFacts
from .._redis.client import Argument, Client
from .._redis.replies import field, is_list
from . import inspect, totals

_NONE: Final = b"none"


@attrs.define
class _Crowd:
    """Who reads the lanes."""

    names: dict[bytes, int] = attrs.field(factory=dict[bytes, int])
    strangers: set[str] = attrs.field(factory=set[str])
    without: list[str] = attrs.field(factory=list[str])
    entries: int = 0
    vanished: int = 0


async def facts_of(client: Client, keys: Keys) -> QueueFacts:
    """Ask all that is told about a queue."""
    facts = QueueFacts(queue=keys.queue)
    there, wrong = await _types(client, keys)
    if wrong:
        return attrs.evolve(facts, wrong=wrong)
    crowd = await _crowd(client, [lane for lane in keys.all_lanes if there is None or lane in there])
    names = sorted(name for name in crowd.names if name.startswith(CONSUMER_PREFIX))
    alive: Sequence[Any] = (
        await client.call_many([(b"EXISTS", keys.heartbeat(name)) for name in names]) if names else ()
    )
    silent = [name for name, lives in zip(names, alive, strict=True) if lives == 0]
    clock, run, *locks = await client.call_many(
        [
            (b"TIME",), (b"ZRANGE", keys.schedules, 0, 0, b"WITHSCORES"),
            *((b"PTTL", lock) for lock in (keys.promoter_lock, keys.scheduler_lock)),
        ]
    )  # fmt: skip
    if isinstance(clock, RedisError):
        raise clock
    now = int(clock[0]) * 1000 + int(clock[1]) // 1000
    depths, ages = await inspect.depths(client, keys), await inspect.ages(client, keys)
    return attrs.evolve(
        facts,
        wrong=None if there is None else {},
        entries=crowd.entries,
        groups=tuple(crowd.without),
        strangers=tuple(sorted(crowd.strangers)),
        consumers=len(crowd.names),
        workers=len(names) - len(silent),
        foreign=len(crowd.names) - len(names),
        silent=len(silent),
        held=sum(crowd.names[name] for name in silent),
        vanished=crowd.vanished,
        ready=max(0, depths.ready - depths.held),
        oldest=ages.oldest,
        delayed=depths.delayed,
        next_due=ages.next_due,
        next_run=_first_score(run, now),
        paused=depths.paused,
        tasks=tuple(sorted(depths.paused_tasks)),
        aside=depths.aside,
        parked=await _parked(client, keys),
        dead=depths.dead_letters,
        trimmed=ages.trimmed,
        endless=tuple(
            lock.decode()
            for lock, left in zip((keys.promoter_lock, keys.scheduler_lock), locks, strict=True)
            if left == -1
        ),
    )


async def _types(client: Client, keys: Keys) -> tuple[set[bytes] | None, dict[str, tuple[str, str]]]:
    """Which keys there are, and which of them hold something else; ``None`` if this user may not ask."""
    wanted: dict[bytes, str] = {
        **dict.fromkeys(keys.all_lanes, "stream"),
        keys.delayed: "zset", keys.dead_letters: "stream", keys.events: "stream", keys.pauses: "hash",
        keys.cancels: "zset", keys.waiting: "hash", keys.children: "hash", keys.schedules: "zset",
        keys.counts: "hash", keys.history: "stream", keys.parked: "zset",
        keys.paused_schedules: "zset", keys.ended_schedules: "zset", keys.trimmed: "string",
        keys.promoter_lock: "string", keys.scheduler_lock: "string",
    }  # fmt: skip
    replies = await client.call_many([(b"TYPE", key) for key in wanted])
    if any(isinstance(reply, RedisError) for reply in replies):
        return None, {}
    there = {key for key, reply in zip(wanted, replies, strict=True) if reply != _NONE}
    wrong = {
        key.decode(): (reply.decode(), should)
        for (key, should), reply in zip(wanted.items(), replies, strict=True)
        if reply != _NONE and reply.decode() != should
    }
    return there, wrong


async def _crowd(client: Client, lanes: Sequence[bytes]) -> _Crowd:
    crowd = _Crowd()
    if not lanes:
        return crowd
    commands: list[tuple[Argument, ...]] = []
    for lane in lanes:
        commands += [
            (b"XLEN", lane), (b"XINFO", b"GROUPS", lane), (b"XPENDING", lane, GROUP),
            (b"XINFO", b"CONSUMERS", lane, GROUP),
        ]  # fmt: skip
    replies = await client.call_many(commands)
    for place, lane in enumerate(lanes):
        length, groups, pending, consumers = replies[4 * place : 4 * place + 4]
        if isinstance(length, RedisError):
            continue
        crowd.entries += length
        if not isinstance(groups, RedisError):
            found = {field(group, b"name"): field(group, b"pending") for group in groups}
        else:  # no such stream; or this user, like a worker, may ask for the one group only
            found = {} if isinstance(pending, RedisError) else {GROUP: pending[0]}
        crowd.strangers |= {name.decode("utf-8", "replace") for name in found if name != GROUP}
        if GROUP not in found:
            crowd.without += [lane.decode()] if length else []
            continue
        crowd.vanished += max(0, found[GROUP] - length)
        if not isinstance(consumers, RedisError):
            for row in consumers:
                name = field(row, b"name")
                crowd.names[name] = crowd.names.get(name, 0) + field(row, b"pending")
    return crowd


async def _parked(client: Client, keys: Keys) -> dict[str, int] | None:
    """How many jobs wait for a worker that knows their task; ``None`` if nobody counts, or this user may not ask."""
    if keys.shared:
        return None
    try:
        return (await totals.read(client, keys, 1)).parked_tasks
    except RedisError:
        return None


def _first_score(reply: Any, now: int) -> float | None:
    """Seconds until the first of a sorted set; RESP3 pairs members with scores, RESP2 does not."""
    if isinstance(reply, RedisError) or not reply:
        return None
    first, *rest = reply
    score = first[1] if is_list(first) else rest[0]
    return (float(score) - now) / 1000
