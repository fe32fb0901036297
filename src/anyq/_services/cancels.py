"""Cancelling, on the side of the worker: hears what is to be cancelled, and cuts what this worker has of it.

A message only wakes it; the requests in Redis decide. They are read then, after an interruption, and every few seconds,
so that a lost message costs seconds. What is held here and is to be cancelled keeps its request alive. `Cancels.asked`
is nearly always empty: looking there costs a job nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

import anyio

from .._core.job import Job
from .._core.keys import Keys
from .._core.outcome import Cancelled
from .._redis.client import Client
from .._redis.subscriber import Subscriber
from .._store import cancels
from .home import Home
from .ledger import Ledger
from .patience import Patience

logger = logging.getLogger("anyq.cancels")

#: Seconds between two looks.
_LOOK_EVERY = 5.0

#: The same while its subscription is not in force, and nobody could tell it.
_LOOK_EVERY_UNHEARD = 0.25


class Cancels:
    """The requests to cancel jobs of one queue, as this worker knows them.

    Args:
        cut: Stops a job that is running here; tells whether it is.

    Attributes:
        asked: The ids of jobs in workers' hands that are to be cancelled.
    """

    def __init__(
        self,
        *,
        queue: str,
        keys: Keys,
        client: Client,
        subscriber: Subscriber,
        patience: Patience,
        ledger: Ledger,
        cut: Callable[[Job], bool],
    ) -> None:
        self._queue = queue
        self._keys = keys
        self._client = client
        self._subscriber = subscriber
        self._patience = patience
        self._ledger = ledger
        self._cut = cut
        self.asked: set[str] = set()
        self._woken = anyio.Event()

    async def run(self) -> None:
        """Listen until cancelled."""
        with self._subscriber.subscribe(self._keys.cancelling, self._wake, on_gap=self._wake) as subscription:
            while True:
                self._woken = anyio.Event()
                confirmed = subscription.confirmed
                await self._look()
                self._cut_asked()
                with anyio.move_on_after(_LOOK_EVERY if confirmed else _LOOK_EVERY_UNHEARD):
                    await self._woken.wait()

    async def begin(self) -> None:
        """Read the requests before anything else is read."""
        self.asked = await cancels.read(self._client, self._keys, ())

    async def _look(self) -> None:
        held = [job.id for job in self._ledger.jobs() if job.id in self.asked] if self.asked else []
        self.asked = await self._patience(cancels.read, self._client, self._keys, held)

    def refuse(self, jobs: list[Job]) -> list[Job]:
        """End those of the jobs that are to be cancelled and have just been read; give the others."""
        for job in jobs:
            if job.id in self.asked:
                _end(job)
        return [job for job in jobs if not job.ended]

    async def ended(self, jobs: Iterable[Job]) -> None:
        """Jobs ended by themselves: tell who asked to cancel some of them, and waits."""
        job_ids = [job.id for job in jobs if job.id in self.asked]
        if job_ids:
            await self._patience(cancels.overtaken, self._client, self._keys, job_ids)
            self.asked.difference_update(job_ids)

    def _wake(self, *_: object) -> None:
        self._woken.set()

    def _cut_asked(self) -> None:
        if self.asked:
            for job in self._ledger.jobs():
                if job.id in self.asked and not job.ended and job.cut is None:
                    logger.info("%s: job %r was cancelled", self._queue, job.id)
                    if not self._cut(job):
                        _end(job)


def _end(job: Job) -> None:
    """End a job that has not begun; a runner that finds it in the buffer lets it lie."""
    job.ended, job.cut = True, "cancelled"
    home: Home = job.home
    home.outcomes.cancelled.put(Cancelled(job))
