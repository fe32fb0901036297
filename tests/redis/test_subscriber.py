"""Listening: when it is in force, when it was interrupted, and that a silent link is found out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import Any

import anyio
import pytest
from redis.exceptions import RedisError
from tests.redis.conftest import IMPATIENT
from tests.support.proxy import FaultProxy, Which, fault_proxy
from tests.support.servers import SECONDS, Server

from anyq._redis.client import Client
from anyq._redis.connection import Connection
from anyq._redis.settings import TransportSettings
from anyq._redis.subscriber import Subscriber
from anyq.errors import ConfigurationError, ConnectionLost, RedisUnavailable

pytestmark = pytest.mark.anyio


class Heard(list[tuple[bytes, bytes]]):
    """What a callback was told; ``await heard.until(n)`` waits for so many messages."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = anyio.Event()

    def __call__(self, channel: bytes, message: bytes) -> None:
        self.append((channel, message))
        self._changed.set()
        self._changed = anyio.Event()

    async def until(self, count: int) -> None:
        with anyio.fail_after(SECONDS):
            while len(self) < count:
                await self._changed.wait()


@pytest.fixture(params=["", "?protocol=2"], ids=["resp3", "resp2"])
def protocol(request: pytest.FixtureRequest) -> str:
    value: str = request.param
    return value


async def test_what_is_published_after_ready_arrives(client: Client, redis_url: str, protocol: str) -> None:
    heard = Heard()
    async with Subscriber(redis_url + protocol) as subscriber:
        with subscriber.subscribe("news", heard) as subscription:
            before = subscription.confirmed
            await subscription.ready()
            assert (before, subscription.confirmed) == (False, True)
            assert await client.call("PUBLISH", "news", b"\x00one") == 1
            assert await client.call("PUBLISH", "news", "two") == 1
            assert await client.call("PUBLISH", "other", "three") == 0
            await heard.until(2)
    assert heard == [(b"news", b"\x00one"), (b"news", b"two")]


async def test_the_connection_is_opened_by_the_first_who_listens(redis_url: str, server: Server) -> None:
    async with Subscriber(redis_url, name="anyq:ears") as subscriber:
        assert server.clients() == []
        first = subscriber.subscribe("a", Heard())
        second = subscriber.subscribe("b", Heard())
        await first.ready()
        await second.ready()
        assert [row["name"] for row in server.clients()] == ["anyq:ears"]
        assert "2 channels" in repr(subscriber)


async def test_a_channel_is_left_when_its_last_listener_leaves(
    client: Client, redis_url: str, protocol: str
) -> None:
    first, second = Heard(), Heard()
    async with Subscriber(redis_url + protocol) as subscriber:
        one = subscriber.subscribe("news", first)
        with subscriber.subscribe("news", second) as two:
            await one.ready()
            await two.ready()
            assert await client.call("PUBLISH", "news", "both") == 1  # one subscription at the server
            await second.until(1)
        assert await client.call("PUBLISH", "news", "one") == 1
        await first.until(2)
        one.close()
        one.close()
        with anyio.fail_after(SECONDS):
            while await client.call("PUBLISH", "news", "nobody"):
                await anyio.lowlevel.checkpoint()
    assert first == [(b"news", b"both"), (b"news", b"one")]
    assert second == [(b"news", b"both")]


async def test_leaving_and_coming_back_at_once_is_ready_only_when_it_is(
    client: Client, redis_url: str, protocol: str
) -> None:
    async with Subscriber(redis_url + protocol) as subscriber:
        for number in range(50):
            subscriber.subscribe("news", Heard()).close()
            subscriber.subscribe("news", Heard()).close()
            heard = Heard()
            with subscriber.subscribe("news", heard) as subscription:
                await subscription.ready()
                assert await client.call("PUBLISH", "news", number) == 1
                await heard.until(1)
        assert subscriber.generation == 1


async def test_the_confirmation_of_an_earlier_listener_is_not_taken_for_ones_own(
    client: Client, proxy: FaultProxy, protocol: str
) -> None:
    heard, other = Heard(), Heard()
    async with Subscriber(proxy.url + protocol) as subscriber:
        await subscriber.subscribe("other", other).ready()
        proxy.freeze("down")
        passed = proxy.up.passed
        earlier = subscriber.subscribe("news", Heard())
        await proxy.until(lambda proxy: proxy.up.passed > passed)
        proxy.freeze("up")
        earlier.close()  # the server has been told to begin, and not yet to end
        with subscriber.subscribe("news", heard) as subscription:
            await proxy.until(lambda proxy: proxy.up.held > 0)
            proxy.unfreeze("down")
            await client.call("PUBLISH", "other", "behind the earlier confirmation")
            await other.until(1)
            before = subscription.confirmed
            proxy.unfreeze("up")
            await subscription.ready()
            assert (before, subscription.confirmed) == (False, True)
            await client.call("PUBLISH", "news", 1)
            await heard.until(1)


async def test_a_listener_may_leave_inside_of_its_callback(client: Client, redis_url: str) -> None:
    heard = Heard()
    async with Subscriber(redis_url) as subscriber:

        def once(_channel: bytes, _message: bytes) -> None:
            mine.close()

        mine = subscriber.subscribe("news", once)
        other = subscriber.subscribe("news", heard)
        await other.ready()
        await client.call_many([("PUBLISH", "news", 1), ("PUBLISH", "news", 2)])
        await heard.until(2)


async def test_after_an_interruption_all_is_in_force_again_and_then_the_gap_is_told(
    client: Client, proxy: FaultProxy, protocol: str
) -> None:
    gaps: list[str] = []
    whole = anyio.Event()
    changes: list[bool] = []
    heard = Heard()
    settings = TransportSettings(backoff_base=0.01, backoff_maximum=0.05)

    def gap() -> None:
        gaps.append("all")
        whole.set()

    async with Subscriber(
        proxy.url + protocol,
        settings=settings,
        on_gap=gap,
        on_change=lambda _subscriber, error: changes.append(error is None),
    ) as subscriber:
        one = subscriber.subscribe("one", heard, on_gap=lambda: gaps.append("one"))
        two = subscriber.subscribe("two", heard)
        await one.ready()
        await two.ready()
        assert gaps == []
        proxy.reset()
        with anyio.fail_after(SECONDS):
            await whole.wait()
        assert one.confirmed
        assert two.confirmed
        assert gaps == ["one", "all"]
        assert await client.call("PUBLISH", "one", 1) == 1
        assert await client.call("PUBLISH", "two", 2) == 1
        await heard.until(2)
        assert subscriber.generation == 2
    assert changes == [False, True]


@pytest.mark.parametrize("which", ["both", "up", "down"])
async def test_a_frozen_link_is_found_out_by_its_silence(
    client: Client, server: Server, protocol: str, which: Which
) -> None:
    gap, lost = anyio.Event(), anyio.Event()
    heard = Heard()
    async with (
        fault_proxy(server.socket) as proxy,
        Subscriber(
            proxy.url + protocol,
            settings=IMPATIENT,
            on_gap=gap.set,
            on_change=lambda _subscriber, _error: lost.set(),
        ) as subscriber,
    ):
        await subscriber.subscribe("news", heard).ready()
        proxy.freeze(which)
        with anyio.fail_after(SECONDS):
            await lost.wait()
            assert proxy.up.held + proxy.down.held
            proxy.unfreeze()
            await gap.wait()
        await client.call("PUBLISH", "news", "again")
        await heard.until(1)
        assert subscriber.generation >= 2


async def test_a_link_that_is_well_is_asked_for_life_and_kept(
    redis_url: str, server: Server, protocol: str
) -> None:
    async with (
        fault_proxy(server.socket) as proxy,
        Subscriber(proxy.url + protocol, settings=IMPATIENT) as subscriber,
    ):
        await subscriber.subscribe("quiet", Heard()).ready()
        passed = proxy.down.passed
        with anyio.fail_after(SECONDS):
            await proxy.until(lambda proxy: proxy.down.passed > passed + 3 * len(b"+PONG\r\n"))
        assert subscriber.generation == 1


async def test_garbage_ends_the_connection_and_not_the_subscriber(client: Client, proxy: FaultProxy) -> None:
    gap = anyio.Event()
    async with Subscriber(proxy.url, settings=IMPATIENT, on_gap=gap.set) as subscriber:
        subscription = subscriber.subscribe("news", Heard())
        await subscription.ready()
        await proxy.inject(b"@garbage\r\n")
        with anyio.fail_after(SECONDS):
            await gap.wait()
        assert await client.call("PUBLISH", "news", 1) == 1


async def test_a_channel_that_an_acl_hides_is_refused_and_the_others_are_heard(
    start_server: Callable[..., Server], protocol: str
) -> None:
    server = start_server(users=["ada on >x ~* resetchannels &open:* +@all"])
    heard = Heard()
    async with Subscriber(f"unix://ada:x@{server.socket}{protocol}") as subscriber:
        hidden = subscriber.subscribe("secret", heard)
        seen = subscriber.subscribe("open:news", heard)
        with pytest.raises(ConfigurationError, match="b'secret'"):
            await hidden.ready()
        await seen.ready()
        server.command("PUBLISH", "open:news", "x")
        await heard.until(1)
        assert subscriber.generation == 1


async def test_a_channel_that_was_refused_for_the_moment_is_asked_for_again(
    start_server: Callable[..., Server], protocol: str
) -> None:
    server = start_server()
    gap = anyio.Event()
    heard = Heard()
    async with Subscriber(
        server.url + protocol, settings=TransportSettings(ping_interval=0.05)
    ) as subscriber:
        await subscriber.subscribe("before", heard).ready()
        with busy(server):
            late = subscriber.subscribe("late", heard, on_gap=gap.set)
            with pytest.raises(RedisUnavailable, match="does not let us listen to b'late' now: BUSY"):
                await late.ready()
        with anyio.fail_after(SECONDS):
            await gap.wait()
        assert late.confirmed
        server.command("PUBLISH", "late", "x")
        await heard.until(1)
        assert subscriber.generation == 1


@contextmanager
def busy(server: Server) -> Generator[None]:
    """Somebody's script runs inside the block."""

    def spin() -> None:
        with suppress(RedisError), server.client() as client:
            client.eval("while true do end", 0)

    name = "busy_reply_threshold" if server.version >= ("redis", 7, 0) else "lua_time_limit"
    with server.configured(**{name: 20}):
        thread = threading.Thread(target=spin)
        thread.start()
        while not _is_busy(server):
            pass
        yield
        server.command("SCRIPT", "KILL")
        thread.join()


def _is_busy(server: Server) -> bool:
    try:
        server.command("PING")
    except RedisError as error:
        return "BUSY" in str(error)
    return False


async def test_nobody_there_is_said_to_who_waits_for_ready(proxy: FaultProxy) -> None:
    proxy.refuse()
    async with Subscriber(proxy.url, settings=IMPATIENT) as subscriber:
        subscription = subscriber.subscribe("news", Heard())
        with pytest.raises(RedisUnavailable, match="did not confirm") as caught:
            await subscription.ready()
        assert isinstance(caught.value.__cause__, RedisUnavailable)
        proxy.heal()
        await subscription.ready(SECONDS)


async def test_a_wrong_password_is_said_at_once(start_server: Callable[..., Server]) -> None:
    server = start_server(password="right")
    async with Subscriber(f"unix://:wrong@{server.socket}") as subscriber:
        with pytest.raises(ConfigurationError, match="WRONGPASS"):
            await subscriber.subscribe("news", Heard()).ready(SECONDS)


async def test_a_bug_in_a_callback_comes_out_as_itself(client: Client, redis_url: str) -> None:
    def bug(_channel: bytes, _message: bytes) -> None:
        raise LookupError("a bug")

    with pytest.raises(LookupError, match="a bug"):
        async with Subscriber(redis_url) as subscriber:
            await subscriber.subscribe("news", bug).ready()
            await client.call("PUBLISH", "news", 1)
            await anyio.sleep_forever()


async def test_a_closed_subscriber_says_so(redis_url: str) -> None:
    async with Subscriber(redis_url) as subscriber:
        subscription = subscriber.subscribe("news", Heard())
        await subscription.ready()
    with pytest.raises(ConnectionLost, match="closed"):
        subscriber.subscribe("news", Heard())
    subscription.close()
    with pytest.raises(ValueError, match="channel"):
        async with Subscriber(redis_url) as other:
            other.subscribe("", Heard())


async def test_a_thousand_channels_are_in_force_again_after_an_interruption(
    client: Client, proxy: FaultProxy
) -> None:
    gap = anyio.Event()
    settings = TransportSettings(backoff_base=0.01, backoff_maximum=0.05)
    async with Subscriber(proxy.url, settings=settings, on_gap=gap.set) as subscriber:
        subscriptions = [subscriber.subscribe(f"c{number}", Heard()) for number in range(1000)]
        for subscription in subscriptions:
            await subscription.ready()
        proxy.reset()
        with anyio.fail_after(SECONDS):
            await gap.wait()
        assert all(subscription.confirmed for subscription in subscriptions)
        counts = await client.call("PUBSUB", "NUMSUB", "c0", "c999")
        assert counts in ([b"c0", 1, b"c999", 1], {b"c0": 1, b"c999": 1})


async def test_a_connection_that_closes_as_it_opens_is_an_interruption_like_any_other(
    client: Client, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asking for a sign of life begins beside the connection's own task, and may come second."""
    opened = 0
    open_one = Connection.open

    async def open_and_close(*args: Any, **options: Any) -> Connection:
        nonlocal opened
        connection = await open_one(*args, **options)
        opened += 1
        if opened < 3:
            connection.close(ConnectionLost("it broke at once"))
        return connection

    monkeypatch.setattr(Connection, "open", open_and_close)
    heard = Heard()
    async with Subscriber(redis_url, settings=IMPATIENT) as subscriber:
        with subscriber.subscribe("news", heard) as subscription:
            await subscription.ready(SECONDS)
            assert opened == 3
            await client.call("PUBLISH", "news", "one")
            await heard.until(1)
