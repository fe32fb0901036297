"""The retry relocator: lets failed jobs come back later. It ends because its input ended."""

from __future__ import annotations

import logging
from collections import defaultdict

import attrs

from .._core import notices
from .._core.codec import delayed_member, recode
from .._core.outcome import Retry
from .._store.settle import Settling
from ..metrics.sink import RetryScheduled
from .batches import batches
from .channels import Bulletin, Outcomes
from .clock import wall_ms
from .counts import Counts
from .ledger import Ledger
from .patience import Patience

logger = logging.getLogger("anyq.retries")

_LARGEST_BATCH = 100


class RetryRelocator:
    """Moves jobs of one queue to the delayed set."""

    def __init__(
        self,
        *,
        queue: str,
        settling: Settling,
        patience: Patience,
        ledger: Ledger,
        outcomes: Outcomes,
        bulletin: Bulletin,
        counts: Counts,
    ) -> None:
        self._queue = queue
        self._settling = settling
        self._patience = patience
        self._ledger = ledger
        self._input = outcomes.retries.receive
        self._bulletin = bulletin
        self._counts = counts

    async def run(self) -> None:
        """Move until the input ends."""
        async for batch in batches(self._input, _LARGEST_BATCH):
            lanes: dict[bytes, list[Retry]] = defaultdict(list)
            for retry in batch:
                lanes[retry.job.lane].append(retry)
            for lane, group in lanes.items():
                moves = [(retry.job.entry, round(retry.delay * 1000), _member(retry)) for retry in group]
                reply = await self._patience(lambda: self._settling.retry(lane, moves))  # noqa: B023
                for retry, answer in zip(group, reply, strict=True):
                    self._ledger.settled(lane, retry.job.entry)
                    self._settled(retry, moved=answer == 1)

    def _settled(self, retry: Retry, *, moved: bool) -> None:
        if not moved:  # sent again after a lost reply, or taken over meanwhile
            self._counts.late += 1
            return
        if retry.quiet:
            return
        if retry.parked is not None:
            self._counts.parked += 1
            return
        self._counts.retried += 1
        if self._bulletin.events:
            self._bulletin.notice(notices.retry_scheduled(retry, wall_ms()))
        if self._bulletin.metrics:
            self._bulletin.observe(
                RetryScheduled(
                    queue=self._queue, task=retry.job.name, attempt=retry.failed + 1, delay=retry.delay
                )
            )


def _member(retry: Retry) -> bytes:
    job = retry.job
    extras = job.extras
    if retry.parked is not None:
        extras = attrs.evolve(extras, parked=retry.parked)
    if job.lost:
        extras = attrs.evolve(extras, lost=job.lost)
    return delayed_member(job.name, recode(job, retry.failed, extras))
