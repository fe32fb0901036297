"""AnyQ's side of the shared queue: a task that does what its arguments say, as the jobs of `chasquimq_peer.py` do."""

from __future__ import annotations

from typing import Any

import attrs
from tests.interop.peer import QUEUE, Notes, Run

from anyq import Job, Queue, Unrecoverable, current_job


@attrs.frozen
class Ours:
    """A queue that is shared with ChasquiMQ, and what its tasks were run with here.

    Attributes:
        queue: The queue; its task is named ``act``, every other name goes to the fallback.
        act: The task.
        runs: What AnyQ's worker ran, each noted before it acts.
    """

    queue: Queue
    act: Any
    runs: Notes[Run]


def shared_queue(url: str) -> Ours:
    """Make AnyQ's side of the queue; it opens nothing."""
    queue = Queue(QUEUE, url, prefix="chasqui")
    runs = Notes[Run]()

    def note(job: Job) -> None:
        runs.add(Run(job.id, job.name, job.payload, job.attempt))

    async def act(give: Any = None, fail: int = 0, unrecoverable: str = "", number: int = 0) -> Any:
        job = current_job()
        note(job)
        if unrecoverable:
            raise Unrecoverable(unrecoverable)
        if job.attempt <= fail:
            raise RuntimeError(f"run {job.attempt} was told to fail")
        return give

    async def any_other(job: Job) -> None:
        note(job)

    queue.fallback(any_other)
    return Ours(queue, queue.task(act, name="act"), runs)
