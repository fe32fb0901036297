"""A connection for one caller: it asks, is cancelled, asks again, is lost and is made again; nothing of it stays."""

from __future__ import annotations

import gc
from collections.abc import Callable

import anyio
import pytest
from redis.exceptions import RedisError
from tests.redis.conftest import IMPATIENT
from tests.support.proxy import FaultProxy, flip_bits
from tests.support.servers import SECONDS, Server

from anyq._redis.address import Address
from anyq._redis.client import Client
from anyq._redis.solo import Solo
from anyq.errors import ConfigurationError, ConnectionLost, ReplyTimeout

pytestmark = pytest.mark.anyio

PATIENCE = 2.0
READ = (b"XREAD", b"BLOCK", 30_000, b"STREAMS", b"s", b"0")


@pytest.fixture
async def solo(proxy: FaultProxy) -> Solo:
    return Solo(Address.parse(proxy.url), settings=IMPATIENT, name="solo")


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


async def test_a_frozen_connection_is_given_up_and_made_again(solo: Solo, proxy: FaultProxy) -> None:
    await solo.ask((b"PING",), timeout=PATIENCE)
    proxy.freeze("down")
    with pytest.raises(ReplyTimeout, match="closed as frozen"):
        await solo.ask((b"PING",), timeout=0.05)
    proxy.heal()
    assert await solo.ask((b"PING",), timeout=PATIENCE) == [b"PONG"]
    assert proxy.accepted == 2
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
