"""The one file that touches what redis-py does not promise to keep.

``tests/redis/test_compat.py`` pins each of these, so that an upgrade that moves one fails there and nowhere else.
Public, and therefore imported where needed: ``redis.exceptions``, ``redis.credentials``, ``redis.commands``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from redis._parsers.base import BaseParser
from redis._parsers.encoders import Encoder
from redis._parsers.response_callbacks import get_response_callbacks
from redis.client import EMPTY_RESPONSE, NEVER_DECODE, CaseInsensitiveDict
from redis.connection import parse_url as _parse_url  # pyright: ignore[reportUnknownVariableType]
from redis.exceptions import RedisError, ResponseError

__all__ = [
    "EMPTY_RESPONSE",
    "NEVER_DECODE",
    "encoder",
    "error_class",
    "parse_error",
    "parse_url",
    "response_callbacks",
]

Callback = Callable[..., Any]

parse_error = cast("Callable[[str], RedisError]", BaseParser.parse_error)  # pyright: ignore[reportUnknownMemberType]
"""Turns the text of an error reply into redis-py's exception for it."""

parse_url = cast("Callable[[str], dict[str, Any]]", _parse_url)
"""redis-py's rules for URLs."""

_mixed: dict[type[RedisError], type[RedisError]] = {}


def error_class(cls: type[RedisError]) -> type[RedisError]:
    """Make sure that an error *reply* is a ``ResponseError``, whatever else redis-py calls it.

    LOADING, NOAUTH and "max number of clients" are connection errors there. Whoever catches either name
    must meet them, or a reply is mistaken for a broken connection.
    """
    if issubclass(cls, ResponseError):
        return cls
    if cls not in _mixed:
        _mixed[cls] = cast("Any", type)(
            cls.__name__, (cls, ResponseError), {"__module__": cls.__module__, "__doc__": cls.__doc__}
        )
    return _mixed[cls]


def response_callbacks(*, asked: int | None, spoken: int) -> Mapping[str, Callback]:
    """The functions that turn raw replies into what redis-py's commands return.

    Args:
        asked: The protocol that the address names, or ``None``.
        spoken: The protocol that the connection speaks, 2 or 3.
    """
    # Without a named protocol redis-py gives RESP3's replies RESP2's shapes: a server without RESP3 is no surprise.
    callbacks = get_response_callbacks(asked if spoken == 3 else 2, True)
    return cast("Mapping[str, Callback]", cast("Any", CaseInsensitiveDict)(callbacks))


def encoder() -> Any:
    """What redis-py's script helpers ask their client for."""
    return cast("Any", Encoder)("utf-8", "strict", False)
