"""A worker at work, and a task that does as it is told: what tests of what a worker does have in common."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from tests.support.servers import SECONDS

from anyq import Backoff, Queue, RetryLater, Task, Unrecoverable, Worker, current_job

AT_ONCE = Backoff.fixed(0)


@asynccontextmanager
async def working(*queues: Queue, **settings: Any) -> AsyncGenerator[Worker]:
    """Run a worker inside the block, with the queues open for the test too. Whatever goes wrong ends soon."""
    settings = {"concurrency": 10, "drain_timeout": 2, **settings}
    with anyio.fail_after(2 * SECONDS):
        async with Worker(queues, **settings) as worker:
            yield worker


def obedient(queue: Queue) -> Task[..., Any]:
    """Register a task ``act`` that does as it is told."""

    @queue.task(attempts=2, backoff=AT_ONCE)
    async def act(how: str = "") -> None:
        if how == "fail once" and current_job().attempt == 1:
            raise ValueError
        if how == "unrecoverable":
            raise Unrecoverable
        if how == "later":
            raise RetryLater(60)

    return act
