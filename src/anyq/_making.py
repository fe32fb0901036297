"""Making jobs: their ids, and the bytes of what they are called with; refused here when they cannot travel."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from typing import Any

from ._core.codec import encode
from ._core.ids import ID_LENGTH, IdMaker
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
    return pack(payload, what=f"{name or 'the job'}: payload", depth=limits.depth)


def packed_all(name: str, payloads: Sequence[Any], options: Options, limits: Limits) -> list[bytes]:
    """Encode payloads; all of them, before anything is sent: one that cannot travel holds up the others.

    Raises:
        PayloadRefused: MessagePack cannot carry one, or its job would be too large.
    """
    bodies = [packed(name, payload, limits) for payload in payloads]
    around, limit = (
        len(encode("-" * ID_LENGTH, b"", wall_ms(), 0, options.override, options.extras)),
        limits.payload,
    )
    for body in bodies:
        # MessagePack writes the length of bytes in 1, 2 or 4 more.
        size = around + len(body) + (0 if len(body) < 1 << 8 else 1 if len(body) < 1 << 16 else 3)
        if size > limit:
            raise too_large(f"a job of {name!r} has", size, limit)
    return bodies


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
