"""A connection for one caller: it asks, is cancelled, asks again, is lost and is made again; nothing of it stays."""

from __future__ import annotations

import gc
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import anyio
import pytest
import trio
from redis.exceptions import RedisError, ResponseError
from tests.redis.conftest import IMPATIENT
from tests.support.proxy import FaultProxy, flip_bits
from tests.support.servers import SECONDS, Server

from anyq._redis.address import Address
from anyq._redis.client import Client
from anyq._redis.scripts import Script
from anyq._redis.settings import TransportSettings
from anyq._redis.solo import Solo
from anyq.errors import ConfigurationError, ConnectionLost, ReplyTimeout

pytestmark = pytest.mark.anyio

PATIENCE = 2.0
CANCEL_SCOPES = (anyio.CancelScope, trio.CancelScope)
READ = (b"XREAD", b"BLOCK", 30_000, b"STREAMS", b"s", b"0")


@pytest.fixture
async def solo(proxy: FaultProxy) -> Solo:
    return Solo(Address.parse(proxy.url), settings=IMPATIENT, name="solo")


@asynccontextmanager
async def watched(solo: Solo, how: bool) -> AsyncGenerator[None]:
    """Let the time of its questions be kept by one timer, or by one each."""
    async with anyio.create_task_group() as tasks:
        if how:
            tasks.start_soon(solo.watch)
            await anyio.wait_all_tasks_blocked()
        yield
        tasks.cancel_scope.cancel()


timers = pytest.mark.parametrize("one_timer", [False, True], ids=["a timer each", "one timer"])


async def test_it_connects_when_it_is_asked_and_gives_errors_as_elements(
    redis_url: str, server: Server
) -> None:
    solo = Solo(Address.parse(redis_url), name="solo")
    assert server.clients() == []
    one, two = await solo.ask((b"PING",), (b"LPUSH", b"x"), timeout=PATIENCE)
    assert one == b"PONG"
    assert isinstance(two, RedisError)
    assert [row["name"] for row in server.clients()] == ["solo"]
    solo.close()
    solo.close()
    assert await solo.ask((b"ECHO", b"again"), timeout=PATIENCE) == [b"again"]
    solo.close()


async def test_a_server_that_is_not_found_in_time_is_an_outage(redis_url: str) -> None:
    found = threading.Event()

    def locate() -> Address:
        found.wait(SECONDS)
        return Address.parse(redis_url)

    patient = TransportSettings(connection_patience=0.02)
    solo = Solo(Address.parse("redis://127.0.0.1:1"), settings=patient, locate=locate)
    try:
        with pytest.raises(ConnectionLost, match=r"more than 0\.02 s to find the server"):
            await solo.ask((b"PING",), timeout=PATIENCE)
    finally:
        found.set()
    solo = Solo(Address.parse("redis://127.0.0.1:1"), locate=locate)
    assert await solo.ask((b"PING",), timeout=PATIENCE) == [b"PONG"]
    solo.close()


async def test_one_that_is_forgotten_closes_its_connection(redis_url: str) -> None:
    solo = Solo(Address.parse(redis_url))
    await solo.ask((b"PING",), timeout=PATIENCE)
    del solo
    gc.collect()  # the fixture sees that the server has no connection left


async def test_who_is_cancelled_and_asks_the_same_again_gets_the_reply(
    solo: Solo, proxy: FaultProxy, client: Client
) -> None:
    asked = (b"PING",), READ
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:

            async def ask() -> None:
                await solo.ask(*asked, timeout=SECONDS)

            tasks.start_soon(ask)
            await proxy.until(lambda proxy: len(proxy.links) == 1)
            with anyio.fail_after(SECONDS):
                while not [row for row in await client.client_list() if "b" in row["flags"]]:
                    pass
            scope.cancel()
    await client.call("XADD", b"s", b"*", b"a", b"1")
    pong, read = await solo.ask(*asked, timeout=PATIENCE)
    assert pong == b"PONG"
    assert read
    assert proxy.accepted == 1
    solo.close()


async def test_who_is_cancelled_and_asks_something_else_gets_a_new_connection(
    solo: Solo, proxy: FaultProxy
) -> None:
    await solo.ask((b"PING",), timeout=PATIENCE)
    proxy.freeze("down")
    with anyio.move_on_after(0.01):
        await solo.ask((b"ECHO", b"one"), timeout=SECONDS)
    proxy.heal()
    assert await solo.ask((b"ECHO", b"two"), timeout=PATIENCE) == [b"two"]
    assert proxy.accepted == 2
    solo.close()


@timers
async def test_a_frozen_connection_is_given_up_and_made_again(
    solo: Solo, proxy: FaultProxy, one_timer: bool
) -> None:
    async with watched(solo, one_timer):
        await solo.ask((b"PING",), timeout=PATIENCE)
        for again in (1, 2):
            proxy.freeze("down")
            with pytest.raises(ReplyTimeout, match="closed as frozen"):
                await solo.ask((b"PING",), timeout=0.05)
            proxy.heal()
            assert await solo.ask((b"PING",), timeout=PATIENCE) == [b"PONG"]
            assert proxy.accepted == solo.generation == 1 + again
    solo.close()


@timers
async def test_a_reply_that_came_while_the_loop_was_blocked_is_not_late(
    redis_url: str, blocked_loop: Callable[[float], None], one_timer: bool
) -> None:
    solo = Solo(Address.parse(redis_url))
    async with watched(solo, one_timer):
        await solo.ask((b"PING",), timeout=PATIENCE)
        for _ in range(5):  # on Trio, the timeout or the reply is looked at first by chance
            replies = list[object]()

            async def ask(replies: list[object] = replies) -> None:
                replies += await solo.ask((b"ECHO", b"x"), timeout=0.05)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ask)
                await anyio.wait_all_tasks_blocked()
                blocked_loop(0.1)
            assert replies == [b"x"]
    assert solo.generation == 1
    solo.close()


async def test_over_tls_a_frozen_connection_is_given_up_by_the_one_timer(
    start_server: Callable[..., Server],
) -> None:
    solo = Solo(Address.parse(start_server(tls=True).tls_url))
    async with watched(solo, how=True):
        await solo.ask((b"PING",), timeout=PATIENCE)
        with pytest.raises(ReplyTimeout, match="closed as frozen"):
            await solo.ask(READ, timeout=0.05)
        assert await solo.ask((b"PING",), timeout=PATIENCE) == [b"PONG"]
    solo.close()


async def test_one_timer_leaves_none_behind(redis_url: str) -> None:
    """Trio keeps those that were taken back, and what hangs on them."""
    solo = Solo(Address.parse(redis_url))
    async with watched(solo, how=True):
        await solo.ask((b"PING",), timeout=PATIENCE)
        gc.collect()
        before = sum(isinstance(thing, CANCEL_SCOPES) for thing in gc.get_objects())
        for _ in range(200):
            await solo.ask((b"PING",), timeout=PATIENCE)
        gc.collect()
        after = sum(isinstance(thing, CANCEL_SCOPES) for thing in gc.get_objects())
    assert after <= before + 5
    solo.close()


@pytest.mark.parametrize(
    ("call", "error"), [((b"ECHO", b"x"), None), ((b"LPUSH", b"x"), ResponseError)], ids=["fine", "refused"]
)
async def test_one_command_is_answered_or_raises(
    solo: Solo, call: tuple[bytes, ...], error: type[Exception] | None
) -> None:
    if error is None:
        assert await solo.call(*call) == b"x"
    else:
        with pytest.raises(error):
            await solo.call(*call)
    solo.close()


async def test_a_script_that_the_server_forgot_is_sent_with_its_body(solo: Solo, client: Client) -> None:
    script = Script("echo", "return {KEYS[1], ARGV[1]}")
    for _ in range(2):
        await client.call("SCRIPT", "FLUSH")
        for _ in range(2):
            assert await solo.run(script, (b"k",), (b"a",)) == [b"k", b"a"]
    with pytest.raises(RedisError):
        await solo.run(Script("wrong", "return redis.call('LPUSH')"), (), ())
    assert solo.generation == 1
    solo.close()


@pytest.mark.parametrize(
    "fault",
    [FaultProxy.reset, FaultProxy.close, lambda proxy: proxy.mangle(flip_bits)],
    ids=["reset", "closed", "garbage"],
)
async def test_a_broken_connection_is_an_outage_and_made_again(
    solo: Solo, proxy: FaultProxy, fault: Callable[[FaultProxy], None]
) -> None:
    await solo.ask((b"PING",), timeout=PATIENCE)
    fault(proxy)
    with pytest.raises(ConnectionLost):
        await solo.ask((b"PING",), timeout=PATIENCE)
    proxy.heal()
    assert await solo.ask((b"PING",), timeout=PATIENCE) == [b"PONG"]
    solo.close()


@pytest.mark.parametrize("fault", [FaultProxy.reset, FaultProxy.close], ids=["reset", "closed"])
async def test_one_that_broke_while_nobody_asked_is_made_again_and_no_outage(
    solo: Solo, proxy: FaultProxy, fault: Callable[[FaultProxy], None]
) -> None:
    await solo.ask((b"PING",), timeout=PATIENCE)
    fault(proxy)
    await proxy.until(lambda proxy: proxy.gone == 1)
    assert await solo.ask((b"PING",), timeout=PATIENCE) == [b"PONG"]
    assert solo.generation == proxy.accepted == 2
    solo.close()


async def test_it_speaks_tls(start_server: Callable[..., Server]) -> None:
    solo = Solo(Address.parse(start_server(tls=True).tls_url))
    assert await solo.ask((b"ECHO", b"x" * 300_000), timeout=PATIENCE) == [b"x" * 300_000]
    with anyio.move_on_after(0.01):
        await solo.ask(READ, timeout=SECONDS)
    assert await solo.ask((b"PING",), timeout=PATIENCE) == [b"PONG"]
    solo.close()


async def test_a_server_that_refuses_us_says_so(start_server: Callable[..., Server]) -> None:
    solo = Solo(Address.parse(start_server(password="secret").url.replace("secret", "wrong")))
    with pytest.raises(ConfigurationError):
        await solo.ask((b"PING",), timeout=PATIENCE)
