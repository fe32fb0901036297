"""Pausing: no job starts after `pause` returned, on any worker; what waits comes back when it is over."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import anyio
import pytest
from tests.support.limits import now
from tests.support.proxy import fault_proxy
from tests.support.servers import SECONDS, Server
from tests.worker.conftest import AT_ONCE, Notes, closing, drained, length, until, working

from anyq import Queue, RetryLater, Worker
from anyq._services import watch
from anyq._store import pauses

pytestmark = pytest.mark.anyio


@pytest.fixture
def flood(queue: Queue) -> list[float]:
    """When jobs of the task ``work`` began; they keep ten runners busy."""
    began: list[float] = []

    @queue.task
    async def work() -> None:
        began.append(time.monotonic())
        with anyio.move_on_after(0.001):
            await anyio.sleep_forever()

    return began


async def test_no_job_starts_after_pause_returned_and_all_do_after_resume(
    queue: Queue, flood: list[float]
) -> None:
    async with queue, working(queue) as worker, working(queue):
        await queue.enqueue_many("work", [{}] * 600)
        await until(lambda: len(flood) > 100)
        await queue.pause()
        paused = time.monotonic()
        assert await queue.paused()
        assert worker.statistics().paused == ("work",)
        with anyio.fail_after(SECONDS):
            await worker.wait_idle()
        assert max(flood) <= paused
        assert 0 < await length(queue) + await queue.redis.xlen(queue.keys.returned) == 600 - len(flood)
        assert await queue.resume()
        assert not await queue.resume()
        assert not await queue.paused()
        await worker.wait_idle()
        assert worker.statistics().paused == ()
    assert len(flood) == 600


async def test_a_pause_takes_effect_within_a_tenth_of_a_second_and_so_does_its_end(
    queue: Queue, flood: list[float], server: Server
) -> None:
    took: list[float] = []
    async with queue, working(queue, concurrency=2), working(queue, concurrency=2):
        for _ in range(5):
            await queue.enqueue_many("work", [{}] * 2)
            began = now(server.pid)
            await queue.pause()
            took.append(now(server.pid) - began)
            count, began = len(flood), now(server.pid)
            await queue.enqueue("work")
            await queue.resume()
            await until(lambda: len(flood) > count)  # noqa: B023
            took.append(now(server.pid) - began)
    assert min(took[::2]) < 0.1, "the rest is the machine's load"
    assert min(took[1::2]) < 0.1


async def test_a_worker_that_starts_while_the_queue_is_paused_takes_nothing(
    queue: Queue, flood: list[float]
) -> None:
    async with queue:
        await queue.pause()
        await queue.enqueue_many("work", [{}] * 10)
        async with working(queue) as worker:
            await until(lambda: worker.statistics().paused)
            await worker.wait_idle()
            assert worker.statistics().started == 0
            assert worker.health().ok
        assert await length(queue) == 10, "its exit has nothing to wait for"
        await queue.resume()
        assert (await drained(queue)).statistics().done == 10


async def test_a_pause_ends_by_itself_at_its_time(queue: Queue, flood: list[float]) -> None:
    async with queue, working(queue) as worker:
        ends = time.time() + 0.4
        await queue.pause(until=datetime.fromtimestamp(ends, UTC))
        await queue.enqueue("work")
        await until(lambda: flood)
        assert time.time() >= ends - 0.01
        await worker.wait_idle()
        assert not await queue.paused()
        assert not await queue.redis.exists(queue.keys.pauses)


async def test_the_last_word_about_the_end_of_a_pause_counts(queue: Queue, flood: list[float]) -> None:
    async with queue, working(queue) as worker:
        await queue.pause(until=datetime.now(UTC) + timedelta(hours=1))
        await queue.pause()
        await queue.pause(until=datetime.now(UTC) - timedelta(hours=1))
        await queue.enqueue("work")
        await worker.wait_idle()
        await until(lambda: flood)


async def test_jobs_of_a_paused_task_are_set_aside_and_the_others_run(
    queue: Queue, notes: Notes[str]
) -> None:
    @queue.task
    async def letter(number: int) -> None:
        notes.add(f"letter {number}")

    @queue.task
    async def bill(number: int) -> None:
        notes.add(f"bill {number}")

    async with queue, working(queue, concurrency=1) as worker:
        await queue.pause(letter)
        assert await queue.paused(letter)
        assert await queue.paused("letter")
        assert not await queue.paused(bill)
        assert not await queue.paused()
        for number in range(70):
            await letter.enqueue(number)
            await bill.enqueue(number)
        await worker.wait_idle()
        assert notes.made == [f"bill {number}" for number in range(70)]
        assert worker.statistics().set_aside == 70
        assert worker.statistics().paused == ("work:letter",)
        assert await queue.redis.xlen(queue.keys.aside("letter")) == 70
        notes.made.clear()
        assert await queue.resume(letter)
        await worker.wait_idle()
        assert notes.made == [f"letter {number}" for number in range(70)], "in their order"
        assert worker.statistics().done == 140
        assert not await queue.redis.exists(queue.keys.pauses, queue.keys.aside("letter"))


async def test_the_pause_of_a_task_ends_by_itself_too(queue: Queue, notes: Notes[str]) -> None:
    @queue.task
    async def letter() -> None:
        notes.add("letter")

    async with queue, working(queue) as worker:
        await queue.pause("letter", until=datetime.now(UTC) + timedelta(seconds=1))
        await letter.enqueue()
        await until(lambda: worker.statistics().set_aside)
        await notes.one()
        await worker.wait_idle()
        assert not await queue.redis.exists(queue.keys.pauses)


async def test_what_was_taken_and_not_begun_is_withdrawn(queue: Queue, notes: Notes[str]) -> None:
    """In the buffer, and in line for a thread: neither has begun."""
    go = threading.Event()

    @queue.task
    def plain(name: str) -> None:
        notes.add(name)
        go.wait(SECONDS)

    async with closing(go), queue, working(queue, concurrency=3, threads=1, prefetch=5) as worker:
        await queue.enqueue_many("plain", [{"name": str(number)} for number in range(6)])
        await until(lambda: worker.statistics().running == 3)
        await queue.pause()
        go.set()
        await worker.wait_idle()
        assert notes.made == ["0"]
        assert worker.statistics().held == 0
        await queue.resume()
        await worker.wait_idle()
        assert sorted(notes.made) == [str(number) for number in range(6)]
        assert worker.statistics().dead == worker.statistics().retried == 0


async def test_what_runs_goes_on_to_its_end(queue: Queue, notes: Notes[str]) -> None:
    go = anyio.Event()

    @queue.task(attempts=2, backoff=AT_ONCE)
    async def work() -> None:
        notes.add("begun")
        await go.wait()
        notes.add("ended")
        if len(notes.made) == 2:
            raise RetryLater(0)

    async with queue, working(queue) as worker:
        await work.enqueue()
        await notes.one()
        await queue.pause()
        assert worker.statistics().running == 1
        go.set()
        await notes.first(2)
        await until(lambda: worker.statistics().retried)
        await worker.wait_idle()
        assert notes.made == ["begun", "ended"]
        await queue.resume()
        assert await notes.first(4) == ["begun", "ended"] * 2


async def test_delayed_jobs_that_become_due_wait(queue: Queue, flood: list[float]) -> None:
    async with queue, working(queue) as worker:
        await queue.pause()
        await queue.enqueue("work", delay=0.05)
        await until_there(partial(length, queue))
        await worker.wait_idle()
        assert not flood
        await queue.resume()
        await until(lambda: flood)


async def until_there(look: Callable[[], Any]) -> None:
    with anyio.fail_after(SECONDS):
        while not await look():
            pass


async def test_a_worker_that_lost_its_subscription_hears_of_a_pause_all_the_same(
    queue: Queue, flood: list[float], server: Server
) -> None:
    async with fault_proxy(server.socket) as proxy:
        behind = Queue("work", proxy.url)
        behind.task(name="work")(queue.runnables["work"].function)
        async with queue, working(behind) as worker:
            await queue.enqueue_many("work", [{}] * 50)
            await worker.wait_idle()
            server.command("CLIENT", "KILL", "TYPE", "pubsub")
            await queue.pause()
            await queue.enqueue("work")
            await worker.wait_idle()
            assert len(flood) == 50
            server.command("CLIENT", "KILL", "TYPE", "pubsub")
            await queue.resume()
            await until(lambda: len(flood) == 51)


async def test_a_message_that_never_comes_costs_a_look_and_nothing_starts_meanwhile(
    queue: Queue, flood: list[float], monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    """The worker listens, and hears nothing: whoever pauses waits until it has looked by itself."""
    monkeypatch.setattr(watch, "_LOOK_AGAIN", 0.5)
    deaf = Queue("work", queue.url)
    deaf.task(name="work")(queue.runnables["work"].function)
    object.__setattr__(deaf.keys, "pausing", deaf.keys.pausing + b":elsewhere")
    async with queue, working(deaf) as worker:
        await queue.enqueue("work")
        await until(lambda: flood)
        await queue.pause()
        await queue.enqueue("work")
        await worker.wait_idle()
        assert len(flood) == 1
        await queue.resume()
        await until(lambda: len(flood) == 2)


@pytest.mark.parametrize("task", [None, "work"])
async def test_a_flush_takes_the_pause_along_and_the_workers_notice(
    queue: Queue, flood: list[float], monkeypatch: pytest.MonkeyPatch, task: str | None
) -> None:
    monkeypatch.setattr(watch, "_LOOK_AGAIN", 0.2)
    async with queue, working(queue) as worker:
        await queue.pause(task)
        await queue.redis.flushall()
        await queue.enqueue("work")
        await until(lambda: flood)
        await queue.pause(task)
        await queue.enqueue("work")
        await worker.wait_idle()
        assert len(flood) == 1


async def test_a_pause_survives_a_restart_of_the_server_that_keeps_its_data(
    start_server: Callable[..., Server], flood: list[float], queue: Queue
) -> None:
    server = start_server(arguments=["--appendonly", "yes", "--appendfsync", "always"])
    other = Queue("work", server.url)
    other.task(name="work")(queue.runnables["work"].function)
    async with other, working(other) as worker:
        await other.pause()
        await other.enqueue("work")
        server.kill()
        server.start()
        async with working(other) as second:
            await until(lambda: second.statistics().paused)
            await second.wait_idle()
            await worker.wait_idle()
            assert not flood
            await other.resume()
            await until(lambda: flood)


@pytest.mark.parametrize("task", [None, "work"])
async def test_lost_replies_change_nothing(
    queue: Queue, flood: list[float], server: Server, task: str | None
) -> None:
    async with fault_proxy(server.socket) as proxy:
        far = Queue("work", proxy.url)
        async with far, queue, working(queue) as worker:
            await far.redis.ping()
            for verb in (far.pause, far.resume):
                async with anyio.create_task_group() as tasks:
                    proxy.drop("down")
                    tasks.start_soon(verb, task)
                    before = proxy.down.dropped
                    await proxy.until(lambda proxy: proxy.down.dropped > before)  # noqa: B023
                    proxy.reset()
                    proxy.heal()
                assert await far.paused(task) == (verb == far.pause)
                await queue.enqueue("work")
                await worker.wait_idle()
                assert len(flood) == (0 if verb == far.pause else 2)


async def test_two_programs_that_pause_and_resume_at_once_end_as_the_last_one_said(
    queue: Queue, flood: list[float]
) -> None:
    other = Queue("work", queue.url)
    async with queue, other, working(queue) as worker:
        for last in ("pause", "resume"):
            with anyio.fail_after(SECONDS):
                async with anyio.create_task_group() as tasks:
                    for one in (queue, other) * 4:
                        tasks.start_soon(one.pause)
                        tasks.start_soon(one.resume)
                        tasks.start_soon(one.pause, "work")
                        tasks.start_soon(one.resume, "work")
            await other.resume("work")
            await getattr(other, last)()
            await queue.enqueue("work")
            if last == "pause":
                await worker.wait_idle()
                assert not flood
            else:
                await until(lambda: len(flood) == 2)


async def test_who_pauses_and_is_resumed_by_another_does_not_wait_for_ever(
    queue: Queue, flood: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pauses, "confirm", nothing)
    async with queue, working(queue):
        with anyio.fail_after(SECONDS):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(queue.pause)
                await until_there(queue.paused)
                await queue.resume()


async def nothing(*_: object) -> None:
    return


async def test_a_queue_without_workers_is_paused_at_once(queue: Queue, flood: list[float]) -> None:
    async with queue:
        await queue.pause()
        await queue.pause("work")
        await queue.enqueue("work")
        await queue.resume()
        worker = await drained(queue)
        assert not flood
        assert worker.statistics().set_aside == 1
        await queue.resume("work")
        assert len(flood) == 0
        await drained(queue)
        assert len(flood) == 1


async def test_a_worker_of_two_queues_goes_on_with_the_other(redis_url: str, notes: Notes[str]) -> None:
    one, two = Queue("one", redis_url), Queue("two", redis_url)
    for queue in (one, two):
        queue.task(partial(note, notes, queue.name), name="work")
    async with one, two, working(one, two) as worker:
        await one.pause()
        await one.enqueue("work")
        await two.enqueue("work")
        await worker.wait_idle()
        assert notes.made == ["two"]
        await one.resume()
        assert await notes.first(2) == ["two", "one"]


async def note(notes: Notes[str], name: str) -> None:
    notes.add(name)


async def test_jobs_that_are_set_aside_survive_their_worker(queue: Queue, flood: list[float]) -> None:
    """Whoever resumes may go away before all have come back: the next worker brings them."""
    async with queue:
        await queue.pause("work")
        await queue.enqueue_many("work", [{}] * 120)
        await drained(queue)
        await pauses.resume(queue.redis, queue.keys, "work")  # and it died
        await drained(queue)
        assert not await queue.redis.exists(queue.keys.pauses)
    assert len(flood) == 120


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"task": 5}, TypeError),
        ({"task": ""}, ValueError),
        ({"until": 5}, TypeError),
        ({"until": datetime(2030, 1, 1)}, ValueError),
    ],
)
async def test_what_makes_no_sense_is_refused(
    queue: Queue, given: dict[str, Any], error: type[Exception]
) -> None:
    async with queue:
        with pytest.raises(error, match=next(iter(given))):
            await queue.pause(**given)


async def test_a_full_server_can_be_paused_and_resumed(queue: Queue, flood: list[float]) -> None:
    async with queue, working(queue) as worker:
        await queue.enqueue_many("work", [{}] * 3)
        await worker.wait_idle()
        await queue.redis.config_set("maxmemory", 1)
        try:
            for task in (None, "work"):
                await queue.pause(task)
                assert await queue.resume(task)
        finally:
            await queue.redis.config_set("maxmemory", 0)


def test_a_worker_that_has_not_started_knows_of_no_pause(queue: Queue) -> None:
    assert Worker(queue).statistics().paused == ()
