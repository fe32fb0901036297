"""Python values as MessagePack and back, within limits: what may travel, and what hostile bytes may cost.

Out: a value that the other side could not read is refused here, with its path, before anything is sent. In: memory is
bounded by the size of the input, nesting by ``depth``; whatever the bytes are, the only error is `Undecodable`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any, Final, cast

import msgpack

from ..errors import PayloadRefused

#: How deeply containers may nest. MessagePack decoders take a thousand levels, but ``repr``, ``json`` and ``==`` of the
#: result then fail: a log line or a dashboard would die of it.
DEPTH = 64

#: The containers that decoding gives, typed: `type(value) is MAP` tells a type checker what may be in it.
MAP: Final[type[dict[Any, Any]]] = dict
ARRAY: Final[type[list[Any]]] = list

_SCALARS = frozenset({str, int, float, bool, bytes, type(None)})
_CONTAINERS = (dict, list, tuple)

_pack = msgpack.Packer(use_bin_type=True).pack
_unpack = msgpack.unpackb


def no_extension(code: int, _data: bytes) -> Any:
    """Refuse an extension type: what every call of the decoder is told."""
    raise ValueError(f"extension type {code}")  # one of no length gets past ``max_ext_len``


#: What decoding hostile bytes can raise.
BROKEN = (ValueError, TypeError, OverflowError, RecursionError, MemoryError)


class Undecodable(Exception):
    """The bytes are no MessagePack value within the limits."""


def pack(value: Any, *, what: str, depth: int = DEPTH) -> bytes:
    """Encode ``value``; ``what`` names it in the error.

    Raises:
        PayloadRefused: MessagePack cannot carry it; the message says which part of it.
    """
    packer: Callable[[Any], bytes] = _pack
    if type(value) not in _SCALARS:
        # One look at keys and values spares flat maps, the common case, the walk.
        flat = type(value) is dict
        if flat:
            for key, part in value.items():
                if type(key) is not str or type(part) not in _SCALARS:
                    flat = False
                    break
        if not flat:
            _inspect(value, what, depth)
            # A map of a user's class runs code while it is packed, other threads too: no place for the shared packer.
            packer = msgpack.packb
    try:
        return packer(value)
    except (TypeError, ValueError, OverflowError, RecursionError):
        _inspect(value, what, depth)
        raise


def _inspect(root: Any, what: str, depth: int) -> None:
    """Find the part of a value that cannot be carried, and say where it is."""
    waiting: list[tuple[Any, str, int]] = [(root, what, 0)]
    while waiting:
        value, path, level = waiting.pop()
        if isinstance(value, _CONTAINERS):
            if level >= depth:
                raise PayloadRefused(f"{path[:200]} is nested more than {depth} levels deep")
            if isinstance(value, dict):
                for key, part in cast("Any", value).items():
                    if not isinstance(key, str):
                        raise PayloadRefused(
                            f"{path} has the key {key!r} ({type(key).__name__}): keys of maps must be strings"
                        )
                    _require_text(key, path)
                    waiting.append(
                        (part, f"{path}[{key!r}]" if level or "." in path else f"{path}.{key}", level + 1)
                    )
            else:
                parts: Iterable[Any] = cast("Any", value)
                waiting.extend((part, f"{path}[{index}]", level + 1) for index, part in enumerate(parts))
        elif isinstance(value, str):
            _require_text(value, path)
        elif isinstance(value, bool | float | bytes | bytearray | memoryview) or value is None:
            continue
        elif isinstance(value, int):
            if not -(2**63) <= value < 2**64:
                raise PayloadRefused(
                    f"{path} is an integer of {value.bit_length()} bits: MessagePack carries 64; pass a str"
                )
        else:
            kind = type(value).__name__
            raise PayloadRefused(
                f"{path} is {'an' if kind[:1] in 'AEIOUaeiou' else 'a'} {kind}, which MessagePack cannot carry: pass "
                f"{_instead(value)}"
            )


def _instead(value: Any) -> str:
    """Say what can travel in the place of a value that cannot."""
    for kinds, advice in _ADVICE:
        if isinstance(value, kinds):
            return advice
    kind = type(cast("object", value))
    for mark, advice in _ADVICE_BY_ATTRIBUTE:
        if hasattr(kind, mark):
            return advice
    return "plain values (str, int, float, bool, None, bytes, list, dict), such as an id to look it up by"


#: What to pass instead of values that people try to pass.
_ADVICE: Final[tuple[tuple[type | tuple[type, ...], str], ...]] = (
    ((datetime, date, time), "its .isoformat()"),
    (timedelta, "its .total_seconds()"),
    ((Decimal, PurePath), "str() of it"),
    (Enum, "its .value"),
    ((AbstractSet, range), "a list of it"),
    (Mapping, "a dict of it"),
)
_ADVICE_BY_ATTRIBUTE: Final = (
    ("is_safe", "str() of it"),  # a UUID: its module makes random numbers, which have no place here
    ("__dataclass_fields__", "dataclasses.asdict() of it"),
    ("__attrs_attrs__", "attrs.asdict() of it"),
    ("model_dump", "its .model_dump(mode='json')"),
)


def _require_text(text: str, path: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PayloadRefused(f"{path} is not valid Unicode: {error.reason} at {error.start}") from None


def unpack(data: bytes, depth: int = DEPTH) -> Any:
    """Decode one value that fills ``data``.

    Raises:
        Undecodable: It is not one, or it is nested too deeply.
    """
    try:
        value = _unpack(data, max_ext_len=0, ext_hook=no_extension)
    except msgpack.ExtraData as extra:
        raise Undecodable(f"{len(extra.extra)} bytes follow the value") from None
    except BROKEN as error:
        raise _undecodable(error) from None
    if len(data) > depth:
        require_depth(value, depth)
    # The decoder lets bytes be keys too. They begin with one of three markers (bin 8, 16, 32), so three quick looks at
    # the data spare most payloads the walk.
    if 0xC4 in data or 0xC5 in data or 0xC6 in data:
        _require_text_keys(value)
    return value


def unpack_first(data: bytes) -> tuple[Any, bytes]:
    """Decode the value that ``data`` begins with, however deep it is; give it and the bytes after it.

    Raises:
        Undecodable: There is none.
    """
    try:
        return _unpack(data, max_ext_len=0, ext_hook=no_extension), b""
    except msgpack.ExtraData as extra:
        return extra.unpacked, bytes(extra.extra)
    except BROKEN as error:
        raise _undecodable(error) from None


def _undecodable(error: Exception) -> Undecodable:
    # msgpack's FormatError has no words.
    return Undecodable(f"{type(error).__name__}: {str(error)[:200] or 'these bytes are no MessagePack'}")


def require_depth(value: Any, depth: int = DEPTH) -> None:
    """Refuse a value that is nested too deeply.

    Raises:
        Undecodable: It is.
    """
    layer: list[Any] = [value] if type(value) is MAP or type(value) is ARRAY else []
    for _ in range(depth):
        layer = [
            part
            for container in layer
            for part in (container.values() if type(container) is MAP else container)
            if type(part) is MAP or type(part) is ARRAY
        ]
        if not layer:
            return
    raise Undecodable(f"nested more than {depth} levels deep")


def _require_text_keys(root: Any) -> None:
    """Refuse maps with keys that are no strings; the depth has been looked at."""
    waiting: list[Any] = [root]
    while waiting:
        value = waiting.pop()
        if type(value) is MAP:
            for key, part in value.items():
                if type(key) is not str:
                    raise Undecodable(f"a map has a key that is {type(key).__name__} and not a string")
                if type(part) is MAP or type(part) is ARRAY:
                    waiting.append(part)
        elif type(value) is ARRAY:
            waiting += [part for part in value if type(part) is MAP or type(part) is ARRAY]
