"""Programs are killed while items gather and while calls run: what was answered is in exactly one call, in order."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream
from tests.faults.conftest import Fleet, View, until, working
from tests.support.servers import SECONDS

from anyq import Queue

pytestmark = pytest.mark.anyio

PROGRAM = Path(__file__).with_name("gatherer.py")


async def test_what_killed_producers_were_answered_is_in_one_call_each(
    queue: Queue, redis_url: str, anyio_backend_name: str
) -> None:
    calls: list[list[int]] = []

    @queue.aggregate(size=20, delay=60)
    async def digest(numbers: list[int]) -> None:
        calls.append(numbers)

    answered: dict[int, list[int]] = {0: [], 1_000_000: []}

    async def produce_and_be_killed(first: int) -> None:
        words = [sys.executable, str(PROGRAM), anyio_backend_name, redis_url, queue.name, str(first)]
        async with await anyio.open_process(words, stderr=None) as process:
            assert process.stdout
            lines = BufferedByteReceiveStream(process.stdout)
            while len(answered[first]) < 50:
                answered[first].append(int(await lines.receive_until(b"\n", 100)))
            process.kill()
            while True:  # what it had said before it died
                try:
                    answered[first].append(int(await lines.receive_until(b"\n", 100)))
                except (anyio.EndOfStream, anyio.IncompleteRead):
                    return

    async with queue:
        with anyio.fail_after(4 * SECONDS):
            async with anyio.create_task_group() as producers:
                for first in answered:
                    producers.start_soon(produce_and_be_killed, first)
        async with working(queue):
            last = await digest.enqueue(-1)  # another program goes on with what they left
            await last.run_now()
            await until(lambda: any(-1 in call for call in calls))
    taken = [number for call in calls for number in call]
    for first, numbers in answered.items():
        mine = sorted(number for number in taken if first <= number < first + 1_000_000)
        assert mine[: len(numbers)] == numbers
        assert len(mine) - len(numbers) in {0, 1}, "the one that was under way may be there or not"
    assert all(len(call) <= 20 for call in calls)
    assert all(
        [*filter(mine, call)] == sorted(filter(mine, call)) for call in calls for mine in (small, large)
    )


@pytest.mark.parametrize("step", ["it gathers", "it is ready", "it runs"])
async def test_a_worker_is_killed_and_the_call_is_run_by_another(
    queue: Queue, fleet: Fleet, view: View, step: str
) -> None:
    @queue.aggregate(size=20, delay=60 if step == "it gathers" else 0.05)
    async def digest(numbers: list[int]) -> None: ...

    async with queue:
        victim = await fleet.start(lease=1, concurrency=1)
        if step == "it is ready":  # and stays so: the worker has its hands full
            await queue.enqueue("work", {"number": -1, "seconds": 1000}, attempts=1)
            await fleet.until(lambda: fleet.of("ran"))
        first = await digest.enqueue_many(range(10))
        match step:
            case "it gathers":
                assert (view.stored, view.delayed) == (0, 1)
            case "it is ready":
                await until(lambda: (view.stored, view.delayed) == (2, 0))
            case _:
                await fleet.until(lambda: fleet.of("digest", victim))
        fleet.signal(victim, signal.SIGKILL)
        await victim.wait()
        late = await digest.enqueue(10)
        rescuer = await fleet.start(lease=1)
        await late.run_now()
        count = 1 if late.id == first[0].id else 2
        await fleet.until(lambda: len(fleet.of("digested")) == count)
        await until(lambda: view.stored == 0)
    assert {handle.id for handle in first} == {first[0].id}
    assert (count == 1) == (step == "it gathers"), "what was let go takes no more"
    runs = {words["id"]: words for words in fleet.of("digest", rescuer)}
    assert len(runs) == len(fleet.of("digest", rescuer)) == count
    taken = [*range(10), *([10] if count == 1 else [])]
    assert runs[first[0].id]["digest"] == taken
    assert count == 1 or runs[late.id]["digest"] == [10]
    assert runs[first[0].id]["attempt"] == (2 if step == "it runs" else 1)
    assert view.delayed == len(view.letters()) - (step == "it is ready") == 0


async def test_workers_are_killed_while_items_pour_in(queue: Queue, fleet: Fleet, view: View) -> None:
    """Whatever they were about: letting calls go, taking them, running them, ending them."""

    @queue.aggregate(size=20, delay=0.1)
    async def digest(numbers: list[int]) -> None: ...

    calls: dict[str, list[int]] = {}

    async def produce(stop: anyio.Event) -> None:
        number = 0
        while not stop.is_set():
            some = range(number, number + 7)
            for handle, item in zip(await digest.enqueue_many(some), some, strict=True):
                calls.setdefault(handle.id, []).append(item)
            number = some.stop

    async with queue:
        await fleet.start(lease=1)
        stop = anyio.Event()
        async with anyio.create_task_group() as producer:
            producer.start_soon(produce, stop)
            for _ in range(3):
                told = len(fleet.of("digested"))
                await fleet.until(lambda told=told: len(fleet.of("digested")) > told + 5)  # type: ignore[misc]
                fleet.signal(fleet.processes[-1], signal.SIGKILL)
                await fleet.start(lease=1)
            stop.set()
        await fleet.until(lambda: {words["id"] for words in fleet.of("digested")} == calls.keys())
        await until(lambda: (view.stored, view.delayed) == (0, 0))
    numbers = [number for call in calls.values() for number in call]
    assert sorted(numbers) == [*range(len(numbers))], "each item is in one call"
    for words in fleet.of("digest"):
        assert words["digest"] == calls[words["id"]], "each run of a call has its items, in order"
    assert view.letters() == []


def small(number: int) -> bool:
    return 0 <= number < 1_000_000


def large(number: int) -> bool:
    return number >= 1_000_000
