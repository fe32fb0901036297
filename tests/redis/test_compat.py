"""The pin: what is used of redis-py's private parts. An upgrade that moves one fails here, with its name."""

from __future__ import annotations

import inspect
from importlib import import_module

import hiredis
import pytest
from redis.commands import AsyncCoreCommands
from redis.credentials import CredentialProvider
from redis.exceptions import AuthenticationError, NoScriptError, ReadOnlyError, ResponseError

from anyq._redis import compat
from anyq._redis.client import Client
from anyq._redis.packing import pack


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("redis._parsers.base", "BaseParser"),
        ("redis._parsers.encoders", "Encoder"),
        ("redis._parsers.response_callbacks", "get_response_callbacks"),
        ("redis.client", "EMPTY_RESPONSE"),
        ("redis.client", "NEVER_DECODE"),
        ("redis.client", "CaseInsensitiveDict"),
        ("redis.connection", "parse_url"),
    ],
)
def test_redis_py_still_has(module: str, name: str) -> None:
    assert hasattr(import_module(module), name)


def test_error_replies_are_parsed_into_the_classes_that_we_count_on() -> None:
    assert type(compat.parse_error("NOSCRIPT No matching script.")) is NoScriptError
    assert type(compat.parse_error("READONLY You can't write")) is ReadOnlyError
    assert type(compat.parse_error("WRONGPASS invalid")) is AuthenticationError
    assert type(compat.parse_error("SOMETHING else")) is ResponseError
    assert str(compat.parse_error("SOMETHING else")) == "SOMETHING else"


@pytest.mark.parametrize(("asked", "spoken"), [(None, 2), (None, 3), (2, 2), (3, 3)])
def test_there_are_callbacks_for_each_protocol(asked: int | None, spoken: int) -> None:
    callbacks = compat.response_callbacks(asked=asked, spoken=spoken)
    assert callbacks["set"](b"OK") is True
    assert "XINFO GROUPS" in callbacks
    assert callbacks.get("nonsense") is None


def test_redis_pys_commands_ask_of_their_client_what_it_has() -> None:
    assert inspect.iscoroutinefunction(Client.execute_command)
    shared = {name for name in vars(Client) if not name.startswith("_")} & set(dir(AsyncCoreCommands))
    assert shared == {"execute_command"}, "a name of ours hides a command of redis-py"
    assert compat.encoder().encode(1.5) == b"1.5"


def test_the_default_of_the_asynchronous_credentials_is_known_by_its_place() -> None:
    assert "get_credentials_async" in vars(CredentialProvider)


def test_hiredis_packs_and_parses() -> None:
    assert pack(("GET", b"k", 1, 1.5)) == b"*4\r\n$3\r\nGET\r\n$1\r\nk\r\n$1\r\n1\r\n$3\r\n1.5\r\n"
    reader = hiredis.Reader(notEnoughData=Ellipsis)
    reader.feed(b">2\r\n+a\r\n:1\r\n")
    assert type(reader.gets()) is hiredis.PushNotification
    assert reader.gets() is Ellipsis
    assert not reader.has_data()
