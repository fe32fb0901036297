"""Cancellation at every suspension of public calls and of services: nothing leaks, nothing hangs, no job is lost.

Rule: each place is tried, until a run has fewer; after each the ledger holds: done, or stored, and nobody's in the end.
"""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from tests.faults.conftest import AT_ONCE, View, working
from tests.support.places import at_every_place, counted

from anyq import Queue, Worker
from anyq._core.codec import encode
from anyq._services.acks import AckFlusher
from anyq._services.leases import LeaseKeeper
from anyq._services.promoter import Promoter
from anyq._services.reader import Reader
from anyq._services.releases import ReleaseRelocator
from anyq._services.retries import RetryRelocator
from anyq._services.runners import Runners

pytestmark = pytest.mark.anyio


async def test_enqueuing_adds_a_job_once_or_not_at_all(queue: Queue, view: View) -> None:
    tried = 0

    async def after() -> None:
        assert view.stored + view.delayed <= tried

    async with queue:

        async def one() -> None:
            nonlocal tried
            tried += 1
            await queue.enqueue("job")

        async def many() -> None:
            nonlocal tried
            tried += 3
            await queue.enqueue_many("job", [{}, {}, {}])

        async def chosen() -> None:
            await queue.enqueue("job", id="mine", delay=60)

        assert await at_every_place(one, after) >= 1
        assert await at_every_place(many, after) >= 1
        tried += 1
        assert await at_every_place(chosen, after) >= 1
        assert view.delayed == 1
        assert len(await queue.enqueue_many("job", [{}])) == 1, "the connection is in step"


async def test_a_replay_makes_each_letter_a_job_or_leaves_it(queue: Queue, view: View) -> None:
    async with queue:

        async def replay() -> None:
            for _ in range(3):
                view.ask("XADD", queue.keys.dead_letters, "*", "d", encode("j", b"\x80", 1))
                written[0] += 1
            await queue.dead_letters.replay_all()

        async def after() -> None:
            assert view.stored + await queue.dead_letters.count() == written[0]

        written = [0]
        assert await at_every_place(replay, after) >= 4
        await queue.dead_letters.replay_all()
        assert await queue.dead_letters.count() == 0


async def test_following_events_gives_each_of_them_once(queue: Queue, view: View) -> None:
    written, seen = 0, list[str]()
    async with queue, queue.events(after="0") as events:

        async def follow() -> None:
            nonlocal written
            view.ask("XADD", queue.keys.events, "*", "e", "active", "id", str(written))
            written += 1
            while len(seen) < written:
                seen.append((await anext(events)).job_id)

        async def after() -> None:
            assert seen == [str(number) for number in range(len(seen))]

        assert await at_every_place(follow, after) >= 1
        assert len(seen) == written


async def test_waiting_for_a_result_or_for_idleness_disturbs_nobody(queue: Queue, view: View) -> None:
    @queue.task(result_ttl=60)
    async def double(number: int) -> int:
        return 2 * number

    async with queue, working(queue) as worker:

        async def call() -> None:
            assert await double.call(4, timeout=10) == 8

        async def idle() -> None:
            await double.enqueue(1)
            await worker.wait_idle()

        async def after() -> None:
            assert await double.call(2, timeout=10) == 4

        assert await at_every_place(call, after) >= 2
        assert await at_every_place(idle, after) >= 2
    view.assert_nobody_is_left()
    assert view.stored == 0


async def test_entering_and_leaving_a_queue_leaves_nothing_open(queue: Queue, view: View) -> None:
    async def use() -> None:
        async with queue:
            await queue.enqueue("job")

    async def after() -> None:
        while view.server.clients():
            await anyio.lowlevel.checkpoint()

    assert await at_every_place(use, after) >= 3


async def test_entering_and_leaving_a_worker_loses_no_job(queue: Queue, view: View) -> None:
    ran = 0

    sent = 0

    @queue.task
    async def job() -> None:
        nonlocal ran
        ran += 1

    async def work() -> None:
        async with Worker(queue, drain_timeout=1) as worker:
            await worker.wait_idle()

    async def after() -> None:
        nonlocal sent
        view.assert_nobody_is_left()
        assert ran + view.stored == sent
        async with queue:
            await job.enqueue()
        sent += 1

    assert await at_every_place(work, after) >= 5


@pytest.mark.parametrize(
    "service", [Reader, Runners, AckFlusher, RetryRelocator, ReleaseRelocator, LeaseKeeper, Promoter]
)
async def test_cancelling_the_worker_wherever_a_service_stands_loses_no_job(
    queue: Queue, view: View, monkeypatch: pytest.MonkeyPatch, service: Any
) -> None:
    """Acknowledged, handed back, or put off: each job is in one place, and none is anybody's."""
    original = service.run
    place, scopes = 0, [anyio.CancelScope()]

    async def run(self: Any) -> None:
        await counted(original(self), place, scopes[-1].cancel, [0])

    monkeypatch.setattr(service, "run", run)
    done: set[int] = set()

    @queue.task
    async def job(number: int) -> None:
        await anyio.lowlevel.checkpoint()
        done.add(number)

    @queue.task(attempts=100_000, backoff=AT_ONCE)
    async def fail(number: int) -> None:
        raise ValueError(number)

    @queue.task
    async def endless() -> None:
        await anyio.sleep_forever()

    for place in range(8):
        view.server.flush()
        done.clear()
        async with queue:
            await job.enqueue_many([(number,) for number in range(10)])
            await fail.enqueue(1)
            await endless.enqueue()
        with anyio.fail_after(20), anyio.CancelScope() as scope:
            scopes.append(scope)
            async with Worker(queue, concurrency=3, drain_timeout=0):
                with anyio.move_on_after(0.3):
                    await anyio.sleep_forever()
        view.assert_nobody_is_left()
        assert view.letters() == []
        assert view.stored + view.delayed == 12 - len(done), f"at place {place}"
