"""A wrong password or a missing right is said at once, in words that help; the rights that are needed are known."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from redis.credentials import CredentialProvider
from redis.exceptions import ResponseError
from tests.faults.conftest import AT_ONCE, View, until
from tests.support.limits import lasting_at_most
from tests.support.servers import Server

from anyq import Cancellation, Every, Queue, Unrecoverable, Worker, current_job
from anyq._core.codec import encode
from anyq._core.rights import NEEDED
from anyq.errors import ConfigurationError, WorkerCrashed

pytestmark = pytest.mark.anyio

#: What everybody needs who connects. SETINFO and INFO may be missing; then less is known of the server.
EVERYBODY = "+hello +ping +client|setinfo +client|setname +client|id +info +select"

PRODUCER = (
    f"{EVERYBODY} +eval +evalsha +xadd +xlen +zadd +zscore +zmscore +zrange +zrem +zremrangebyscore +expire "
    "+get +set +del +time +publish +mget +exists +hget +hgetall +hset +hincrby +zincrby +lrange +subscribe +unsubscribe"
)

#: What who pauses needs besides: workers too, to look.
PAUSER = f"{PRODUCER} +hset +hdel +hlen +hmget +xinfo|consumers"

#: The same of who changes schedules.
PLANNER = f"{PRODUCER} +hmget +hset +hdel +persist +zrem +pexpire"

#: The same of who aggregates.
AGGREGATOR = f"{PRODUCER} +zcount +zrangebyscore +pexpire +setrange"

WORKER = (
    f"{PAUSER} +persist +zrem +pexpire +xgroup|create +xgroup|createconsumer +xgroup|delconsumer +xreadgroup +xpending "
    "+xclaim +xack +xdel +xinfo|groups +xrange +xtrim +zcard +zcount +zrangebyscore +rpush +lpop +llen +incrby "
    "+setrange +client|unblock"
)

#: What who looks at a queue and mends its dead letters needs.
OPERATOR = (
    f"{EVERYBODY} +eval +evalsha +xlen +xrange +xrevrange +xadd +xdel +get +set +del +time "
    "+xpending +xread +xinfo|groups +xinfo|consumers +xinfo|stream +mget +zcard +zcount +zrange +zrem "
    "+hget +hgetall +hlen +hset +hincrby +exists +zscore +zmscore +zscan +hkeys +hscan +hdel +lrange"
)

#: What a producer needs who asks how jobs are, cancels them, or lets them wait for another time.
CONTROLLER = f"{PRODUCER} +xrange +xpending +xdel +zrem +zscan +pttl +pexpire +hkeys +hset +hdel"

KEYS = "~{anyq:* resetchannels &{anyq:*"  # before Redis 7 a user has all channels until they are reset


def user(name: str, rights: str) -> str:
    return f"{name} on >secret -@all {KEYS} {rights}"


def url_of(server: Server, name: str) -> str:
    return f"unix://{name}:secret@{server.socket}"


_known: dict[tuple[Path, str], str] = {}


def known_to(server: Server, rights: str) -> str:
    """Only commands that this server has: the oldest have no CLIENT SETINFO."""
    asked = server.program, rights
    if asked not in _known:  # dozens of questions, and the same answer from each server of a program
        known = set(server.command("COMMAND"))
        _known[asked] = " ".join(
            right
            for right in rights.split()
            if right[1:].partition("|")[0] in known and ("|" not in right or accepts(server, right))
        )
    return _known[asked]


def accepts(server: Server, right: str) -> bool:
    """Whether the server lets us grant this; what it has of subcommands no command tells on all versions."""
    try:
        server.command("ACL", "SETUSER", "probe", right)
    except ResponseError:
        return False
    return True


def test_the_doctor_looks_for_these_rights() -> None:
    everybody = {"eval", "evalsha", "subscribe", "unsubscribe", "client|unblock"}

    def of(rights: str) -> set[str]:
        return (
            {right[1:] for right in rights.split()} - {right[1:] for right in EVERYBODY.split()} - everybody
        )

    assert NEEDED["producer"] == of(PRODUCER)
    assert NEEDED["worker"] == of(WORKER)
    assert of(f"{WORKER} {OPERATOR} {CONTROLLER}") <= NEEDED["operator"]


@pytest.fixture
def guarded(start_server: Callable[..., Server]) -> Server:
    """A server with a worker and a producer who may do what they must, and no more."""
    server = start_server()
    rights_of = {
        "worker": WORKER,
        "planner": PLANNER,
        "producer": PRODUCER,
        "pauser": PAUSER,
        "operator": OPERATOR,
        "controller": CONTROLLER,
        "aggregator": AGGREGATOR,
    }
    for name, rights in rights_of.items():
        grant(server, name, rights)
    return server


def grant(server: Server, name: str, rights: str) -> None:
    server.command("ACL", "SETUSER", *user(name, known_to(server, rights)).split())


async def test_the_documented_rights_are_enough_for_everything(guarded: Server) -> None:
    queue, producing, controlling = (
        Queue("work", url_of(guarded, "worker")),
        Queue("work", url_of(guarded, "producer"), max_length=100),
        Queue("work", url_of(guarded, "controller")),
    )
    view = View(guarded, queue)
    began = anyio.Event()

    @queue.task(attempts=2, backoff=AT_ONCE, result_ttl=60)
    async def hand(how: str) -> str:
        current_job().progress(1)
        current_job().log(how)
        if how == "failed":
            raise ValueError(how)
        if how == "dead":
            raise Unrecoverable(how)
        if how == "cut":
            began.set()
            await anyio.sleep_forever()
        return how

    async with producing, controlling:
        queued = await producing.enqueue("hand", {"how": "done"})
        assert await controlling.job(queued.id).cancel() is Cancellation.CANCELLED
        later = await producing.enqueue("hand", {"how": "done"}, delay=60)
        assert await controlling.job(later.id).reschedule(delay=50)
        assert await controlling.job(later.id).cancel() is Cancellation.CANCELLED
        await producing.enqueue("hand", {"how": "done"})
        view.ask("XGROUP", "CREATE", queue.keys.stream, "default", "0")
        view.ask("XREADGROUP", "GROUP", "default", "anyq-gone", "COUNT", 1, "STREAMS", queue.keys.stream, ">")
        async with Worker(queue, lease=1, drain_timeout=0) as worker:
            handle = await producing.enqueue("hand", {"how": "done"}, id="mine", delay=0.02, result_ttl=60)
            assert await handle.result(timeout=10) == "done"
            for how in ("failed", "dead", "cut"):
                await producing.enqueue("hand", {"how": how})
            await began.wait()
            await until(lambda: worker.statistics().done == 2 and worker.statistics().dead == 2)
            began = anyio.Event()
            running = await producing.enqueue("hand", {"how": "cut"})
            await began.wait()
            assert await controlling.job(running.id).cancel(wait=True) is Cancellation.STOPPED
            assert worker.health().ok
            async with Queue("work", url_of(guarded, "pauser")) as pausing:
                await pausing.pause()
                await pausing.pause("hand")
                assert await pausing.paused("hand")
                await producing.enqueue("hand", {"how": "done"}, priority=9)
                await pausing.resume()
                await until(lambda: worker.statistics().set_aside)
                await pausing.resume("hand")
                await until(lambda: worker.statistics().done == 3)
            await use_schedules(Queue("work", url_of(guarded, "planner")))
            await until(lambda: worker.statistics().done == 6)
    view.assert_nobody_is_left()
    assert view.stored == 1
    assert guarded.command("ACL", "LOG") == [], "nothing that is optional was refused either"


async def use_schedules(queue: Queue) -> None:
    async with queue:
        await queue.schedules.upsert(
            "s", "hand", Every(0.01), {"how": "done"}, limit=3, jitter=0.01, attempts=2
        )
        await queue.schedules.pause("s")
        await queue.schedules.resume("s")
        with anyio.fail_after(10):
            while [one.state for one in await queue.schedules.list()] != ["ended"]:
                pass
        await queue.schedules.upsert(
            "s", "hand", Every(0.01), {"how": "done"}, limit=3, jitter=0.01, attempts=2
        )
        await queue.schedules.upsert("s", "hand", Every(60), {"how": "done"})
        assert await queue.schedules.remove("s")


async def test_the_documented_rights_are_enough_to_aggregate(guarded: Server) -> None:
    queue = Queue("work", url_of(guarded, "aggregator"))

    @queue.aggregate(size=3, delay=60)
    async def digest(numbers: list[int]) -> None: ...

    async with queue:
        for number in range(4):
            await digest.enqueue(number)
        await digest.enqueue_many(range(5))
    assert guarded.command("ACL", "LOG") == []


async def test_the_documented_rights_are_enough_to_mend_dead_letters(guarded: Server) -> None:
    queue = Queue("work", url_of(guarded, "operator"))
    for id in ("1-1", "1-2"):
        guarded.command(
            "XADD", queue.keys.dead_letters, id, "d", encode("j", b"\x80", 1), "reason", "stalled"
        )
    async with queue:
        assert len(await queue.dead_letters.list(reason="stalled")) == 2
        assert await queue.dead_letters.count() == 2
        assert await queue.dead_letters.trimmed() == 0
        assert (await queue.dead_letters.replay_all(limit=1)).count == 1
        assert await queue.dead_letters.delete("1-2") == 1
        assert (await queue.stats()).ready == 1
        assert (await queue.history(1))[0].replayed == 1
        assert await queue.workers() == []
        guarded.command("XGROUP", "CREATE", queue.keys.stream, "default", "0")
        guarded.command("XGROUP", "CREATECONSUMER", queue.keys.stream, "default", "anyq-1")
        assert [one.state for one in await queue.workers()] == ["silent"]
        assert [event async for event in queue.events(after="0", follow=False)] == []
    assert guarded.command("ACL", "LOG") == []


async def test_the_documented_rights_are_enough_to_look_at_jobs(guarded: Server) -> None:
    looking, producing = (
        Queue("work", url_of(guarded, "operator")),
        Queue("work", url_of(guarded, "producer")),
    )
    async with looking, producing, Queue("work", guarded.url) as allowed:
        parent = await allowed.enqueue("t", tracked=True)
        child = await allowed.enqueue("t", after=[parent])
        delayed = await producing.enqueue("t", delay=60)
        other = await producing.enqueue("t", id="mine", priority=9)
        await allowed.pause(until=datetime.now(UTC) + timedelta(milliseconds=1))
        await allowed.pause("t")
        guarded.command("XADD", allowed.keys.aside("t"), "1-1", "d", encode("aside", b"\x80", 1))
        guarded.command("HSET", allowed.keys.pauses, "aside:t", 1)
        for lane in (allowed.keys.stream, allowed.keys.lane(9)):
            guarded.command("XGROUP", "CREATE", lane, "default", "0")
        guarded.command("XREADGROUP", "GROUP", "default", "c-1", "STREAMS", allowed.keys.stream, ">")
        for newest in (True, False):
            found = [job async for job in looking.jobs(newest_first=newest)]
            assert [str(job.state) for job in found] == ["running", "queued", "aside", "delayed", "waiting"]
        assert [job async for job in looking.jobs("failed")] == []
        for job in (parent, child, delayed, other, looking.job("aside"), looking.job("nobody")):
            assert (await looking.explain(job.id)).reasons
            assert (await looking.job(job.id).info(payload=True)).id == job.id
    assert guarded.command("ACL", "LOG") == []


@pytest.mark.parametrize(
    "missing",
    [
        "xreadgroup",
        "xgroup|create",
        "evalsha",
        "xpending",
        "xinfo|consumers",
        "set",
        "hgetall",
        "zrangebyscore",
    ],
)
async def test_a_missing_right_ends_the_worker_at_once_and_is_named(guarded: Server, missing: str) -> None:
    grant(guarded, "poor", WORKER.replace(f"+{missing} ", ""))
    queue = Queue("work", url_of(guarded, "poor"))
    guarded.command("CONFIG", "RESETSTAT")
    with lasting_at_most(3), pytest.raises((ConfigurationError, WorkerCrashed), match="lacks a right"):
        async with Worker(queue, lease=1, drain_timeout=0):
            await anyio.sleep_forever()
    assert len(guarded.command("ACL", "LOG")) < 10, "it does not try again and again"


async def test_who_may_not_listen_works_all_the_same_and_is_told_when_it_matters(guarded: Server) -> None:
    grant(guarded, "deaf", WORKER.replace("+subscribe ", ""))
    queue = Queue("work", url_of(guarded, "deaf"))

    @queue.task(result_ttl=60)
    async def job() -> None: ...

    async with queue, Worker(queue) as worker:
        handle = await job.enqueue()
        await worker.wait_idle()
        with pytest.raises(ConfigurationError, match="does not let us listen"):
            await handle.result(timeout=5)
        assert worker.health().ok


async def test_a_worker_that_may_not_ask_about_the_server_works_and_warns_of_nothing(
    guarded: Server, caplog: pytest.LogCaptureFixture
) -> None:
    grant(guarded, "blind", WORKER.replace("+info ", ""))
    queue = Queue("work", url_of(guarded, "blind"))

    @queue.task
    async def job() -> None: ...

    async with queue, Worker(queue) as worker:
        await job.enqueue()
        await worker.wait_idle()
        assert worker.statistics().done == 1
    assert [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith("anyq") and record.levelno >= logging.WARNING
    ] == []


@pytest.mark.parametrize("side", ["worker", "producer"])
async def test_a_wrong_password_is_said_at_once(start_server: Callable[..., Server], side: str) -> None:
    server = start_server(password="right")
    queue = Queue("work", f"unix://:wrong@{server.socket}")
    with lasting_at_most(0), pytest.raises(ConfigurationError, match="password"):
        if side == "worker":
            async with Worker(queue):
                pass
        else:
            async with queue:
                await queue.enqueue("job")


async def test_a_password_that_changes_ends_the_worker_and_says_so(
    start_server: Callable[..., Server],
) -> None:
    server = start_server(users=[user("worker", "+@all")])
    queue = Queue("work", url_of(server, "worker"))
    with pytest.raises(WorkerCrashed, match="password"):
        async with Worker(queue, drain_timeout=0):
            server.command("ACL", "SETUSER", "worker", "resetpass", ">another")
            server.command("CLIENT", "KILL", "USER", "worker")
            await anyio.sleep_forever()


@pytest.mark.parametrize("missing", ["xinfo|groups", "xtrim"])
async def test_who_may_not_cut_the_stream_acknowledges_the_slower_way(guarded: Server, missing: str) -> None:
    grant(guarded, "plain", WORKER.replace(f"+{missing} ", ""))
    queue = Queue("work", url_of(guarded, "plain"))
    view = View(guarded, queue)

    @queue.task
    async def job() -> None: ...

    async with queue, Worker(queue, events=False) as worker:
        for _ in range(3):
            await job.enqueue_many([()] * 10)
            await worker.wait_idle()
        assert worker.health().ok
        assert worker.statistics().done == 30
    assert view.stored == 0
    view.assert_nobody_is_left()
    assert {entry[b"object"] for entry in logged(guarded)} <= {missing.encode(), b"xinfo"}  # before Redis 7


def logged(server: Server) -> list[dict[bytes, Any]]:
    """What was refused: maps on RESP3, flat lists on RESP2."""
    entries = server.command("ACL", "LOG")
    return [
        entry if isinstance(entry, dict) else dict(zip(entry[::2], entry[1::2], strict=True))
        for entry in entries
    ]


class Given(CredentialProvider):
    """Knows one form only, and fails when it is told to."""

    failures = 0

    def give(self) -> tuple[str, str]:
        if self.failures:
            self.failures -= 1
            raise LookupError("the vault is sealed")
        return "worker", "secret"


class Blocking(Given):
    def get_credentials(self) -> tuple[str, str]:
        return self.give()


class Asynchronous(Given):
    async def get_credentials_async(self) -> tuple[str, str]:
        await anyio.lowlevel.checkpoint()
        return self.give()


@asynccontextmanager
async def living_through(server: Server, provider: Given) -> AsyncGenerator[None]:
    """A worker whose password is a provider's does a job; after what happens inside it is well, and does another."""
    queue = Queue("work", f"unix://{server.socket}", credential_provider=provider)

    @queue.task
    async def job() -> None: ...

    async with queue, Worker(queue, lease=1) as worker:
        await job.enqueue()
        await worker.wait_idle()  # a lost answer to its acknowledgement would let it count as late
        yield
        await until(lambda: worker.health().ok)
        await job.enqueue()
        await worker.wait_idle()
    assert worker.statistics().done == 2


def hang_up(server: Server) -> None:
    """Close all connections: whoever comes back must say the password again."""
    for kind in ("normal", "pubsub"):
        server.command("CLIENT", "KILL", "TYPE", kind)


@pytest.mark.parametrize("form", [Blocking, Asynchronous])
async def test_a_worker_lives_through_failures_of_its_credential_provider(
    guarded: Server, form: type[Given]
) -> None:
    """Its heartbeat asks the provider too, from a thread of its own."""
    provider = form()
    async with living_through(guarded, provider):
        provider.failures = 8
        hang_up(guarded)
        await until(lambda: provider.failures == 0)


async def test_a_worker_lives_through_a_password_that_changes_before_its_provider_knows(
    guarded: Server,
) -> None:
    async with living_through(guarded, Blocking()):
        guarded.command("ACL", "SETUSER", "worker", ">new", "<secret")
        hang_up(guarded)
        await until(lambda: sum(int(entry[b"count"]) for entry in logged(guarded)) > 5)
        guarded.command("ACL", "SETUSER", "worker", ">secret", "<new")
