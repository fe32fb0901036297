"""Schedules at work: declared in code or made at run time, started by whichever worker, looked at and changed."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import anyio
import pytest
from tests.support.hands import Table
from tests.support.servers import SECONDS, Server
from tests.worker.conftest import Notes, dead_letters, until, working

from anyq import (
    Backoff,
    Cron,
    Every,
    Limits,
    Missed,
    NotOpen,
    PayloadRefused,
    Queue,
    Schedule,
    UnknownSchedule,
    current_job,
)
from anyq._core.codec import decode
from anyq.metrics import MemorySink, ScheduleFired

pytestmark = pytest.mark.anyio

LONG = timedelta(hours=1)
MILLISECOND = timedelta(milliseconds=1)


@pytest.fixture
async def opened(queue: Queue) -> AsyncGenerator[Queue]:
    async with queue:
        yield queue


def noted(queue: Queue, notes: Notes[Any]) -> Any:
    @queue.task
    async def tick(number: int = 0) -> None:
        notes.add((current_job().scheduled_at, number))

    return tick


async def overdue(queue: Queue, name: str, by: timedelta) -> datetime:
    """As if nobody had worked for so long: the planned time was then. Returns it."""
    now = await Table(queue.redis, queue.keys).now_ms()
    planned = now - round(by / MILLISECOND)
    assert await queue.redis.call("ZADD", queue.keys.schedules, "XX", "CH", planned, name)
    return datetime.fromtimestamp(planned / 1000, UTC)


def grid(times: list[datetime], interval: timedelta) -> bool:
    return all((two - one) % interval == timedelta(0) and two > one for one, two in pairwise(times))


# -- when jobs are made -----------------------------------------------------------------------------------------------


async def test_an_interval_makes_a_job_for_each_planned_time_once_whoever_works(
    redis_url: str, notes: Notes[Any]
) -> None:
    """Three workers; each planned time has one job, which knows it, and none is early."""
    early: list[float] = []
    queues = [Queue("work", redis_url) for _ in range(3)]
    for queue in queues:

        @queue.every(0.02, missed=Missed.all(1000))
        async def tick() -> None:
            planned = current_job().scheduled_at
            assert planned is not None
            early.append(planned.timestamp() - time.time())
            notes.add(planned)

    async with working(queues[0]), working(queues[1]), working(queues[2]):
        await notes.first(40)
    times = sorted(notes.made)
    assert {two - one for one, two in pairwise(times)} == {timedelta(milliseconds=20)}
    assert max(early) < 0.002


async def test_an_interval_shorter_than_any_look_makes_its_jobs(queue: Queue, notes: Notes[Any]) -> None:
    queue.every(0.001, missed=Missed.skip(), limit=50)(noted(queue, notes))
    async with working(queue):
        times = [planned for planned, _ in await notes.first(50)]
    assert grid(times, MILLISECOND)


async def test_cron_makes_its_jobs_with_its_payload(queue: Queue, notes: Notes[Any]) -> None:
    queue.cron("* * * * * *", tz="Europe/Berlin", payload={"number": 7})(noted(queue, notes))
    async with working(queue):
        planned, number = await notes.one()
    assert number == 7
    assert planned.microsecond == 0
    assert timedelta(0) <= datetime.now(UTC) - planned < timedelta(seconds=SECONDS)


async def test_a_job_that_no_schedule_made_has_no_planned_time(queue: Queue, notes: Notes[Any]) -> None:
    tick = noted(queue, notes)
    async with working(queue):
        await tick.enqueue()
        assert await notes.one() == (None, 0)


async def test_retries_keep_the_planned_time(opened: Queue, notes: Notes[Any]) -> None:
    @opened.task(attempts=3, backoff=Backoff.fixed(0))
    async def fail() -> None:
        notes.add(current_job().scheduled_at)
        raise ValueError

    await opened.schedules.upsert("s", fail, Every(0.01), limit=1)
    async with working(opened):
        assert len(set(await notes.first(3))) == 1


async def test_the_limit_is_the_number_of_runs_and_the_schedule_is_remembered(
    opened: Queue, notes: Notes[Any]
) -> None:
    tick = noted(opened, notes)
    async with working(opened):
        for _ in range(2):  # asked for again, it does not begin again
            await opened.schedules.upsert("s", tick, Every(0.01), limit=3)
            await until_ended(opened, "s")
    assert len(notes.made) == 3
    found = await found_one(opened, "s")
    assert (found.state, found.fired, found.next_at) == ("ended", 3, None)
    assert found.last_at == notes.made[-1][0]


async def test_a_changed_schedule_counts_from_nothing(opened: Queue, notes: Notes[Any]) -> None:
    tick = noted(opened, notes)
    async with working(opened):
        await opened.schedules.upsert("s", tick, Every(0.01), limit=2)
        await until_ended(opened, "s")
        await opened.schedules.upsert("s", tick, Every(0.01), {"number": 1}, limit=2)
        await until_ended(opened, "s")
        await notes.first(4)
    assert [number for _, number in notes.made] == [0, 0, 1, 1]


async def test_start_and_end_bound_the_planned_times(opened: Queue, notes: Notes[Any]) -> None:
    start = datetime.fromtimestamp(int(time.time()) + 2, UTC)
    end = start + timedelta(milliseconds=50)
    tick = noted(opened, notes)
    planned = await opened.schedules.upsert(
        "s", tick, Every(0.02), start=start, end=end, missed=Missed.all(9)
    )
    assert planned.next_at == start
    async with working(opened):
        await until_ended(opened, "s")
        await notes.first(3)
    assert [planned for planned, _ in notes.made] == [
        start + n * timedelta(milliseconds=20) for n in range(3)
    ]


async def test_jitter_delays_jobs_by_chance_and_not_their_planned_times(opened: Queue) -> None:
    late: list[timedelta] = []

    @opened.task
    async def tick() -> None:
        planned = current_job().scheduled_at
        assert planned is not None
        late.append(datetime.now(UTC) - planned)

    await opened.schedules.upsert("s", tick, Every(0.01), jitter=0.2, limit=30, missed=Missed.all(100))
    async with working(opened):
        await until(lambda: len(late) == 30)
    assert max(late) - min(late) > timedelta(milliseconds=60)
    assert min(late) >= -2 * MILLISECOND


async def test_a_job_that_waits_by_chance_is_found_by_its_id(opened: Queue) -> None:
    await opened.schedules.upsert("s", "unknown", Every(0.001), jitter=3600, limit=1)
    async with working(opened):
        await until_ended(opened, "s")
    [member] = await opened.redis.call("ZRANGE", opened.keys.delayed, 0, -1)
    job_id = decode(member[4 + len("unknown") :])[0]
    assert await opened.redis.call("GET", opened.keys.delayed_member(job_id)) == member


# -- what was missed --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("missed", "by", "count"),
    [
        pytest.param(Missed.skip(), timedelta(minutes=2), 0, id="skip"),
        pytest.param(Missed.skip(grace=600), timedelta(minutes=2), 1, id="skip, within the grace"),
        pytest.param(None, timedelta(days=3), 1, id="once, which is the default"),
        pytest.param(Missed.once(), timedelta(hours=5, minutes=1), 1, id="once"),
        pytest.param(Missed.all(100), timedelta(hours=5, minutes=1), 6, id="all"),
        pytest.param(Missed.all(4), timedelta(hours=5, minutes=1), 4, id="the latest of all"),
        pytest.param(Missed.all(1000), timedelta(hours=250, minutes=1), 251, id="more than one step makes"),
    ],
)
async def test_missed_runs(
    opened: Queue, notes: Notes[Any], missed: Missed | None, by: timedelta, count: int
) -> None:
    tick = noted(opened, notes)
    await opened.schedules.upsert("s", tick, Every(3600), missed=missed)
    planned = await overdue(opened, "s", by)
    async with working(opened) as worker:
        await until_planned(opened, "s")
        await worker.wait_idle()
    latest = planned + by // LONG * LONG
    assert [time for time, _ in notes.made] == [latest - LONG * back for back in reversed(range(count))]
    found = await found_one(opened, "s")
    assert found.next_at == latest + LONG
    assert found.fired == count


async def test_a_night_that_was_missed_is_made_up_at_the_time_of_day_it_was_planned_for(
    opened: Queue, notes: Notes[Any]
) -> None:
    await opened.schedules.upsert(
        "s", noted(opened, notes), Cron("30 2 * * *", tz="Europe/Berlin"), missed=Missed.all(2)
    )
    now = datetime.now(UTC)
    await overdue(opened, "s", timedelta(days=10))
    async with working(opened):
        (one, _), (two, _) = await notes.first(2)
    assert now - timedelta(days=1, hours=2) < two < datetime.now(UTC)
    assert timedelta(hours=22) < two - one < timedelta(hours=26)


# -- declared in code -------------------------------------------------------------------------------------------------


async def test_a_declared_schedule_is_a_task_like_any_other(queue: Queue) -> None:
    @queue.cron("0 2 * * *", tz="Europe/Berlin", payload={"number": 1}, attempts=3)
    @queue.task(name="nightly", timeout=30, result_ttl=60)
    async def tidy(number: int) -> int:
        return number + 1

    @queue.every(LONG)
    def plain() -> None: ...

    async with working(queue):
        assert await tidy.call(4, timeout=SECONDS) == 5
        await until_planned(queue, "plain")
        nightly, hourly = await queue.schedules.list()
    assert (nightly.name, nightly.task, nightly.payload) == ("nightly", "nightly", {"number": 1})
    assert nightly.when == Cron("0 2 * * *", tz="Europe/Berlin")
    assert nightly.options == {"attempts": 3}
    assert nightly.declared
    assert (hourly.name, hourly.when) == ("plain", Every(3600))
    assert await tidy(1) == 2


async def test_an_upsert_at_every_start_does_not_move_the_anchor(redis_url: str) -> None:
    planned: set[datetime | None] = set()
    for number in range(4):
        queue = Queue("work", redis_url)

        @queue.every(3600, limit=5, payload={"number": number // 2})  # and a changed payload does not either
        async def tick(number: int) -> None: ...

        async with queue:
            async with working(queue):
                await until_declared(queue)
                found = await found_one(queue, "tick")
            assert found.payload == {"number": number // 2}
            await queue.redis.call("DEL", queue.keys.declared_schedules)
            planned.add(found.next_at)
    assert len(planned) == 1


async def test_another_interval_is_planned_from_now(opened: Queue) -> None:
    before = await opened.schedules.upsert("s", "tick", Every(3600))
    after = await opened.schedules.upsert("s", "tick", Every(60))
    assert before.next_at is not None
    assert after.next_at is not None
    assert timedelta(minutes=58) < before.next_at - after.next_at < timedelta(minutes=60)


async def test_a_schedule_that_left_the_code_starts_nothing_more(redis_url: str, notes: Notes[Any]) -> None:
    old, new = Queue("work", redis_url), Queue("work", redis_url)
    old.every(0.02)(noted(old, notes))
    noted(new, notes)
    async with new:
        async with working(old):
            await notes.first(3)
        async with working(new):
            left = await found_one(new, "tick")
            await new.schedules.upsert("other", "tick", Every(0.02), {"number": 1}, limit=5)
            await until_ended(new, "other")
        assert await found_one(new, "tick") == left
        assert left.declared
        assert left.state == "active"
        assert await new.schedules.remove("tick")


async def test_what_a_flush_takes_along_comes_back(queue: Queue, notes: Notes[Any], server: Server) -> None:
    queue.every(0.02)(noted(queue, notes))
    async with queue, working(queue):
        await notes.first(3)
        server.flush()
        made = len(notes.made)
        await queue.schedules.upsert("wake", "tick", Every(3600))  # else it looks in some seconds
        await notes.first(made + 3)


async def test_a_declared_schedule_that_is_removed_stays_so_until_a_worker_starts(queue: Queue) -> None:
    queue.every(3600)(noted(queue, Notes[Any]()))
    async with queue:
        async with working(queue):
            await until_declared(queue)
            assert await queue.schedules.remove("tick")
            await queue.schedules.upsert("other", "tick", Every(0.01), limit=2)
            await until_ended(queue, "other")
            assert await queue.schedules.get("tick") is None
        async with working(queue):
            await until_planned(queue, "tick")


async def test_a_worker_can_leave_schedules_to_others(queue: Queue, notes: Notes[Any]) -> None:
    queue.every(0.01)(noted(queue, notes))
    async with queue, working(queue, schedules=False):
        await queue.schedules.upsert("s", "tick", Every(0.01))
        await queue.enqueue("tick", {"number": 1})
        await notes.one()
        assert await queue.schedules.get("tick") is None
        assert (await found_one(queue, "s")).fired == 0
        async with working(queue):
            await notes.first(5)


async def test_a_declared_schedule_that_would_never_be_due_is_said_and_harms_nobody(
    queue: Queue, notes: Notes[Any], caplog: pytest.LogCaptureFixture
) -> None:
    tick = noted(queue, notes)
    queue.every(60, name="over", end=datetime(2020, 1, 1, tzinfo=UTC))(tick)
    queue.every(0.01)(tick)
    async with working(queue):
        await notes.first(3)
    assert "'over' would never be due" in caplog.text


def test_declarations_are_checked_at_once(queue: Queue) -> None:
    async def report(customer: str) -> None: ...

    with pytest.raises(TypeError, match="missing: customer: give its arguments with payload="):
        queue.every(60)(report)
    with pytest.raises(TypeError, match="no such parameter: 'x'"):
        queue.every(60, payload={"customer": "ada", "x": 1})(report)
    ada = queue.every(60, payload={"customer": "ada"})(report)
    queue.every(60, payload={"customer": "ada"})(report)  # a module that was loaded again
    with pytest.raises(ValueError, match=r"has a schedule 'report' already.*name="):
        queue.every(61, payload={"customer": "ada"})(report)
    queue.every(61, name="another", payload={"customer": "ada"})(ada)
    with pytest.raises(ValueError, match="belongs to"):
        Queue("other").every(61, payload={"customer": "ada"})(ada)
    assert sorted(queue.schedules.declared) == ["another", "report"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"limit": 0}, "limit must be >= 1"),
        ({"start": datetime(2027, 1, 1)}, "naive"),
        ({"end": 5}, "end must be an aware datetime"),
        (
            {"start": datetime(2027, 1, 2, tzinfo=UTC), "end": datetime(2027, 1, 1, tzinfo=UTC)},
            "before start",
        ),
        ({"jitter": -1}, "jitter must be"),
        ({"deadline": datetime(2027, 1, 1, tzinfo=UTC)}, "deadline must be a number of seconds"),
        ({"missed": "all"}, "missed must be a Missed"),
        ({"delay": 5}, "a schedule has no option 'delay'"),
        ({"attempts": 0}, "attempts must be"),
        ({"name": "{x}"}, "must not contain braces"),
    ],
)
def test_a_wrong_option_is_refused(queue: Queue, options: dict[str, Any], said: str) -> None:
    with pytest.raises((ValueError, TypeError), match=said):
        queue.every(60, **options)(print_nothing)


async def print_nothing() -> None: ...


# -- at run time ------------------------------------------------------------------------------------------------------


async def test_a_schedule_shows_what_was_asked_for(opened: Queue) -> None:
    start = datetime(2030, 1, 1, tzinfo=UTC)
    made = await opened.schedules.upsert(
        "report:ada",
        "report",
        Cron("@daily", tz="Europe/Berlin"),
        {"customer": "ada"},
        limit=5,
        start=start,
        end=datetime(2031, 1, 1, tzinfo=UTC),
        jitter=timedelta(minutes=2),
        deadline=600,
        missed=Missed.skip(grace=30),
        unique="report:ada",
        attempts=7,
        backoff=Backoff.exponential(1, maximum=60),
        timeout=5,
        result_ttl=60,
    )
    assert made == await opened.schedules.get("report:ada")
    assert made == Schedule(
        name="report:ada",
        task="report",
        when=Cron("@daily", tz="Europe/Berlin"),
        payload={"customer": "ada"},
        state="active",
        next_at=datetime(2030, 1, 1, 23, tzinfo=UTC),
        last_at=None,
        fired=0,
        limit=5,
        start=start,
        end=datetime(2031, 1, 1, tzinfo=UTC),
        jitter=120.0,
        deadline=600.0,
        missed=Missed.skip(grace=30),
        declared=False,
        unique="report:ada",
        options={
            "attempts": 7,
            "backoff": Backoff.exponential(1, maximum=60),
            "timeout": 5.0,
            "result_ttl": 60.0,
        },
    )
    assert "ada'" not in repr(made).replace("report:ada", ""), "arguments are secret"


async def test_the_jobs_run_as_the_schedule_says(opened: Queue, notes: Notes[Any]) -> None:
    @opened.task(attempts=5)
    async def fail() -> None:
        notes.add(current_job())
        await anyio.sleep_forever()

    await opened.schedules.upsert("s", fail, Every(0.01), limit=1, attempts=1, timeout=0.05)
    async with working(opened):
        job = await notes.one()
        await until_dead(opened)
    assert job.attempts == 1
    assert len(notes.made) == 1


async def test_a_run_that_is_started_too_late_is_none(opened: Queue, notes: Notes[Any]) -> None:
    tick = noted(opened, notes)
    await opened.schedules.upsert("s", tick, Every(3600), deadline=60, missed=Missed.once())
    await overdue(opened, "s", timedelta(minutes=2))
    async with working(opened):
        await until_dead(opened)
    [letter] = await dead_letters(opened)
    assert letter["reason"] == b"expired"
    assert notes.made == []


@pytest.mark.parametrize("unique", [None, "tick"])
async def test_no_run_is_started_beside_one_that_goes_on(
    opened: Queue, notes: Notes[Any], unique: str | None
) -> None:
    """With a unique key what is due meanwhile is left out, and counted; without, it starts."""
    release = anyio.Event()

    @opened.task
    async def slow() -> None:
        notes.add(current_job().scheduled_at)
        await release.wait()

    async with working(opened, drain_timeout=0):
        await opened.schedules.upsert("s", slow, Every(0.02), unique=unique)
        first = await notes.one()
        while (found := await found_one(opened, "s")).fired + found.left_out < 5:
            await opened.redis.call("PING")
        if unique is None:
            assert (found.left_out, found.unique) == (0, None)
            assert found.fired >= 5
            return
        assert (found.fired, found.last_at) == (1, first)
        assert notes.made == [first]
        release.set()
        assert (await notes.first(2))[1] > first, "once it has ended, the next one starts"


async def test_a_run_that_waits_for_its_retry_goes_on(opened: Queue, notes: Notes[Any]) -> None:
    @opened.task(backoff=Backoff.fixed(3600))
    async def fail() -> None:
        notes.add(current_job().id)
        raise ValueError

    async with working(opened):
        await opened.schedules.upsert("s", fail, Every(0.02), unique="fail")
        job_id = await notes.one()
        while (await found_one(opened, "s")).left_out < 3:
            await opened.redis.call("PING")
        assert notes.made == [job_id]
        await opened.job(job_id).cancel()  # and so its key is free again
        assert (await notes.first(2))[1] != job_id


async def test_run_now_finds_the_run_that_goes_on(opened: Queue, notes: Notes[Any]) -> None:
    tick = noted(opened, notes)
    await opened.schedules.upsert("s", tick, Every(3600), {"number": 3}, unique="tick")
    first, again = await opened.schedules.run_now("s"), await opened.schedules.run_now("s")
    other = await tick.options(unique="tick").enqueue(4)
    assert (first.new, again.new, other.new) == (True, False, False)
    assert first.id == again.id == other.id
    async with working(opened) as worker:
        await worker.wait_idle()
        assert [number for _, number in notes.made] == [3]
        assert (await opened.schedules.run_now("s")).new


async def test_a_sink_hears_what_was_left_out(opened: Queue, notes: Notes[Any]) -> None:
    @opened.every(0.02, unique="slow")
    async def slow() -> None:
        notes.add(True)
        await anyio.sleep_forever()

    sink = MemorySink()
    async with working(opened, metrics=sink, drain_timeout=0):
        await notes.one()
        await until(lambda: any(one.left_out for one in sink.observations if isinstance(one, ScheduleFired)))
    seen = [one for one in sink.observations if isinstance(one, ScheduleFired)]
    assert [(one.jobs, one.left_out) for one in seen[:2]] == [(1, False), (0, True)]


async def test_many_missed_runs_and_one_at_a_time_exclude_each_other(opened: Queue) -> None:
    with pytest.raises(ValueError, match=r"one at a time: use Missed\.once\(\) or Missed\.skip\(\)"):
        opened.every(60, unique="key", missed=Missed.all(3))(print_nothing)
    await opened.schedules.upsert("s", "tick", Every(60), unique="key", missed=Missed.skip())


async def test_schedules_are_listed_by_name_however_many(opened: Queue) -> None:
    names = [f"s{number:03}" for number in range(60)]
    async with anyio.create_task_group() as tasks:
        for name in names:
            tasks.start_soon(opened.schedules.upsert, name, "tick", Every(3600))
    await opened.schedules.pause("s007")
    found = await opened.schedules.list()
    assert [one.name for one in found] == names
    assert [one.name for one in found if one.state == "paused"] == ["s007"]


async def test_many_schedules_of_one_moment_all_start(opened: Queue, notes: Notes[Any]) -> None:
    tick = noted(opened, notes)
    async with anyio.create_task_group() as tasks:
        for number in range(60):
            tasks.start_soon(opened.schedules.upsert, f"s{number}", tick, Every(3600), {"number": number})
    for number in range(60):
        await overdue(opened, f"s{number}", timedelta(seconds=1))
    async with working(opened):
        made = await notes.first(60)
    assert sorted(number for _, number in made) == list(range(60))


async def test_a_schedule_wakes_the_workers(opened: Queue, notes: Notes[Any]) -> None:
    tick = noted(opened, notes)
    async with working(opened):
        await opened.schedules.upsert("later", tick, Every(3600))
        await until_heard(opened)
        began = time.monotonic()
        await opened.schedules.upsert("soon", tick, Every(0.05), limit=1)
        await notes.one()
    assert time.monotonic() - began < 2


async def test_a_paused_schedule_starts_nothing_and_goes_on_in_step(opened: Queue, notes: Notes[Any]) -> None:
    tick = noted(opened, notes)
    async with working(opened):
        await opened.schedules.upsert("s", tick, Every(0.02), missed=Missed.all(1000))
        await notes.first(3)
        paused = await opened.schedules.pause("s")
        assert paused.state == "paused"
        assert await opened.schedules.pause("s") == paused
        made = paused.fired
        await opened.schedules.upsert("other", tick, Every(0.02), {"number": 1}, limit=5)
        await until_ended(opened, "other")
        assert (
            await opened.schedules.upsert("s", tick, Every(0.02), missed=Missed.all(1000))
        ).state == "paused"
        resumed = await opened.schedules.resume("s")
        assert resumed.state == "active"
        await until(lambda: sum(number == 0 for _, number in notes.made) >= made + 3)
        assert (await opened.schedules.resume("s")).state == "active"
    mine = [planned for planned, number in notes.made if number == 0]
    assert grid(mine, timedelta(milliseconds=20))
    assert paused.next_at is not None
    assert mine[made] > paused.next_at, "what was due meanwhile is not made up"
    assert mine[made] == resumed.next_at


async def test_run_now_makes_a_job_and_changes_no_plan(opened: Queue, notes: Notes[Any]) -> None:
    tick = noted(opened, notes)
    made = await opened.schedules.upsert(
        "s", tick, Every(3600), {"number": 5}, limit=1, result_ttl=60, attempts=2
    )
    handle = await opened.schedules.run_now("s")
    async with working(opened):
        await handle.result(timeout=SECONDS)
    planned, number = await notes.one()
    assert number == 5
    assert abs(datetime.now(UTC) - planned) < timedelta(seconds=SECONDS)
    assert await opened.schedules.get("s") == made


async def test_what_is_started_next_is_told_in_order_for_all_or_for_some(opened: Queue) -> None:
    schedules, start = opened.schedules, datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    await schedules.upsert("often", "tick", Every(60), start=start)
    await schedules.upsert("rarely", "tock", Every(90), start=start + timedelta(seconds=30), limit=1)
    await schedules.upsert("paused", "tick", Every(1))
    await schedules.pause("paused")
    runs = await schedules.upcoming(count=4)
    assert [((run.at - start).total_seconds(), run.schedule, run.task) for run in runs] == [
        (0, "often", "tick"), (30, "rarely", "tock"), (60, "often", "tick"), (120, "often", "tick"),
    ]  # fmt: skip
    assert [run.schedule for run in await schedules.upcoming("rarely", "paused")] == ["rarely"]
    assert [schedule.fired for schedule in await schedules.list()] == [0, 0, 0], "to look starts nothing"
    with pytest.raises(UnknownSchedule, match="nobody"):
        await schedules.upcoming("rarely", "nobody")
    with pytest.raises(ValueError, match="count must be >= 1"):
        await schedules.upcoming(count=0)


async def test_what_is_removed_is_gone(opened: Queue) -> None:
    await opened.schedules.upsert("s", "tick", Every(60))
    await opened.schedules.pause("s")
    assert await opened.schedules.remove("s")
    assert not await opened.schedules.remove("s")
    assert await opened.schedules.get("s") is None
    assert await opened.schedules.list() == []
    assert await opened.redis.call("KEYS", "*repeat*") == []


async def test_a_name_that_no_schedule_has(opened: Queue) -> None:
    schedules = opened.schedules
    for verb in (schedules.pause, schedules.resume, schedules.run_now):
        with pytest.raises(UnknownSchedule, match="queue 'work' has no schedule 'nobody'"):
            await verb("nobody")
    assert await schedules.get("nobody") is None
    assert not await schedules.remove("nobody")


async def test_what_is_wrong_is_refused_before_anything_is_sent(opened: Queue) -> None:
    upsert = opened.schedules.upsert
    with pytest.raises(ValueError, match="'s' would never be due"):
        await upsert("s", "tick", Every(60), end=datetime(2020, 1, 1, tzinfo=UTC))
    with pytest.raises(TypeError, match="when must be a Cron or an Every"):
        await upsert("s", "tick", 60)  # type: ignore[arg-type]
    with pytest.raises(PayloadRefused, match="keys of maps must be strings"):
        await upsert("s", "tick", Every(60), {1: 2})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="the schedule's name must not be empty"):
        await upsert("", "tick", Every(60))
    with pytest.raises(ValueError, match="the task's name must not be empty"):
        await upsert("s", "", Every(60))
    assert await opened.schedules.list() == []


async def test_a_payload_that_is_too_large_is_refused(redis_url: str) -> None:
    async with Queue("work", redis_url, limits=Limits(payload=100)) as queue:
        with pytest.raises(PayloadRefused, match="limit is 100"):
            await queue.schedules.upsert("s", "tick", Every(60), {"text": "x" * 100})


async def test_schedules_need_an_open_queue(queue: Queue) -> None:
    with pytest.raises(NotOpen):
        await queue.schedules.list()


# -- trouble ----------------------------------------------------------------------------------------------------------


async def test_what_nobody_understands_is_left_alone_and_blocks_nothing(
    opened: Queue, notes: Notes[Any], caplog: pytest.LogCaptureFixture
) -> None:
    keys, call = opened.keys, opened.redis.call
    for number in range(60):  # more than one look takes
        await call("ZADD", keys.schedules, 1, f"strange-{number}")
        await call("HSET", keys.schedule(f"strange-{number}"), "spec", b"\x01")
    await call("ZADD", keys.schedules, 1, b"\xff")
    await call("ZADD", keys.schedules, 1, "no record")
    await call("ZADD", keys.schedules, 1, "a string")
    await call("SET", keys.schedule("a string"), "x")
    await call("ZADD", keys.schedules, "-inf", "before all time")
    caplog.set_level(logging.ERROR, logger="anyq")
    tick = noted(opened, notes)
    async with working(opened):
        await opened.schedules.upsert("s", tick, Every(0.01), limit=3)
        await until_ended(opened, "s")
        await notes.first(3)
    said = [record.getMessage() for record in caplog.records]
    assert sum("strange-7'" in message for message in said) == 1
    assert any("'a string' is left alone: it has no definition" in message for message in said)
    assert [one.name for one in await opened.schedules.list()] == ["s"]
    with pytest.raises(UnknownSchedule, match="that AnyQ understands: no array"):
        await opened.schedules.run_now("strange-7")
    assert await opened.schedules.remove("strange-7")


async def test_a_leader_that_is_gone_delays_nobody_for_longer_than_a_moment(
    opened: Queue, notes: Notes[Any]
) -> None:
    await opened.redis.set(opened.keys.scheduler_lock, "anyq-killed", px=60_000)
    late: list[float] = []

    @opened.task
    async def stamp() -> None:
        planned = current_job().scheduled_at
        assert planned is not None
        late.append(time.time() - planned.timestamp())

    await opened.schedules.upsert("s", stamp, Every(0.2), limit=5)
    async with working(opened):
        await until(lambda: len(late) == 5)
    assert sorted(late)[1] < 0.2
    assert min(late) > 0.04


async def test_a_worker_that_leaves_lets_go_of_the_lock(opened: Queue, notes: Notes[Any]) -> None:
    tick = noted(opened, notes)
    async with working(opened):
        await opened.schedules.upsert("s", tick, Every(0.01))
        await notes.first(3)
    assert await opened.redis.call("EXISTS", opened.keys.scheduler_lock) == 0


async def test_time_is_the_server_s(
    opened: Queue, notes: Notes[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program whose clock is a day ahead plans and starts as everybody does."""
    tick = noted(opened, notes)
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + 86_400 * 10**9)
    async with working(opened):
        await opened.schedules.upsert("s", tick, Every(0.01), limit=3)
        made = await notes.first(3)
    monkeypatch.undo()
    assert all(abs(planned - datetime.now(UTC)) < timedelta(minutes=1) for planned, _ in made)


async def test_a_sink_hears_what_was_started(opened: Queue, notes: Notes[Any]) -> None:
    tick = noted(opened, notes)
    sink = MemorySink()
    async with working(opened, metrics=sink):
        await opened.schedules.upsert("s", tick, Every(0.01), limit=3)
        await until_ended(opened, "s")
    seen = [one for one in sink.observations if isinstance(one, ScheduleFired)]
    assert [(one.schedule, one.task) for one in seen] == [("s", "tick")] * len(seen)
    assert sum(one.jobs for one in seen) == 3
    assert all(0 <= one.late < SECONDS for one in seen)


async def test_a_worker_without_schedules_leaves_no_trace_of_them(opened: Queue) -> None:
    async with working(opened) as worker:
        await worker.wait_idle()
        await until(lambda: worker.health().ok)
    assert await opened.redis.call("KEYS", "*repeat*") == []
    assert await opened.redis.call("EXISTS", opened.keys.scheduler_lock) == 0


# -- looking ----------------------------------------------------------------------------------------------------------


async def found_one(queue: Queue, name: str) -> Schedule:
    found = await queue.schedules.get(name)
    assert found is not None
    return found


async def until_ended(queue: Queue, name: str) -> None:
    with anyio.fail_after(SECONDS):
        while (await found_one(queue, name)).state != "ended":
            pass


async def until_planned(queue: Queue, name: str) -> None:
    """Until it is there, and planned for later."""
    with anyio.fail_after(SECONDS):
        while True:
            found = await queue.schedules.get(name)
            if found is not None and found.next_at is not None and found.next_at > datetime.now(UTC):
                return


async def until_heard(queue: Queue) -> None:
    with anyio.fail_after(SECONDS):
        while not (await queue.redis.call("PUBSUB", "NUMSUB", queue.keys.schedules_changed))[1]:
            pass


async def until_declared(queue: Queue) -> None:
    with anyio.fail_after(SECONDS):
        while not await queue.redis.call("EXISTS", queue.keys.declared_schedules):
            pass


async def until_dead(queue: Queue) -> None:
    with anyio.fail_after(SECONDS):
        while not await dead_letters(queue):
            pass
