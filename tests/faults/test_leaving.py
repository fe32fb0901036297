"""Leaving a worker, whatever happens meanwhile: bounded, and nothing is left in its name that could go back."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Awaitable, Callable

import anyio
import pytest
from anyio import from_thread
from tests.faults.conftest import GRACE, View, until, working
from tests.support.limits import lasting_at_most
from tests.support.servers import Server

from anyq import Queue, Worker, current_job

pytestmark = pytest.mark.anyio


class BodyFailed(Exception):
    """Raised by a block."""


def forever(queue: Queue) -> anyio.Event:
    """Make a task that runs until it is cancelled; gives what is set when it runs."""
    began = anyio.Event()

    @queue.task
    async def endless() -> None:
        began.set()
        await anyio.sleep_forever()

    return began


async def leave_normally(worker: Worker, began: anyio.Event) -> None:
    async with worker:
        await began.wait()


async def leave_by_an_exception(worker: Worker, began: anyio.Event) -> None:
    with pytest.raises(BodyFailed):
        async with worker:
            await began.wait()
            raise BodyFailed


async def leave_by_cancellation(worker: Worker, began: anyio.Event) -> None:
    with anyio.CancelScope() as scope:
        async with worker:
            await began.wait()
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught


async def leave_by_cancellation_of_run(worker: Worker, began: anyio.Event) -> None:
    async with anyio.create_task_group() as tasks:
        await tasks.start(worker.run)
        await began.wait()
        tasks.cancel_scope.cancel()


async def leave_by_stop(worker: Worker, began: anyio.Event) -> None:
    async with anyio.create_task_group() as tasks:
        await tasks.start(worker.run)
        await began.wait()
        worker.stop()


Leave = Callable[[Worker, anyio.Event], Awaitable[None]]

WAYS: list[Leave] = [
    leave_normally,
    leave_by_an_exception,
    leave_by_cancellation,
    leave_by_cancellation_of_run,
    leave_by_stop,
]


@pytest.mark.parametrize("drain_timeout", [0, 0.2])
@pytest.mark.parametrize("leave", WAYS)
async def test_a_running_job_is_handed_back_however_the_worker_is_left(
    queue: Queue, view: View, leave: Leave, drain_timeout: float
) -> None:
    began = forever(queue)
    worker = Worker(queue, drain_timeout=drain_timeout)
    async with queue:
        await queue.enqueue("endless")
        with lasting_at_most(drain_timeout) as limit:
            async with anyio.create_task_group() as tasks:

                async def count() -> None:
                    await began.wait()
                    limit.counts_from_here()

                tasks.start_soon(count)
                await leave(worker, began)
    view.assert_nobody_is_left()
    assert (view.stored, view.delayed, view.letters()) == (1, 0, [])
    assert worker.statistics().released == 1
    assert worker.unfinished == []


@pytest.mark.parametrize("leave", WAYS)
async def test_a_job_that_ends_in_time_is_done_however_the_worker_is_left(
    queue: Queue, view: View, leave: Leave
) -> None:
    began, leaving = anyio.Event(), anyio.Event()

    @queue.task
    async def last() -> None:
        began.set()
        await leaving.wait()

    worker = Worker(queue, drain_timeout=5)

    async def end() -> None:
        await until(lambda: worker.health().state == "draining")
        leaving.set()

    async with queue, anyio.create_task_group() as tasks:
        await last.enqueue()
        tasks.start_soon(end)
        await leave(worker, began)
    view.assert_nobody_is_left()
    assert (view.stored, worker.statistics().done) == (0, 1)


async def test_stopping_again_makes_the_drain_shorter(queue: Queue, view: View) -> None:
    began = forever(queue)
    async with queue:
        await queue.enqueue("endless")
        with lasting_at_most(0) as limit:
            async with Worker(queue, drain_timeout=30) as worker:
                await began.wait()
                limit.counts_from_here()
                worker.stop()
                await until(lambda: worker.health().state == "draining")
                worker.stop(drain_timeout=0)
    assert view.stored == 1


@pytest.mark.parametrize("drain_timeout", [0])
async def test_leaving_is_bounded_while_redis_hangs(
    start_server: Callable[..., Server], drain_timeout: float
) -> None:
    server = start_server()
    queue = Queue("work", server.url)
    began = forever(queue)
    async with queue:
        await queue.enqueue("endless")
        try:
            with lasting_at_most(drain_timeout + GRACE) as limit:
                async with Worker(queue, drain_timeout=drain_timeout):
                    await began.wait()
                    limit.counts_from_here()
                    server.pause()
        finally:
            server.resume()


async def test_leaving_many_queues_is_bounded_while_redis_hangs_on_what_handlers_enqueued(
    start_server: Callable[..., Server],
) -> None:
    server = start_server()
    queues = [Queue(f"work {number}", server.url) for number in range(4)]
    busy = anyio.Event()

    async def chatter(number: int) -> None:
        while True:
            await queues[number].enqueue("nobody knows me")
            if all(queue.session.publisher.used for queue in queues):
                busy.set()

    for number, queue in enumerate(queues):
        queue.task(chatter)
        async with queue:
            await queue.enqueue("chatter", {"number": number})
    try:
        with lasting_at_most(GRACE) as limit:
            async with Worker(queues, drain_timeout=0):
                await busy.wait()
                limit.counts_from_here()
                server.pause()
    finally:
        server.resume()


async def test_leaving_is_bounded_when_redis_is_gone(start_server: Callable[..., Server]) -> None:
    server = start_server()
    queue = Queue("work", server.url)
    began = forever(queue)
    worker = Worker(queue, drain_timeout=0.3)
    async with queue:
        await queue.enqueue("endless")
        with lasting_at_most(0.3 + GRACE) as limit:
            async with worker:
                await began.wait()
                limit.counts_from_here()
                server.kill()
    assert [job.name for job in worker.unfinished] == ["endless"]


async def test_a_handler_that_cleans_up_is_given_time(queue: Queue, view: View) -> None:
    """Its shield holds on for longer than the time that cancelled handlers are given, and within the whole grace."""
    began, ended = anyio.Event(), anyio.Event()

    @queue.task
    async def careful() -> None:
        try:
            began.set()
            await anyio.sleep_forever()
        finally:
            with anyio.move_on_after(1.5, shield=True):
                await anyio.sleep_forever()
            ended.set()

    async with queue:
        await careful.enqueue()
        with lasting_at_most(1.5) as limit:
            async with Worker(queue, drain_timeout=0) as worker:
                await began.wait()
                limit.counts_from_here()
    assert ended.is_set()
    view.assert_nobody_is_left()
    assert (view.stored, worker.statistics().released) == (1, 1)


async def test_a_thread_that_ignores_its_cut_is_abandoned_and_reported(queue: Queue, view: View) -> None:
    began, end = anyio.Event(), threading.Event()

    @queue.task
    def deaf() -> None:
        from_thread.run_sync(began.set)
        end.wait()

    try:
        async with queue:
            await deaf.enqueue()
            with lasting_at_most(GRACE) as limit:
                async with Worker(queue, drain_timeout=0.1) as worker:
                    await began.wait()
                    limit.counts_from_here()
        assert [job.name for job in worker.unfinished] == ["deaf"]
        assert view.pending == view.stored == 1, "not handed back: it still runs"
    finally:
        end.set()


async def test_a_thread_that_looks_at_its_cut_is_handed_back(queue: Queue, view: View) -> None:
    began = anyio.Event()
    never = threading.Event()

    @queue.task
    def listening() -> None:
        from_thread.run_sync(began.set)
        while not current_job().cancelled:
            never.wait(0.005)
        raise InterruptedError

    async with queue:
        await listening.enqueue()
        with lasting_at_most(0.1) as limit:
            async with Worker(queue, drain_timeout=0.1) as worker:
                await began.wait()
                limit.counts_from_here()
    view.assert_nobody_is_left()
    assert (view.stored, worker.statistics().released, worker.statistics().failed) == (1, 1, 0)


async def test_nothing_is_left_of_what_arrives_at_the_moment_of_stopping(queue: Queue, view: View) -> None:
    """A producer races forty workers that come and go."""
    ran: Counter[int] = Counter()
    sent = 0
    news = anyio.Event()

    @queue.task
    async def job(number: int) -> None:
        ran[number] += 1

    async def produce() -> None:
        nonlocal sent, news
        while True:
            await job.enqueue(sent)
            sent += 1
            news.set()
            news = anyio.Event()

    async with queue, anyio.create_task_group() as tasks:
        tasks.start_soon(produce)
        for life in range(40):
            with lasting_at_most(0) as limit:
                async with working(queue, concurrency=3):
                    for _ in range(life % 5):
                        await news.wait()
                    limit.counts_from_here()
            view.assert_nobody_is_left()
        tasks.cancel_scope.cancel()
    async with working(queue) as worker:
        await worker.wait_idle()
    assert set(range(sent)) <= set(ran)
    assert set(ran.values()) == {1}
