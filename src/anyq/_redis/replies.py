"""Error replies: what the server said no with.

An error reply is data until somebody raises it. Its first word (NOGROUP, READONLY, OOM...) is the only part that
servers agree on, so it is kept on the exception, whatever redis-py's class for it does to the text.
"""

from __future__ import annotations

from typing import Any, TypeGuard

from redis.exceptions import RedisError, ResponseError

from .compat import error_class, parse_error


def reply_error(text: str) -> RedisError:
    """Make the exception for the text of an error reply: always a ``redis.exceptions.ResponseError`` too."""
    parsed = parse_error(text)
    cls = error_class(type(parsed))
    error = parsed if cls is type(parsed) else cls(*parsed.args)
    error.anyq_code = text.partition(" ")[0]  # type: ignore[attr-defined]
    return error


def error_code(error: BaseException) -> str:
    """The first word of an error reply, such as ``"NOGROUP"``; ``""`` for anything that was no reply.

    Of one that redis-py's own client raised too: that keeps the words which it has a class for beside the text.
    """
    code = getattr(error, "anyq_code", "")
    if not code and isinstance(error, ResponseError):
        code = error.status_code or str(error).partition(" ")[0]
    return code if isinstance(code, str) else ""


def is_list(reply: Any) -> TypeGuard[list[Any]]:
    """Whether a reply is an array (or a push message), in words that type checkers agree on."""
    return isinstance(reply, list)


def is_map(reply: Any) -> TypeGuard[dict[Any, Any]]:
    """Whether a reply is a RESP3 map; RESP2 has flat arrays in its place."""
    return isinstance(reply, dict)


def field(row: Any, name: bytes) -> Any:
    """Read a field of a reply that is a map on RESP3 and a flat list on RESP2."""
    if is_map(row):
        return row.get(name)
    return next((row[index + 1] for index in range(0, len(row) - 1, 2) if row[index] == name), None)


def pairs(reply: Any) -> list[tuple[Any, Any]]:
    """Names and values of a reply that is a map on RESP3 and a flat list on RESP2; none of an error."""
    if is_map(reply):
        return list(reply.items())
    return list(zip(reply[::2], reply[1::2], strict=True)) if is_list(reply) else []
