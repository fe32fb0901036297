"""The cancel relocator: ends jobs that somebody cancelled. It ends because its input ended."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from .._core import notices
from .._core.outcome import Cancelled
from .._store.cancels import STOPPED
from .._store.settle import NOT_ASKED, Cut
from .clock import wall_ms
from .relocator import Relocator

logger = logging.getLogger("anyq.cancelled")


class CancelRelocator(Relocator[Cancelled]):
    """Ends cancelled jobs of one queue."""

    service = "cancel relocator"
    largest_batch = 200
    moves_jobs = False

    async def settle(self, lane: bytes, group: Sequence[Cancelled]) -> None:
        """End jobs."""
        await self.journal.flush([end.job for end in group])
        await end_cancelled(self, lane, group)


async def end_cancelled(desk: Relocator[Any], lane: bytes, group: Sequence[Cancelled]) -> None:
    """End jobs that are held and that somebody cancelled."""
    cuts = [
        Cut(
            end.entry,
            end.job.id,
            STOPPED,
            end.job.result_ttl or end.job.extras.result_ttl or 0.0,
            desk.owned(end.job),
        )
        for end in group
    ]
    reply = await desk.patience(desk.settling.end_cancelled, lane, cuts)
    for end, answer in zip(group, reply, strict=True):
        desk.cancels.asked.discard(end.job.id)
        if answer == NOT_ASKED:  # it was for another job, under the same id
            desk.counts.released += sum(await desk.patience(desk.settling.hand_back, lane, [end.entry]))
            desk.ledger.settled(lane, end.entry)
            continue
        desk.ledger.settled(lane, end.entry)
        if answer != 1:  # sent again after a lost reply, or taken over meanwhile
            desk.counts.late += 1
            continue
        desk.counts.cancelled += 1
        logger.info("%s: job %r of task %r was cancelled", desk.queue, end.job.id, end.job.name)
        if desk.bulletin.events:
            desk.bulletin.notice(notices.cancelled(end.job, wall_ms()))
