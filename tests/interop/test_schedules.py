"""Schedules of both on one queue: each side shows, starts and changes the other's, and none starts a run twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest
from tests.interop.ours import shared_queue
from tests.interop.peer import PATIENCE, chasquimq

from anyq import Cron, Every, Missed, Queue, Schedule, Worker, current_job

pytestmark = pytest.mark.anyio

NOTHING = timedelta(0)

EVERY = {"kind": "every", "interval_ms": 200}

SAME: dict[str, tuple[Cron | Every, Missed, dict[str, Any]]] = {
    "every": (Every(60), Missed.skip(), {"repeat": {"kind": "every", "interval_ms": 60_000}}),
    "cron": (
        Cron("0 9 * * *", tz="America/New_York"),
        Missed.skip(),
        {"repeat": {"kind": "cron", "expression": "0 9 * * *", "tz": "America/New_York"}, "limit": 7},
    ),
    "once": (
        Cron("*/5 * * * *"),
        Missed.once(),
        {"repeat": {"kind": "cron", "expression": "*/5 * * * *"}, "missed": {"kind": "fire-once"}},
    ),
    "all": (
        Every(0.5),
        Missed.all(12),
        {
            "repeat": {"kind": "every", "interval_ms": 500},
            "missed": {"kind": "fire-all", "max_catchup": 12},
            "start_after_ms": 1_900_000_000_000,
            "end_before_ms": 2_000_000_000_000,
        },
    ),
}


@pytest.mark.parametrize(("when", "missed", "theirs"), SAME.values(), ids=SAME.keys())
async def test_both_write_the_same_bytes(
    url: str, when: Cron | Every, missed: Missed, theirs: dict[str, Any]
) -> None:
    queue = shared_queue(url).queue
    bounds: dict[str, Any] = {
        ours: datetime.fromtimestamp(theirs[name] / 1000, UTC)
        for ours, name in (("start", "start_after_ms"), ("end", "end_before_ms"))
        if name in theirs
    }
    async with chasquimq(url) as peer, queue:
        key = await peer.upsert("act", {"number": 1}, **theirs)
        written = await queue.redis.call("HGETALL", queue.keys.schedule(key))
        found = await found_one(queue, key)
        assert (found.when, found.missed, found.payload) == (when, missed, {"number": 1})
        await queue.schedules.remove(key)
        await queue.schedules.upsert(
            key, "act", when, {"number": 1}, missed=missed, limit=theirs.get("limit"), **bounds
        )
        assert await queue.redis.call("HGETALL", queue.keys.schedule(key)) == written
        [shown] = await peer.repeatables()
        assert shown["key"] == key
        assert shown["next"] == milliseconds((await found_one(queue, key)).next_at)


async def test_what_chasquimq_plans_anyq_starts(url: str) -> None:
    ours = shared_queue(url)
    planned: list[datetime | None] = []

    @ours.queue.task
    async def tick(number: int) -> None:
        planned.append(current_job().scheduled_at)

    async with chasquimq(url) as peer, ours.queue:
        key = await peer.upsert("tick", {"number": 3}, EVERY, limit=4)
        async with Worker(ours.queue):
            await until_gone(ours.queue, key)
        assert await peer.repeatables() == []
    first, *rest = planned
    assert first is not None
    assert len(rest) == 3
    assert all(one is not None and (one - first) % timedelta(milliseconds=200) == NOTHING for one in rest)


async def test_what_anyq_plans_chasquimq_starts(url: str) -> None:
    ours = shared_queue(url)
    async with chasquimq(url) as peer, ours.queue:
        await peer.work(scheduler_tick_ms=50)
        made = await ours.queue.schedules.upsert(
            "mine", "act", Every(0.2), {"number": 3}, limit=3, attempts=2, timeout=5, jitter=0.01
        )
        await ours.queue.schedules.upsert(
            "second", "act", Cron("* * * * * *", tz="Europe/Berlin"), {"number": 4}, limit=2
        )
        runs = await peer.runs.first(5)
        assert sorted(run.payload["number"] for run in runs) == [3, 3, 3, 4, 4]
        assert len({run.id for run in runs}) == 5
        assert made.next_at is not None
        await until_gone(ours.queue, "mine")


async def test_each_side_changes_what_the_other_made(url: str) -> None:
    ours = shared_queue(url)
    schedules = ours.queue.schedules
    async with chasquimq(url) as peer, ours.queue:
        theirs = await peer.upsert("act", {"number": 1}, {"kind": "every", "interval_ms": 60_000})
        assert (await schedules.pause(theirs)).state == "paused"
        assert await peer.repeatables() == []
        assert (await schedules.resume(theirs)).state == "active"
        assert [one["key"] for one in await peer.repeatables()] == [theirs]
        await schedules.upsert(theirs, "act", Every(60), {"number": 2}, jitter=5, attempts=3)
        await peer.upsert("act", {"number": 4}, {"kind": "every", "interval_ms": 60_000})
        found = await found_one(ours.queue, theirs)
        assert (found.payload, found.jitter, found.options) == ({"number": 4}, 0, {}), "they wrote it anew"
        await schedules.upsert("mine", "act", Every(60))
        assert await peer.remove_repeatable("mine")
        assert await schedules.get("mine") is None
        assert await schedules.remove(theirs)
        assert await peer.repeatables() == []


async def test_no_run_is_started_twice_whoever_holds_the_lock(url: str) -> None:
    """The lock goes from theirs to ours and back; every run that was counted has one job."""
    ours = shared_queue(url)
    async with chasquimq(url) as peer, ours.queue:
        await ours.queue.schedules.upsert("s", "act", Every(0.05), {"number": 1}, missed=Missed.all(1000))
        await peer.work(scheduler_tick_ms=20)
        await peer.runs.first(5)
        holder = ours.queue.keys.scheduler_lock
        for _ in range(2):
            async with Worker(ours.queue) as worker:
                await ours.queue.redis.set(holder, worker.name, px=5000)
                told = len(ours.runs.told) + len(peer.runs.told)
                with anyio.fail_after(PATIENCE):
                    while len(ours.runs.told) + len(peer.runs.told) < told + 20:
                        await anyio.lowlevel.checkpoint()
            await peer.runs.first(len(peer.runs.told) + 5)
        paused = await ours.queue.schedules.pause("s")
        with anyio.fail_after(PATIENCE):
            while len(ours.runs.told) + len(peer.runs.told) < paused.fired:
                await anyio.lowlevel.checkpoint()
        runs = [*ours.runs.told, *peer.runs.told]
        assert len({run.id for run in runs}) == len(runs) == paused.fired
        assert paused.next_at is not None
        assert paused.last_at is not None, "some were started by AnyQ, which notes it"


async def test_expressions_that_anyq_does_not_know_are_left_to_chasquimq(url: str) -> None:
    ours = shared_queue(url)
    async with chasquimq(url) as peer, ours.queue:
        year = datetime.now(UTC).year
        key = await peer.upsert(
            "act", {"number": 9}, {"kind": "cron", "expression": f"* * * * * * {year}-{year + 1}"}
        )
        async with Worker(ours.queue):
            await ours.queue.schedules.upsert("mine", "act", Every(0.05), {"number": 1}, limit=3)
            await until_gone(ours.queue, "mine")
            await ours.runs.first(3)
            assert {run.payload["number"] for run in ours.runs.told} == {1}
        await peer.work(scheduler_tick_ms=50)
        [run] = await peer.runs.first(1)
        assert run.payload == {"number": 9}
        assert await ours.queue.schedules.remove(key)


async def found_one(queue: Queue, name: str) -> Schedule:
    found = await queue.schedules.get(name)
    assert found is not None
    return found


async def until_gone(queue: Queue, name: str) -> None:
    """Until it has ended; chasquimq forgets it then."""
    with anyio.fail_after(PATIENCE):
        while (found := await queue.schedules.get(name)) is not None and found.state == "active":
            pass


def milliseconds(moment: datetime | None) -> int:
    assert moment is not None
    return round(moment.timestamp() * 1000)
