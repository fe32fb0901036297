"""What a client promises while the network or the server is not well. Faults are made by a proxy, or by the server."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import anyio
import pytest
from tests.redis.conftest import IMPATIENT
from tests.support.proxy import FaultProxy, fault_proxy, flip_bits
from tests.support.servers import SECONDS, Server

from anyq._redis.client import Client
from anyq._redis.settings import TransportSettings
from anyq._redis.stream import connect_unix
from anyq.errors import ConfigurationError, ConnectionLost, RedisUnavailable, ReplyTimeout

pytestmark = pytest.mark.anyio

PATIENT = TransportSettings(backoff_base=0.01, backoff_maximum=0.05)


class Changes(list[str]):
    """What ``on_change`` was told."""

    def __call__(self, _client: object, error: RedisUnavailable | ConfigurationError | None) -> None:
        self.append("back" if error is None else "lost")


async def test_a_frozen_link_is_noticed_and_made_again(proxy: FaultProxy) -> None:
    changes = Changes()
    async with Client(proxy.url, settings=IMPATIENT, on_change=changes) as client:
        await client.call("SET", "key", 1)
        proxy.freeze()
        began = time.monotonic()
        with pytest.raises(ReplyTimeout, match="frozen") as caught:
            await client.call("GET", "key")
        assert caught.value.sent
        assert time.monotonic() - began < 2
        assert not client.connected
        with pytest.raises(ConnectionLost) as unsent:
            await client.call("GET", "key")
        assert not unsent.value.sent
        proxy.unfreeze()
        assert await client.call("GET", "key", timeout=SECONDS) == b"1"
        assert client.generation == 2
        assert proxy.up.held
    assert changes == ["lost", "back"]


async def test_one_way_freezes_are_noticed_too(proxy: FaultProxy) -> None:
    async with Client(proxy.url, settings=IMPATIENT) as client:
        for which in ("up", "down"):
            await client.call("PING", timeout=SECONDS)
            proxy.freeze(which)
            with pytest.raises(ReplyTimeout):
                await client.call("PING")
            proxy.unfreeze()


async def test_a_lost_reply_says_that_the_command_may_have_run_and_is_not_sent_again(
    proxy: FaultProxy, server: Server
) -> None:
    async with Client(proxy.url, settings=IMPATIENT) as client:
        await client.connect()
        proxy.drop()
        with pytest.raises(ReplyTimeout) as caught:
            await client.call("RPUSH", "list", "once")
        assert caught.value.sent
        assert proxy.down.dropped
        proxy.heal()
        assert await client.call("LRANGE", "list", 0, -1, timeout=SECONDS) == [b"once"]


async def test_everybody_who_waits_learns_of_a_frozen_link_at_the_first_deadline(proxy: FaultProxy) -> None:
    errors: dict[str, ConnectionLost] = {}

    async def ask(client: Client, name: str, timeout: float) -> None:
        try:
            await client.call("PING", timeout=timeout)
        except ConnectionLost as error:
            errors[name] = error

    async with Client(proxy.url) as client:
        await client.connect()
        proxy.freeze()
        with anyio.fail_after(SECONDS):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ask, client, "patient", 60)
                tasks.start_soon(ask, client, "hasty", 0.1)
    assert type(errors["hasty"]) is ReplyTimeout
    assert type(errors["patient"]) is ConnectionLost


async def test_a_reset_is_an_error_for_who_waits_and_over_for_who_comes_next(proxy: FaultProxy) -> None:
    changes = Changes()
    async with Client(proxy.url, settings=PATIENT, on_change=changes) as client:
        for round_ in range(1, 4):
            await client.connect()
            assert await _lost_by(proxy.reset, client, proxy) == [True]
            assert await client.call("PING") == b"PONG"
            assert (proxy.resets, client.generation) == (round_, round_ + 1)
    assert changes == ["lost", "back"] * 3


async def _lost_by(fault: Callable[[], None], client: Client, proxy: FaultProxy) -> list[bool]:
    """Strike while somebody waits for a reply; whether the lost command was said to have been sent."""
    sent: list[bool] = []

    async def wait() -> None:
        try:
            await client.call("BLPOP", "nothing", 20, timeout=30)
        except ConnectionLost as error:
            sent.append(error.sent)

    passed = proxy.up.passed
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await proxy.until(lambda proxy: proxy.up.passed > passed)
        fault()
    return sent


async def test_an_orderly_close_is_noticed_without_asking(proxy: FaultProxy) -> None:
    lost = anyio.Event()
    async with Client(proxy.url, on_change=lambda _client, _error: lost.set()) as client:
        await client.connect()
        proxy.close()
        with anyio.fail_after(SECONDS):
            await lost.wait()
        assert not client.connected
        assert await client.call("PING") == b"PONG"


@pytest.mark.parametrize("front", ["tcp", "unix"])
async def test_replies_in_pieces_of_one_byte_are_the_same_replies(
    server: Server, redis_url: str, tmp_path: Path, front: str
) -> None:
    async with fault_proxy(server.socket, front=tmp_path / "p.sock" if front == "unix" else None) as proxy:
        proxy.split(1)
        # Each byte is several turns of a loop in debug mode, and the machine may be busy: this is not about deadlines.
        async with Client(proxy.url, settings=TransportSettings(reply_timeout=SECONDS)) as client:
            await client.call_many(
                [("XADD", "s", f"{number}-1", "field", "value") for number in range(1, 20)]
            )
            entries = await client.call("XRANGE", "s", "-", "+")
            assert len(entries) == 19
            assert entries[0] == [b"1-1", [b"field", b"value"]]
            assert await client.call("SET", "binary", b"\r\n$-1\r\n\x00") == b"OK"
            assert await client.call("GET", "binary") == b"\r\n$-1\r\n\x00"


async def test_a_slow_link_is_only_slow(proxy: FaultProxy) -> None:
    async with Client(proxy.url) as client:
        await client.connect()
        proxy.slow(0.05)
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(client.call, "INCR", "n")
        assert await client.call("GET", "n") == b"10"
        assert client.generation == 1


@pytest.mark.parametrize(
    "garbage",
    [
        b"garbage\r\n",
        b"$-7\r\n",
        b"*99999999999999999999\r\n",
        b"%1\r\n*0\r\n+x\r\n",
        b"\xff\x00\xfe\r\n",
        b"$x\r\n",
    ],
)
async def test_bytes_that_are_no_reply_close_the_connection(proxy: FaultProxy, garbage: bytes) -> None:
    async with Client(proxy.url, settings=PATIENT) as client:
        await client.connect()
        proxy.mangle(lambda _data: garbage)
        with pytest.raises(ConnectionLost) as caught:
            await client.call("GET", "key", timeout=0.5)
        assert caught.value.sent
        assert proxy.down.mangled
        proxy.heal()
        assert await client.call("PING") == b"PONG"
        assert client.generation == 2


async def test_flipped_bits_never_become_somebody_elses_answer(proxy: FaultProxy) -> None:
    async with Client(proxy.url, settings=IMPATIENT) as client:
        await client.connect()
        proxy.mangle(flip_bits)

        async def ask(number: int) -> None:
            with pytest.raises(ConnectionLost):
                await client.call("ECHO", number)

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(ask, number)
        proxy.heal()
        assert await client.call("ECHO", "sane", timeout=SECONDS) == b"sane"


async def test_a_reply_that_nobody_asked_for_closes_the_connection(proxy: FaultProxy) -> None:
    errors: list[str] = []
    lost = anyio.Event()

    def on_change(_client: Client, error: object) -> None:
        errors.append(str(error))
        lost.set()

    async with Client(proxy.url, on_change=on_change) as client:
        await client.connect()
        await proxy.inject(b"+OK\r\n")
        with anyio.fail_after(SECONDS):
            await lost.wait()
        assert "nobody asked for" in errors[0]
        assert await client.call("ECHO", "in step") == b"in step"


async def test_who_hangs_up_on_everybody_is_not_called_without_a_pause(proxy: FaultProxy) -> None:
    proxy.refuse()
    changes = Changes()
    settings = TransportSettings(backoff_base=0.1, backoff_maximum=10, reply_timeout=1)
    async with Client(proxy.url, settings=settings, on_change=changes) as client:
        with pytest.raises(ConnectionLost):
            await client.call("PING")
        assert 2 <= proxy.refused <= 12
    assert changes == ["lost"]


async def test_nobody_connects_when_nobody_wants_to(proxy: FaultProxy) -> None:
    async with Client(proxy.url, settings=PATIENT) as client:
        await client.call("PING")
        proxy.refuse()
        proxy.close()
        while client.connected:
            await anyio.lowlevel.checkpoint()
        with anyio.move_on_after(0.1):
            await client.call("PING", timeout=SECONDS)
        with anyio.fail_after(SECONDS):
            while client._attempt is not None:
                await anyio.lowlevel.checkpoint()
        tries = proxy.refused
        assert tries
        with anyio.move_on_after(0.2):
            await proxy.until(lambda proxy: proxy.refused > tries)
        assert proxy.refused == tries


async def test_a_server_that_comes_back_is_found_by_who_waited(start_server: Callable[..., Server]) -> None:
    server = start_server()
    changes = Changes()
    async with Client(server.url, settings=PATIENT, on_change=changes) as client:
        await client.call("SET", "key", 1)
        server.kill()
        replies: list[bytes] = []

        async def ask() -> None:
            while not replies:
                try:
                    replies.append(await client.call("PING", timeout=SECONDS))
                except ConnectionLost:
                    continue

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await anyio.to_thread.run_sync(server.start)
        assert replies == [b"PONG"]
        assert client.generation == 2
    assert changes == ["lost", "back"]


async def test_killing_the_connection_over_and_over_confuses_nobody(redis_url: str, server: Server) -> None:
    """What is lost is reported lost; what is answered is the answer."""
    lost = 0
    async with Client(redis_url, settings=PATIENT) as client:
        done = anyio.Event()

        async def ask(number: int) -> None:
            nonlocal lost
            round_ = 0
            while not done.is_set():
                round_ += 1
                try:
                    assert await client.call("ECHO", f"{number}.{round_}") == f"{number}.{round_}".encode()
                except ConnectionLost:
                    lost += 1

        async with Client(redis_url) as killer, anyio.create_task_group() as tasks:
            await killer.connect()
            for number in range(10):
                tasks.start_soon(ask, number)
            for kills in range(1, 21):
                while client.generation < kills:
                    await anyio.lowlevel.checkpoint()
                await killer.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            done.set()
    assert lost


async def test_what_had_not_left_yet_is_known_not_to_have_run(server: Server, redis_url: str) -> None:
    """A frozen link fills up; what stands behind that was never sent."""
    async with fault_proxy(server.socket) as proxy, Client(proxy.url) as client:
        await client.connect()
        proxy.freeze()
        sent: list[bool] = []

        async def ask(value: bytes) -> None:
            try:
                await client.call("APPEND", "log", value, timeout=0.5)
            except ConnectionLost as error:
                sent.append(error.sent)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, b"x" * 50_000_000)
            await proxy.until(lambda proxy: proxy.up.held > 0)
            tasks.start_soon(ask, b"y")
        assert sorted(sent) == [False, True]


async def test_a_paused_server_is_no_lost_connection_within_the_patience(
    start_server: Callable[..., Server],
) -> None:
    server = start_server()
    async with Client(server.url) as client:
        await client.connect()
        server.pause()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.call, "SET", "key", 1)
            with anyio.move_on_after(0.2):
                await anyio.sleep_forever()
            server.resume()
        assert await client.call("GET", "key") == b"1"
        assert client.generation == 1


async def test_a_full_queue_of_new_connections_is_waited_for_without_burning_the_processor(
    anyio_backend: object, tmp_path: Path
) -> None:
    """A server that is stalled for a while, and a crowd that reconnects."""
    path = str(tmp_path / "full.sock")
    with socket.socket(socket.AF_UNIX) as listener, ExitStack() as crowd:
        listener.bind(path)
        listener.listen(0)
        while True:
            one = crowd.enter_context(socket.socket(socket.AF_UNIX))
            one.setblocking(False)
            try:
                one.connect(path)
            except BlockingIOError:
                break
        async with Client(f"unix://{path}", settings=IMPATIENT) as client:
            began = time.process_time()
            with pytest.raises(ConnectionLost):
                await client.call("PING", timeout=0.5)
            assert time.process_time() - began < 0.25
        with anyio.move_on_after(0.1):
            await connect_unix(path)
