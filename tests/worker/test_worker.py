"""The worker as a whole: how many jobs at once, from how many queues, how it begins, tells how it is, and ends."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import TaskStatus
from tests.support.servers import SECONDS, Server
from tests.worker.conftest import AT_ONCE, Notes, drained, length, until, working

from anyq import Backoff, ConfigurationError, Health, Queue, Worker
from anyq._core.keys import Keys
from anyq._redis.client import Client
from anyq._store.inspect import Depths, depths
from anyq._store.settle import Settling

pytestmark = pytest.mark.anyio


def gate(queue: Queue, notes: Notes[Any], **settings: Any) -> anyio.Event:
    """A task ``wait`` that notes its argument, and goes on when the event is set."""
    opened = anyio.Event()

    @queue.task(**settings)
    async def wait(number: int = 0) -> None:
        notes.add(number)
        await opened.wait()

    return opened


# -- how many at once -------------------------------------------------------------------------------------------------


async def test_there_are_as_many_runners_as_were_at_work_and_one_to_come(queue: Queue) -> None:
    at_work, over = 0, anyio.Event()

    def runners() -> int:
        return sum("Runners._run" in (task.name or "") for task in anyio.get_running_tasks())

    @queue.task
    async def hold() -> None:
        nonlocal at_work
        at_work += 1
        await over.wait()

    async with queue, working(queue, concurrency=60) as worker:
        await worker.wait_idle()
        assert runners() == 1
        await hold.enqueue_many([()] * 40)
        await until(lambda: at_work == 40)
        assert runners() == 41
        await hold.enqueue_many([()] * 80)
        await until(lambda: at_work == 60)
        assert runners() == 60
        over.set()
        await worker.wait_idle()
        assert at_work == 120
        assert runners() == 60


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_no_more_jobs_run_at_once_than_the_worker_allows(
    queue: Queue, notes: Notes[Any], concurrency: int
) -> None:
    running = most = 0

    @queue.task
    async def work() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        running -= 1

    async with queue:
        await work.enqueue_many([()] * 30)
        worker = await drained(queue, concurrency=concurrency)
    assert most == concurrency
    assert worker.statistics().done == 30


async def test_jobs_wait_on_the_server_and_not_behind_busy_runners(
    redis_url: str, queue: Queue, notes: Notes[Any]
) -> None:
    opened = gate(queue, notes)
    async with queue, working(queue, concurrency=2):
        await queue.enqueue_many("wait", [{"number": n} for n in range(4)])
        await notes.first(2)
        other = Queue("work", redis_url)
        seen = Notes[Any]()
        gate(other, seen).set()
        async with working(other, concurrency=2):
            await seen.first(2)
        assert len(notes.made) == 2, "an idle worker took the rest"
        opened.set()


# -- several queues ---------------------------------------------------------------------------------------------------


@pytest.fixture
def queues(redis_url: str, notes: Notes[Any]) -> list[Queue]:
    """Three queues with a task each, that notes which it is."""
    queues = [Queue(name, redis_url) for name in ("first", "second", "third")]
    for queue in queues:

        @queue.task
        async def note(queue: str = queue.name) -> None:
            notes.add(queue)
            await anyio.lowlevel.checkpoint()

    return queues


async def test_one_worker_serves_several_queues_and_none_starves(
    queues: list[Queue], notes: Notes[Any]
) -> None:
    busy, second, third = queues
    async with busy, second, third:
        await busy.enqueue_many("note", [{}] * 1000)
        await second.enqueue_many("note", [{}] * 10)
        await third.enqueue_many("note", [{}] * 10)
        worker = await drained(*queues, concurrency=1, prefetch=10)
    assert worker.statistics().done == 1020
    last = max(notes.made.index("second"), len(notes.made) - 1 - notes.made[::-1].index("third"))
    assert last < 500, "the short queues were served beside the long one, not after it"


async def test_a_queue_of_slow_jobs_leaves_others_their_turn(queues: list[Queue], notes: Notes[Any]) -> None:
    busy, other, _ = queues

    @busy.task
    async def slow() -> None:
        notes.add("slow")
        with anyio.move_on_after(0.06):  # so slow that nothing is read ahead
            await anyio.sleep_forever()

    async with busy, other:
        await slow.enqueue_many([()] * 30)
        async with working(busy, other, concurrency=1, drain_timeout=0):
            await notes.first(2)
            await other.enqueue_many("note", [{}] * 3)
            await until(lambda: notes.made.count("second") == 3)
    assert notes.made.count("slow") < 20


async def test_queues_on_several_servers_can_share_a_worker(
    redis_url: str, start_server: Callable[..., Server], notes: Notes[Any]
) -> None:
    here, there = Queue("work", redis_url), Queue("work", start_server().url)
    for queue in (here, there):

        @queue.task(result_ttl=60)
        async def where(url: str = queue.url) -> str:
            return url

    async with here, there, working(here, there):
        for queue in (here, there):
            handle = await queue.enqueue("where", result_ttl=60)
            assert await handle.result(SECONDS) == queue.url


async def test_the_settings_of_each_queue_are_its_own(redis_url: str, notes: Notes[Any]) -> None:
    once = Queue("once", redis_url, attempts=1)
    thrice = Queue("thrice", redis_url, attempts=3, backoff=AT_ONCE)
    for queue in (once, thrice):

        @queue.task
        async def fail(name: str = queue.name) -> None:
            notes.add(name)
            raise ValueError

    async with once, thrice:
        await once.enqueue("fail")
        await thrice.enqueue("fail")
        async with working(once, thrice) as worker:
            await until(lambda: worker.statistics().dead == 2)
    assert sorted(notes.made) == ["once", "thrice", "thrice", "thrice"]


# -- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"concurrency": 0}, ValueError, "concurrency must be from 1 to 100000, not 0"),
        ({"concurrency": "many"}, TypeError, "concurrency must be a whole number, not 'many'"),
        ({"threads": 0}, ValueError, "threads must be >= 1, not 0"),
        ({"lease": 0}, ValueError, "lease must be a finite number of seconds > 0, not 0"),
        ({"lease": 0.5}, ValueError, "lease must be at least 1 second, not 0.5: four heartbeats"),
        ({"drain_timeout": -1}, ValueError, "drain_timeout must be a finite number of seconds >= 0, not -1"),
        ({"drain_timeout": math.inf}, ValueError, "drain_timeout must be a finite number"),
        ({"attempts": 0}, ValueError, "attempts must be >= 1, not 0"),
        ({"attempts": None}, TypeError, "attempts must be"),
        ({"backoff": 3}, TypeError, r"backoff must be a Backoff, such as Backoff.fixed\(5\), not 3"),
        (
            {"metrics": print},
            TypeError,
            r"metrics must have observe\(observations\), and <built-in function print>",
        ),
        ({"unknown_task_grace": -1}, ValueError, "unknown_task_grace must be"),
        ({"prefetch": -1}, ValueError, "prefetch must be >= 0, not -1"),
        ({"max_block": 0}, ValueError, "max_block must be"),
        ({"outage_limit": 0}, ValueError, "outage_limit must be"),
    ],
)
def test_a_wrong_setting_of_a_worker_names_itself(
    settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Worker(Queue("work"), **settings)


@pytest.mark.parametrize("queues", [[], None, 3, "work", [Queue("work"), "more"]])
def test_a_worker_without_proper_queues_is_refused(queues: Any) -> None:
    with pytest.raises(TypeError, match="queues must be a Queue or several, not"):
        Worker(queues)


def test_a_queue_that_is_named_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="queues names the same queue twice"):
        Worker([Queue("work"), Queue("more"), Queue("work")])


# -- the beginning ----------------------------------------------------------------------------------------------------


async def test_a_worker_is_entered_once(queue: Queue) -> None:
    async with working(queue) as worker:
        with pytest.raises(RuntimeError, match="a Worker is entered once: make another one"):
            async with worker:
                pass
    with pytest.raises(RuntimeError, match="entered once"):
        await worker.run()


async def test_entering_returns_when_the_worker_takes_jobs(queue: Queue, notes: Notes[Any]) -> None:
    gate(queue, notes).set()
    async with working(queue) as worker:
        assert worker.health().ok
        assert await queue.redis.xinfo_groups(queue.keys.stream)
        await queue.enqueue("wait")
        await notes.first(1)


async def test_run_works_until_it_is_told_to_stop_and_says_when_it_is_ready(
    queue: Queue, notes: Notes[Any]
) -> None:
    gate(queue, notes).set()
    with anyio.fail_after(SECONDS):
        async with queue, anyio.create_task_group() as nursery:
            worker = Worker(queue)
            ready = await nursery.start(worker.run)
            assert ready is worker
            assert worker.health().ok
            await queue.enqueue("wait")
            await notes.first(1)
            worker.stop()


async def test_run_that_is_cancelled_drains(queue: Queue, notes: Notes[Any]) -> None:
    opened = gate(queue, notes)
    async with queue:
        async with anyio.create_task_group() as nursery:
            worker = Worker(queue, drain_timeout=SECONDS)
            await nursery.start(worker.run)
            await queue.enqueue("wait")
            await notes.first(1)
            nursery.cancel_scope.cancel()
            opened.set()
        assert worker.statistics().done == 1
        assert await length(queue) == 0


async def test_a_worker_whose_password_is_wrong_says_so_at_once(start_server: Callable[..., Server]) -> None:
    server = start_server(password="right")
    worker = Worker(Queue("work", server.url.replace("right", "wrong")))
    with pytest.raises(ConfigurationError, match=r"(?i)password") as caught:
        async with worker:
            pass
    assert "wrong@" not in str(caught.value)
    assert not worker.health().ok


async def test_a_key_that_holds_something_else_is_named_as_the_reason(queue: Queue) -> None:
    async with queue:
        await queue.redis.set(queue.keys.stream, "mine")
        with pytest.raises(ConfigurationError, match="another program uses the same name; rename the queue"):
            async with Worker(queue):
                pass


async def test_a_worker_s_name_is_a_fresh_one_every_time(queue: Queue) -> None:
    names = {Worker(queue).name for _ in range(10)}
    assert len(names) == 10
    assert all(name.startswith("anyq-") for name in names)


# -- how it is doing --------------------------------------------------------------------------------------------------


async def test_statistics_tell_what_is_at_work_and_what_was_done(queue: Queue, notes: Notes[Any]) -> None:
    opened = gate(queue, notes)

    @queue.task(attempts=2, backoff=AT_ONCE)
    async def fail() -> None:
        raise ValueError

    async with working(queue, concurrency=3) as worker:
        before = worker.statistics()
        assert {value for value in vars_of(before) if isinstance(value, int)} == {0}
        await queue.enqueue_many("wait", [{}, {}])
        await notes.first(2)
        assert (worker.statistics().running, worker.statistics().held, worker.statistics().buffered) == (
            2,
            2,
            0,
        )
        await fail.enqueue()
        await until(lambda: worker.statistics().dead)
        opened.set()
        await worker.wait_idle()
        after = worker.statistics()
    assert (after.started, after.done, after.failed, after.retried, after.dead) == (4, 2, 2, 1, 1)
    assert (after.running, after.held, after.released, after.lost, after.late, after.dropped) == (0,) * 6


def vars_of(statistics: Any) -> list[Any]:
    return [getattr(statistics, name) for name in statistics.__slots__ if not name.startswith("__")]


async def test_health_tells_the_state_of_a_worker(queue: Queue, notes: Notes[Any]) -> None:
    opened = gate(queue, notes)
    worker = Worker(queue, drain_timeout=SECONDS)
    assert worker.health() == Health(
        ok=False, problems=("the worker is new",), state="new", heartbeat_age=math.inf, stuck=()
    )
    async with worker:
        health = worker.health()
        assert (health.ok, health.problems, health.state) == (True, (), "running")
        assert health.heartbeat_age < worker.lease
        await queue.enqueue("wait")
        await notes.first(1)
        worker.stop()
        await until(lambda: worker.health().state == "draining")
        assert worker.health().problems == ("the worker is draining",)
        opened.set()
    assert worker.health().problems == ("the worker is stopped",)
    assert repr(worker) == f"<Worker {worker.name} of 'work', stopped, concurrency 100>"


# -- idleness ---------------------------------------------------------------------------------------------------------


async def test_wait_idle_is_for_a_worker_that_was_started(queue: Queue) -> None:
    with pytest.raises(RuntimeError, match="the worker was not started"):
        await Worker(queue).wait_idle()


async def test_wait_idle_waits_for_what_is_ready_due_and_in_hand_and_not_for_what_is_delayed(
    queue: Queue, notes: Notes[Any]
) -> None:
    opened = gate(queue, notes)
    idle = anyio.Event()

    async def wait_idle(worker: Worker) -> None:
        await worker.wait_idle()
        idle.set()

    async with working(queue, concurrency=1) as worker, anyio.create_task_group() as tasks:
        await worker.wait_idle()
        await queue.enqueue("wait", delay=60)
        await worker.wait_idle()
        await queue.enqueue("wait")
        await queue.enqueue("wait")
        await notes.first(1)
        tasks.start_soon(wait_idle, worker)
        await anyio.wait_all_tasks_blocked()
        assert not idle.is_set()
        opened.set()
        await idle.wait()
        assert len(notes.made) == 2


async def test_wait_idle_waits_for_other_workers_too(redis_url: str, queue: Queue, notes: Notes[Any]) -> None:
    opened = gate(queue, notes)
    async with working(queue, concurrency=1), working(Queue("work", redis_url)) as idler:
        await queue.enqueue("wait")
        await until(lambda: notes.made or idler.statistics().parked)
        if notes.made:
            with anyio.move_on_after(0.02) as scope:
                await idler.wait_idle()
            assert scope.cancelled_caught
        opened.set()


async def test_wait_idle_waits_until_this_worker_has_heard_how_its_jobs_ended(
    queue: Queue, notes: Notes[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue is empty on the server before the worker knows it: the answer to its acknowledgement is on the way."""
    gate(queue, notes).set()
    sent, looked = anyio.Event(), anyio.Event()
    acknowledge = Settling.ack

    async def ack(*arguments: Any) -> Any:
        reply = await acknowledge(*arguments)
        sent.set()
        await looked.wait()
        return reply

    async def look(*arguments: Any) -> Depths:
        if not sent.is_set():
            await queue.enqueue("wait")
            await sent.wait()
        found = await depths(*arguments)
        assert (found.ready, found.held) == (0, 0)
        looked.set()
        return found

    monkeypatch.setattr(Settling, "ack", ack)
    monkeypatch.setattr("anyq.worker.depths", look)
    async with working(queue) as worker:
        await worker.wait_idle()
        assert worker.statistics().done == 1


async def test_wait_idle_sees_a_job_that_another_queue_s_job_added_while_it_asked(
    queue: Queue, redis_url: str, notes: Notes[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate(queue, notes).set()
    other = Queue("other", redis_url)
    hidden: list[Queue] = [other]

    @other.task
    async def pass_on() -> None:
        await queue.pause()
        await queue.enqueue("wait")

    async def look(client: Client, keys: Keys) -> Depths:
        if keys == other.keys and hidden:
            await hidden.pop().enqueue("pass_on")
            await until(lambda: worker.statistics().done == 1)
            await queue.resume()
        return await depths(client, keys)

    monkeypatch.setattr("anyq.worker.depths", look)
    async with working(queue, other) as worker:
        await worker.wait_idle()
        assert worker.statistics().done == 2


async def test_wait_idle_ends_when_the_worker_stops(queue: Queue, notes: Notes[Any]) -> None:
    gate(queue, notes)
    async with queue, anyio.create_task_group() as tasks, working(queue, drain_timeout=0) as worker:
        await queue.enqueue("wait")
        await notes.first(1)
        tasks.start_soon(worker.wait_idle)
        worker.stop()


# -- the end ----------------------------------------------------------------------------------------------------------


async def test_leaving_waits_for_the_handlers_and_leaves_nothing_behind(
    queue: Queue, notes: Notes[Any]
) -> None:
    opened = gate(queue, notes)
    async with queue:
        async with anyio.create_task_group() as tasks, working(queue, drain_timeout=SECONDS) as worker:
            await queue.enqueue("wait")
            await notes.first(1)

            async def open_soon() -> None:
                await until(lambda: worker.health().state == "draining")
                opened.set()

            tasks.start_soon(open_soon)
        assert worker.statistics().done == 1
        assert worker.unfinished == []
        assert await length(queue) == 0
        assert await queue.redis.xinfo_consumers(queue.keys.stream, "default") == []
        assert not await queue.redis.exists(queue.keys.heartbeat(worker.name.encode()))
        assert not await queue.redis.exists(queue.keys.promoter_lock)


async def test_a_handler_that_is_cut_by_the_stop_has_not_failed(
    redis_url: str, queue: Queue, notes: Notes[Any]
) -> None:
    gate(queue, notes, attempts=1)
    async with queue:
        async with working(queue, drain_timeout=0) as worker:
            await queue.enqueue("wait", {"number": 1})
            await notes.first(1)
        statistics = worker.statistics()
        assert (statistics.released, statistics.failed, statistics.retried, statistics.dead) == (1, 0, 0, 0)
        again = Queue("work", redis_url)
        seen = Notes[Any]()
        gate(again, seen).set()
        await drained(again)
        assert seen.made == [1], "the next worker ran it, though it had but one attempt"


async def test_stop_can_make_a_drain_under_way_shorter(queue: Queue, notes: Notes[Any]) -> None:
    gate(queue, notes)
    async with queue:
        with anyio.fail_after(SECONDS):
            async with anyio.create_task_group() as tasks, Worker(queue, drain_timeout=600) as worker:
                await queue.enqueue("wait")
                await notes.first(1)
                worker.stop()

                async def cut() -> None:
                    await until(lambda: worker.health().state == "draining")
                    worker.stop(drain_timeout=0)

                tasks.start_soon(cut)
        assert worker.statistics().released == 1


async def test_the_error_of_the_block_comes_out_as_it_is_and_the_worker_drains(
    queue: Queue, notes: Notes[Any]
) -> None:
    opened = gate(queue, notes)
    error = ZeroDivisionError("of the block")
    async with queue:
        with pytest.raises(ZeroDivisionError) as caught:
            async with Worker(queue, drain_timeout=SECONDS) as worker:
                await queue.enqueue("wait")
                await notes.first(1)
                opened.set()
                raise error
    assert caught.value is error
    assert worker.statistics().done == 1


async def test_a_bug_in_a_service_cancels_the_block_and_comes_out_as_it_is(
    queue: Queue, notes: Notes[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate(queue, notes).set()
    cancelled = anyio.Event()

    def broken(*_: object, **_options: object) -> None:
        raise ZeroDivisionError("a bug")

    with anyio.fail_after(SECONDS), pytest.raises(ZeroDivisionError, match="a bug"):
        async with Worker(queue, drain_timeout=1) as worker:
            monkeypatch.setattr("anyq._services.promoter.until", broken)
            try:
                await queue.enqueue("wait", delay=0.001)
                await anyio.sleep_forever()
            finally:
                cancelled.set()
    assert cancelled.is_set()
    assert worker.health().state == "stopped"


async def test_several_workers_share_the_jobs_and_each_runs_once(redis_url: str, notes: Notes[Any]) -> None:
    def make() -> Queue:
        queue = Queue("work", redis_url)

        @queue.task
        async def note(number: int) -> None:
            notes.add(number)
            await anyio.lowlevel.checkpoint()

        return queue

    one, two = make(), make()
    async with working(one) as first, working(two) as second:
        await one.enqueue_many("note", [{"number": n} for n in range(1000)])
        await first.wait_idle()
        await second.wait_idle()  # each has heard how its own jobs ended, and not the other's
        assert first.statistics().done + second.statistics().done == 1000
    assert sorted(notes.made) == list(range(1000))


async def test_a_worker_is_started_from_a_nursery_of_the_application(queue: Queue, notes: Notes[Any]) -> None:
    gate(queue, notes).set()

    async def serve(*, task_status: TaskStatus[Worker]) -> None:
        async with Worker(queue, backoff=Backoff.fixed(1)) as worker:
            task_status.started(worker)
            await anyio.sleep_forever()

    async with anyio.create_task_group() as nursery:
        worker: Worker = await nursery.start(serve)
        await queue.enqueue("wait")
        await notes.first(1)
        await worker.wait_idle()
        nursery.cancel_scope.cancel()
    assert worker.health().state == "stopped"
