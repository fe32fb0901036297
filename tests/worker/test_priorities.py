"""Priorities: the higher starts first, whatever way a job took, and the low ones are not forgotten."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from tests.support.servers import Server
from tests.worker.conftest import AT_ONCE, Notes, dead_letter, drained, until, working

from anyq import Every, Queue, QueueFull, RetryLater, current_job
from anyq._core.keys import CHASQUI
from anyq._services import watch
from anyq._store.inspect import depths

pytestmark = pytest.mark.anyio


@pytest.fixture
def queue(queue: Queue, notes: Notes[Any]) -> Queue:
    """A queue whose task notes what it was given."""

    @queue.task
    async def work(name: object = "") -> None:
        notes.add(name)

    return queue


async def test_the_higher_starts_first_and_within_one_the_first_comes_first(
    queue: Queue, notes: Notes[Any]
) -> None:
    async with queue:
        for number in range(3):
            for priority in (0, 9, None):
                await queue.enqueue("work", {"name": [priority, number]}, priority=priority)
        assert (await depths(queue.redis, queue.keys)).ready == 9
        worker = await drained(queue, concurrency=1)
    assert notes.made == [[priority, number] for priority in (9, None, 0) for number in range(3)]
    assert worker.statistics().done == 9


async def test_a_task_has_a_priority_and_a_call_another_one(queue: Queue, notes: Notes[Any]) -> None:
    @queue.task(priority=8)
    async def urgent(name: str) -> None:
        notes.add((name, current_job().priority))

    async with queue:
        await queue.enqueue("work", {"name": "plain"})
        await urgent.enqueue("by its task")
        await urgent.options(priority=9).enqueue("by its call")
        await urgent.options(delay=0, result_ttl=60).enqueue("with other options")
        await urgent.options(priority=1).enqueue("low")
        await queue.enqueue("urgent", {"name": "by name"})
        await urgent.enqueue_many([("many",)] * 2)
        await drained(queue, concurrency=1)
    assert notes.made == [
        ("by its call", 9), ("by its task", 8), ("with other options", 8), ("by name", 8), ("many", 8), ("many", 8),
        "plain", ("low", 1),
    ]  # fmt: skip


async def test_a_priority_is_kept_through_retries_delays_and_parking(queue: Queue, notes: Notes[Any]) -> None:
    @queue.task(attempts=3, backoff=AT_ONCE, priority=7)
    async def stubborn() -> None:
        job = current_job()
        notes.add((job.priority, job.lane))
        if job.attempt == 1 and len(notes.made) == 1:
            raise RetryLater(0)
        if job.attempt == 1:
            raise ValueError
        if job.attempt == 2:
            raise ValueError

    async with queue, working(queue) as worker:
        await stubborn.options(delay=0.02).enqueue()
        assert await notes.first(4) == [(7, queue.keys.lane(7))] * 4
        await worker.wait_idle()
        await queue.enqueue("later", priority=2)
        await until(lambda: worker.statistics().parked)

        @queue.task
        async def later() -> None:
            job = current_job()
            notes.add((job.priority, job.lane))

        assert (await notes.first(5))[4] == (2, queue.keys.lane(2))


async def test_a_job_that_is_handed_back_keeps_its_priority(queue: Queue, notes: Notes[Any]) -> None:
    @queue.task(priority=1, attempts=2, backoff=AT_ONCE)
    async def low() -> None:
        job = current_job()
        notes.add((job.priority, job.lane))
        if len(notes.made) == 1:
            await anyio.sleep_forever()
        if job.attempt == 1:
            raise ValueError

    async with queue:
        async with working(queue, drain_timeout=0):
            await low.enqueue()
            await notes.one()
        await drained(queue)
        await until(lambda: len(notes.made) >= 2)
        await drained(queue)
        async with working(queue):
            assert (await notes.first(3))[2] == (1, queue.keys.lane(1)), "the retry after it"
    assert notes.made[1] == (1, queue.keys.returned), "what was begun goes first"


async def test_a_job_overtakes_those_that_were_taken_ahead(queue: Queue, notes: Notes[Any]) -> None:
    """However quick the jobs are: few wait in a worker's hands once priorities are in use."""

    @queue.task(priority=0)
    async def low(number: int) -> None:
        notes.add(number)
        await anyio.lowlevel.checkpoint()

    async with queue, working(queue, concurrency=2) as worker:
        await low.enqueue_many([(number,) for number in range(300)])
        await notes.first(30)
        await queue.enqueue("work", {"name": "high"}, priority=9)
        added = len(notes.made)
        await worker.wait_idle()
    assert notes.made.index("high") < added + 150
    assert len(notes.made) == 301


async def test_low_ones_get_their_turn_beside_a_steady_flow_of_high_ones(
    queue: Queue, notes: Notes[Any]
) -> None:
    async with queue, anyio.create_task_group() as tasks:
        low = Notes[int]()

        @queue.task
        async def high(number: int) -> None:
            notes.add(number)
            await queue.enqueue("high", {"number": number + 1}, priority=9)  # there is always another one

        @queue.task(priority=0)
        async def lowest() -> None:
            low.add(len(notes.made))

        @queue.task(priority=3)
        async def lower() -> None:
            low.add(len(notes.made))

        await queue.enqueue_many("high", [{"number": 0}] * 5, priority=9)
        await lowest.enqueue()
        await lower.enqueue()
        async with working(queue, concurrency=1) as worker:
            seen = await low.first(2)
            worker.stop(drain_timeout=0)
        tasks.cancel_scope.cancel()
        # Three lanes are in use besides the default one: one read in ten begins elsewhere, in turn.
        assert max(seen) <= 10 * 4 + 10


async def test_a_worker_hears_of_a_new_priority_at_once(queue: Queue, notes: Notes[Any]) -> None:
    async with queue, working(queue) as worker:
        await queue.enqueue("work", {"name": "first"})
        await worker.wait_idle()
        with anyio.fail_after(1):  # a read of the lanes that it knew would go on for so long
            await queue.enqueue("work", {"name": "second"}, priority=9)
            await queue.enqueue("work", {"name": "third"}, priority=0, delay=0.01)
            assert sorted((await notes.first(3))[1:]) == ["second", "third"]
        await worker.wait_idle()


async def test_a_worker_that_did_not_hear_of_it_looks(
    queue: Queue, notes: Notes[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_LOOK_AGAIN", 0.2)
    object.__setattr__(queue.keys, "widened", b"{anyq:work}:elsewhere")
    deaf = Queue("work", queue.url)
    deaf.task(name="work")(queue.runnables["work"].function)
    async with queue, working(deaf):
        await queue.enqueue("work", {"name": "x"}, priority=9)
        assert await notes.one() == "x"


async def test_concurrent_callers_with_several_priorities_lose_nothing(
    queue: Queue, notes: Notes[Any]
) -> None:
    async with queue:
        async with anyio.create_task_group() as callers:
            for number in range(60):
                callers.start_soon(enqueue, queue, number)
        await drained(queue, concurrency=1)
    assert sorted(notes.made) == list(range(60))


async def enqueue(queue: Queue, number: int) -> None:
    await queue.enqueue("work", {"name": number}, priority=number % 10)


async def test_everything_of_a_lane_goes_its_way(queue: Queue, server: Server) -> None:
    """Results, dead letters, chosen ids, unique keys: as of any job."""

    @queue.task(priority=9, result_ttl=60)
    async def add(a: int, b: int) -> int:
        return a + b

    @queue.task(priority=0, attempts=1)
    async def fail() -> None:
        raise ValueError

    async with queue, working(queue) as worker:
        assert await add.call(1, 2, timeout=10) == 3
        first = await add.options(id="mine", delay=60).enqueue(1, 2)
        assert first.new
        assert not (await add.options(id="mine").enqueue(1, 2)).new
        one = await add.options(unique="key").enqueue(2, 2)
        assert await one.result(10) == 4
        await fail.enqueue()
        await until(lambda: worker.statistics().dead)
        assert (await dead_letter(queue))["reason"] == b"retries_exhausted"
        await queue.pause()
        assert (await queue.dead_letters.replay_all()).count == 1
        assert await queue.redis.xlen(queue.keys.lane(0)) == 1
        await queue.resume()
        await until(lambda: worker.statistics().dead == 2)
        await worker.wait_idle()
        assert worker.statistics().held == 0


async def test_a_job_of_any_lane_is_found_and_cancelled(queue: Queue, notes: Notes[Any]) -> None:
    async with queue:
        for priority in (0, 9):
            for options in ({}, {"delay": 60}, {"id": f"mine-{priority}"}):
                handle = await queue.enqueue("work", priority=priority, **options)
                assert await handle.status() == ("delayed" if "delay" in options else "queued")
                assert await handle.cancel()
        moved = await queue.enqueue("work", {"name": "moved"}, priority=3, delay=60)
        assert await moved.reschedule(delay=0)
        async with working(queue) as worker:
            assert await notes.one() == "moved"
            await worker.wait_idle()
            assert worker.statistics().started == 1
        assert await queue.redis.exists(queue.keys.lane(3)), "it went its way"


async def test_max_length_is_about_all_priorities(queue: Queue) -> None:
    bounded = Queue("work", queue.url, max_length=2)
    async with bounded:
        await bounded.enqueue("work", priority=9)
        await bounded.enqueue("work")
        for priority in (0, None, 9):
            with pytest.raises(QueueFull):
                await bounded.enqueue("work", priority=priority, wait=False)


async def test_a_queue_without_priorities_makes_no_lanes(queue: Queue, notes: Notes[Any]) -> None:
    async with queue, working(queue) as worker:
        await queue.enqueue("work")
        await queue.enqueue("work", priority=5, delay=0.01)
        await notes.first(2)
        await worker.wait_idle()
        assert await queue.redis.call("KEYS", "*stream:*") == []


@pytest.mark.parametrize("priority", [-1, 10, 5.0, "high", True])
async def test_a_wrong_priority_is_refused(queue: Queue, priority: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="priority must be"):
        queue.task(name="x", priority=priority)(enqueue)
    async with queue:
        with pytest.raises((ValueError, TypeError), match="priority must be"):
            await queue.enqueue("work", priority=priority)


async def test_a_shared_queue_refuses_priorities(redis_url: str) -> None:
    shared = Queue("work", redis_url, prefix=CHASQUI)

    @shared.task(priority=9)
    async def work() -> None: ...

    async with shared:
        for add in (work.enqueue, lambda: shared.enqueue("other", priority=1)):
            with pytest.raises(ValueError, match="chasquimq's programs"):
                await add()
        await shared.enqueue("other")


async def test_the_jobs_of_a_schedule_have_its_priority_or_its_task_s(
    queue: Queue, notes: Notes[Any]
) -> None:
    @queue.every(3600)
    @queue.task(priority=8)
    async def urgent() -> None:
        notes.add(current_job().lane)

    async with queue, working(queue):
        await queue.schedules.upsert("mine", "urgent", Every(0.05), limit=1, priority=2)
        await queue.schedules.upsert("delayed", "work", Every(0.05), limit=1, jitter=0.01, priority=9)
        schedule = await queue.schedules.get("mine")
        assert schedule is not None
        assert schedule.priority == 2
        await notes.first(2)
        assert sorted(notes.made, key=str) == ["", queue.keys.lane(2)]
        assert await queue.redis.exists(queue.keys.lane(9))
        await queue.schedules.run_now("urgent")
        assert (await notes.first(3))[2] == queue.keys.lane(8)


async def test_a_shared_queue_refuses_schedules_with_priorities(redis_url: str) -> None:
    shared = Queue("work", redis_url, prefix=CHASQUI)
    async with shared:
        with pytest.raises(ValueError, match="chasquimq's programs"):
            await shared.schedules.upsert("mine", "work", Every(60), priority=2)
