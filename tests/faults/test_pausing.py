"""Pausing while workers die, freeze and come back: whoever cannot confirm is waited for as long as it may be alive."""

from __future__ import annotations

import signal
import time

import anyio
import pytest
from tests.faults.conftest import Fleet, View, until
from tests.support.limits import lasting_at_most

from anyq import Queue

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_worker_that_cannot_confirm_is_waited_for_no_longer_than_its_lease(
    queue: Queue, fleet: Fleet, view: View, fault: signal.Signals
) -> None:
    async with queue:
        victim = await fleet.start(concurrency=1, lease=1, drain_timeout=0)
        await queue.enqueue("work", {"number": 0, "seconds": 60})
        await fleet.until(lambda: fleet.runs(victim))
        fleet.signal(victim, fault)
        with lasting_at_most(1.5):
            await queue.pause()
        # In the stream, where the victim's read may still wait for them.
        await queue.enqueue_many("work", [{"number": number, "seconds": 0} for number in range(1, 5)])
        second = await fleet.start(concurrency=5, lease=1, drain_timeout=0)
        await until(lambda: view.stored == 5 and view.pending == 0)  # taken over, and not begun
        if fault == signal.SIGSTOP:
            fleet.signal(victim, signal.SIGCONT)
            await fleet.until(lambda: fleet.of("cancelled", victim))
            await fleet.until(lambda: fleet.logged("paused: the queue", victim))
            fleet.signal(victim, signal.SIGKILL)
        assert not fleet.runs(second)
        await queue.resume()
        await fleet.until(lambda: len(fleet.of("ended", second)) == 4 and fleet.runs(second)[0])
        assert fleet.runs(victim) == {0: 1}, "nothing began there after all"


async def test_a_frozen_worker_that_wakes_within_its_lease_is_waited_for(queue: Queue, fleet: Fleet) -> None:
    async with queue:
        worker = await fleet.start(concurrency=2, lease=10)
        await queue.enqueue_many("work", [{"number": number, "seconds": 0.05} for number in range(500)])
        await fleet.until(lambda: len(fleet.runs()) > 2)
        fleet.signal(worker, signal.SIGSTOP)
        returned = 0.0

        async def pause() -> None:
            nonlocal returned
            await queue.pause()
            returned = time.monotonic()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pause)
            with anyio.move_on_after(0.5):
                await fleet.until(lambda: returned)
            assert not returned, "it lives, and might start a job when it wakes"
            fleet.signal(worker, signal.SIGCONT)
        with anyio.move_on_after(0.3):  # for what it may have said meanwhile to arrive
            await fleet.until(lambda: fleet.of("nothing"))
        late = [words for words in fleet.said if "ran" in words and words["at"] > returned]
        assert not late, f"began after pause() had returned: {late}"
