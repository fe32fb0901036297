"""What the server says no with is understood alike on every server, though each words it differently."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import pytest
from redis.exceptions import ResponseError
from tests.support.hands import Hands, Table, addition, member
from tests.support.servers import Server

from anyq._core.keys import GROUP, Keys
from anyq._redis.client import Client
from anyq._services.patience import Outages, Patience, configuration_error, passes, reply_code
from anyq._store.publish import Publishing
from anyq._store.settle import Cut, Kept, Letter
from anyq.errors import ConfigurationError, RedisUnavailable

pytestmark = pytest.mark.anyio

Verb = Callable[[Hands], Awaitable[Any]]

NEED_THE_GROUP: dict[str, Verb] = {
    "read": lambda hands: hands.consuming.read(1, 1),
    "pending": lambda hands: hands.consuming.pending(hands.keys.stream),
    "complete": lambda hands: hands.settling.complete(hands.keys.stream, [Kept(b"1-1", "a", b"x", 60.0)]),
    "retry": lambda hands: hands.settling.retry(hands.keys.stream, [(b"1-1", 1, member("a"))]),
    "bury": lambda hands: hands.settling.bury(hands.keys.stream, [Letter(b"1-1", ["d", b""])]),
    "end cancelled": lambda hands: hands.settling.end_cancelled(
        hands.keys.stream, [Cut(b"1-1", "a", b"why")]
    ),
    "hand back": lambda hands: hands.settling.hand_back(hands.keys.stream, [b"1-1"]),
    "renew": lambda hands: hands.leasing.renew(hands.keys.stream, [b"1-1"]),
    "silent": lambda hands: hands.leasing.silent(),
    "take over": lambda hands: hands.leasing.take_over(b"anyq-2"),
    "sweep": lambda hands: hands.leasing.sweep(60.0),
    "depart": lambda hands: hands.leasing.depart(),
}

DO_WITHOUT: dict[str, Verb] = {
    "ack": lambda hands: hands.settling.ack(hands.keys.stream, [b"1-1"]),
    "promote": lambda hands: hands.promoting.promote(10),
}


@pytest.fixture
def hands(client: Client, keys: Keys) -> Hands:
    """A consumer that never saw the group."""
    return Hands(client, keys, b"anyq-1")


@pytest.fixture(params=["no stream", "no group"])
async def state(request: pytest.FixtureRequest, client: Client, keys: Keys) -> str:
    if request.param == "no group":
        for lane in keys.lanes:
            await client.call("XADD", lane, "*", "d", "x")
    return str(request.param)


@pytest.mark.parametrize("verb", NEED_THE_GROUP)
async def test_a_group_that_is_gone_is_named_and_passes(hands: Hands, state: str, verb: str) -> None:
    with pytest.raises(ResponseError) as caught:
        await NEED_THE_GROUP[verb](hands)
    assert reply_code(caught.value) == "NOGROUP"
    assert passes(caught.value)


@pytest.mark.parametrize("verb", DO_WITHOUT)
async def test_some_verbs_do_without_a_group_and_change_nothing(
    table: Table, hands: Hands, state: str, verb: str
) -> None:
    before = await table.entries(table.keys.stream)
    await DO_WITHOUT[verb](hands)
    assert await table.entries(table.keys.stream) == before
    assert await table.delayed() == {}
    assert await table.client.call("EXISTS", table.keys.result("a")) == 0


@pytest.mark.parametrize("verb", NEED_THE_GROUP)
async def test_patience_makes_the_group_again(hands: Hands, state: str, verb: str) -> None:
    patience = Patience("test", Outages("test"), hands.consuming.ensure_group, limit=5.0)
    await patience(lambda: NEED_THE_GROUP[verb](hands))


@pytest.mark.parametrize("verb", ["publish", "retry", "promote", "renew", "sweep", "read"])
async def test_a_key_of_another_type_is_named_and_does_not_pass(
    table: Table, client: Client, keys: Keys, verb: str
) -> None:
    hands = await table.hands(b"anyq-1")
    await client.call("DEL", keys.stream)
    await client.call("SET", keys.stream, "of another kind")
    with pytest.raises(ResponseError) as caught:
        if verb == "publish":
            await table.producer().publish(1, 1, [addition("a")], 0)
        else:
            await {**NEED_THE_GROUP, **DO_WITHOUT}[verb](hands)
    assert reply_code(caught.value) == "WRONGTYPE"
    assert not passes(caught.value)
    assert "another program uses the same name" in str(configuration_error("test", caught.value))


async def test_a_command_that_the_server_does_not_have_is_said(client: Client) -> None:
    with pytest.raises(ResponseError) as caught:
        await client.call("NOSUCHCOMMAND", "key")
    assert not passes(caught.value)
    said = str(configuration_error("test", caught.value))
    assert "the server lacks a command" in said
    assert "NOSUCHCOMMAND" in said


@pytest.fixture
async def publishing(anyio_backend: object, client: Client, keys: Keys) -> Publishing:
    return Publishing(client, keys, b"p")


ONE = [addition("a")]


async def test_a_right_that_a_script_lacks_is_named_and_does_not_pass(
    start_server: Callable[..., Server], keys: Keys
) -> None:
    server = start_server(users=["shy on >x ~* &* +@all -xadd"])
    async with Client(f"unix://shy:x@{server.socket}") as client:
        with pytest.raises(ResponseError) as caught:
            await Publishing(client, keys, b"p").publish(1, 1, ONE, 0)
        assert reply_code(caught.value) == "NOPERM"
        with pytest.raises(ConfigurationError, match="the user of the URL lacks a right"):
            await Patience("test", Outages("test"))(
                lambda: Publishing(client, keys, b"p").publish(1, 1, ONE, 0)
            )


async def test_a_right_to_a_key_that_a_user_lacks_is_named(
    start_server: Callable[..., Server], keys: Keys
) -> None:
    server = start_server(users=["shy on >x ~other* &* +@all"])
    async with Client(f"unix://shy:x@{server.socket}") as client:
        with pytest.raises(ResponseError) as caught:
            await Publishing(client, keys, b"p").publish(1, 1, ONE, 0)
        assert reply_code(caught.value) == "NOPERM"


@pytest.fixture
async def fragile(
    anyio_backend: object, start_server: Callable[..., Server]
) -> AsyncGenerator[tuple[Server, Client]]:
    server = start_server()
    async with Client(server.url) as client:
        yield server, client


async def test_a_replica_and_missing_replicas_pass(fragile: tuple[Server, Client], keys: Keys) -> None:
    server, client = fragile
    publishing = Publishing(client, keys, b"p")
    server.command("CONFIG", "SET", "min-replicas-to-write", 1)
    with pytest.raises(ResponseError) as caught:
        await publishing.publish(1, 1, ONE, 0)
    assert (reply_code(caught.value), passes(caught.value)) == ("NOREPLICAS", True)
    server.command("CONFIG", "SET", "min-replicas-to-write", 0)
    server.command("REPLICAOF", "127.0.0.1", 1)
    with pytest.raises(ResponseError) as caught:
        await publishing.publish(1, 1, ONE, 0)
    assert (reply_code(caught.value), passes(caught.value)) == ("READONLY", True)
    server.command("REPLICAOF", "NO", "ONE")
    await publishing.publish(1, 1, ONE, 0)
    assert await client.call("XLEN", keys.stream) == 1


async def test_a_disk_that_cannot_be_written_passes(fragile: tuple[Server, Client], keys: Keys) -> None:
    server, client = fragile
    (server.home.path / "dump.rdb").mkdir()
    server.command("CONFIG", "SET", "save", "3600 1")
    server.command("SET", "something", "to save")
    server.command("BGSAVE")
    while b"rdb_bgsave_in_progress:1" in await client.call("INFO", "persistence"):
        pass
    with pytest.raises(ResponseError) as caught:
        await Publishing(client, keys, b"p").publish(1, 1, ONE, 0)
    assert (reply_code(caught.value), passes(caught.value)) == ("MISCONF", True)


async def test_a_limit_on_the_patience_ends_it(hands: Hands, client: Client, keys: Keys) -> None:
    async def mend() -> None:
        raise RedisUnavailable("not now")

    patience = Patience("test", Outages("test"), mend, limit=0.01)
    with pytest.raises(RedisUnavailable, match="Redis did not take it"):
        await patience(hands.leasing.silent)


async def test_a_blocked_read_whose_group_goes_away_passes(table: Table, server: Server, keys: Keys) -> None:
    hands = await table.hands(b"anyq-1")
    outages = Outages("test")
    patience = Patience("test", outages, hands.consuming.ensure_group, limit=10.0)

    reads = 0

    async def read() -> Any:
        nonlocal reads
        reads += 1
        if reads == 1:
            for lane in keys.lanes:
                server.command("XGROUP", "DESTROY", lane, GROUP)
        return await hands.consuming.read(1, 1)

    await patience(read)
    assert reads == 2
    assert not outages.troubled
