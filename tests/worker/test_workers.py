"""`queue.workers()`: who works on a queue, what each runs and since when, and how it is."""

from __future__ import annotations

import os
import platform
import socket
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest
from tests.support.limits import now
from tests.support.servers import SECONDS, Server
from tests.worker.conftest import Notes, closing, working

from anyq import Job, Queue, Worker, WorkerInfo, current_job

pytestmark = pytest.mark.anyio


async def told(queue: Queue, is_so: Callable[[WorkerInfo], object]) -> WorkerInfo:
    """The queue's only worker, once it tells this of itself."""
    with anyio.fail_after(SECONDS):
        while True:
            [found] = await queue.workers()
            if is_so(found):
                return found
            with anyio.move_on_after(0.02):
                await anyio.sleep_forever()


async def test_a_worker_says_who_and_where_it_is_from_its_start_on(
    queue: Queue, anyio_backend_name: str
) -> None:
    queue.task(name="one")(anyio.sleep)
    async with queue:
        assert await queue.workers() == []
        async with working(queue, concurrency=7) as worker:
            found = await told(queue, lambda one: one.state == "running")
            assert (found.name, found.host, found.pid) == (worker.name, socket.gethostname(), os.getpid())
            assert (found.backend, found.python) == (anyio_backend_name, platform.python_version())
            assert (found.concurrency, found.busy, found.running, found.held, found.runs) == (7, 0, 0, 0, ())
            assert found.started_at is not None
            assert abs((datetime.now(UTC) - found.started_at).total_seconds()) < SECONDS
            assert found.loop_lag is not None
            assert found.loop_lag < SECONDS
            assert (set(found.tasks), found.knows("one"), found.knows("other")) == ({"one"}, True, False)
            queue.task(name="other")(anyio.sleep)
            await told(queue, lambda one: one.knows("other"))
        assert await queue.workers() == [], "who has left is not there any more"


async def test_what_a_worker_runs_is_told_with_the_time_since_when(queue: Queue) -> None:
    opened = anyio.Event()

    @queue.task
    async def hold() -> None:
        await opened.wait()

    async with queue, working(queue, lease=1) as worker:
        before = now()
        handles = await hold.enqueue_many([()] * 2)
        found = await told(queue, lambda one: one.running == 2)
        assert {run.id for run in found.runs} == {handle.id for handle in handles}
        assert {(run.task, run.attempt, run.waits) for run in found.runs} == {("hold", 1, False)}
        assert found.oldest is not None
        assert 0 <= found.oldest <= now() - before + 1
        assert (found.busy, found.held) == (2, 2)
        later = await told(queue, lambda one: one.seen_at != found.seen_at)
        assert later.oldest is not None
        assert later.oldest > found.oldest
        moved = [
            abs((a.since - b.since).total_seconds()) for a, b in zip(later.runs, found.runs, strict=True)
        ]
        assert max(moved) < 0.1
        worker.stop()
        await told(queue, lambda one: one.state == "draining" and one.running == 2)
        opened.set()


async def test_each_queue_is_told_its_own_runs_and_how_busy_the_worker_is_in_all(
    redis_url: str, queue: Queue
) -> None:
    opened, other = anyio.Event(), Queue("other", redis_url)

    async def hold() -> None:
        await opened.wait()

    for place in (queue, other):
        place.task(hold)

    @other.fallback
    async def rest(job: Job) -> None: ...

    async with queue, other, working(queue, other, lease=1):
        await queue.enqueue("hold")
        await other.enqueue_many("hold", [{}, {}])
        first = await told(queue, lambda one: one.busy == 3)
        second = await told(other, lambda one: one.busy == 3)
        assert (first.running, second.running) == (1, 2)
        assert (first.knows("x"), second.knows("x")) == (False, True)
        opened.set()


async def test_a_run_that_waits_for_a_thread_says_so(queue: Queue, notes: Notes[str]) -> None:
    opened = threading.Event()

    @queue.task
    def hold() -> None:
        notes.add(current_job().id)
        opened.wait(SECONDS)

    async with queue, closing(opened), working(queue, threads=1, lease=1):
        await hold.enqueue_many([(), ()])
        begun = await notes.one()
        found = await told(queue, lambda one: one.running == 2)
        assert {run.id == begun: run.waits for run in found.runs} == {True: False, False: True}
        opened.set()


async def test_a_worker_says_what_it_knows_to_be_paused(queue: Queue) -> None:
    async with queue, working(queue, lease=1):
        await queue.pause("newsletter")
        found = await told(queue, lambda one: one.paused_tasks)
        assert (found.paused, set(found.paused_tasks)) == (False, {"newsletter"})
        await queue.pause()
        assert (await told(queue, lambda one: one.paused)).paused


async def test_a_loop_that_was_late_says_by_how_much(queue: Queue) -> None:
    @queue.task
    async def block() -> None:
        threading.Event().wait(0.4)

    async with queue, working(queue, lease=1):
        await block.enqueue()
        found = await told(queue, lambda one: one.loop_lag is not None and one.loop_lag > 0.2)
        assert found.lives


async def test_while_the_loop_is_blocked_the_worker_lives_and_its_age_shows_it(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with queue, working(queue, lease=1) as worker:
        await told(queue, lambda one: one.state == "running")
        monkeypatch.setattr(worker._pulse, "_tell", lambda _seen: None)  # as if the loop did not turn
        found = await told(queue, lambda one: one.age is not None and one.age > 1.5)
        assert (found.lives, found.state) == (True, "running")


async def test_on_a_full_server_a_worker_lives_and_goes_on_telling(queue: Queue, server: Server) -> None:
    @queue.task
    async def hold() -> None:
        await anyio.sleep_forever()

    async with queue, working(queue, lease=1, drain_timeout=0) as worker:
        await told(queue, lambda one: one.state == "running")
        await hold.options(delay=0.1).enqueue()
        with server.configured(maxmemory=1):
            found = await told(queue, lambda one: one.running == 1)
            assert found.lives
            assert worker.health().ok


async def test_who_was_killed_is_silent_with_what_it_held(redis_url: str, queue: Queue) -> None:
    async with queue:
        await queue.enqueue("job")
        async with working(Queue("work", redis_url)):
            pass  # the group is there
        await queue.redis.xreadgroup("default", "anyq-dead", {queue.keys.stream: ">"})
        await queue.redis.xgroup_createconsumer(queue.keys.stream, "default", "c-other")
        silent, foreign = await queue.workers()
        assert (silent.name, silent.state, silent.held, silent.lives) == ("anyq-dead", "silent", 1, False)
        assert (foreign.name, foreign.state, foreign.runs) == ("c-other", "foreign", ())


async def test_a_worker_is_seen_by_those_that_cannot_read_what_a_newer_one_tells(queue: Queue) -> None:
    async with queue:
        for lane in queue.keys.lanes:
            await queue.redis.xgroup_create(lane, "default", "0", mkstream=True)
        await queue.redis.xgroup_createconsumer(queue.keys.stream, "default", "anyq-new")
        await queue.redis.set(queue.keys.heartbeat(b"anyq-new"), b"\xc1")
        [found] = await queue.workers()
        assert (found.name, found.state, found.lives) == ("anyq-new", "unknown", True)


async def test_looking_again_after_an_outage_is_the_next_call_s_business(queue: Queue) -> None:
    worker: Any = Worker(queue)
    async with worker:
        await queue.redis.client_kill_filter(_type="normal", skipme=True)
        assert [one.name for one in await queue.workers()] == [worker.name]
