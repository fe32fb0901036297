"""The release relocator: hands back jobs that were cut short or never begun. It ends because its input ended."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from .._core.outcome import Released
from .relocator import Relocator

logger = logging.getLogger("anyq.releases")


class ReleaseRelocator(Relocator[Released]):
    """Hands back jobs of one queue."""

    service = "release relocator"
    largest_batch = 200

    async def settle(self, lane: bytes, group: Sequence[Released]) -> None:
        """Hand jobs back."""
        await self.journal.flush([released.job for released in group])
        entries = [released.entry for released in group]
        reply = await self.patience(self.settling.hand_back, lane, entries)
        self.counts.released += sum(reply)
        for entry in entries:
            self.ledger.settled(lane, entry)
        logger.info("%s: %d jobs were handed back", self.queue, sum(reply))
