"""What the reader makes of deliveries that went wrong: lost with a reply, too large for the link, or made twice."""

from __future__ import annotations

from collections.abc import Iterable

import anyio
import pytest
from tests.support.proxy import fault_proxy, flip_bits
from tests.support.servers import Server
from tests.worker.conftest import Notes, working

from anyq import Queue
from anyq._store import consume
from anyq._store.consume import Consuming, Delivery

pytestmark = pytest.mark.anyio


async def test_what_a_lost_reply_brought_is_handed_back_also_while_all_runners_are_busy(
    server: Server, redis_url: str, notes: Notes[str]
) -> None:
    go = anyio.Event()
    async with fault_proxy(server.socket) as proxy:
        queue, behind, rival = Queue("work", redis_url), Queue("work", proxy.url), Queue("work", redis_url)

        async def hold(name: str) -> None:
            notes.add(f"busy {name}")
            await go.wait()

        async def note(name: str) -> None:
            notes.add(name)

        behind.task(hold, name="task")
        rival.task(note, name="task")
        async with queue, working(behind, concurrency=2, prefetch=0):
            proxy.mangle(lambda data: flip_bits(data) if b"lost" in data else data)
            await queue.enqueue_many("task", [{"name": name} for name in ("lost", "lost", "next", "next")])
            assert await notes.first(2) == ["busy next", "busy next"]
            async with working(rival):
                assert (await notes.first(4))[2:] == ["lost", "lost"]
            go.set()


async def test_jobs_too_large_for_a_slow_link_come_in_smaller_numbers(
    server: Server, redis_url: str, notes: Notes[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consume, "READ_MARGIN", 0.2)
    async with fault_proxy(server.socket) as proxy:
        proxy.split(8192, "down")
        proxy.slow(0.01, "down")
        queue, behind = Queue("work", redis_url), Queue("work", proxy.url)

        @behind.task(name="task")
        async def task(data: bytes) -> None:
            notes.add(len(data))

        async with queue, working(behind) as worker:
            await queue.enqueue_many("task", [{"data": bytes(100_000)}] * 12)
            await worker.wait_idle()
    assert len(notes.made) == 12


async def test_an_entry_that_is_delivered_again_to_who_holds_it_is_run_once(
    queue: Queue, notes: Notes[int]
) -> None:
    """As after a failover to a replica that had not heard of the delivery."""
    go = anyio.Event()

    @queue.task
    async def task(number: int) -> None:
        notes.add(number)
        await go.wait()

    async with queue, working(queue) as worker:
        await task.enqueue(1)
        await notes.one()
        await queue.redis.call("XGROUP", "SETID", queue.keys.stream, "default", "0")
        await task.enqueue(2)  # whose delivery follows on the other
        assert await notes.first(2) == [1, 2]
        go.set()
        await worker.wait_idle()
        assert worker.statistics().started == 2


async def test_a_job_begins_before_the_next_read_is_sent_while_runners_are_idle(
    queue: Queue, notes: Notes[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = False
    read = Consuming.read

    async def watched(self: Consuming, count: int, block_ms: int) -> Iterable[Delivery]:
        nonlocal reading
        reading = True
        try:
            return await read(self, count, block_ms)
        finally:
            reading = False

    monkeypatch.setattr(Consuming, "read", watched)

    @queue.task
    async def task() -> None:
        notes.add(reading)

    async with queue, working(queue, concurrency=2) as worker:
        for number in range(1, 21):  # of which, were it by chance, a few would be late
            await task.enqueue()
            await notes.first(number)
            await worker.wait_idle()
    assert not any(notes.made)


async def test_a_busy_queue_does_not_starve_one_with_priorities_beside_it(
    queue: Queue, redis_url: str, notes: Notes[str]
) -> None:
    """Of the one with priorities nothing is taken ahead, so it is served only if a runner is seen idle now and then."""
    other = Queue("other", redis_url)

    @queue.task
    async def busy() -> None:
        await anyio.sleep(0.02)
        notes.add("busy")

    @other.task
    async def pressing() -> None:
        notes.add("pressing")

    async with queue, other, working(queue, other, concurrency=1):
        await busy.enqueue_many([()] * 500)
        await notes.first(20)
        await pressing.options(priority=9).enqueue_many([()] * 5)
        while notes.made.count("pressing") < 5:
            await notes.first(len(notes.made) + 1)
        assert notes.made.count("busy") < 250
