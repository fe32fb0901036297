"""Jobs that may be what kills their workers run apart from each other."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint

from anyq import Queue, Worker
from anyq._core.codec import encode

pytestmark = pytest.mark.anyio


async def test_a_worker_runs_one_suspect_at_a_time_and_in_the_end_all_of_them(redis_url: str) -> None:
    queue = Queue("suspects", redis_url)
    together: list[int] = []
    done: list[int] = []
    at_work = 0
    everything = anyio.Event()

    @queue.task(attempts=4)
    async def risky(number: int) -> None:
        nonlocal at_work
        at_work += 1
        together.append(at_work)
        await checkpoint()
        at_work -= 1
        done.append(number)
        if len(done) == 4:
            everything.set()

    async with queue:
        for number in range(4):
            body = b"\x81\xa6number" + bytes([number])
            await queue.redis.call(
                "XADD", queue.keys.stream, "*", "d", encode(f"j{number}", body, 1), "n", "risky", "l", 2
            )
        async with Worker(queue):
            with anyio.fail_after(20):
                await everything.wait()
    assert sorted(done) == [0, 1, 2, 3]
    assert max(together) == 1
