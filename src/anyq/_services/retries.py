"""The retry relocator: lets failed jobs come back later. It ends because its input ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import attrs

from .._core import notices
from .._core.codec import delayed_member, recode
from .._core.job import ERROR_LIMIT
from .._core.outcome import Cancelled, Retry
from .._store.settle import CANCELLED
from ..metrics.sink import RetryScheduled
from .cancelled import end_cancelled
from .clock import wall_ms
from .relocator import Relocator

#: Bytes that a job has left below the limit when it carries along what its last run failed with: that must not make it
#: too large.
_ROOM: Final = 4096


class RetryRelocator(Relocator[Retry]):
    """Moves jobs of one queue to the delayed set."""

    service = "retry relocator"
    largest_batch = 100

    async def settle(self, lane: bytes, group: Sequence[Retry]) -> None:
        """Move jobs."""
        await self.journal.flush([retry.job for retry in group])
        moves = [(retry.entry, round(retry.delay * 1000), self._member(retry)) for retry in group]
        failed = {retry.entry for retry in group if retry.error is not None}
        gone: list[Cancelled] = []  # these will not come back
        with self.bulletin.about_to_tell():
            reply = await self.patience(self.settling.retry, lane, moves, failed=failed)
            for retry, answer in zip(group, reply, strict=True):
                if answer == CANCELLED:
                    gone.append(Cancelled(retry.job))
                    continue
                self.ledger.settled(lane, retry.entry)
                self._settled(retry, moved=answer == 1)
        if gone:
            await end_cancelled(self, lane, gone)

    def _member(self, retry: Retry) -> bytes:
        # Other programs would take the mark for a length.
        return _member(retry, marked=retry.parked is not None and not self.settling.shared)

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


def _member(retry: Retry, *, marked: bool) -> bytes:
    job, error = retry.job, retry.error
    extras, limit = job.extras, job.home.limits.payload
    changed: dict[str, Any] = {}
    if retry.parked is not None:
        changed["parked"] = retry.parked
    elif extras.parked:  # somebody knew its task
        changed["parked"] = 0.0
    if job.notes is not None:
        changed["noted"] = True
    if job.lost:
        changed["lost"] = job.lost
    if error is not None and len(job.body) + _ROOM <= limit:
        kept = error.type[: ERROR_LIMIT // 2]
        changed["error"] = kept, error.message[: ERROR_LIMIT - len(kept)]
    if changed:
        extras = attrs.evolve(extras, **changed)
    return delayed_member(job.name, recode(job, retry.failed, extras), extras.priority, parked=marked)
