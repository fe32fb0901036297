"""How long a command may keep its caller waiting by its own words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


def _option(args: Sequence[Any]) -> float:
    for place, word in enumerate(args[:-1]):
        if isinstance(word, bytes | str) and word.upper() in (b"BLOCK", "BLOCK"):
            return _bounded(args, args[place + 1]) / 1000
        if isinstance(word, bytes | str) and word.upper() in (b"STREAMS", "STREAMS"):
            break
    return 0.0


def _last(args: Sequence[Any]) -> float:
    return _bounded(args, args[-1])


def _first(args: Sequence[Any]) -> float:
    return _bounded(args, args[1])


def _last_milliseconds(args: Sequence[Any]) -> float:
    return _bounded(args, args[-1]) / 1000


def _bounded(args: Sequence[Any], value: Any) -> float:
    seconds = float(value)
    if not 0 < seconds < float("inf"):
        raise ValueError(f"{args[0]} with a block of {value!r} would wait for ever; give it an end")
    return seconds


_COMMANDS: dict[str, Callable[[Sequence[Any]], float]] = {
    "XREAD": _option,
    "XREADGROUP": _option,
    **dict.fromkeys(("BLPOP", "BRPOP", "BRPOPLPUSH", "BLMOVE", "BZPOPMIN", "BZPOPMAX"), _last),
    **dict.fromkeys(("BLMPOP", "BZMPOP"), _first),
    **dict.fromkeys(("WAIT", "WAITAOF"), _last_milliseconds),
}


def blocking_seconds(args: Sequence[Any]) -> float:
    """The seconds that a command may block by its own words; 0 for all that do not block.

    Raises:
        ValueError: It would block for ever: then nobody could tell a slow queue from a dead connection.
    """
    command = args[0]
    find = _COMMANDS.get(command.upper() if isinstance(command, str) else bytes(command).decode().upper())
    return 0.0 if find is None else find(args)
