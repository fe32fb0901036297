"""A reply that is lost never doubles a job: what was sent is sent again under its number, and takes effect once."""

from __future__ import annotations

import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from typing import Any

import anyio
import pytest
from tests.support.proxy import FaultProxy, fault_proxy
from tests.support.servers import SECONDS, Server, free_port
from tests.worker.conftest import drained, envelope, length, payloads

from anyq import ConnectionLost, JobHandle, Queue, RedisUnavailable

pytestmark = pytest.mark.anyio


@pytest.fixture
async def proxy(anyio_backend: object, server: Server, redis_url: str) -> AsyncGenerator[FaultProxy]:
    async with fault_proxy(server.socket) as proxy:
        yield proxy


@pytest.fixture
async def queue(proxy: FaultProxy) -> AsyncGenerator[Queue]:
    """A queue behind a proxy, open and connected, with one job in it."""
    queue = Queue("work", proxy.url)

    @queue.task
    async def work(number: int = 0) -> None: ...

    async with queue:
        await queue.enqueue("work")
        yield queue


Add = Callable[[Queue], Awaitable[Any]]

ADDITIONS: dict[str, tuple[Add, int]] = {
    "a plain job": (lambda queue: queue.enqueue("work"), 1),
    "a job with an id": (lambda queue: queue.enqueue("work", id="mine"), 1),
    "a delayed job": (lambda queue: queue.enqueue("work", delay=60), 1),
    "a delayed job with an id": (lambda queue: queue.enqueue("work", delay=60, id="mine"), 1),
    "many jobs": (lambda queue: queue.enqueue_many("work", [{}] * 2500), 2500),
    "many delayed jobs": (lambda queue: queue.enqueue_many("work", [{}] * 1500, delay=60), 1500),
}


async def lose_replies(proxy: FaultProxy, add: Callable[[], Awaitable[Any]], times: int = 1) -> Any:
    """Add while the server's answers are swallowed and then the connection breaks; then let it work."""
    handles: list[Any] = []

    async def run() -> None:
        handles.append(await add())

    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as tasks:
            proxy.drop("down")
            tasks.start_soon(run)
            for _ in range(times):
                before = proxy.down.dropped
                await proxy.until(lambda proxy: proxy.down.dropped > before)  # noqa: B023
                proxy.reset()
            proxy.heal()
    return handles[0]


@pytest.mark.parametrize(("add", "jobs"), ADDITIONS.values(), ids=ADDITIONS.keys())
async def test_what_was_added_once_is_there_once(
    proxy: FaultProxy, queue: Queue, add: Add, jobs: int
) -> None:
    handles = await lose_replies(proxy, lambda: add(queue))
    found = await length(queue) + await queue.redis.zcard(queue.keys.delayed)
    assert found == jobs + 1
    if isinstance(handles, JobHandle):
        assert handles.new, "it is as new as it was when the lost reply said so"
        assert (await add(queue)).new == (handles.id != "mine")


async def test_concurrent_callers_lose_and_double_nothing(proxy: FaultProxy, queue: Queue) -> None:
    async def add() -> None:
        async with anyio.create_task_group() as callers:
            for number in range(100):
                callers.start_soon(queue.enqueue, "work", {"number": number})
                callers.start_soon(partial(queue.enqueue, "work", id=f"mine-{number % 10}"))

    await lose_replies(proxy, add)
    assert await length(queue) == 1 + 100 + 10
    assert (await drained(queue)).statistics().done == 111


async def test_an_outage_that_is_longer_than_the_patience_is_an_error(proxy: FaultProxy) -> None:
    impatient = Queue("work", f"{proxy.url}?socket_timeout=1", outage_timeout=0.05)
    async with impatient:
        await impatient.enqueue("work")
        proxy.refuse()
        proxy.reset()
        with (
            anyio.fail_after(SECONDS),
            pytest.raises(RedisUnavailable, match=r"for 0.05 s \(producing\)") as caught,
        ):
            await impatient.enqueue("work")
        assert isinstance(caught.value.__cause__, ConnectionLost)
    proxy.heal()
    async with Queue("work", proxy.url) as patient:
        assert await length(patient) == 1


@pytest.mark.parametrize("how", ["enqueued", "gathered"])
async def test_each_caller_of_a_batch_has_an_error_of_its_own(proxy: FaultProxy, how: str) -> None:
    """One that all of them raise has everybody's tracebacks, and everybody's notes."""
    impatient = Queue("work", proxy.url, outage_timeout=0.05)

    @impatient.task
    async def enqueued(number: int) -> None: ...

    @impatient.aggregate(size=20, delay=60)
    async def gathered(numbers: list[int]) -> None: ...

    caught: list[RedisUnavailable] = []

    async def call(number: int) -> None:
        with pytest.raises(RedisUnavailable) as error:
            await (enqueued.enqueue(number) if how == "enqueued" else gathered.enqueue(number))
        caught.append(error.value)

    async with impatient:
        await impatient.enqueue("work")
        proxy.refuse()
        proxy.reset()
        with anyio.fail_after(SECONDS):
            async with anyio.create_task_group() as callers:
                for number in range(5):
                    callers.start_soon(call, number)
    assert len({id(error) for error in caught}) == len(caught) == 5
    # Of a batch: the first caller that finds nothing under way sends for itself, with an error of its own.
    batches: dict[int, list[RedisUnavailable]] = {}
    for error in caught:
        batches.setdefault(id(error.__cause__), []).append(error)
    one, two, *_ = max(batches.values(), key=len)
    assert str(one) == str(two)
    assert one.__cause__ is two.__cause__ is not None
    frames = [len(traceback.extract_tb(error.__traceback__)) for error in (one, two)]
    assert frames[0] == frames[1]


async def test_a_server_that_is_not_there_is_told_within_the_patience() -> None:
    queue = Queue("work", f"redis://127.0.0.1:{free_port()}", outage_timeout=1)
    async with queue:
        began = anyio.current_time()
        with pytest.raises(RedisUnavailable, match=r"for 1 s \(producing\): no connection to"):
            await queue.enqueue("work")
        assert anyio.current_time() - began < 5, "as long as a try to connect may take by itself"


async def test_an_outage_that_is_shorter_than_the_patience_is_not_noticed(
    proxy: FaultProxy, queue: Queue
) -> None:
    async with anyio.create_task_group() as tasks:
        proxy.refuse()
        proxy.reset()
        for _ in range(10):
            tasks.start_soon(queue.enqueue, "work")
        await proxy.until(lambda proxy: proxy.refused >= 2)
        proxy.heal()
    assert await length(queue) == 11


async def test_a_server_that_forgot_its_scripts_is_told_again(queue: Queue, server: Server) -> None:
    for how in ({}, {"id": "mine"}, {"delay": 60}):
        server.command("SCRIPT", "FLUSH")
        await queue.enqueue("work", **how)
    server.command("SCRIPT", "FLUSH")
    assert (await drained(queue)).statistics().done == 3


async def test_many_jobs_stay_in_their_order_when_replies_are_lost(proxy: FaultProxy, queue: Queue) -> None:
    await lose_replies(proxy, lambda: queue.enqueue_many("work", [{"number": n} for n in range(2500)]))
    assert [payload.get("number") for payload in await payloads(queue)] == [None, *range(2500)]


async def test_many_jobs_stay_in_their_order_when_the_server_forgot_its_scripts(
    queue: Queue, server: Server
) -> None:
    server.command("SCRIPT", "FLUSH")
    await queue.enqueue_many("work", [{"number": n} for n in range(2500)])
    assert [payload.get("number") for payload in await payloads(queue)] == [None, *range(2500)]


async def test_many_jobs_of_which_the_caller_was_cancelled_are_there_once_or_not_at_all(
    proxy: FaultProxy, queue: Queue
) -> None:
    proxy.drop("down")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(queue.enqueue_many, "work", [{"number": n} for n in range(2500)])
        await proxy.until(lambda proxy: proxy.down.dropped > 0)
        tasks.cancel_scope.cancel()
    proxy.reset()
    proxy.heal()
    await queue.enqueue("work", {"number": -1})
    numbers = [payload.get("number") for payload in await payloads(queue)]
    assert numbers == [None, *range(len(numbers) - 2), -1]


async def test_a_replay_whose_replies_are_lost_doubles_no_job_and_counts_right(
    proxy: FaultProxy, queue: Queue
) -> None:
    for number in range(300):
        await queue.redis.xadd(queue.keys.dead_letters, {"d": envelope(id=f"job-{number}"), "n": "work"})
    replayed = await lose_replies(proxy, queue.dead_letters.replay_all, times=4)
    assert (replayed.count, replayed.left) == (300, {})
    assert await length(queue) == 301
    assert await queue.dead_letters.count() == 0


async def test_a_deletion_whose_replies_are_lost_counts_right(proxy: FaultProxy, queue: Queue) -> None:
    for _ in range(300):
        await queue.redis.xadd(queue.keys.dead_letters, {"d": ""})
    assert await lose_replies(proxy, queue.dead_letters.delete_all, times=4) == 300
