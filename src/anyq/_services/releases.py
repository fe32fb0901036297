"""The release relocator: hands back jobs that were cut short or never begun. It ends because its input ended."""

from __future__ import annotations

import logging
from collections import defaultdict

from .._store.settle import Settling
from .batches import batches
from .channels import Outcomes
from .counts import Counts
from .ledger import Ledger
from .patience import Patience

logger = logging.getLogger("anyq.releases")

_LARGEST_BATCH = 200


class ReleaseRelocator:
    """Hands back jobs of one queue."""

    def __init__(
        self,
        *,
        queue: str,
        settling: Settling,
        patience: Patience,
        ledger: Ledger,
        outcomes: Outcomes,
        counts: Counts,
    ) -> None:
        self._queue = queue
        self._settling = settling
        self._patience = patience
        self._ledger = ledger
        self._input = outcomes.releases.receive
        self._counts = counts

    async def run(self) -> None:
        """Hand back until the input ends."""
        async for batch in batches(self._input, _LARGEST_BATCH):
            lanes: dict[bytes, list[bytes]] = defaultdict(list)
            for released in batch:
                lanes[released.job.lane].append(released.job.entry)
            for lane, entries in lanes.items():
                reply = await self._patience(lambda: self._settling.hand_back(lane, entries))  # noqa: B023
                self._counts.released += sum(reply)
                for entry in entries:
                    self._ledger.settled(lane, entry)
                logger.info("%s: %d jobs were handed back", self._queue, sum(reply))
