"""`queue.stats()`: where the jobs of a queue are, and how long they have waited."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import anyio
import anyio.lowlevel
import pytest
from tests.worker.conftest import working

from anyq import Backoff, Cancellation, Queue, Rates, Retention, RetryLater, Unrecoverable, current_job

pytestmark = pytest.mark.anyio


async def test_an_untouched_queue_holds_nothing(queue: Queue) -> None:
    async with queue:
        stats = await queue.stats()
        assert (stats.ready, stats.running, stats.delayed, stats.due, stats.aside, stats.dead) == (0,) * 6
        assert (stats.oldest, stats.next_due, stats.trimmed, stats.paused) == (None, None, 0, False)
        assert (stats.added, stats.done, stats.failed, stats.given_up, stats.cancelled, stats.lost) == (
            0,
        ) * 6
        assert stats.last_minute == stats.last_five_minutes == Rates(added=0, ended=0, failed=0)


async def test_each_job_is_counted_where_it_is(queue: Queue) -> None:
    begun, end = anyio.Event(), anyio.Event()

    @queue.task
    async def hold() -> None:
        begun.set()
        await end.wait()

    @queue.task
    async def die() -> None:
        raise Unrecoverable

    async with queue:
        await hold.options(delay=100).enqueue()
        async with working(queue, concurrency=1, prefetch=0) as worker:
            await die.enqueue()
            await worker.wait_idle()
            await hold.enqueue()
            await begun.wait()
            await hold.enqueue_many([()] * 3)
            stats = await queue.stats()
            assert (stats.ready, stats.running, stats.delayed, stats.due, stats.dead) == (3, 1, 1, 0, 1)
            assert stats.next_due is not None
            assert 90 < stats.next_due <= 100
            assert stats.oldest is not None
            assert 0 <= stats.oldest < 60
            end.set()
            await worker.wait_idle()
            assert (await queue.stats()).oldest is None


async def test_the_oldest_is_the_one_that_nobody_took(queue: Queue) -> None:
    async with queue:
        seconds, _ = await queue.redis.time()
        for lane in queue.keys.lanes:
            await queue.redis.xgroup_create(lane, "default", "0", mkstream=True)
        await queue.redis.call("XADD", queue.keys.stream, f"{(seconds - 500) * 1000}-0", "d", "")
        await queue.redis.call("XADD", queue.keys.stream, f"{(seconds - 100) * 1000}-0", "d", "")
        oldest = (await queue.stats()).oldest
        assert oldest is not None
        assert 500 <= oldest < 560
        await queue.redis.xreadgroup("default", "c-other", {queue.keys.stream: ">"}, count=1)
        oldest = (await queue.stats()).oldest
        assert oldest is not None
        assert 100 <= oldest < 160
        await queue.redis.zadd(queue.keys.delayed, {b"late": (seconds - 50) * 1000})
        stats = await queue.stats()
        assert (stats.ready, stats.running, stats.due) == (1, 1, 1)
        assert stats.next_due is not None
        assert -110 < stats.next_due <= -50


async def test_a_paused_queue_says_so(queue: Queue) -> None:
    async with queue:
        until = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
        await queue.pause()
        await queue.pause("newsletter")
        await queue.pause("report", until=until)
        stats = await queue.stats()
        assert (stats.paused, stats.paused_until) == (True, None)
        assert stats.paused_tasks == {"newsletter": None, "report": until}
        await queue.pause(until=until)
        assert (await queue.stats()).paused_until == until
        await queue.resume()
        stats = await queue.stats()
        assert (stats.paused, stats.paused_until) == (False, None)


async def test_a_queue_counts_what_ever_happened(queue: Queue) -> None:
    put_off: list[str] = []

    @queue.task(attempts=2, backoff=Backoff.fixed(0))
    async def job(how: str) -> None:
        if how == "dead" or (how == "fails once" and current_job().attempt == 1):
            raise ValueError(how)
        if how == "later" and not put_off:
            put_off.append(how)
            raise RetryLater(0)

    async with queue:
        later = await job.options(delay=60).enqueue("done")
        assert await later.cancel() is Cancellation.CANCELLED
        async with working(queue) as worker:
            await job.enqueue_many([("done",)] * 5)
            await job.enqueue("fails once")
            await job.enqueue("dead")
            await job.enqueue("later")
            await job.options(result_ttl=60).enqueue("done")
            await worker.wait_idle()
            assert (await queue.dead_letters.replay_all()).count == 1
            await worker.wait_idle()
        stats = await queue.stats()
        assert (stats.added, stats.replayed, stats.cancelled) == (10, 1, 1)
        assert (stats.done, stats.given_up, stats.dead) == (8, 2, 1)
        assert (stats.retried, stats.failed, stats.lost) == (3, 5, 0)
        minutes = await queue.history(2)
        assert sum(minute.added for minute in minutes) == 10
        assert sum(minute.failed for minute in minutes) == 5
        assert (minutes[1].start - minutes[0].start).total_seconds() == 60
        rates = stats.last_five_minutes
        assert (rates.added, rates.ended, rates.failed) == pytest.approx((11 / 300, 11 / 300, 5 / 300))
        assert stats.last_minute.added > rates.added


async def test_jobs_that_wait_for_others_are_counted(queue: Queue) -> None:
    async with queue:
        parent = await queue.enqueue("job", tracked=True)
        await queue.enqueue("job", after=[parent])
        stats = await queue.stats()
        assert (stats.ready, stats.waiting, stats.added) == (1, 1, 2)


async def test_the_history_is_kept_for_as_long_as_is_asked_for(redis_url: str) -> None:
    async with Queue("short", redis_url, retention=Retention(history=15 * 60)) as queue:
        seconds, _ = await queue.redis.time()
        present = seconds // 60
        for ago in range(40, 0, -1):
            row = f"{(present - ago) * 60_000}-0", "added", 40 - ago
            await queue.redis.call("XADD", queue.keys.history, *row)
        await queue.redis.call("HSET", queue.keys.counts, "minute", present - 1, "added", 40)
        await queue.enqueue("job")
        assert await queue.redis.xlen(queue.keys.history) == 15
        found = await queue.history(60)
        assert len(found) == 60
        assert sum(minute.added for minute in found) == 15
        assert [minute.added for minute in found[:40]] == [0] * 40


@pytest.mark.parametrize("minutes", [0, -1, 1.5, True, 10**6])
async def test_a_history_of_no_number_of_minutes_is_refused(queue: Queue, minutes: int) -> None:
    with pytest.raises((ValueError, TypeError), match="minutes"):
        await queue.history(minutes)


async def test_jobs_that_no_worker_knows_are_counted_by_their_task(queue: Queue) -> None:
    async def until(parked: dict[str, int]) -> None:
        while (await queue.stats()).parked_by_task != parked:
            await anyio.lowlevel.checkpoint()

    async with queue:
        async with working(queue):
            await queue.enqueue("unheard", priority=9)
            await queue.enqueue("unheard")
            await queue.enqueue("of")
            await until({"unheard": 2, "of": 1})
            stats = await queue.stats()
            assert (stats.retried, stats.failed) == (0, 0)

        @queue.task
        async def of() -> None: ...

        async with working(queue) as worker:
            while not worker.statistics().done:
                await anyio.lowlevel.checkpoint()
            await until({"unheard": 2})


async def test_what_is_parked_on_a_shared_queue_stays_readable_for_others(redis_url: str) -> None:
    queue = Queue("shared", redis_url, prefix="chasqui")
    async with queue, working(queue) as worker:
        await queue.enqueue("unheard")
        while worker.statistics().parked < 1:
            await anyio.lowlevel.checkpoint()
        [member] = await queue.redis.zrange(queue.keys.delayed, 0, -1)
        assert member[:4] == b"\x07\0\0\0"
        assert (await queue.stats()).parked == 0
