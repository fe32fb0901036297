"""Commands as bytes: hiredis packs, and says so in redis-py's words when an argument cannot be packed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import hiredis
from redis.exceptions import DataError

Argument = bytes | str | int | float

# hiredis's stub has a tuple of exactly one element here.
_pack = cast("Callable[[tuple[Any, ...]], bytes]", hiredis.pack_command)  # pyright: ignore[reportUnknownMemberType]


def pack(words: Sequence[Any]) -> bytes:
    """Pack one command.

    Raises:
        redis.exceptions.DataError: An argument is neither bytes, str, int nor float.
    """
    try:
        return _pack(tuple(words))
    except TypeError:
        pass
    try:  # once more for what redis-py takes and hiredis does not
        return _pack(tuple(map(_as_bytes, words)))
    except TypeError as error:
        raise DataError(f"a command's arguments are bytes, str, int or float: {error}") from error


def _as_bytes(word: Any) -> Any:
    return bytes(cast("Any", word)) if isinstance(word, bytearray | memoryview) else word
