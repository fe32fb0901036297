"""Comparing what the server says is ours with the ledger: what was delivered into a lost reply is handed back."""

from __future__ import annotations

import logging

from .._store.consume import Consuming
from .._store.settle import Settling
from .ledger import Ledger

#: Entries in one script: a bounded time in which the server serves nobody else, also when they are large.
_IN_ONE_SCRIPT = 50

logger = logging.getLogger("anyq.reader")


class Reconciling:
    """Does it for one queue. Only for when no read is under way, or the reader's connection is closed."""

    def __init__(self, *, queue: str, consuming: Consuming, settling: Settling, ledger: Ledger) -> None:
        self._queue = queue
        self._consuming = consuming
        self._settling = settling
        self._ledger = ledger

    async def __call__(self) -> int:
        """Compare once; give how many entries were handed back."""
        handed_back = 0
        for lane, held in self._ledger.lanes.items():
            after = b"-"
            while entries := await self._consuming.pending(lane, after):
                unknown = [entry for entry in entries if entry not in held]
                # Some of them may have been settled since the server answered; handing those back does nothing.
                for start in range(0, len(unknown), _IN_ONE_SCRIPT):
                    part = unknown[start : start + _IN_ONE_SCRIPT]
                    handed_back += sum(await self._settling.hand_back(lane, part))
                after = b"(" + entries[-1]
        if handed_back:
            logger.warning(
                "%s: %d entries were delivered into a lost reply; handed back", self._queue, handed_back
            )
        return handed_back
