"""Making jobs: their ids, and the bytes of what they are called with; refused here when they cannot travel."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from typing import Any

from ._core.codec import encode
from ._core.ids import ID_LENGTH, IdMaker
from ._core.job import NO_EXTRAS, NO_OVERRIDE
from ._core.values import pack
from ._services.clock import wall_ms
from .errors import PayloadRefused
from .options import Options
from .settings import Limits


class _Ids(threading.local):
    """Makes ids; a maker counts without a lock, so each thread has one."""

    def __init__(self) -> None:
        self.make = IdMaker(wall_ms, random.SystemRandom().getrandbits)


_ids = _Ids()

_SOME_ID = "-" * ID_LENGTH

#: Bytes of a job that asks for nothing of its own, around its body.
_PLAIN = len(encode(_SOME_ID, b"", wall_ms()))


def id_maker() -> IdMaker:
    """Give what makes ids in this thread, for who makes many."""
    return _ids.make


def new_id() -> str:
    """Make an id, in whatever thread this is."""
    return _ids.make()


def packed(name: str, payload: Any, limits: Limits) -> bytes:
    """Encode the payload of a job.

    Raises:
        PayloadRefused: MessagePack cannot carry it; the message says which part of it.
    """
    return pack(payload, what=_called(name), depth=limits.depth)


def _called(name: str) -> str:
    return f"{name or 'the job'}: payload"


def packed_all(name: str, payloads: Sequence[Any], options: Options, limits: Limits) -> list[bytes]:
    """Encode payloads; all of them, before anything is sent: one that cannot travel holds up the others.

    Raises:
        PayloadRefused: MessagePack cannot carry one, or its job would be too large.
    """
    what, depth, limit = _called(name), limits.depth, limits.payload
    bodies = [pack(payload, what=what, depth=depth) for payload in payloads]
    around = _PLAIN
    if options.override is not NO_OVERRIDE or options.extras is not NO_EXTRAS:
        around = len(encode(_SOME_ID, b"", wall_ms(), 0, options.override, options.extras))
    for size in (around + _written(length) for length in map(len, bodies) if around + length + 3 > limit):
        if size > limit:
            raise too_large(f"a job of {name!r} has", size, limit)
    return bodies


def _written(length: int) -> int:
    """Bytes in a job for a body of this length, beyond those of an empty one: MessagePack's count has 1, 2 or 4."""
    return length + (0 if length < 1 << 8 else 1 if length < 1 << 16 else 3)


def too_large(what: str, size: int, limit: int) -> PayloadRefused:
    """Say that a job is too large.

    Args:
        what: What has that size: ``a job of 'welcome' has``.
        size: Bytes of the job, as it lies in the stream.
        limit: Bytes that it may have.
    """
    return PayloadRefused(
        f"{what} {size} bytes, and the limit is {limit}: pass a reference to the data, or raise "
        "Limits(payload=...) on the queue and its workers"
    )
