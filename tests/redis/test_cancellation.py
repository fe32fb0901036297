"""Cancelling a caller at every one of its suspensions: nobody else notices, and nothing stays open."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import pytest
from tests.redis.conftest import IMPATIENT
from tests.support.places import at_every_place
from tests.support.proxy import FaultProxy
from tests.support.servers import SECONDS, Server

from anyq._redis.address import Address
from anyq._redis.client import Client
from anyq._redis.connection import Connection
from anyq._redis.scripts import Script
from anyq._redis.settings import TransportSettings
from anyq._redis.subscriber import Subscriber

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "work",
    [
        pytest.param(lambda client: client.call("INCR", "n"), id="call"),
        pytest.param(lambda client: client.call_many([("INCR", "n")] * 3), id="call_many"),
        pytest.param(lambda client: client.run(Script("s", "return redis.call('INCR', 'n')")), id="run"),
        pytest.param(lambda client: client.set("key", "value"), id="execute_command"),
        pytest.param(lambda client: client.call("BLPOP", "nothing", 0.05), id="blocking"),
    ],
)
async def test_a_cancelled_call_leaves_the_connection_in_step(
    redis_url: str, work: Callable[[Client], Coroutine[Any, Any, Any]]
) -> None:
    async with Client(redis_url) as client:
        await client.connect()
        asked = 0

        async def in_step() -> None:
            nonlocal asked
            asked += 1
            assert await client.call("ECHO", asked) == str(asked).encode()

        places = await at_every_place(lambda: work(client), in_step)
        assert places >= 1
        assert client.generation == 1


async def test_a_cancelled_first_call_leaves_a_client_that_works(redis_url: str, server: Server) -> None:
    clients: list[Client] = []

    async def first_call() -> None:
        async with Client(redis_url) as client:
            clients.append(client)
            await client.call("PING")

    async def nothing_is_open() -> None:
        while server.clients():
            await anyio.lowlevel.checkpoint()

    with anyio.fail_after(SECONDS):
        assert await at_every_place(first_call, nothing_is_open) >= 3


async def test_a_cancelled_connect_leaves_nothing_open(start_server: Callable[..., Server]) -> None:
    server = start_server(tls=True)

    async def nothing_is_open() -> None:
        while server.clients():
            await anyio.lowlevel.checkpoint()

    async def connect(url: str) -> None:
        connection = await Connection.open(Address.parse(url), TransportSettings())
        connection.discard()

    for url in (server.url, server.tls_url):
        with anyio.fail_after(2 * SECONDS):
            places = await at_every_place(lambda url=url: connect(url), nothing_is_open)  # type: ignore[misc]
        assert places >= 4


async def test_who_gives_up_waiting_for_a_connection_disturbs_nobody(proxy: FaultProxy) -> None:
    proxy.refuse()
    async with Client(proxy.url, settings=IMPATIENT) as client:
        replies: list[bytes] = []

        async def wait() -> None:
            replies.append(await client.call("PING", timeout=SECONDS))

        async def nothing() -> None:
            await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            with anyio.move_on_after(0.05):
                await client.call("PING", timeout=SECONDS)
            proxy.heal()
            await at_every_place(lambda: client.call("PING", timeout=SECONDS), nothing)
        assert replies == [b"PONG"]


async def test_a_thousand_callers_who_leave_at_once_are_dropped_in_order(client: Client) -> None:
    await client.connect()
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            for number in range(1000):
                tasks.start_soon(client.call, "ECHO", number)
            await anyio.lowlevel.checkpoint()
            scope.cancel()
    for number in range(3):
        assert await client.call("ECHO", f"after {number}") == f"after {number}".encode()
    assert client.generation == 1


async def test_a_reply_to_nobody_still_has_a_deadline(proxy: FaultProxy) -> None:
    """Who left does not wait any more, but a link that does not answer is frozen all the same."""
    lost = anyio.Event()
    async with Client(proxy.url, settings=IMPATIENT, on_change=lambda _client, _error: lost.set()) as client:
        await client.connect()
        proxy.freeze()
        with anyio.move_on_after(0.01):
            await client.call("PING")
        with anyio.fail_after(SECONDS):
            await lost.wait()
        proxy.unfreeze()


async def test_a_cancelled_subscription_leaves_the_subscriber_working(client: Client, redis_url: str) -> None:
    async with Subscriber(redis_url) as subscriber:
        heard: list[bytes] = []

        async def subscribe() -> None:
            with subscriber.subscribe(
                b"channel", lambda _channel, message: heard.append(message)
            ) as subscription:
                await subscription.ready()

        async def works() -> None:
            got = anyio.Event()
            with subscriber.subscribe("channel", lambda _channel, _message: got.set()) as subscription:
                await subscription.ready()
                await client.call("PUBLISH", "channel", "x")
                with anyio.fail_after(SECONDS):
                    await got.wait()

        assert await at_every_place(subscribe, works) >= 1
        assert heard == []
        assert subscriber.generation == 1
