"""What was cancelled stays cancelled, whoever dies and whatever is lost; who waits for it is told within seconds."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from tests.faults.conftest import Fleet, View, until, working
from tests.support.proxy import FaultProxy

from anyq import Cancellation, JobHandle, JobStatus, Queue
from anyq._redis.scripts import Script
from anyq._services import cancels
from anyq.errors import ConnectionLost

pytestmark = pytest.mark.anyio


@pytest.fixture
def begun(queue: Queue) -> anyio.Event:
    """A task ``wait`` that runs until it is cut, and says when it begins."""
    begun = anyio.Event()

    @queue.task
    async def wait() -> None:
        begun.set()
        await anyio.sleep_forever()

    return begun


async def test_a_job_of_a_killed_worker_that_was_cancelled_is_not_begun_by_the_next(
    queue: Queue, fleet: Fleet, view: View
) -> None:
    async with queue:
        victim = await fleet.start(concurrency=5, lease=1)
        before = await queue.enqueue("work", {"number": 1, "seconds": 60})
        after = await queue.enqueue("work", {"number": 2, "seconds": 60})
        await fleet.until(lambda: len(fleet.runs()) == 2)
        fleet.signal(victim, signal.SIGSTOP)
        assert await before.cancel() is Cancellation.CANCELLING
        fleet.signal(victim, signal.SIGKILL)
        assert await after.cancel() is Cancellation.CANCELLING
        assert await before.status() is JobStatus.CANCELLING
        rival = await fleet.start(concurrency=5, lease=1)
        for handle in (before, after):
            assert await handle.cancel(wait=True, timeout=10) is Cancellation.STOPPED
            assert await handle.status() is JobStatus.CANCELLED
        assert not fleet.runs(rival)
        await fleet.leave()
        [left] = fleet.of("left", rival)
        assert left["cancelled"] == 2
    assert view.stored == 0
    assert view.letters() == []
    view.assert_nobody_is_left()


async def test_a_suspended_worker_learns_it_when_it_wakes(queue: Queue, fleet: Fleet, view: View) -> None:
    async with queue:
        worker = await fleet.start(concurrency=5, lease=60)
        handle = await queue.enqueue("work", {"number": 1, "seconds": 60})
        await fleet.until(lambda: len(fleet.runs()) == 1)
        fleet.signal(worker, signal.SIGSTOP)
        assert await handle.cancel() is Cancellation.CANCELLING
        fleet.signal(worker, signal.SIGCONT)
        assert await handle.cancel(wait=True, timeout=10) is Cancellation.STOPPED
        await fleet.until(lambda: fleet.of("cancelled"))
        assert fleet.of("cancelled")[0]["cut"] == "cancelled"
        await fleet.leave()
    assert view.stored == 0


async def request(queue: Queue, handle: JobHandle[Any]) -> None:
    """Ask as `JobHandle.cancel` does, and lose the message."""
    now, _ = await queue.redis.call("TIME")
    await queue.redis.call("ZADD", queue.keys.cancels, (int(now) + 3600) * 1000, handle.id)


async def test_a_lost_message_costs_seconds(
    queue: Queue, begun: anyio.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cancels, "_LOOK_EVERY", 0.3)
    async with queue, working(queue) as worker:
        handle = await queue.enqueue("wait")
        await begun.wait()
        await request(queue, handle)
        await until(lambda: worker.statistics().cancelled == 1)
        assert await handle.status() is JobStatus.CANCELLED


async def test_what_was_said_while_nobody_heard_is_read_when_the_connection_is_back(
    queue: Queue, begun: anyio.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with queue, working(queue) as worker:
        handle = await queue.enqueue("wait")
        await begun.wait()
        while not await queue.redis.publish(queue.keys.cancelling, "nobody"):
            pass  # its subscription is on the way
        monkeypatch.setattr(cancels, "_LOOK_EVERY", 3600.0)
        await queue.redis.publish(queue.keys.cancelling, "nobody")  # from now on it looks when it is told
        await request(queue, handle)
        await queue.redis.call("CLIENT", "KILL", "TYPE", "pubsub")
        await until(lambda: worker.statistics().cancelled == 1)


async def test_who_waits_is_told_though_its_own_connection_breaks(queue: Queue, begun: anyio.Event) -> None:
    async with queue, working(queue):
        handle = await queue.enqueue("wait")
        await begun.wait()
        other = Queue("work", queue.url)
        async with other, anyio.create_task_group() as tasks:

            async def break_() -> None:
                await queue.redis.call("CLIENT", "KILL", "TYPE", "pubsub")

            tasks.start_soon(break_)
            assert await other.job(handle.id).cancel(wait=True, timeout=10) is Cancellation.STOPPED


Change = Callable[[JobHandle[Any]], Awaitable[Any]]

CHANGES: dict[str, tuple[dict[str, Any], Change, Any, int]] = {
    "cancel a delayed job": ({"delay": 60}, lambda job: job.cancel(), Cancellation.CANCELLED, 0),
    "cancel a queued job": ({}, lambda job: job.cancel(), Cancellation.CANCELLED, 0),
    "wait for it": ({}, lambda job: job.cancel(wait=True), Cancellation.CANCELLED, 0),
    "another time": ({"delay": 60}, lambda job: job.reschedule(delay=50), True, 1),
    "now": ({"delay": 60}, lambda job: job.run_now(), True, 1),
}


@pytest.mark.parametrize(("options", "change", "answer", "left"), CHANGES.values(), ids=CHANGES.keys())
async def test_a_lost_reply_changes_no_answer(
    queue: Queue,
    view: View,
    monkeypatch: pytest.MonkeyPatch,
    options: Any,
    change: Change,
    answer: Any,
    left: int,
) -> None:
    """Whatever took effect was done once, and is told so."""
    async with queue:
        handle = await queue.enqueue("work", **options)
        run, ran = queue.redis.run, list[str]()

        async def run_and_lose(script: Script, *args: Any) -> Any:
            """Every other reply is lost, though the server did what it was told."""
            reply = await run(script, *args)
            ran.append(script.name)
            if len(ran) % 2:
                raise ConnectionLost("lost")
            return reply

        monkeypatch.setattr(queue.redis, "run", run_and_lose)
        assert await change(handle) == answer
        assert ran[::2] == ran[1::2], "each was sent twice"
        monkeypatch.undo()
    assert view.stored + view.delayed == left


async def test_a_job_is_cancelled_when_redis_is_back(
    queue: Queue, proxy: FaultProxy, begun: anyio.Event
) -> None:
    """Its worker was cut off when it was cancelled."""
    distant = Queue("work", proxy.url)
    distant.runnables.update(queue.runnables)
    async with queue, working(distant, lease=60) as worker:
        handle = await queue.enqueue("wait")
        await begun.wait()
        proxy.refuse()
        proxy.reset()
        await proxy.until(lambda proxy: proxy.refused >= 2)
        assert await handle.cancel() is Cancellation.CANCELLING
        proxy.heal()
        assert await handle.cancel(wait=True, timeout=10) is Cancellation.STOPPED
        await worker.wait_idle()
        assert worker.statistics().cancelled == 1
