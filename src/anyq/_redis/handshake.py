"""The first words on a connection: who we are, which protocol, which database.

Two round trips. The first proves the identity, and nothing else is sent until it has: after a failed AUTH a server
goes on serving the connection as its default user, which may well be allowed to do harm.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs
from redis.exceptions import RedisError

from .._version import installed_version
from ..errors import ConfigurationError, ConnectionLost
from . import credentials
from .address import Address
from .replies import error_code, is_list, is_map

Command = tuple[bytes | str | int, ...]
Exchange = Callable[[list[Command]], Awaitable[list[Any]]]
"""Sends commands in one write and returns their replies, errors among them as instances."""

_LIBRARY: list[Command] = [
    (b"CLIENT", b"SETINFO", b"LIB-NAME", b"anyq"),
    (b"CLIENT", b"SETINFO", b"LIB-VER", installed_version() or "0"),
]


@attrs.frozen(kw_only=True)
class Greeting:
    """What the server said about itself and about this connection."""

    protocol: int
    """2 or 3: what is spoken from here on."""

    connection_id: int | None
    """The server's CLIENT ID for this connection; ``None`` when it would not tell."""

    server: str = ""
    """``"redis"`` or ``"valkey"``, as HELLO has it; ``""`` without HELLO."""

    version: str = ""
    role: str = ""

    mode: str = ""
    """``"standalone"``, ``"cluster"`` or ``"sentinel"``."""


async def shake_hands(exchange: Exchange, address: Address, *, name: str | None) -> Greeting:
    """Authenticate, agree on a protocol, choose the database.

    Raises:
        ConfigurationError: The server refuses us, and would again.
        RedisUnavailable: It cannot take us now (too many clients), or the credential provider failed, or gave what the
            server refuses: the next time it may give something else.
    """
    identity = await _identity(address)
    wanted = 2 if address.protocol == 2 else 3
    hello: list[bytes | str | int] = [b"HELLO", wanted]
    if identity:
        hello += [b"AUTH", identity[0] or "default", identity[1]]
    if name:
        hello += [b"SETNAME", name]
    (reply,) = await exchange([tuple(hello)])

    if not isinstance(reply, RedisError):
        greeting = _read_greeting(reply)
        if greeting.mode == "sentinel":
            raise ConfigurationError(
                f"{address.where} is a Sentinel, which keeps no data: the URL must be that of the server it watches"
            )
        await _settle(exchange, address, [])
        return greeting
    code = error_code(reply)
    if (
        code in ("WRONGPASS", "DENIED")
        or "invalid password" in str(reply)
        or (code == "NOAUTH" and not identity)
    ):
        raise _not_let_in(address, reply)
    if code not in ("ERR", "NOPROTO", "NOPERM", "NOAUTH") or "max number of clients" in str(reply):
        raise ConnectionLost(
            f"{address.where} cannot take this connection now: {reply}", sent=False
        ) from reply

    # HELLO is unknown (a proxy, an old server; some say NOAUTH to what they do not know) or hidden by an ACL:
    # the old words, in the old order.
    if address.protocol == 3:
        raise ConfigurationError(
            f"{address.where} does not speak RESP3, which protocol=3 asks for: {reply}"
        ) from reply
    if identity:
        user, password = identity
        (reply,) = await exchange([(b"AUTH", user, password) if user else (b"AUTH", password)])
        if isinstance(reply, RedisError):
            raise _not_let_in(address, reply)
    extras: list[Command] = [(b"CLIENT", b"SETNAME", name)] if name else []
    connection_id = await _settle(exchange, address, [*extras, (b"CLIENT", b"ID")])
    return Greeting(protocol=2, connection_id=connection_id if isinstance(connection_id, int) else None)


async def _settle(exchange: Exchange, address: Address, extras: list[Command]) -> Any:
    """Choose the database, which must work, and say what is only nice to know; return the last extra's reply."""
    select: list[Command] = [(b"SELECT", address.db)] if address.db else []
    replies = await exchange([*select, *_LIBRARY, *extras])
    if select and isinstance(replies[0], RedisError):
        problem = f"{address.where} refuses database {address.db}: {replies[0]}"
        if error_code(replies[0]) == "LOADING":
            raise ConnectionLost(problem, sent=False) from replies[0]
        raise ConfigurationError(problem) from replies[0]
    for reply in replies:
        if error_code(reply) == "NOAUTH":
            raise _not_let_in(address, reply)
    return replies[-1]


def _read_greeting(reply: Any) -> Greeting:
    """HELLO answers with a map: a dict on RESP3, a flat list on RESP2."""
    words = reply if is_list(reply) else []
    facts = reply if is_map(reply) else dict(zip(words[::2], words[1::2], strict=False))
    if facts.get(b"proto") not in (2, 3):
        raise ConnectionLost("the server's HELLO makes no sense: is that a Redis?", sent=False)
    connection_id = facts.get(b"id")
    return Greeting(
        protocol=facts[b"proto"],
        connection_id=connection_id if isinstance(connection_id, int) else None,
        **{field: _text(facts.get(field.encode())) for field in ("server", "version", "role", "mode")},
    )


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""


async def _identity(address: Address) -> tuple[str, str] | None:
    """User and password of this try."""
    provider = address.credential_provider
    if provider is None:
        if address.username is None and address.password is None:
            return None
        return address.username or "", address.password or ""
    return await credentials.ask(provider)


def _not_let_in(address: Address, reply: RedisError) -> ConfigurationError | ConnectionLost:
    what = f"{address.where} does not let us in: {error_code(reply)} {reply}"
    if address.credential_provider is None:
        return ConfigurationError(what)
    # The provider is asked again at the next try: while a password is being changed it may be behind, or ahead.
    return ConnectionLost(f"{what} (with what the credential provider gives now)", sent=False)
