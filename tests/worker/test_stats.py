"""`queue.stats()`: where the jobs of a queue are, and how long they have waited."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import anyio
import pytest
from tests.worker.conftest import working

from anyq import Queue, Unrecoverable

pytestmark = pytest.mark.anyio


async def test_an_untouched_queue_holds_nothing(queue: Queue) -> None:
    async with queue:
        stats = await queue.stats()
        assert (stats.ready, stats.running, stats.delayed, stats.due, stats.aside, stats.dead) == (0,) * 6
        assert (stats.oldest, stats.next_due, stats.trimmed, stats.paused) == (None, None, 0, False)


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
