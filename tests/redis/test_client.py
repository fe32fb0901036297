"""What a client promises while the server is well."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import pytest
from redis.exceptions import BusyLoadingError, DataError, NoScriptError, ResponseError
from tests.support.proxy import FaultProxy
from tests.support.servers import SECONDS, Server

from anyq._redis.address import Address
from anyq._redis.client import Client
from anyq._redis.compat import parse_error
from anyq._redis.replies import error_code, reply_error
from anyq._redis.scripts import Script
from anyq._redis.settings import TransportSettings
from anyq._redis.subscriber import Subscriber
from anyq.errors import ConfigurationError, ConnectionLost, ServerNotFound

pytestmark = pytest.mark.anyio

ECHO = Script("echo", "return {KEYS[1], ARGV[1]}")


async def test_a_call_returns_the_reply_as_it_came(client: Client) -> None:
    assert await client.call("SET", "key", 1.5) == b"OK"
    assert await client.call(b"GET", b"key") == b"1.5"
    assert await client.call("GET", "nothing") is None


async def test_an_error_reply_is_raised_and_keeps_its_first_word(client: Client) -> None:
    with pytest.raises(ResponseError) as caught:
        await client.call("XREADGROUP", "GROUP", "g", "me", "STREAMS", "nowhere", ">")
    assert error_code(caught.value) == "NOGROUP"
    with pytest.raises(ResponseError) as caught:
        await client.call("NONSENSE")
    assert error_code(caught.value) == "ERR"


def test_an_error_reply_is_a_response_error_whatever_redis_py_calls_it() -> None:
    loading = reply_error("LOADING Redis is loading the dataset in memory")
    assert isinstance(loading, ResponseError)
    assert isinstance(loading, BusyLoadingError)
    assert error_code(loading) == "LOADING"
    assert error_code(reply_error("UNBLOCKED force unblock from blocking operation")) == "UNBLOCKED"
    assert error_code(ValueError("no reply at all")) == ""


@pytest.mark.parametrize(
    "text", ["BUSY a script runs", "READONLY replica", "OOM no", "MISCONF disk", "NOREPLICAS none", "ERR x"]
)
def test_the_first_word_is_known_of_what_redis_py_s_own_client_raises(text: str) -> None:
    assert error_code(parse_error(text)) == text.split(maxsplit=1)[0]


async def test_an_argument_that_cannot_be_packed_is_refused_before_anything_is_sent(client: Client) -> None:
    with pytest.raises(DataError, match="bytes, str, int or float"):
        await client.call("SET", "key", None)  # type: ignore[arg-type]
    assert await client.call("DBSIZE") == 0


async def test_call_many_returns_errors_in_their_places(client: Client) -> None:
    replies = await client.call_many([("SET", "k", "v"), ("LPUSH", "k", 1), ("GET", "k")])
    assert replies[0] == b"OK"
    assert error_code(replies[1]) == "WRONGTYPE"
    assert replies[2] == b"v"
    assert await client.call_many([]) == []
    assert await client.call_many([("PING",)]) == [b"PONG"]


async def test_everybody_gets_the_reply_to_the_own_question(client: Client) -> None:
    seen: dict[int, bytes] = {}

    async def ask(number: int) -> None:
        for round_ in range(20):
            reply = await client.call("ECHO", f"{number}.{round_}")
            assert reply == f"{number}.{round_}".encode()
            seen[number] = reply

    async with anyio.create_task_group() as tasks:
        for number in range(100):
            tasks.start_soon(ask, number)
    assert len(seen) == 100
    assert client.generation == 1


async def test_what_is_asked_in_one_turn_leaves_in_one_write(proxy: FaultProxy) -> None:
    async with Client(proxy.url) as client:
        await client.connect()
        writes: list[int] = []

        def note(data: bytes) -> bytes:
            writes.append(data.count(b"ECHO"))
            return data

        proxy.mangle(note, "up")
        async with anyio.create_task_group() as tasks:
            for number in range(50):
                tasks.start_soon(client.call, "ECHO", number)
        assert sum(writes) == 50
        assert len(writes) <= 3  # the first is sent at once, the others gather behind it


async def test_a_payload_larger_than_the_sockets_buffers_goes_both_ways(client: Client) -> None:
    large = bytes(range(256)) * 65536  # 16 MiB
    assert await client.call("SET", "large", large) == b"OK"
    assert await client.call("GET", "large") == large


async def test_others_are_served_while_a_large_payload_is_on_its_way(client: Client) -> None:
    large = b"x" * 8_000_000
    async with anyio.create_task_group() as tasks:
        for number in range(5):
            tasks.start_soon(client.call, "SET", f"k{number}", large)
            tasks.start_soon(client.call, "INCR", "n")
    assert await client.call("GET", "n") == b"5"
    assert await client.call("STRLEN", "k4") == len(large)


async def test_a_client_connects_when_it_is_first_used(redis_url: str, server: Server) -> None:
    async with Client(redis_url) as client:
        assert (client.connected, client.connection_id, client.generation) == (False, None, 0)
        await client.call("PING")
        assert (client.connected, client.generation) == (True, 1)
        ids = [int(row["id"]) for row in server.clients()]
        assert ids == [client.connection_id]


async def test_many_who_come_at_once_share_one_connection(redis_url: str, server: Server) -> None:
    async with Client(redis_url) as client:
        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(client.call, "PING")
        assert len(server.clients()) == 1
        assert client.generation == 1


async def test_one_client_unblocks_another_by_its_connection_id(redis_url: str) -> None:
    async with Client(redis_url) as reader, Client(redis_url) as other:
        await reader.connect()
        connection_id = reader.connection_id
        assert connection_id is not None
        replies: list[object] = []

        async def read() -> None:
            replies.append(await reader.call("BLPOP", "nothing", 5, timeout=6))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            while not await other.call("CLIENT", "UNBLOCK", connection_id):
                await anyio.lowlevel.checkpoint()
        assert replies == [None]
        assert reader.generation == 1


async def test_a_script_is_loaded_by_the_call_that_finds_it_missing(client: Client) -> None:
    await client.call("SCRIPT", "FLUSH")
    assert await client.run(ECHO, ["key"], ["word"]) == [b"key", b"word"]
    assert await client.call("SCRIPT", "EXISTS", ECHO.sha) == [1]
    assert await client.run(ECHO, ["key"], [7]) == [b"key", b"7"]


async def test_a_script_flushed_again_and_again_is_never_noticed(client: Client) -> None:
    async def flush() -> None:
        for _ in range(50):
            await client.call("SCRIPT", "FLUSH")

    async def run() -> None:
        for number in range(50):
            assert await client.run(ECHO, ["k"], [number]) == [b"k", b"%d" % number]

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(flush)
        for _ in range(5):
            tasks.start_soon(run)


async def test_a_batch_of_script_calls_survives_a_flush(client: Client) -> None:
    counting = Script("count", "return redis.call('INCRBY', KEYS[1], ARGV[1])")
    await client.call("SCRIPT", "FLUSH")
    another = Script("read", "return redis.call('GET', KEYS[1])")
    calls = [
        (counting, ["n"], [1]), (another, ["n"], []), (counting, ["n"], [10]), (another, ["n"], []),
        (counting, ["n"], [100]),
    ]  # fmt: skip
    assert await client.run_many(calls) == [1, b"1", 11, b"11", 111]
    assert await client.run_many(calls[:1]) == [112]
    assert await client.run_many([]) == []


async def test_a_scripts_own_error_is_raised(client: Client) -> None:
    with pytest.raises(ResponseError) as caught:
        await client.run(Script("bad", "return redis.error_reply('MINE went wrong')"))
    assert error_code(caught.value) == "MINE"
    with pytest.raises(NoScriptError):  # raised inside of a script, it is not about this script
        await client.run(Script("odd", "return redis.error_reply('NOSCRIPT No matching script')"))


def test_a_script_is_read_from_a_package() -> None:
    script = Script("x", "return 1")
    assert script.sha == b"e0e1f9fabfc9d4800c877a703b823ac0578ff8db"
    assert "return" not in repr(script)


async def test_closing_tells_those_who_still_wait(redis_url: str) -> None:
    errors: list[ConnectionLost] = []

    async def wait(client: Client) -> None:
        try:
            await client.call("BLPOP", "nothing", 5, timeout=6)
        except ConnectionLost as error:
            errors.append(error)

    async with (
        anyio.create_task_group() as tasks,
        Client(redis_url) as client,
        Client(redis_url) as other,
    ):
        await client.connect()
        tasks.start_soon(wait, client)
        while not await _is_blocked(other):
            await anyio.lowlevel.checkpoint()
    assert [error.sent for error in errors] == [True]
    assert "closed" in str(errors[0])


async def _is_blocked(other: Client) -> bool:
    info: bytes = await other.call("INFO", "clients")
    return b"blocked_clients:1" in info


async def test_a_closed_client_says_so(redis_url: str) -> None:
    client = Client(redis_url)
    with pytest.raises(RuntimeError, match="not open"):
        await client.call("PING")
    async with client:
        await client.call("PING")
    with pytest.raises(ConnectionLost, match="was closed") as caught:
        await client.call("PING")
    assert not caught.value.sent
    with pytest.raises(RuntimeError, match="once"):
        async with client:
            pass
    assert "closed" in repr(client)


async def test_what_the_block_raises_comes_out_as_it_was(redis_url: str) -> None:
    with pytest.raises(LookupError, match="mine"):
        async with Client(redis_url) as client:
            await client.call("PING")
            raise LookupError("mine")


async def test_a_cancelled_block_can_still_be_used_by_who_is_shielded(redis_url: str, server: Server) -> None:
    """A worker that is cancelled still has outcomes to write, within a deadline of its own."""
    with anyio.CancelScope() as scope:
        async with Client(redis_url) as client:
            await client.connect()
            scope.cancel()
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.move_on_after(5, shield=True):
                    await client.call("SET", "outcome", "written")
                    server.command("CLIENT", "KILL", "ID", client.connection_id)
                    await _try_until_it_works(client)
    assert scope.cancelled_caught
    assert server.command("GET", "outcome") == b"written"
    assert server.command("GET", "again") == b"1"


async def _try_until_it_works(client: Client) -> None:
    while True:
        try:
            await client.call("SET", "again", 1)
        except ConnectionLost:
            continue
        return


async def test_an_error_in_a_callback_ends_the_client_with_that_error(redis_url: str, server: Server) -> None:
    def on_change(_client: Client, _error: object) -> None:
        raise LookupError("a bug")

    with pytest.raises(LookupError, match="a bug"):
        async with Client(redis_url, on_change=on_change) as client:
            await client.connect()
            server.command("CLIENT", "KILL", "ID", client.connection_id)
            await anyio.sleep_forever()


async def test_push_messages_go_to_their_callback(redis_url: str, server: Server) -> None:
    pushed: list[list[bytes]] = []
    async with Client(redis_url, on_push=pushed.append) as client:
        await client.call("CLIENT", "TRACKING", "ON")
        await client.call("GET", "key")
        server.command("SET", "key", 1)
        assert await client.call("GET", "key") == b"1"
    assert pushed == [[b"invalidate", [b"key"]]]


async def test_a_loop_that_was_blocked_does_not_make_the_server_look_frozen(
    redis_url: str, blocked_loop: Callable[[float], None]
) -> None:
    """The reply came in time; it was us who did not look."""
    async with Client(redis_url) as client:
        await client.connect()

        async def ask() -> None:
            assert await client.call("PING", timeout=0.05) == b"PONG"

        for _ in range(10):  # who is woken first, the reader or the watch, is a matter of chance on Trio
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ask)
                await anyio.lowlevel.checkpoint()
                blocked_loop(0.1)
        assert client.generation == 1


async def test_closing_ahead_of_time_leaves_nothing_open(redis_url: str, server: Server) -> None:
    async with Client(redis_url) as client, Client(redis_url) as late:
        await client.connect()
        await client.close()
        await client.close()
        with pytest.raises(ConnectionLost, match="closed"):
            await client.call("PING")

        async def come_late() -> None:
            with pytest.raises(ConnectionLost, match="closed"):
                await late.call("PING")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(come_late)
            await anyio.lowlevel.checkpoint()
            await late.close()  # in the middle of connecting
        while server.clients():
            await anyio.lowlevel.checkpoint()
        assert not late.connected


async def test_the_address_is_asked_for_before_every_connect(redis_url: str, server: Server) -> None:
    asked: list[str] = []

    def locate() -> Address:
        asked.append("where?")
        return Address.parse(redis_url)

    gap = anyio.Event()
    async with (
        Client("unix:///nowhere", locate=locate) as client,
        Subscriber("unix:///nowhere", locate=locate, on_gap=gap.set) as subscriber,
    ):
        assert await client.call("PING") == b"PONG"
        await subscriber.subscribe("news", lambda _channel, _message: None).ready()
        server.command("CLIENT", "KILL", "TYPE", "pubsub")
        await gap.wait()
    assert len(asked) == 3


async def test_an_address_that_cannot_be_had_fails_the_call_and_not_the_client(redis_url: str) -> None:
    problems: list[Exception] = []

    def locate() -> Address:
        if problems:
            raise problems.pop()
        return Address.parse(redis_url)

    settings = TransportSettings(backoff_base=0.001, backoff_maximum=0.01)
    async with (
        Client("unix:///nowhere", locate=locate, settings=settings) as client,
        Subscriber("unix:///nowhere", locate=locate, settings=settings) as subscriber,
    ):
        problems.append(ServerNotFound("no program"))
        with pytest.raises(ConfigurationError, match="no program"):
            await client.call("PING")
        problems += [OSError("too many open files")] * 2
        assert await client.call("PING") == b"PONG"
        problems.append(ServerNotFound("no program"))
        subscription = subscriber.subscribe("news", lambda _channel, _message: None)
        with pytest.raises(ConfigurationError, match="no program"):
            await subscription.ready()
        problems += [OSError("too many open files")] * 2
        with anyio.fail_after(SECONDS):
            while not subscription.confirmed:  # it goes on trying
                await anyio.lowlevel.checkpoint()
