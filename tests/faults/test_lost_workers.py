"""Workers that die, freeze or block: what they held starts elsewhere, soon, and a healthy worker's job never does."""

from __future__ import annotations

import signal
import statistics
from typing import Any

import anyio
import pytest
from tests.faults.conftest import Fleet, View, until, working
from tests.support.limits import lasting_at_most, now, starved

from anyq import Queue, Worker, current_job
from anyq._core import prefetch
from anyq._services import leases

pytestmark = pytest.mark.anyio


async def test_what_a_killed_worker_held_starts_elsewhere_within_six_seconds(
    queue: Queue, fleet: Fleet, view: View
) -> None:
    """With the settings that everybody has."""
    async with queue:
        victim = await fleet.start(concurrency=50)
        await queue.enqueue_many("work", [{"number": number, "seconds": 60} for number in range(50)])
        await fleet.until(lambda: len(fleet.runs()) == 50)
        rival = await fleet.start(drain_timeout=0)
        before = starved(rival.pid, view.server.pid)
        killed = fleet.signal(victim, signal.SIGKILL)
        await fleet.until(lambda: len(fleet.runs(rival)) == 50)
        waited = starved(rival.pid, view.server.pid) - before
        runs = fleet.of("ran", rival)
        assert max(run["at"] for run in runs) - killed - waited < 6
        assert {run["attempt"] for run in runs} == {2}, "a lost run counts"
        assert len(runs) == 50
        await fleet.leave()
    assert view.stored == 50
    view.assert_nobody_is_left()


async def test_a_job_that_kills_its_process_ends_as_a_dead_letter_and_takes_nobody_along(
    queue: Queue, fleet: Fleet, view: View
) -> None:
    async with queue:
        await queue.enqueue("poison", {"number": -1}, attempts=3)
        await queue.enqueue_many(
            "work", [{"number": number, "seconds": 0} for number in range(20)], attempts=3
        )
        for run in (1, 2, 3):
            process = await fleet.start(concurrency=5, lease=1)
            await process.wait()
            await fleet.until(lambda run=run: fleet.runs()[-1] == run)  # type: ignore[misc]
        await fleet.start(concurrency=5, lease=1)
        await until(lambda: view.stored == view.delayed == 0)
        await fleet.leave()
    runs = fleet.runs()
    assert runs.pop(-1) == 3, "as often as it may, and never again"
    assert set(runs) == set(range(20))
    [letter] = view.letters()
    assert (letter["n"], letter["reason"], letter["lost"]) == (b"poison", b"stalled", b"3")


async def test_a_worker_that_slept_through_its_lease_learns_what_it_lost(
    queue: Queue, fleet: Fleet, view: View
) -> None:
    """The outcomes that it has when it wakes change nothing: a failure makes no retry, a success no second ack."""
    async with queue:
        # Not the shortest lease: on a loaded machine the rival could seem dead to the worker that wakes.
        zombie = await fleet.start(concurrency=5, lease=2)
        await queue.enqueue("work", {"number": 1, "seconds": 60})
        await queue.enqueue("work", {"number": 2, "seconds": 0.5})
        await queue.enqueue("fail", {"number": 3, "seconds": 0.5})
        await fleet.until(lambda: len(fleet.runs()) == 3)
        fleet.signal(zombie, signal.SIGSTOP)  # at once: a program's start may take longer than the short jobs
        rival = await fleet.start(concurrency=5, lease=2, drain_timeout=0)
        await fleet.until(lambda: len(fleet.runs(rival)) == 3)
        fleet.signal(zombie, signal.SIGCONT)
        await fleet.until(lambda: fleet.of("cancelled", zombie) and len(fleet.of("ended", rival)) == 2)
        assert fleet.of("cancelled", zombie)[0]["cut"] == "lost"
        assert fleet.logged("is not ours any more", zombie)
        await fleet.dismiss(zombie)  # first: it would take the long job that the rival hands back
        await fleet.leave()
        [left] = fleet.of("left", zombie)
        assert left["lost"] + left["late"] == 3
        assert left["retried"] == left["dead"] == left["done"] == 0
    assert fleet.runs() == {1: 2, 2: 2, 3: 2}
    assert view.stored == 1, "the long one, handed back by the rival"
    assert [letter["lost"] for letter in view.letters()] == [b"1"], "the rival's failure"
    assert view.delayed == 0


async def test_a_healthy_job_longer_than_every_limit_runs_once(
    queue: Queue, view: View, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seconds in {
        "_RENEW_EVERY": 0.3,
        "_WATCH_EVERY": 0.1,
        "_SWEEP_EVERY": 0.3,
        "_SWEEP_IDLE": 0.9,
    }.items():
        monkeypatch.setattr(leases, name, seconds)
    runs: list[int] = []

    @queue.task
    async def long(number: int, seconds: float) -> None:
        runs.append(number)
        with anyio.move_on_after(seconds):
            await anyio.sleep_forever()

    async with queue, working(queue, lease=1) as worker, working(queue, lease=1) as rival:
        await queue.enqueue_many("long", [{"number": number, "seconds": 3.2} for number in range(2)])
        await until(lambda: view.stored == 0)
        assert worker.statistics().lost == rival.statistics().lost == 0
    assert sorted(runs) == [0, 1]


async def test_a_job_that_blocks_the_loop_is_not_taken_over_below_max_block(
    queue: Queue, fleet: Fleet
) -> None:
    async with queue:
        await fleet.start(concurrency=5, lease=1)
        await queue.enqueue("block", {"number": 1, "seconds": 2.5})
        await fleet.until(lambda: fleet.runs()[1])
        await fleet.start(concurrency=5, lease=1)
        await fleet.until(lambda: fleet.of("ended"))
        await fleet.leave()
    assert fleet.runs() == {1: 1}


async def test_a_job_that_blocks_the_loop_for_longer_is_taken_over(
    queue: Queue, fleet: Fleet, view: View
) -> None:
    async with queue:
        stuck = await fleet.start(concurrency=5, lease=1, max_block=0.5)
        await queue.enqueue("block", {"number": 1, "seconds": 30}, attempts=2)
        await fleet.until(lambda: fleet.runs()[1])
        await fleet.start(concurrency=5, lease=1, max_block=0.5)
        with lasting_at_most(3):
            await fleet.until(lambda: fleet.runs()[1] == 2)
        assert fleet.logged("event loop has not turned", stuck)
        await fleet.kill()
    assert view.stored == 1


def held_back(worker: Worker) -> int:
    """Jobs taken ahead, once all runners are at work and all that was done before is acknowledged; else 0."""
    now = worker.statistics()
    return now.buffered if now.running == 20 and now.held == now.running + now.buffered else 0


async def test_jobs_taken_ahead_start_on_another_worker_at_once_behind_any_backlog(
    queue: Queue, view: View, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of jobs were ready before them, and they start within 200 ms all the same, no attempt used up."""
    # As many as may be, whatever the speed of the machine: a slow one would take but a few jobs ahead.
    monkeypatch.setattr(prefetch.Prefetch, "look", lambda rule, *_: setattr(rule, "ahead", rule.limit))
    slow_from = 500
    nearby = range(slow_from, slow_from + 400)
    again: list[tuple[int, int, float]] = []
    there, here = Queue("work", queue.url), Queue("work", queue.url)

    @there.task(name="step")
    async def block(number: int) -> None:
        if number >= slow_from:
            await anyio.sleep_forever()

    @here.task(name="step")
    async def step(number: int) -> None:
        if number in nearby:  # a look at the clock costs more than such a job
            again.append((number, current_job().attempt, now(view.server.pid)))

    settings: dict[str, Any] = {"concurrency": 20, "prefetch": 300, "events": False, "drain_timeout": 0}
    async with queue:
        await queue.enqueue_many("step", [{"number": number} for number in range(20_000)])
        async with working(there, **settings) as worker:
            await until(lambda: held_back(worker) > 100)
            ahead = held_back(worker)
            stopped = now(view.server.pid)
            worker.stop()
            returned = range(slow_from + 20, slow_from + 20 + ahead)
            async with working(here, **settings):
                await until(lambda: {number for number, _, _ in again}.issuperset(returned))
    back = [(attempt, at - stopped) for number, attempt, at in again if number in returned]
    assert statistics.median(at for _, at in back) < 0.2, "the slower half is the machine's load"
    assert [attempt for attempt, _ in back] == [1] * ahead, "each once, and no attempt used up"
    view.assert_nobody_is_left()


async def test_a_killed_worker_is_listed_as_silent_until_its_jobs_are_taken_over(
    queue: Queue, fleet: Fleet, view: View
) -> None:
    async with queue:
        victim = await fleet.start(concurrency=5, lease=1)
        await queue.enqueue("work", {"number": 1, "seconds": 60})
        await fleet.until(lambda: len(fleet.runs()) == 1)
        fleet.signal(victim, signal.SIGKILL)
        states: list[str] = []
        with anyio.fail_after(20):
            while "silent" not in states:
                [found] = await queue.workers()
                states.append(found.state)
                assert found.held == 1
        rival = await fleet.start(concurrency=5, lease=1, drain_timeout=0)
        await fleet.until(lambda: len(fleet.runs(rival)) == 1)
        with anyio.fail_after(20):
            while len(left := await queue.workers()) > 1:
                pass
        assert [(one.pid, one.lives) for one in left] == [(rival.pid, True)]
        await fleet.leave()
    view.assert_nobody_is_left()
