"""The lease keeper: keeps what this worker holds, and takes from workers that are gone.

Renewal covers everything that is held, running or waiting; the server names what is not ours any more, and those runs
are stopped. Takeover goes by the owner's heartbeat, never by how long a job runs: a healthy worker's job is never run
twice, however long it takes.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator, Sequence

import anyio

from .._core.entry import Spoiled
from .._core.job import Job
from .._store.leases import Leasing
from ..metrics.sink import TakenOver
from .channels import Bulletin
from .clock import ServerClock
from .counts import Counts
from .heartbeat import Heartbeat
from .ledger import Ledger
from .patience import Patience

logger = logging.getLogger("anyq.leases")

#: Seconds between two renewals of an entry. A chasquimq worker takes what has been idle for 30 s.
_RENEW_EVERY = 10.0

#: Entries renewed in one script: one to two milliseconds of the server's time.
_RENEW_BATCH = 100

#: Seconds between two looks for workers without a heartbeat.
_WATCH_EVERY = 1.0

#: Seconds between two sweeps for what foreign programs left, and how long it must have been idle.
_SWEEP_EVERY = 15.0
_SWEEP_IDLE = 60.0


class LeaseKeeper:
    """Keeps the leases of one queue.

    Args:
        clock: The server's; it is set with each renewal.
        revoke: Stops the run of a job that is not ours any more.
    """

    def __init__(
        self,
        *,
        queue: str,
        leasing: Leasing,
        patience: Patience,
        ledger: Ledger,
        heartbeat: Heartbeat,
        counts: Counts,
        bulletin: Bulletin,
        clock: ServerClock,
        revoke: Callable[[Job], None],
    ) -> None:
        self._queue = queue
        self._leasing = leasing
        self._patience = patience
        self._ledger = ledger
        self._heartbeat = heartbeat
        self._counts = counts
        self._bulletin = bulletin
        self._clock = clock
        self._revoke = revoke
        self._watching = True

    def stop_watching(self) -> None:
        """Go on renewing, but take nothing over any more."""
        self._watching = False

    async def run(self) -> None:
        """Renew and watch until cancelled."""
        renewed = swept = anyio.current_time()
        lapses = self._heartbeat.lapses
        while True:
            await anyio.sleep(_WATCH_EVERY * random.uniform(0.8, 1.2))
            now = anyio.current_time()
            # Whoever was silent for long finds out at once what others took meanwhile.
            if now - renewed >= _RENEW_EVERY or self._heartbeat.lapses != lapses or not self._heartbeat.fresh:
                lapses = self._heartbeat.lapses
                await self._renew()
                renewed = now
            if self._watching and self._heartbeat.steady:
                await self._patience(self._take_over)
                if now - swept >= _SWEEP_EVERY:
                    swept = now
                    moved = await self._patience(self._leasing.sweep, _SWEEP_IDLE)
                    if moved:
                        self._tell(moved)
                        logger.warning(
                            "%s: took over %d entries that a foreign worker left", self._queue, moved
                        )

    async def _take_over(self) -> None:
        for consumer in await self._leasing.silent():
            total = 0
            while self._heartbeat.steady:
                moved = await self._leasing.take_over(consumer)
                if moved <= 0:
                    break
                total += moved
            if total:
                self._tell(total)
                logger.warning(
                    "%s: worker %s is gone; took over %d jobs", self._queue, consumer.decode(), total
                )

    def _tell(self, jobs: int) -> None:
        if self._bulletin.metrics:
            self._bulletin.observe(TakenOver(queue=self._queue, jobs=jobs))

    async def _renew(self) -> None:
        await self._patience(self._clock.ask, self._leasing.server_ms)
        for lane, held in self._ledger.lanes.items():
            for entries in _chunks(list(held)):
                lost = await self._patience(self._leasing.renew, lane, entries)
                for entry in lost:
                    self._lose(lane, entry)

    def _lose(self, lane: bytes, entry: bytes) -> None:
        job = self._ledger.lanes[lane].get(entry)
        if job is None or isinstance(job, Spoiled) or job.ended:
            return  # its run has ended, and the answer of its settling is on the way
        self._ledger.settled(lane, entry)
        self._counts.lost += 1
        logger.warning("%s: job %r is not ours any more; its run is stopped", self._queue, job.id)
        self._revoke(job)


def _chunks(entries: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(entries), _RENEW_BATCH):
        yield entries[start : start + _RENEW_BATCH]
