"""What is shown of a queue's numbers, whatever shows them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Final

import anyio
from redis.exceptions import RedisError

from ..errors import AnyQError
from ..queue import Queue
from ..vitals import QueueStats

#: Seconds for which Redis is waited for.
_PATIENCE = 2.0

#: Durations of runs that are told apart, in seconds: from a quick coroutine to a job of an hour.
DURATIONS: Final = (
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0,
)  # fmt: skip

#: What only grows, by its name in `QueueStats`: its name among the metrics, what of, and what it is.
COUNTED: Final[Mapping[str, tuple[str, str, str]]] = {
    "added": (
        "added_jobs",
        "job",
        "Jobs that were enqueued, or made by schedules, in all programs together.",
    ),
    "replayed": ("replayed_jobs", "job", "Dead letters that were made jobs again."),
    "done": ("done_jobs", "job", "Jobs that were done."),
    "failed": ("failed_runs", "run", "Runs that failed, and jobs that were given up."),
    "given_up": ("dead_jobs", "job", "Jobs that became dead letters."),
    "cancelled": ("cancelled_jobs", "job", "Jobs that ended because somebody cancelled them."),
    "lost": ("lost_deliveries", "delivery", "Deliveries that were lost with their workers."),
}


def held(stats: QueueStats) -> dict[str, int]:
    """Where the jobs of a queue are: each in one state."""
    return {
        "ready": stats.ready,
        "held": stats.running,
        "delayed": stats.delayed,
        "waiting": stats.waiting,
        "aside": stats.aside,
        "dead": stats.dead,
    }


async def ask(queues: Iterable[Queue]) -> dict[str, QueueStats]:
    """Ask Redis about those queues that are open here, and can be asked within two seconds."""
    found: dict[str, QueueStats] = {}

    async def look(queue: Queue) -> None:
        with suppress(AnyQError, RedisError):  # it is left out; the worker tells of outages
            found[queue.name] = await queue.stats()

    with anyio.move_on_after(_PATIENCE):
        async with anyio.create_task_group() as nursery:
            for queue in queues:
                nursery.start_soon(look, queue)
    return found
