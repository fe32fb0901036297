"""Opening a queue: as often as anybody likes, in any order, in several tasks, loops and threads.

Each leaves only what is its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from anyio.to_thread import run_sync
from tests.support.servers import SECONDS, Server
from tests.worker.conftest import Notes, length, until, working

from anyq import NotOpen, Queue

pytestmark = pytest.mark.anyio


class Visit:
    """A task of its own that enters a queue, and leaves it when told."""

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.entered, self.leave, self.left = anyio.Event(), anyio.Event(), anyio.Event()

    async def __call__(self) -> None:
        async with self.queue:
            self.entered.set()
            await self.leave.wait()
        self.left.set()

    async def enter(self, tasks: anyio.abc.TaskGroup) -> None:
        tasks.start_soon(self)
        await self.entered.wait()

    async def end(self) -> None:
        self.leave.set()
        await self.left.wait()


async def test_a_queue_opens_no_connection_before_it_is_used(queue: Queue, server: Server) -> None:
    async with queue:
        assert server.clients() == []
        await queue.enqueue("any")
        assert len(server.clients()) == 1


async def test_entering_twice_is_counted(queue: Queue, server: Server) -> None:
    async with queue:
        await queue.enqueue("any")
        async with queue as again:
            assert again is queue
            await queue.enqueue("any")
            assert len(server.clients()) == 1, "the second is idle while the first is there"
        await queue.enqueue("any")
        assert await length(queue) == 3
    with pytest.raises(NotOpen):
        await queue.enqueue("any")


async def test_a_queue_may_be_entered_again_after_it_was_left(queue: Queue) -> None:
    for _ in range(3):
        async with queue:
            await queue.enqueue("any")
    async with queue:
        assert await length(queue) == 3


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
async def test_tasks_that_entered_a_queue_leave_it_in_any_order(queue: Queue, order: tuple[int, ...]) -> None:
    visits = [Visit(queue) for _ in range(3)]
    async with anyio.create_task_group() as tasks:
        for visit in visits:
            await visit.enter(tasks)
            await queue.enqueue("any")
        for number in order:
            await queue.enqueue("any")
            await visits[number].end()
    with pytest.raises(NotOpen):
        await queue.enqueue("any")
    async with queue:
        assert await length(queue) == 6


async def test_who_waits_for_a_result_does_not_notice_that_another_task_left_the_queue(
    queue: Queue, notes: Notes[Any]
) -> None:
    ending = anyio.Event()

    @queue.task(result_ttl=60)
    async def slow() -> str:
        await ending.wait()
        return "here"

    async def wait() -> None:
        async with queue:
            notes.add(await slow.call(timeout=SECONDS))

    visit = Visit(queue)
    async with anyio.create_task_group() as tasks:
        await visit.enter(tasks)
        async with working(queue) as worker:
            tasks.start_soon(wait)
            await until(lambda: worker.statistics().running)
            await visit.end()
            ending.set()
            assert await notes.one() == "here"


async def test_a_worker_does_not_notice_that_another_task_left_the_queue(
    queue: Queue, notes: Notes[Any]
) -> None:
    @queue.task
    async def note() -> None:
        notes.add("ran")

    visit = Visit(queue)
    async with anyio.create_task_group() as tasks:
        await visit.enter(tasks)
        await queue.enqueue("note")
        async with working(queue) as worker:
            await notes.first(1)
            await visit.end()
            await queue.enqueue("note")
            await queue.enqueue("note", delay=0.01)
            await notes.first(3)
            await worker.wait_idle()
            assert worker.health().ok
        assert worker.unfinished == []


async def test_who_produces_does_not_notice_that_another_task_left_the_queue(
    queue: Queue, notes: Notes[Any]
) -> None:
    visit = Visit(queue)
    stop = anyio.Event()

    async def produce() -> None:
        async with queue:
            while not stop.is_set():
                await queue.enqueue("any")
                notes.add(1)

    async with anyio.create_task_group() as tasks:
        await visit.enter(tasks)
        for _ in range(5):
            tasks.start_soon(produce)
        await notes.first(20)
        await visit.end()
        await notes.first(len(notes.made) + 20)
        stop.set()
    async with queue:
        assert await length(queue) == len(notes.made)


async def test_who_waits_for_room_does_not_notice_that_another_task_left_the_queue(redis_url: str) -> None:
    queue = Queue("short", redis_url, max_length=3)

    @queue.task
    async def work() -> None: ...

    async def produce() -> None:
        async with queue:
            await work.enqueue_many([()] * 10)

    visit = Visit(queue)
    async with anyio.create_task_group() as tasks:
        await visit.enter(tasks)
        tasks.start_soon(produce)
        async with Queue("short", redis_url) as other:
            await until_length(other, 3)
            await visit.end()
            async with working(queue) as worker:
                await until(lambda: worker.statistics().done == 10)


async def until_length(queue: Queue, jobs: int) -> None:
    while await length(queue) < jobs:
        pass


async def test_leaving_by_an_error_closes_and_lets_the_error_out_as_it_is(
    queue: Queue, server: Server
) -> None:
    with pytest.raises(ZeroDivisionError):
        async with queue:
            await queue.enqueue("any")
            raise ZeroDivisionError
    await until(lambda: not server.clients())


async def test_leaving_by_cancellation_closes(queue: Queue, server: Server) -> None:
    with anyio.move_on_after(SECONDS) as scope:
        async with queue:
            await queue.enqueue("any")
            scope.cancel()
            await anyio.sleep_forever()
    await until(lambda: not server.clients())


# -- several loops ----------------------------------------------------------------------------------------------------


def main_program(queue: Queue) -> Callable[[], None]:
    """What a program does that runs an event loop of its own."""

    async def main() -> None:
        async with queue:
            await queue.enqueue("any")

    return lambda: anyio.run(main)


async def test_one_queue_serves_two_event_loops_one_after_the_other(queue: Queue) -> None:
    await run_sync(main_program(queue))
    await run_sync(main_program(queue))
    async with queue:
        assert await length(queue) == 2


async def test_one_queue_serves_several_event_loops_at_once(queue: Queue) -> None:
    everybody = threading.Barrier(3, timeout=SECONDS)

    async def main() -> None:
        async with queue:
            await queue.enqueue("any")
            everybody.wait()  # all are open
            await queue.enqueue("any")
            everybody.wait()

    async with anyio.create_task_group() as threads:
        for _ in range(3):
            threads.start_soon(run_sync, lambda: anyio.run(main))
    async with queue:
        assert await length(queue) == 6


async def test_a_queue_that_is_open_in_one_thread_is_not_open_in_another(queue: Queue) -> None:
    async with queue:
        with pytest.raises(NotOpen):
            await run_sync(lambda: queue.redis)
