"""Programs are killed while items gather: what was answered is in exactly one call, and in order."""

from __future__ import annotations

import sys
from pathlib import Path

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream
from tests.faults.conftest import until, working
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


def small(number: int) -> bool:
    return 0 <= number < 1_000_000


def large(number: int) -> bool:
    return number >= 1_000_000
