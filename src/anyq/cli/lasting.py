"""Commands that go on until somebody ends them: Ctrl-C and SIGTERM are how they end well, with exit code 0."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable

import anyio

from .._redis.tasks import ungrouped


async def until_ended(work: Callable[[], Awaitable[None]]) -> None:
    """Do the work until it is done, or until SIGINT or SIGTERM; what it raises comes out as it was."""
    with ungrouped(), anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with anyio.create_task_group() as tasks:

            async def listen() -> None:
                async for _ in signals:
                    tasks.cancel_scope.cancel()

            tasks.start_soon(listen)
            await work()
            tasks.cancel_scope.cancel()
