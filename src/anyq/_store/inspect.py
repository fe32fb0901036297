"""Looking, without touching: how long, how many, how soon."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from redis.exceptions import RedisError

from .._core.keys import GROUP, Keys
from .._redis.client import Client, ScriptCall
from . import scripts, totals


@attrs.frozen
class Depths:
    """How much of everything a queue holds.

    Attributes:
        ready: Entries in its streams, those in workers' hands included, and those that come back from a pause.
        delayed: Jobs that wait for their time.
        due: Those of them whose time has come.
        dead_letters: Jobs that were given up.
        held: Those of ``ready`` that are in workers' hands.
        aside: Jobs that are set aside because their task is paused.
        paused: Whether the whole queue is paused.
        paused_until: Until which millisecond; 0 until it is resumed.
        paused_tasks: The same for each paused task.
        waiting: Jobs that wait for others to end.
    """

    ready: int
    delayed: int
    due: int
    dead_letters: int
    held: int = 0
    aside: int = 0
    paused: bool = attrs.field(default=False, converter=bool)
    paused_until: int = 0
    paused_tasks: Mapping[str, int] = attrs.field(factory=dict[str, int])
    waiting: int = 0


async def depths(client: Client, keys: Keys) -> Depths:
    """Count, in one round trip and nearly constant time."""
    return _depths(await client.run(*_asking_depths(keys)))


def _asking_depths(keys: Keys) -> ScriptCall:
    places = (keys.delayed, keys.dead_letters, keys.pauses, keys.waiting, *keys.all_lanes)
    return scripts.DEPTHS, places, (GROUP,)


def _depths(reply: Any) -> Depths:
    *counts, ends, waiting = reply
    paused_tasks = {task.decode(): int(end) for task, end in zip(ends[::2], ends[1::2], strict=True)}
    return attrs.evolve(Depths(*counts), paused_tasks=paused_tasks, waiting=waiting)


@attrs.frozen
class Ages:
    """How long jobs have waited.

    Attributes:
        oldest: Seconds for which the oldest job that nobody took has been ready; ``None`` if there is none.
        next_due: Seconds until the next delayed job is due, negative if it is late; ``None`` if none waits.
        trimmed: Dead letters that were ever trimmed.
    """

    oldest: float | None
    next_due: float | None
    trimmed: int


async def ages(client: Client, keys: Keys) -> Ages:
    """Look at the first of each line, in one round trip and constant time."""
    return _ages(await client.run(*_asking_ages(keys)))


def _asking_ages(keys: Keys) -> ScriptCall:
    return scripts.AGES, (keys.delayed, keys.trimmed, *keys.all_lanes), (GROUP,)


def _ages(reply: Any) -> Ages:
    oldest, due, trimmed = reply
    return Ages(None if oldest < 0 else oldest / 1000, int(due) / 1000 if due else None, trimmed)


async def everything(client: Client, keys: Keys, minutes: int) -> tuple[Depths, Ages, totals.Counted]:
    """Count, look and read what was counted of the last ``minutes``: in one round trip, and nearly constant time."""
    asked = (_asking_depths(keys), _asking_ages(keys), totals.asking(keys, minutes))
    replies = await client.run_many(asked)
    for reply in replies:
        if isinstance(reply, RedisError):
            raise reply
    held, waited, happened = replies
    return _depths(held), _ages(waited), totals.counted(happened, minutes)
