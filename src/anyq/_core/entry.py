"""A raw stream entry becomes a `Job`, or a `Spoiled` entry with the reason: the reader stays free of parsing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs
import msgpack

from ..settings import NAME_LIMIT
from .codec import LARGEST, Undecodable, interpret
from .job import Job, ordinary
from .values import BROKEN, no_extension, unpack_first

#: The reason of a job that waited for another, which was given up or cancelled.
PARENT_FAILED: Final = "parent_failed"

_NO_NAMES: Mapping[bytes, str] = {}

_unpack = msgpack.unpackb


@attrs.frozen
class Spoiled:
    """An entry that must not be run, most because they can never become a job; kept as a dead letter, bytes and all.

    Attributes:
        lane: The stream it lies in.
        entry: Its entry id.
        reason: ``malformed``, ``oversize_payload``, ``decode_failed``; or `PARENT_FAILED`, of a job without fault.
        detail: What exactly is wrong; of a job without fault, how another ended, a colon and the id of that.
        data: The bytes of its field ``d``, if it has one.
        name: The bytes of its field ``n``, if it has one.
        fields: All its fields, when there is no ``d``.
        lost: Deliveries lost before this one.
        home: The channels of its queue.
    """

    lane: bytes
    entry: bytes
    reason: str
    detail: str
    data: bytes = b""
    name: bytes = b""
    fields: tuple[bytes, ...] = ()
    lost: int = 0
    home: Any = None


def admit(
    queue: str,
    lane: bytes,
    entry: bytes,
    fields: Sequence[bytes] | None,
    limit: int,
    home: Any,
    names: Mapping[bytes, str] = _NO_NAMES,
) -> Job | Spoiled:
    """Read one entry.

    Args:
        queue: The queue's name.
        lane: The stream that it was read from.
        entry: Its entry id.
        fields: Its fields and values, one after the other.
        limit: The largest envelope in bytes.
        home: The channels of its queue, carried along.
        names: Names of tasks that are known, by their bytes: their entries go the short way.
    """
    if fields and len(fields) == 4:
        # As every program writes it: the path of every job.
        first, data, second, called = fields
        name = names.get(called)
        if name is not None and first == b"d" and second == b"n" and len(data) <= limit:
            try:
                job_id, body, created_ms, failed = _unpack(data, max_ext_len=0, ext_hook=no_extension)
                if (
                    type(job_id) is str
                    and type(body) is bytes
                    and type(created_ms) is type(failed) is int
                    and created_ms >= 0
                    and (not failed or 0 < failed <= LARGEST)
                ):
                    return ordinary(queue, job_id, name, failed + 1, created_ms, body, lane, entry, home)
            except msgpack.ExtraData as more:  # a job that asks for something of its own
                return _admit_any(queue, lane, entry, fields, limit, home, (more.unpacked, bytes(more.extra)))
            except BROKEN:
                pass  # another one, or none: what is wrong with it is said below
    return _admit_any(queue, lane, entry, fields or (), limit, home)


def _admit_any(
    queue: str,
    lane: bytes,
    entry: bytes,
    fields: Sequence[bytes],
    limit: int,
    home: Any,
    opened: tuple[Any, bytes] | None = None,
) -> Job | Spoiled:
    """Read an entry, whatever is in it; ``opened`` is its envelope, if that is unpacked: value, and bytes behind it."""
    data, name, lost, doom = _search(fields)
    if data is None:
        return Spoiled(lane, entry, "malformed", "no field 'd'", fields=tuple(fields), lost=lost, home=home)
    if name is not None and len(name) > NAME_LIMIT:
        detail = f"a name of {len(name)} bytes, and the limit is {NAME_LIMIT}"
        return Spoiled(lane, entry, "malformed", detail, data, name, lost=lost, home=home)
    if len(data) > limit:
        detail = f"{len(data)} bytes, and the limit is {limit}"
        return Spoiled(lane, entry, "oversize_payload", detail, data, name or b"", lost=lost, home=home)
    try:
        job_id, body, created_ms, failed, override, extras = interpret(*(opened or unpack_first(data)))
        text = "" if name is None else name.decode()
    except (Undecodable, UnicodeDecodeError) as error:
        detail = str(error) if isinstance(error, Undecodable) else "the name is not valid UTF-8"
        return Spoiled(lane, entry, "decode_failed", detail, data, name or b"", lost=lost, home=home)
    # Of the lost deliveries, those that went out with the envelope are among its failed runs.
    attempt = failed + lost + 1
    lost += extras.lost
    if doom is not None:
        detail = doom.decode("utf-8", "replace")
        return Spoiled(lane, entry, PARENT_FAILED, detail, data, name or b"", lost=lost, home=home)
    return Job(queue, job_id, text, attempt, created_ms, override, extras, body, lane, entry, lost, home)


def _search(fields: Sequence[bytes]) -> tuple[bytes | None, bytes | None, int, bytes | None]:
    """Find the envelope, the name, the lost deliveries, and why it must not be run, wherever they are."""
    found = dict(zip(fields[::2], fields[1::2], strict=False))
    return found.get(b"d"), found.get(b"n"), _count(found.get(b"l", b"")), found.get(b"doom")


def _count(value: bytes) -> int:
    return int(value) if value.isdigit() and len(value) < 10 else 0
