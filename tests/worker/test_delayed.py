"""Jobs that wait for their time: they start within 20 ms of it, whoever promotes them.

Lateness is measured on the loops that programs have, without asyncio's debug mode, and without what this process or the
server had to wait for a core.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import anyio
import anyio.lowlevel
import attrs
import pytest
from tests.support.limits import now, starved
from tests.support.servers import SECONDS, Server
from tests.worker.conftest import Notes, until, working

from anyq import Backoff, Queue, current_job
from anyq._services.branch import Branch

pytestmark = pytest.mark.anyio

MILLISECOND = 0.001  # what Redis counts in

SOON = 0.02
"""Seconds by which a job may be late on an idle worker."""


def usual(times: list[float]) -> float:
    """What is usual on an idle machine: one that is loaded is late most of the time, so the quickest sixth counts."""
    return sorted(times)[len(times) // 6]


as_in_a_program = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])


@attrs.frozen
class Clock:
    """How late jobs start."""

    server: Server

    def due_in(self, seconds: float) -> tuple[float, float]:
        """The arguments of a job that is due then."""
        return time.time() + seconds, self.starved

    def late(self, due: float, starved_before: float) -> float:
        """Seconds since it was due, without those since it was added in which somebody waited for a core."""
        return time.time() - due - (self.starved - starved_before)

    @property
    def starved(self) -> float:
        return starved(self.server.pid)


@pytest.fixture
def clock(server: Server) -> Clock:
    return Clock(server)


@attrs.frozen
class Start:
    """One start of a job."""

    due: float
    late: float
    early: bool


def stamped(queue: Queue, notes: Notes[Start], clock: Clock) -> Any:
    @queue.task
    async def stamp(due: float = 0.0, starved_before: float = 0.0) -> None:
        early = time.time() < due - 2 * MILLISECOND
        notes.add(Start(due, clock.late(due, starved_before), early))

    return stamp


@as_in_a_program
async def test_delayed_jobs_start_within_20_ms_of_their_time(
    queue: Queue, notes: Notes[Start], clock: Clock
) -> None:
    stamp = stamped(queue, notes, clock)
    async with working(queue):
        for number in range(9):
            wait = 0.03 * (number + 1)
            await stamp.options(delay=wait).enqueue(*clock.due_in(wait))
        starts = await notes.first(9)
    assert not any(start.early for start in starts)
    assert usual([start.late for start in starts]) < SOON, starts


@as_in_a_program
async def test_a_job_for_a_moment_starts_at_that_moment(
    queue: Queue, notes: Notes[Start], clock: Clock
) -> None:
    stamp = stamped(queue, notes, clock)
    async with working(queue):
        for number in range(5):
            moment = datetime.now(UTC) + timedelta(milliseconds=40 * (number + 1))
            await stamp.options(at=moment).enqueue(moment.timestamp(), clock.starved)
        starts = await notes.first(5)
    assert not any(start.early for start in starts)
    assert usual([start.late for start in starts]) < SOON, starts


@as_in_a_program
async def test_a_job_that_is_due_earlier_wakes_the_promoter(
    queue: Queue, notes: Notes[Start], clock: Clock
) -> None:
    stamp = stamped(queue, notes, clock)
    async with working(queue):
        late = []
        for number in range(1, 6):
            await stamp.options(delay=60).enqueue()
            await stamp.options(delay=0.05).enqueue(*clock.due_in(0.05))
            late.append((await notes.first(number))[-1].late)
    assert usual(late) < SOON, late


@as_in_a_program
async def test_the_first_delayed_job_of_a_fresh_worker_does_not_wait_for_the_next_look(
    redis_url: str, notes: Notes[Start], clock: Clock
) -> None:
    late = []
    for number in range(1, 4):
        queue = Queue("work", redis_url)
        stamp = stamped(queue, notes, clock)
        async with working(queue):
            await stamp.options(delay=0.01).enqueue(*clock.due_in(0.01))
            late.append((await notes.first(number))[-1].late)
    assert usual(late) < 0.3, late  # its worker is still connecting; a look that was missed costs a second


async def test_jobs_that_were_due_while_nobody_worked_start_at_once_and_in_order(
    queue: Queue, notes: Notes[Start], clock: Clock
) -> None:
    stamp = stamped(queue, notes, clock)
    async with queue:
        for number in (3, 1, 2):
            await stamp.options(at=datetime.fromtimestamp(number, UTC)).enqueue(float(number))
        async with working(queue, concurrency=1):
            await notes.first(3)
    assert [start.due for start in notes.made] == [1.0, 2.0, 3.0]


async def test_many_jobs_of_one_moment_all_start(queue: Queue, notes: Notes[Start], clock: Clock) -> None:
    stamp = stamped(queue, notes, clock)
    async with queue:
        await stamp.options(delay=0.01).enqueue_many([(float(n),) for n in range(1000)])
        async with working(queue) as worker:
            await notes.first(1000)
            await worker.wait_idle()
    assert sorted(start.due for start in notes.made) == [float(n) for n in range(1000)]


@as_in_a_program
async def test_a_retry_comes_back_after_its_milliseconds(
    queue: Queue, notes: Notes[tuple[float, float]], server: Server
) -> None:
    @queue.task(attempts=8, backoff=Backoff.fixed(0.03))
    async def fail() -> None:
        notes.add((time.monotonic(), now(server.pid)))
        if current_job().attempt < 8:
            raise ValueError

    async with working(queue):
        await fail.enqueue()
        moments = await notes.first(8)
    waits = [(after[0] - before[0], after[1] - before[1]) for before, after in pairwise(moments)]
    assert min(real for real, _ in waits) > 0.03 - MILLISECOND
    assert usual([ours for _, ours in waits]) < 0.03 + SOON, waits


@as_in_a_program
async def test_another_worker_promotes_when_the_leader_leaves(
    redis_url: str, notes: Notes[Start], clock: Clock
) -> None:
    one, two = Queue("work", redis_url), Queue("work", redis_url)
    stamp = stamped(one, notes, clock)
    stamped(two, notes, clock)
    async with two, working(one) as first:
        await until_leads(two, first.name)
        async with working(two) as second:
            await stamp.options(delay=0.01).enqueue(0.0)
            await notes.first(1)
            assert await leader(two) == first.name
            first.stop()
            await until(lambda: first.health().state == "stopped")
            due, before = clock.due_in(0.05)
            await two.enqueue("stamp", {"due": due, "starved_before": before}, delay=0.05)
            await notes.first(2)
            await until_leads(two, second.name)
    assert notes.made[-1].late < 0.2


@as_in_a_program
async def test_a_leader_that_is_gone_delays_nobody_for_longer_than_a_moment(
    queue: Queue, notes: Notes[Start], clock: Clock
) -> None:
    stamp = stamped(queue, notes, clock)
    async with queue:
        await queue.redis.set(queue.keys.promoter_lock, "anyq-killed", px=60_000)
        async with working(queue):
            late = []
            for number in range(1, 6):
                await stamp.options(delay=0.02).enqueue(*clock.due_in(0.02))
                late.append((await notes.first(number))[-1].late)
            assert await leader(queue) == "anyq-killed"
    assert usual(late) < 0.05 + SOON, late


async def test_a_worker_that_leaves_does_not_take_the_lead_again(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever promotes next would be late for as long as the lock of one that is gone lasts."""
    depart = Branch.depart
    led: list[str | None] = []

    async def depart_slowly(branch: Branch) -> bool:
        await queue.redis.call("PUBLISH", queue.keys.due, "0")  # somebody adds a delayed job meanwhile
        with anyio.move_on_after(0.1):
            await anyio.sleep_forever()
        led.append(await leader(queue))
        return await depart(branch)

    monkeypatch.setattr(Branch, "depart", depart_slowly)
    async with queue, working(queue) as worker:
        await until_leads(queue, worker.name)
        worker.stop()
        await until(lambda: worker.health().state == "stopped")
        assert await leader(queue) is None
    assert led == [None]


async def leader(queue: Queue) -> str | None:
    name: bytes | None = await queue.redis.call("GET", queue.keys.promoter_lock)
    return None if name is None else name.decode()


async def until_leads(queue: Queue, name: str) -> None:
    with anyio.fail_after(SECONDS):
        while await leader(queue) != name:
            pass
