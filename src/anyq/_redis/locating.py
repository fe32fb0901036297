"""Asking where the server is, when that can change or it must be started first.

Rule: what comes back is an address, or one of the two errors that all who connect know how to meet.
"""

from __future__ import annotations

from collections.abc import Callable

from anyio.to_thread import run_sync

from ..errors import ConnectionLost, RedisUnavailable
from .address import Address

Locate = Callable[[], Address]
"""Gives the address; may block, and may start a server."""


async def ask(locate: Locate) -> Address:
    """Ask in a thread. Cancelled, it is asked to the end all the same, and nobody listens.

    Raises:
        ConfigurationError: There is no such server here, and waiting will not help.
        RedisUnavailable: It could not be had now: it did not start, a disk is full, there are too many open files.
    """
    try:
        return await run_sync(locate, abandon_on_cancel=True)
    except RedisUnavailable:
        raise
    except OSError as error:
        raise ConnectionLost(f"the server's address could not be had: {error}", sent=False) from error
