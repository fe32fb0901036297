"""Servers that restart, forget, refuse, stall or are meddled with: the worker goes on, and no job is lost by it."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

import anyio
import pytest
from anyio import to_thread
from redis.exceptions import RedisError
from tests.faults.conftest import AT_ONCE, Transitions, View, until, working
from tests.support.servers import Server

from anyq import Queue, Unrecoverable, Worker
from anyq.errors import RedisUnavailable, WorkerCrashed

pytestmark = pytest.mark.anyio

JOBS = 60
KILLS = 5  # of all connections, each time that the worker has some again
HANDED = {
    "done": 1,
    "failed": 2,
    "dead": 1,
}  # jobs that are at work when the fault strikes, and how often each runs


async def restarted(server: Server) -> None:
    await to_thread.run_sync(server.restart)


async def killed(server: Server) -> None:
    server.kill()
    await to_thread.run_sync(server.start)


async def loading(server: Server) -> None:
    """It takes a while to read its data, and says LOADING meanwhile."""
    with server.client() as client:
        client.mset({f"other:{number}": b"x" * 100 for number in range(2000)})
    server.shut_down()
    server.arguments = ("--key-load-delay", "300")
    if server.version >= ("redis", 7, 0):  # before, it looks for commands at moments of its own choice
        server.arguments += ("--loading-process-events-interval-bytes", "1024")
    await to_thread.run_sync(server.start)


async def demoted(server: Server) -> None:
    """It becomes a replica of nobody, and a primary again."""
    server.command("REPLICAOF", "127.0.0.1", "1")
    await until(lambda: refused(server, "READONLY") > 3)
    server.command("REPLICAOF", "NO", "ONE")


async def without_scripts(server: Server) -> None:
    for _ in range(50):
        server.command("SCRIPT", "FLUSH")
        await anyio.lowlevel.checkpoint()


async def without_connections(server: Server) -> None:
    for _ in range(KILLS):
        for kind in ("normal", "pubsub"):
            server.command("CLIENT", "KILL", "TYPE", kind)
        await until(server.clients)


async def paused(server: Server) -> None:
    server.command("CLIENT", "PAUSE", "300", "ALL")


async def busy(server: Server) -> None:
    """Somebody's script does not end."""

    def spin() -> None:
        with suppress(RedisError), server.client() as client:
            client.eval("while true do end", 0)

    with (
        server.configured(busy_reply_threshold=20)
        if server.version >= ("redis", 7, 0)
        else server.configured(lua_time_limit=20)
    ):
        thread = threading.Thread(target=spin)
        thread.start()
        await until(lambda: _is_busy(server))
        with anyio.move_on_after(0.5):
            await anyio.sleep_forever()
        server.command("SCRIPT", "KILL")
        thread.join()


async def without_replicas(server: Server) -> None:
    """It may take no write without a replica, and lost its last one."""
    with server.configured(min_replicas_to_write=1):
        await until(lambda: refused(server, "NOREPLICAS") > 3)


async def unable_to_save(server: Server) -> None:
    """A snapshot failed (here something lies in its place), and it takes no write before one succeeds."""
    with server.configured(save="3600 1", stop_writes_on_bgsave_error="yes"):
        in_the_way = server.home.path / "dump.rdb"
        in_the_way.mkdir()
        server.command("BGSAVE", "SCHEDULE")
        await until(lambda: refused(server, "MISCONF") > 3)
        in_the_way.rmdir()
        await until(lambda: _has_saved(server))


def _has_saved(server: Server) -> bool:
    """Ask for a snapshot, until one has succeeded."""
    with suppress(RedisError):  # one is under way
        server.command("BGSAVE", "SCHEDULE")
    with server.client() as client:
        found: Any = client.info("persistence")
    return bool(found["rdb_last_bgsave_status"] == "ok")


def _is_busy(server: Server) -> bool:
    try:
        server.command("PING")
    except RedisError as error:
        return "BUSY" in str(error)
    return False


def refused(server: Server, code: str) -> int:
    """How often the server said no with this word."""
    with server.client() as client:
        counts: Any = client.info("errorstats")
    return int(counts.get(f"errorstat_{code}", {"count": 0})["count"])


@pytest.mark.parametrize(
    "fault",
    [
        restarted,
        killed,
        loading,
        demoted,
        without_replicas,
        unable_to_save,
        without_scripts,
        without_connections,
        paused,
        busy,
    ],
)
async def test_the_worker_goes_on_and_every_job_ends_as_it_would_have(
    start_server: Callable[..., Server],
    transitions: Transitions,
    fault: Callable[[Server], Awaitable[None]],
) -> None:
    server = start_server(aof=True)
    queue = Queue("work", server.url)
    view = View(server, queue)
    ran: Counter[int | str] = Counter()
    go = anyio.Event()

    @queue.task
    async def job(number: int) -> None:
        ran[number] += 1
        with anyio.move_on_after(0.01):
            await anyio.sleep_forever()

    @queue.task(attempts=2, backoff=AT_ONCE)
    async def hand(how: str) -> str:
        ran[how] += 1
        await go.wait()
        if how == "failed":
            raise ValueError(how)
        if how == "dead":
            raise Unrecoverable(how)
        return how

    async with queue, working(queue) as worker:
        handles = {how: await hand.options(result_ttl=60).enqueue(how) for how in HANDED}
        await queue.enqueue_many("job", [{"number": number} for number in range(JOBS)])
        await until(lambda: len(ran) > 10)
        await fault(server)
        go.set()
        await until(lambda: view.stored == view.delayed == 0)
        await until(lambda: worker.health().ok)
        assert await handles["done"].result(timeout=5) == "done"
    assert ran == HANDED | dict.fromkeys(range(JOBS), 1)
    assert sorted(letter["reason"] for letter in view.letters()) == [b"retries_exhausted", b"unrecoverable"]
    # Each kill is a loss of its own to a worker that was back before the next one.
    assert transitions.lost == transitions.back <= (KILLS if fault is without_connections else 1)
    view.assert_nobody_is_left()


def noting(server: Server) -> tuple[Queue, View, list[int]]:
    """A queue whose ``job`` notes its number, what the server holds of it, and the numbers."""
    queue = Queue("work", server.url)
    ran: list[int] = []

    @queue.task
    async def job(number: int) -> None:
        ran.append(number)

    return queue, View(server, queue), ran


@pytest.mark.parametrize("how", ["flushed", "restarted empty", "without the group"])
async def test_a_server_that_forgot_everything_is_worked_for_again(
    start_server: Callable[..., Server], transitions: Transitions, how: str
) -> None:
    server = start_server()
    queue, view, ran = noting(server)

    async with queue, working(queue) as worker:
        await queue.enqueue("job", {"number": 1})
        # Its end too must have reached the server: who destroys the group before that asks for a second run.
        await until(lambda: ran == [1] and view.stored == 0)
        if how == "flushed":
            server.flush()
        elif how == "restarted empty":
            await to_thread.run_sync(server.restart)
        else:
            for lane in queue.keys.lanes:
                server.command("XGROUP", "DESTROY", lane, "default")
        await queue.enqueue("job", {"number": 2})
        await until(lambda: ran == [1, 2] and view.stored == 0)
        await until(lambda: worker.health().ok)
    assert transitions.lost == transitions.back <= 1
    view.assert_nobody_is_left()


async def test_a_full_server_takes_ends_of_jobs_and_no_new_ones(start_server: Callable[..., Server]) -> None:
    """Running jobs complete, come back, become dead letters or are handed back; adding raises."""
    server = start_server()
    queue = Queue("work", server.url, outage_timeout=0.3)
    view = View(server, queue)
    began: set[str] = set()
    go = anyio.Event()

    @queue.task(attempts=2, backoff=AT_ONCE, result_ttl=60)
    async def hand(how: str) -> str:
        began.add(how)
        if how == "cut":
            await anyio.sleep_forever()
        await go.wait()
        if how == "failed":
            raise ValueError(how)
        if how == "dead":
            raise Unrecoverable(how)
        return how

    ways = {*HANDED, "cut"}
    async with queue, working(queue, drain_timeout=0) as worker:
        handles = {how: await hand.enqueue(how) for how in ways}
        await until(lambda: began == ways)
        with server.configured(maxmemory=1):
            go.set()
            await until(lambda: worker.statistics().done == 1 and worker.statistics().dead == 2)
            with pytest.raises(RedisUnavailable, match="used memory"):
                await hand.enqueue("done")
            assert await handles["done"].result(timeout=5) == "done"
            worker.stop()
            await until(lambda: view.consumers == {})
            assert worker.statistics().released == 1
    assert view.stored == 1


async def test_a_full_server_is_emptied_by_workers_that_start_then(
    start_server: Callable[..., Server],
) -> None:
    """Nobody need make room first: what fills it may be the backlog, after a restart that took all heartbeats along."""
    server = start_server()
    queue, view, ran = noting(server)

    async with queue:
        await queue.enqueue_many("job", [{"number": number} for number in range(JOBS)])
        await queue.enqueue("job", {"number": JOBS}, delay=0.01, priority=9)
        with server.configured(maxmemory=1):
            async with working(queue):
                await until(lambda: len(ran) == JOBS + 1 and view.stored == view.delayed == 0)
    assert sorted(ran) == list(range(JOBS + 1))
    view.assert_nobody_is_left()


async def test_a_worker_whose_heartbeat_ran_out_on_a_full_server_is_well_again(
    start_server: Callable[..., Server],
) -> None:
    server = start_server()
    queue, view, ran = noting(server)

    async with queue, working(queue, lease=1) as worker:
        await queue.enqueue_many("job", [{"number": number} for number in range(JOBS)])
        heartbeat = queue.keys.heartbeat(worker.name.encode())
        with server.configured(maxmemory=1):
            server.command("DEL", heartbeat)
            await until(lambda: server.command("EXISTS", heartbeat))
            await until(lambda: len(ran) == JOBS and view.stored == 0)
            await until(lambda: worker.health().ok)


@pytest.mark.parametrize("fault", [demoted, without_replicas, unable_to_save])
async def test_a_worker_starts_once_the_server_takes_writes(
    start_server: Callable[..., Server],
    transitions: Transitions,
    fault: Callable[[Server], Coroutine[Any, Any, None]],
) -> None:
    server = start_server()
    queue = Queue("work", server.url)
    ran: list[int] = []

    @queue.task
    async def job(number: int) -> None:
        ran.append(number)

    async def start() -> None:
        async with working(queue) as worker:
            await worker.wait_idle()

    async with queue, anyio.create_task_group() as nursery:
        await job.enqueue(1)
        nursery.start_soon(fault, server)
        await until(lambda: _refuses_writes(server))
        nursery.start_soon(start)
        await until(lambda: transitions.lost)
        await until(lambda: not _refuses_writes(server))
    assert ran == [1]
    assert transitions.lost == transitions.back == 1


def _refuses_writes(server: Server) -> bool:
    try:
        server.command("SET", "other", "x")
    except RedisError:
        return True
    return False


async def test_a_job_that_somebody_deleted_is_given_up(
    queue: Queue, view: View, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message is gone while the job runs: its run is stopped, its end changes nothing."""
    from anyq._services import leases

    monkeypatch.setattr(leases, "_RENEW_EVERY", 0.1)
    monkeypatch.setattr(leases, "_WATCH_EVERY", 0.1)
    began, cut = anyio.Event(), anyio.Event()

    @queue.task
    async def endless() -> None:
        began.set()
        try:
            await anyio.sleep_forever()
        finally:
            cut.set()

    async with queue, working(queue) as worker:
        await endless.enqueue()
        await began.wait()
        with view.server.client() as client:
            [[entry, _]] = client.xrange(queue.keys.stream)
            client.xdel(queue.keys.stream, entry)
        with anyio.fail_after(5):
            await cut.wait()
        assert worker.statistics().lost == 1
    view.assert_nobody_is_left()


@pytest.mark.parametrize("key", ["stream", "delayed", "dead_letters"])
async def test_a_key_of_another_type_ends_the_worker_and_says_what_to_do(
    queue: Queue, view: View, key: str
) -> None:
    cancelled = False

    @queue.task(attempts=1 if key == "dead_letters" else 2, backoff=AT_ONCE)
    async def fail() -> None:
        raise ValueError

    async with queue:
        with pytest.raises(
            WorkerCrashed, match="another program uses the same name; rename the queue"
        ) as caught:
            async with working(queue):
                view.ask("DEL", getattr(queue.keys, key))
                view.ask("SET", getattr(queue.keys, key), "something else")
                try:
                    if key != "stream":
                        await fail.enqueue()
                    await anyio.sleep_forever()
                except anyio.get_cancelled_exc_class():
                    cancelled = True
                    raise
        assert caught.value.__cause__ is not None
    assert cancelled


async def test_nothing_is_taken_over_after_a_stall_of_the_server(
    start_server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All heartbeats ran out while the server stood still; all workers live."""
    from anyq._services import leases

    monkeypatch.setattr(leases, "_WATCH_EVERY", 0.1)
    server = start_server()
    queue = Queue("work", server.url)
    ran: list[int] = []
    began, go = anyio.Event(), anyio.Event()

    @queue.task
    async def waits(number: int) -> None:
        ran.append(number)
        if len(ran) == 10:
            began.set()
        await go.wait()

    async with (
        queue,
        working(queue, lease=1, concurrency=5) as one,
        working(queue, lease=1, concurrency=5) as two,
    ):
        await queue.enqueue_many("waits", [{"number": number} for number in range(10)])
        await began.wait()
        with server.paused(), anyio.move_on_after(2):
            await anyio.sleep_forever()
        for worker in (one, two):
            await until(lambda worker=worker: worker.health().ok)  # type: ignore[misc]
        with anyio.move_on_after(1.5):  # a whole lease, after which they judge each other again
            await anyio.sleep_forever()
        go.set()
        await one.wait_idle()
        assert one.statistics().lost == two.statistics().lost == 0
    assert sorted(ran) == list(range(10))


async def test_an_outage_longer_than_its_limit_ends_the_worker(start_server: Callable[..., Server]) -> None:
    server = start_server()
    queue = Queue("work", server.url)
    with pytest.raises(WorkerCrashed, match=r"Redis did not take it for 0\.3 s.*read only replica") as caught:
        async with Worker(queue, outage_limit=0.3, drain_timeout=0):
            server.command("REPLICAOF", "127.0.0.1", "1")
            await anyio.sleep_forever()
    assert isinstance(caught.value.__cause__, RedisUnavailable)


async def test_a_worker_says_at_its_start_what_would_lose_jobs_later(
    start_server: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    server = start_server()
    with server.configured(maxmemory_policy="allkeys-lru", maxmemory="1gb"):
        async with Worker(Queue("work", server.url)):
            pass
    said = [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith("anyq") and record.levelno >= logging.WARNING
    ]
    assert any("'allkeys-lru': a full server will delete jobs; redis-cli CONFIG SET" in one for one in said)
    assert any("append-only persistence is off" in one for one in said)
    assert len(said) == 2
