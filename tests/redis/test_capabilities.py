"""What a server can do beyond the base is asked, distrusted where it is dangerous, and may be switched off."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.support.servers import Server

from anyq._redis.capabilities import Capabilities, version_tuple
from anyq._redis.client import Client
from anyq._redis.settings import TransportSettings

pytestmark = pytest.mark.anyio


async def test_a_server_says_who_it_is_and_what_it_can_do(client: Client, server: Server) -> None:
    found = await client.capabilities()
    name, major, minor = server.version
    assert found.server == name
    assert found.version[:2] == (major, minor)
    known = bool((await client.call("COMMAND", "INFO", "XACKDEL"))[0])
    assert found.xackdel == (known and (name, *found.version) >= ("redis", 8, 2, 3))


async def test_it_is_asked_once_a_connection(client: Client, server: Server) -> None:
    first = await client.capabilities()
    assert await client.capabilities() is first
    server.command("CLIENT", "KILL", "ID", client.connection_id)
    while client.generation == 1:
        try:
            await client.call("PING")
        except ConnectionError:
            continue
    second = await client.capabilities()
    assert second == first
    assert second is not first


async def test_a_command_can_be_switched_off(redis_url: str) -> None:
    async with Client(redis_url, settings=TransportSettings(avoid=frozenset(["xackdel"]))) as client:
        assert not (await client.capabilities()).xackdel


async def test_what_an_acl_hides_is_no_error(start_server: Callable[..., Server]) -> None:
    server = start_server(users=["shy on >x ~* &* +@all -info -command"])
    async with Client(f"unix://shy:x@{server.socket}") as client:
        found = await client.capabilities()
        assert found.server == server.version[0]
        assert not found.commands


@pytest.mark.parametrize(
    ("info", "command", "usable"),
    [
        (b"redis_version:8.2.0\r\n", True, False),
        (b"redis_version:8.2.2\r\n", True, False),
        (b"redis_version:8.2.3\r\n", True, True),
        (b"redis_version:8.10.0\r\n", True, True),
        (b"redis_version:255.255.255\r\n", True, True),
        (b"redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:10.0.0\r\n", True, True),
        (b"redis_version:8.6.3\r\n", False, False),
    ],
)
async def test_a_version_is_used_only_to_distrust(
    monkeypatch: pytest.MonkeyPatch, client: Client, info: bytes, command: bool, usable: bool
) -> None:
    async def answer(_commands: object, **_options: object) -> list[object]:
        return [[[b"xackdel", -6]] if command else [None], info]

    monkeypatch.setattr(client, "call_many", answer)
    assert (await client.capabilities()).xackdel == usable


def test_a_version_is_read_as_far_as_it_is_numbers() -> None:
    assert version_tuple("8.2.3\r") == (8, 2, 3)
    assert version_tuple("8.4-rc1") == (8,)
    assert version_tuple("") == ()
    assert not Capabilities().xackdel
