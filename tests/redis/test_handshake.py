"""The first words on a connection: identity, protocol, database, name."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import pytest
import redis
from anyio.abc import SocketAttribute, SocketStream
from redis.credentials import CredentialProvider
from tests.redis.conftest import IMPATIENT
from tests.support.proxy import GONE, fault_proxy
from tests.support.servers import SECONDS, Sentinel, Server, free_port
from tests.support.tls import certificates, terminator

from anyq._redis.address import Address
from anyq._redis.client import Client
from anyq.errors import ConfigurationError, ConnectionLost, RedisUnavailable

pytestmark = pytest.mark.anyio
StartServer = Callable[..., Server]


@pytest.mark.parametrize("asked", ["", "?protocol=2", "?protocol=3"])
async def test_the_protocol_is_the_one_asked_for_and_three_by_default(redis_url: str, asked: str) -> None:
    async with Client(redis_url + asked) as client:
        await client.connect()
        assert client.greeting is not None
        assert client.greeting.protocol == (2 if "2" in asked else 3)
        assert client.greeting.server in ("redis", "valkey")
        assert client.greeting.role == "master"
        assert client.connection_id == await client.call("CLIENT", "ID")


async def test_the_connection_has_its_name_and_its_database(redis_url: str, server: Server) -> None:
    async with Client(f"{redis_url}?db=4&client_name=general", name="anyq:reader") as client:
        await client.connect()
        (row,) = server.clients()
        assert (row["name"], row["db"]) == ("anyq:reader", "4")
        if "lib-name" in row:
            assert row["lib-name"] == "anyq"
    with pytest.raises(ValueError, match="client_name"):
        Client(redis_url, name="two words")


async def test_a_database_that_does_not_exist_is_a_mistake_of_the_configuration(redis_url: str) -> None:
    async with Client(f"{redis_url}?db=99") as client:
        with pytest.raises(ConfigurationError, match="database 99"):
            await client.call("PING")


async def test_tcp_and_tls_work_like_the_unix_socket(start_server: StartServer) -> None:
    server = start_server(tcp=True, tls=True)
    for url in (server.tcp_url, server.tls_url, server.tls_url + "&protocol=2"):
        async with Client(url) as client:
            large = b"x" * 1_000_000
            assert await client.call("SET", "large", large) == b"OK"
            assert await client.call("GET", "large") == large
            async with anyio.create_task_group() as tasks:
                for _ in range(50):
                    tasks.start_soon(client.call, "INCR", "n")
    assert server.command("GET", "n") == b"150"


async def test_a_certificate_that_is_not_trusted_is_refused(start_server: StartServer) -> None:
    server = start_server(tls=True)
    untrusting = server.tls_url.partition("?")[0]
    for url, said in (
        (untrusting, "is not trusted"),
        (f"{untrusting}?ssl_ca_certs=/nowhere.pem", "cannot be used"),
        (f"{untrusting}?ssl_certfile={certificates() / 'server.pem'}", "cannot be used"),
    ):
        async with Client(url, settings=IMPATIENT) as client:
            with pytest.raises(ConfigurationError, match=said):
                await client.call("PING", timeout=1)
    async with Client(f"{untrusting}?ssl_cert_reqs=none") as client:
        assert await client.call("PING") == b"PONG"


NO_TLS = "it does not speak TLS on this port: use redis://, or the server's TLS port"
TLS = "it speaks TLS on this port: use rediss://, or the server's port without TLS"


async def reason(url: str) -> str:
    """Why there is no connection, once one was tried."""
    async with Client(url, settings=IMPATIENT) as client:
        with anyio.fail_after(SECONDS):
            while True:
                with pytest.raises(ConnectionLost) as caught:
                    await client.call("PING", timeout=1)
                if caught.value.__cause__ is not None:
                    return str(caught.value)


async def test_a_server_without_tls_is_silent_and_we_say_what_may_be_wrong(start_server: StartServer) -> None:
    """It waits for the end of what it takes for a command, and now and then finds one: then it answers."""
    server = start_server(tcp=True)
    said = await reason(f"rediss://localhost:{server.port}")
    assert said.endswith((f"within 1 s (if {NO_TLS})", f"; {NO_TLS}"))


async def test_an_answer_that_is_no_tls_is_known_as_such() -> None:
    async with answering(b"-ERR unknown command\r\n") as port:
        assert (await reason(f"rediss://localhost:{port}")).endswith(f"; {NO_TLS}")


async def test_a_server_with_tls_hangs_up_and_we_say_what_may_be_wrong(start_server: StartServer) -> None:
    port = start_server(tls=True).tls_url.partition("localhost:")[2].partition("/")[0]
    assert (await reason(f"redis://localhost:{port}")).endswith(f" (if {TLS})")


async def test_a_tls_alert_is_known_as_such() -> None:
    async with answering(b"\x15\x03\x01\x00\x02\x02\x46") as port:
        assert (await reason(f"redis://localhost:{port}")).endswith(f"; {TLS}")


async def test_of_a_server_that_has_answered_before_nobody_guesses(start_server: StartServer) -> None:
    server = start_server(tcp=True)
    async with fault_proxy(server.port) as proxy, Client(proxy.url, settings=IMPATIENT) as client:
        assert await client.call("PING") == b"PONG"
        proxy.refuse()
        proxy.close()
        said = ""
        with anyio.fail_after(SECONDS):
            while "no connection to" not in said:  # before that, it learns that the old one broke
                with pytest.raises(ConnectionLost) as caught:
                    await client.call("PING", timeout=0.3)
                said = str(caught.value)
        assert proxy.refused
        assert said.endswith("cannot be reached: the server closed it")


@asynccontextmanager
async def answering(words: bytes) -> AsyncGenerator[int]:
    """Whoever says something on this port is told this, and no more."""

    async def answer(stream: SocketStream) -> None:
        async with stream:
            with suppress(*GONE):
                await stream.receive()
                await stream.send(words)
                while True:
                    await stream.receive()

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, answer)
        yield listener.extra(SocketAttribute.local_port)
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("protocol", ["", "?protocol=2"])
async def test_the_right_password_lets_in(start_server: StartServer, protocol: str) -> None:
    server = start_server(password="open sesame", users=["ada on >lovelace ~* &* +@all"])
    async with Client(server.url + protocol) as client:
        assert await client.call("ACL", "WHOAMI") == b"default"
    async with Client(f"unix://ada:lovelace@{server.socket}{protocol}") as client:
        assert await client.call("ACL", "WHOAMI") == b"ada"


@pytest.mark.parametrize("protocol", ["", "?protocol=2", "?protocol=3"])
@pytest.mark.parametrize("who", ["ada:wrong@", ":wrong@", "nobody:x@"])
async def test_a_wrong_password_is_said_at_once_and_never_falls_back_to_the_default_user(
    start_server: StartServer, who: str, protocol: str
) -> None:
    server = start_server(users=["ada on >lovelace ~* &* +@all", "default on >right ~* &* +@all"])
    async with Client(f"unix://{who}{server.socket}{protocol}") as client:
        for _ in range(2):
            with pytest.raises(ConfigurationError, match="does not let us in") as caught:
                await client.call("SET", "ran", "as somebody else", timeout=5)
            assert "wrong" not in str(caught.value)
        assert client.generation == 0
    async with Client(f"unix://:right@{server.socket}") as client:
        assert await client.call("GET", "ran") is None


async def test_a_wrong_password_stays_out_although_the_default_user_needs_none(
    start_server: StartServer,
) -> None:
    """After a failed AUTH the server goes on as its default user, which here may do everything."""
    server = start_server(users=["ada on >lovelace ~* &* +@all"])
    for protocol in ("", "?protocol=2"):
        async with Client(f"unix://ada:wrong@{server.socket}{protocol}") as client:
            with pytest.raises(ConfigurationError):
                await client.call("SET", "ran", "as default")
    assert server.command("EXISTS", "ran") == 0


async def test_no_password_where_one_is_needed_is_said(start_server: StartServer) -> None:
    server = start_server(password="needed")
    for protocol in ("", "?protocol=2"):
        async with Client(f"unix://{server.socket}{protocol}") as client:
            with pytest.raises(ConfigurationError, match="NOAUTH"):
                await client.call("PING")


async def test_a_user_who_may_not_introduce_itself_is_served_all_the_same(start_server: StartServer) -> None:
    """What an ACL hides (HELLO, CLIENT) is only nice to know."""
    server = start_server(users=["shy on >x ~* &* +@all -hello -client"])
    async with Client(f"unix://shy:x@{server.socket}", name="me") as client:
        assert await client.call("ACL", "WHOAMI") == b"shy"
        assert await client.call("PING") == b"PONG"


async def test_a_server_that_does_not_know_hello_is_spoken_to_in_the_old_words(
    start_server: StartServer,
) -> None:
    server = start_server(password="old", arguments=["--rename-command", "HELLO", "", "--databases", "8"])
    async with Client(f"{server.url}?db=3", name="me") as client:
        assert await client.call("PING") == b"PONG"
        assert client.greeting is not None
        assert client.greeting.protocol == 2
        assert client.connection_id == await client.call("CLIENT", "ID")
        assert await client.call("CLIENT", "GETNAME") == b"me"
        assert b"name=me" in await client.call("CLIENT", "LIST")
        assert b"db=3" in await client.call("CLIENT", "LIST")
    async with Client(f"unix://:wrong@{server.socket}") as client:
        with pytest.raises(ConfigurationError, match="WRONGPASS"):
            await client.call("PING")
    async with Client(f"{server.url}?protocol=3") as client:
        with pytest.raises(ConfigurationError, match="RESP3"):
            await client.call("PING")


async def test_a_sentinel_is_told_from_a_server(start_server: StartServer, server_program: Path) -> None:
    server = start_server(tcp=True)
    with Sentinel(program=server_program, tcp=True, watches=server) as sentinel:
        for url in (sentinel.tcp_url, sentinel.tcp_url + "?protocol=2", sentinel.url):
            async with Client(url) as client:
                with pytest.raises(ConfigurationError, match=r"is a Sentinel.* server it watches"):
                    await client.call("PING")


async def test_too_many_clients_is_waited_for(start_server: StartServer) -> None:
    server = start_server()
    with server.configured(maxclients=2):  # one is the test's own
        async with Client(server.url) as first:
            await first.connect()
            async with Client(server.url, settings=IMPATIENT) as second:
                with pytest.raises(
                    ConnectionLost, match=r"max number of clients|cannot be reached"
                ) as caught:
                    await second.call("PING")
                assert not caught.value.sent
        async with Client(server.url) as third:
            assert await third.call("PING") == b"PONG"


class Rotating(CredentialProvider):
    """The synchronous form only, and slow: it must not be asked on the event loop."""

    def __init__(self, *passwords: str) -> None:
        self.passwords = list(passwords)
        self.threads: list[str] = []

    def get_credentials(self) -> tuple[str, str]:
        self.threads.append(threading.current_thread().name)
        return "ada", self.passwords.pop(0)


class AsyncRotating(CredentialProvider):
    """The asynchronous form."""

    def __init__(self, *passwords: str) -> None:
        self.passwords = list(passwords)

    async def get_credentials_async(self) -> tuple[str, str]:
        await anyio.lowlevel.checkpoint()
        return "ada", self.passwords.pop(0)


@pytest.mark.parametrize("form", [Rotating, AsyncRotating])
async def test_credentials_are_asked_for_anew_at_every_connect(
    start_server: StartServer, form: Callable[..., Rotating | AsyncRotating], caplog: pytest.LogCaptureFixture
) -> None:
    server = start_server(users=["ada on >first ~* &* +@all"])
    provider = form("first", "second")
    address = Address.parse(f"unix://{server.socket}", credential_provider=provider)
    with caplog.at_level(logging.WARNING):
        async with Client(address) as client:
            assert await client.call("ACL", "WHOAMI") == b"ada"
            server.command("ACL", "SETUSER", "ada", "<first", ">second")
            server.command("CLIENT", "KILL", "ID", client.connection_id)
            with pytest.raises(ConnectionLost):
                await client.call("PING")
            assert await client.call("ACL", "WHOAMI") == b"ada"
            assert client.generation == 2
    assert provider.passwords == []
    assert "backward compatibility" not in caplog.text
    if isinstance(provider, Rotating):
        assert threading.main_thread().name not in provider.threads


async def test_a_password_that_is_rotated_late_is_waited_for(start_server: StartServer) -> None:
    server = start_server(users=["ada on >second ~* &* +@all"])
    address = Address.parse(f"unix://{server.socket}", credential_provider=Rotating("first", "second"))
    async with Client(address, settings=IMPATIENT) as client:
        assert await client.call("PING", timeout=5) == b"PONG"


async def test_a_password_that_stays_wrong_is_an_outage_with_its_reason(start_server: StartServer) -> None:
    server = start_server(users=["ada on >second ~* &* +@all"])
    address = Address.parse(f"unix://{server.socket}", credential_provider=Rotating(*["first"] * 1000))
    async with Client(address, settings=IMPATIENT) as client:
        with pytest.raises(
            RedisUnavailable, match=r"WRONGPASS .*with what the credential provider gives now"
        ) as caught:
            await client.call("PING")
    assert "first" not in str(caught.value)


async def test_a_provider_that_fails_is_an_outage_with_its_cause(redis_url: str) -> None:
    class Broken(CredentialProvider):
        def get_credentials(self) -> tuple[str, str]:
            raise LookupError("the vault is sealed")

    address = Address.parse(redis_url, credential_provider=Broken())
    async with Client(address, settings=IMPATIENT) as client:
        with pytest.raises(RedisUnavailable, match="the vault is sealed"):
            await client.call("PING")


async def test_nobody_there_is_said_with_the_reason(tmp_path: Path) -> None:
    for url in (
        f"redis://127.0.0.1:{free_port()}",
        f"unix://{tmp_path}/none.sock",
        "redis://no-such-host.invalid",
    ):
        async with Client(url, settings=IMPATIENT) as client:
            with pytest.raises(ConnectionLost, match="no connection to") as caught:
                await client.call("PING")
            assert not caught.value.sent
            assert isinstance(caught.value.__cause__, RedisUnavailable)
            with pytest.raises(RedisUnavailable, match=r"cannot be reached|did not answer|within"):
                await client.connect(0.1)


async def test_what_listens_but_is_no_redis_is_said(anyio_backend: object) -> None:
    async def answer(stream: anyio.abc.SocketStream) -> None:
        with suppress(*GONE):
            async with stream:
                await stream.receive()
                await stream.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, answer)
        async with Client(f"redis://127.0.0.1:{port}", settings=IMPATIENT) as client:
            with pytest.raises(RedisUnavailable, match="cannot be reached"):
                await client.call("PING")
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("protocol", ["", "&protocol=2"])
async def test_a_certificate_for_another_name_is_refused_and_both_names_are_said(
    redis_url: str, server: Server, protocol: str
) -> None:
    authority = certificates() / "ca.pem"
    with terminator(server.socket, certificate="elsewhere") as port:
        url = f"rediss://localhost:{port}?ssl_ca_certs={authority}{protocol}"
        async with Client(url, settings=IMPATIENT) as client:
            with pytest.raises(ConfigurationError, match=r"is not trusted: Hostname mismatch.*'localhost'"):
                await client.call("PING", timeout=5)
        async with Client(f"{url}&ssl_check_hostname=false") as client:
            assert await client.call("PING") == b"PONG"


async def test_a_server_that_wants_a_client_s_certificate_is_shown_one(
    redis_url: str, server: Server
) -> None:
    folder = certificates()
    with terminator(server.socket, wants_certificates=True) as port:
        url = f"rediss://localhost:{port}?ssl_ca_certs={folder / 'ca.pem'}"
        shown = f"&ssl_certfile={folder / 'client.pem'}&ssl_keyfile={folder / 'client.key'}"
        async with Client(url + shown) as client:
            assert await client.call("PING") == b"PONG"
            options = Address.parse(url + shown).sync_client_options()
            with redis.Redis(**options) as plain:  # the heartbeat's way
                assert await anyio.to_thread.run_sync(plain.ping)


async def test_who_has_no_certificate_to_show_is_told_what_to_do() -> None:
    """TLS 1.3: the server says so only after the client has taken the handshake for done."""
    folder = certificates()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=folder / "ca.pem")
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    context.verify_mode = ssl.CERT_REQUIRED
    listener = socket.create_server(("127.0.0.1", 0))

    def refuse() -> None:
        with listener, listener.accept()[0] as plain, suppress(OSError):
            plain.settimeout(SECONDS)
            rest = plain.dup()
            with rest:
                with suppress(ssl.SSLError):
                    context.wrap_socket(plain, server_side=True)
                rest.shutdown(socket.SHUT_WR)
                while rest.recv(65536):
                    pass  # closed with bytes unread it would be reset, and its last words might be lost

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.to_thread.run_sync, refuse)
        url = f"rediss://localhost:{listener.getsockname()[1]}?ssl_ca_certs={folder / 'ca.pem'}"
        async with Client(url) as client:
            with pytest.raises(ConfigurationError, match=r"wants a certificate.*ssl_certfile"):
                await client.call("PING", timeout=SECONDS)
