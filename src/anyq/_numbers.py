"""The numbers of a queue, put together from what its keys tell: how much there is, how old, how much was ever done.

Everything is read in bounded steps, however many jobs there are.
"""

from __future__ import annotations

from datetime import datetime

from anyio.lowlevel import checkpoint

from ._core.keys import Keys
from ._core.totals import MINUTE, Totals, by_minute, lately
from ._redis.client import Client
from ._store import inspect, totals
from ._store.totals import Counted
from .settings import from_milliseconds
from .vitals import Minute, QueueStats, Rates

#: Minutes of history from which the rates of the last five follow: five and the one before, of which a part counts.
_LATELY = 6

#: Minutes of a history after which others have a turn: what is told of two months takes a second.
_TURN = 200

_NOTHING = Totals()


async def stats(client: Client, keys: Keys) -> QueueStats:
    """Tell what a queue holds, how long it has waited, and what was ever counted."""
    depths, ages, counted = await inspect.everything(client, keys, _LATELY)
    ever = counted.totals
    return QueueStats(
        ready=max(0, depths.ready - depths.held),
        running=depths.held,
        delayed=depths.delayed,
        due=depths.due,
        aside=depths.aside,
        dead=depths.dead_letters,
        trimmed=ages.trimmed,
        oldest=ages.oldest,
        next_due=ages.next_due,
        paused=depths.paused,
        paused_until=_end(depths.paused_until),
        paused_tasks={task: _end(until) for task, until in sorted(depths.paused_tasks.items())},
        waiting=depths.waiting,
        parked=counted.parked,
        parked_by_task=counted.parked_tasks,
        added=ever.added,
        replayed=ever.replayed,
        done=ever.done,
        failed=ever.failed,
        retried=ever.retried,
        given_up=ever.dead,
        cancelled=ever.cancelled,
        lost=ever.lost,
        last_minute=_rates(counted, 1),
        last_five_minutes=_rates(counted, 5),
    )


async def history(client: Client, keys: Keys, minutes: int) -> list[Minute]:
    """Tell what happened in each of the last ``minutes``, the one that has only begun last."""
    counted = await totals.read(client, keys, minutes)
    happened: dict[int, Totals] = {}
    for place, (start, totals_of_it) in enumerate(by_minute(counted.totals, counted.rows)):
        happened[start] = totals_of_it
        if place % _TURN == 0:
            await checkpoint()
    present = counted.now_ms // MINUTE * MINUTE
    told: list[Minute] = []
    for start in range(present - (minutes - 1) * MINUTE, present + MINUTE, MINUTE):
        told.append(_minute(start, happened.get(start, _NOTHING)))
        if len(told) % _TURN == 0:
            await checkpoint()
    return told


def _minute(start: int, happened: Totals) -> Minute:
    return Minute(
        start=from_milliseconds(start),
        added=happened.added,
        replayed=happened.replayed,
        done=happened.done,
        failed=happened.failed,
        retried=happened.retried,
        given_up=happened.dead,
        cancelled=happened.cancelled,
        lost=happened.lost,
    )


def _end(until_ms: int) -> datetime | None:
    return from_milliseconds(until_ms) if until_ms else None


def _rates(counted: Counted, minutes: int) -> Rates:
    happened = dict(by_minute(counted.totals, counted.rows))
    added, ended, failed = lately(happened, counted.now_ms, minutes)
    return Rates(added=added, ended=ended, failed=failed)
