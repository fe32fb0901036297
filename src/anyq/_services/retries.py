"""The retry relocator: lets failed jobs come back later. It ends because its input ended."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from .._core import notices
from .._core.codec import delayed_member, recode
from .._core.outcome import Cancelled, Retry
from .._store.settle import CANCELLED
from ..metrics.sink import RetryScheduled
from .cancelled import end_cancelled
from .clock import wall_ms
from .relocator import Relocator


class RetryRelocator(Relocator[Retry]):
    """Moves jobs of one queue to the delayed set."""

    service = "retry relocator"
    largest_batch = 100

    async def settle(self, lane: bytes, group: Sequence[Retry]) -> None:
        """Move jobs."""
        await self.journal.flush([retry.job for retry in group])
        moves = [(retry.entry, round(retry.delay * 1000), _member(retry)) for retry in group]
        reply = await self.patience(lambda: self.settling.retry(lane, moves))
        for retry, answer in zip(group, reply, strict=True):
            if answer == CANCELLED:  # it will not come back
                await end_cancelled(self, lane, [Cancelled(retry.job)])
                continue
            self.ledger.settled(lane, retry.entry)
            self._settled(retry, moved=answer == 1)

    def _settled(self, retry: Retry, *, moved: bool) -> None:
        if not moved:  # sent again after a lost reply, or taken over meanwhile
            self.counts.late += 1
            return
        if retry.quiet:
            return
        if retry.parked is not None:
            self.counts.parked += 1
            return
        self.counts.retried += 1
        if self.bulletin.events:
            self.bulletin.notice(notices.retry_scheduled(retry, wall_ms()))
        if self.bulletin.metrics:
            self.bulletin.observe(
                RetryScheduled(
                    queue=self.queue, task=retry.job.name, attempt=retry.failed + 1, delay=retry.delay
                )
            )


def _member(retry: Retry) -> bytes:
    job = retry.job
    extras = job.extras
    if retry.parked is not None:
        extras = attrs.evolve(extras, parked=retry.parked)
    if job.notes is not None:
        extras = attrs.evolve(extras, noted=True)
    if job.lost:
        extras = attrs.evolve(extras, lost=job.lost)
    return delayed_member(job.name, recode(job, retry.failed, extras), job.extras.priority)
