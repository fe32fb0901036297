"""`queue.drain()`: waits until a queue is empty, whoever works on it, and tells what it did not wait for."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest
from tests.support.servers import SECONDS
from tests.worker.conftest import Notes, until, working

from anyq import Backoff, Queue, current_job

pytestmark = pytest.mark.anyio


async def test_an_empty_queue_is_drained_at_once(queue: Queue) -> None:
    async with queue:
        with anyio.fail_after(SECONDS):
            stats = await queue.drain()
        assert (stats.ready, stats.running, stats.delayed) == (0, 0, 0)


async def test_it_waits_for_what_is_ready_and_running_and_not_for_what_is_delayed(queue: Queue) -> None:
    opened, empty = anyio.Event(), anyio.Event()

    @queue.task
    async def hold() -> None:
        await opened.wait()

    async with queue, anyio.create_task_group() as tasks:

        async def drain() -> None:
            stats = await queue.drain(timeout=SECONDS)
            assert (stats.ready, stats.running, stats.delayed) == (0, 0, 1)
            empty.set()

        await hold.enqueue_many([()] * 5)
        await hold.options(delay=100).enqueue()
        async with working(queue, concurrency=2) as worker:
            tasks.start_soon(drain)
            await until(lambda: worker.statistics().running == 2)
            assert not empty.is_set()
            opened.set()
            with anyio.fail_after(SECONDS):
                await empty.wait()
            await worker.wait_idle()  # the queue was empty before the worker knew it
            assert worker.statistics().done == 5


async def test_it_waits_for_delayed_jobs_too_if_asked(queue: Queue, notes: Notes[int]) -> None:
    @queue.task(attempts=3, backoff=Backoff.fixed(0.05))
    async def work() -> None:
        notes.add(current_job().attempt)
        if current_job().attempt == 1:
            raise OSError

    async with queue, working(queue):
        await work.options(delay=0.1).enqueue()
        stats = await queue.drain(timeout=SECONDS, delayed=True)
        assert (stats.delayed, len(notes.made)) == (0, 2)


async def test_jobs_that_wait_for_others_are_waited_for_with_them(queue: Queue, notes: Notes[str]) -> None:
    @queue.task(attempts=1)
    async def work(name: str) -> None:
        notes.add(name)

    async with queue, working(queue):
        first = await work.options(tracked=True).enqueue("parent")
        await work.options(after=[first]).enqueue("child")
        await queue.drain(timeout=SECONDS)
        assert notes.made == ["parent", "child"]


async def test_at_the_timeout_it_says_what_is_left(queue: Queue) -> None:
    async with queue:
        await queue.enqueue_many("work", [{}] * 3)
        with pytest.raises(
            TimeoutError, match=r"'work' is not empty after 1 s: 3 ready, 0 running, 0 delayed"
        ):
            await queue.drain(timeout=1)
        with pytest.raises(ValueError, match="timeout"):
            await queue.drain(timeout=0)


async def test_of_what_is_paused_it_waits_for_nothing_but_what_runs(queue: Queue) -> None:
    opened, begun = anyio.Event(), anyio.Event()

    @queue.task
    async def hold() -> None:
        begun.set()
        await opened.wait()

    queue.task(name="aside")(hold.function)

    async with queue, working(queue, concurrency=1, prefetch=0) as worker:
        await queue.pause("aside")
        await queue.enqueue("aside")
        await until(lambda: worker.statistics().set_aside)
        assert (await queue.drain(timeout=SECONDS)).aside == 1
        await hold.enqueue_many([(), ()])
        await begun.wait()
        await queue.pause()
        with pytest.raises(TimeoutError, match="1 running"):
            await queue.drain(timeout=0.2)
        opened.set()
        stats = await queue.drain(timeout=SECONDS)
        assert (stats.ready, stats.running, stats.paused) == (1, 0, True)
        await queue.resume()
        await queue.resume("aside")
        assert (await queue.drain(timeout=SECONDS)).aside == 0
        await worker.wait_idle()
        assert worker.statistics().done == 3


async def test_progress_tells_how_many_are_gone_of_how_many(queue: Queue) -> None:
    seen: list[tuple[int, int]] = []

    @queue.task
    async def quick() -> None: ...

    async with queue:
        await quick.enqueue_many([()] * 20)
        with pytest.raises(TimeoutError):
            await queue.drain(0.05, lambda gone, of: seen.append((gone, of)))
        assert set(seen) == {(0, 20)}
        async with working(queue):
            await queue.drain(SECONDS, lambda gone, of: seen.append((gone, of)))
        assert seen[-1][0] == seen[-1][1], "however many it saw at first"


async def test_it_goes_on_with_another_session_when_who_opened_the_queue_leaves_it(queue: Queue) -> None:
    opened, leave = anyio.Event(), anyio.Event()
    looks: list[tuple[int, int]] = []

    async def opener() -> None:
        async with queue:
            await queue.enqueue("quick")
            opened.set()
            await leave.wait()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(opener)
        await opened.wait()
        tasks.start_soon(queue.drain, SECONDS, lambda gone, of: looks.append((gone, of)))
        await until(lambda: looks)
        async with queue:
            leave.set()
            await until(lambda: len(looks) > 10)
            queue.task(name="quick")(anyio.lowlevel.checkpoint)
            async with working(queue):
                await until(lambda: looks[-1] == (1, 1))


async def test_what_a_dead_worker_holds_is_waited_for_until_another_has_run_it(queue: Queue) -> None:
    queue.task(name="job")(anyio.lowlevel.checkpoint)
    async with queue:
        async with working(queue):
            pass  # the group is there
        await queue.enqueue("job")
        await queue.redis.xreadgroup("default", "anyq-dead", {queue.keys.stream: ">"})
        with pytest.raises(TimeoutError, match="1 running"):
            await queue.drain(timeout=0.1)
        async with working(queue, lease=1) as worker:
            await queue.drain(timeout=SECONDS)
            await worker.wait_idle()
            assert worker.statistics().done == 1
