"""`anyq.serve` in a program of one's own: signals drain, errors come out bare, cancelling is a drain too."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import TaskGroup
from tests.support.servers import SECONDS, Server

from anyq import ConfigurationError, Queue, Worker, WorkerCrashed, serve

pytestmark = pytest.mark.anyio


class Shop:
    """A queue whose one task tells when it begins and how it ends."""

    def __init__(self, url: str, name: str = "shop") -> None:
        self.queue = Queue(name, url)
        self.begun, self.cut = anyio.Event(), anyio.Event()

        @self.queue.task
        async def long() -> None:
            self.begun.set()
            try:
                await anyio.sleep_forever()
            finally:
                self.cut.set()

        self.long = long

    async def open(self, nursery: TaskGroup, worker: Worker) -> Callable[[], object]:
        """Serve, and return when the job has begun; gives what `serve` returned, once it has."""
        returned: list[object] = []

        async def run(*, task_status: anyio.abc.TaskStatus[None]) -> None:
            returned.append(await serve(worker, task_status=task_status))

        await nursery.start(run)
        async with self.queue:
            await self.long.enqueue()
        await self.begun.wait()
        return lambda: returned[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
async def test_a_signal_drains_and_is_what_serve_returns(redis_url: str, number: signal.Signals) -> None:
    shop = Shop(redis_url)
    worker = Worker(shop.queue, drain_timeout=0.1)
    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as nursery:
            returned = await shop.open(nursery, worker)
            os.kill(os.getpid(), number)
    assert returned() is number
    assert shop.cut.is_set()
    assert worker.left_nothing


async def test_the_second_signal_stops_at_once(redis_url: str) -> None:
    shop = Shop(redis_url)
    worker = Worker(shop.queue, drain_timeout=60)
    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as nursery:
            returned = await shop.open(nursery, worker)
            os.kill(os.getpid(), signal.SIGINT)
            while worker.health().state != "draining":
                await anyio.lowlevel.checkpoint()
            os.kill(os.getpid(), signal.SIGTERM)
    assert returned() is signal.SIGINT, "the first one is why it ended"
    assert worker.left_nothing


async def test_stopping_the_worker_ends_serve_without_a_signal(redis_url: str) -> None:
    shop = Shop(redis_url)
    worker = Worker(shop.queue)
    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as nursery:
            returned = await shop.open(nursery, worker)
            worker.stop(drain_timeout=0)
    assert returned() is None


async def test_cancelling_drains(redis_url: str) -> None:
    shop = Shop(redis_url)
    worker = Worker(shop.queue, drain_timeout=0.1)
    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as nursery:
            await shop.open(nursery, worker)
            nursery.cancel_scope.cancel()
    assert shop.cut.is_set()
    assert worker.left_nothing


async def test_one_signal_drains_several_workers(redis_url: str) -> None:
    shops = [Shop(redis_url, "first"), Shop(redis_url, "second")]
    workers = [Worker(shop.queue, drain_timeout=0.1) for shop in shops]
    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as nursery:
            await nursery.start(partial(serve, *workers))
            for shop in shops:
                async with shop.queue:
                    await shop.long.enqueue()
                await shop.begun.wait()
            os.kill(os.getpid(), signal.SIGTERM)
    assert all(shop.cut.is_set() for shop in shops)
    assert all(worker.left_nothing for worker in workers)


async def test_a_worker_that_cannot_start_ends_the_others_and_its_error_comes_out_bare(
    redis_url: str, start_server: Callable[..., Server]
) -> None:
    locked = start_server(password="secret")
    good, bad = Worker(Queue("good", redis_url)), Worker(Queue("bad", f"unix://:wrong@{locked.socket}"))
    with anyio.fail_after(SECONDS), pytest.raises(ConfigurationError):
        await serve(good, bad)
    assert good.left_nothing


async def test_a_crash_drains_the_others_and_comes_out_bare_with_its_cause(
    server: Server, redis_url: str
) -> None:
    good, bad = Worker(Queue("good", redis_url)), Worker(Queue("bad", redis_url))

    async def spoil() -> None:
        while not (good.health().ok and bad.health().ok):
            await anyio.lowlevel.checkpoint()
        for lane in bad.queues[0].keys.lanes:
            server.command("DEL", lane)
            server.command("SET", lane, "no stream")

    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(spoil)
            with pytest.raises(WorkerCrashed) as caught:
                await serve(good, bad)
    assert caught.value.__cause__ is not None
    assert good.left_nothing


async def test_a_signal_ends_a_start_that_still_waits(start_server: Callable[..., Server]) -> None:
    server = start_server()
    worker = Worker(Queue("waiting", server.url))
    with anyio.fail_after(5), server.paused():
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(serve, worker)
            await anyio.wait_all_tasks_blocked()
            os.kill(os.getpid(), signal.SIGTERM)
    assert worker.left_nothing


async def test_signals_are_the_program_s_own_again_afterwards(redis_url: str) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    worker = Worker(Queue("brief", redis_url))
    async with anyio.create_task_group() as nursery:
        await nursery.start(serve, worker)
        assert signal.getsignal(signal.SIGTERM) is not before[0]
        worker.stop()
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


async def test_nothing_to_serve_is_refused() -> None:
    with pytest.raises(TypeError, match="serve needs one or several Workers"):
        await serve()
    with pytest.raises(TypeError, match="serve needs one or several Workers"):
        await serve(Queue("a queue"))  # type: ignore[arg-type]
