"""The ack flusher: ends finished jobs, hundreds at a time, results and all.

It ends because its input ended. ``completed`` is said only after the server confirmed it.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence

from .._core import notices
from .._core.outcome import Done
from .._store.settle import Kept, Settling
from .batches import batches
from .channels import Bulletin, Outcomes
from .clock import wall_ms
from .counts import Counts
from .ledger import Ledger
from .patience import Patience

logger = logging.getLogger("anyq.acks")

_LARGEST_BATCH = 500

#: Bytes of results that leave in one script at most.
_RESULT_BYTES = 4 * 1024 * 1024


class AckFlusher:
    """Ends the finished jobs of one queue."""

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
        self._input = outcomes.acks.receive
        self._bulletin = bulletin
        self._counts = counts

    async def run(self) -> None:
        """Flush until the input ends."""
        async for batch in batches(self._input, _LARGEST_BATCH):
            plain: dict[bytes, list[Done]] = defaultdict(list)
            kept: dict[bytes, list[Done]] = defaultdict(list)
            for done in batch:
                (plain if done.result is None else kept)[done.job.lane].append(done)
            for lane, group in plain.items():
                entries = [done.job.entry for done in group]
                self._confirm(lane, group, await self._patience(lambda: self._settling.ack(lane, entries)))  # noqa: B023
            for lane, group in kept.items():
                for part in _parts(group):
                    results = [Kept(d.job.entry, d.job.id, d.result or b"", _ttl(d)) for d in part]
                    reply = await self._patience(lambda: self._settling.complete(lane, results))  # noqa: B023
                    self._confirm(lane, part, reply)

    def _confirm(self, lane: bytes, group: Sequence[Done], reply: Sequence[int]) -> None:
        held = self._ledger.lanes[lane]
        late = 0
        for done, answer in zip(group, reply, strict=True):
            held.pop(done.job.entry, None)
            if answer != 1:
                late += 1
        self._ledger.look()
        self._counts.done += len(group) - late
        if late:
            # Sent again after a lost reply, or taken over meanwhile: either way there is nothing left to do.
            self._counts.late += late
            logger.info("%s: %d finished jobs had been settled already", self._queue, late)
        if self._bulletin.events:
            now = wall_ms()
            for done, answer in zip(group, reply, strict=True):
                if answer == 1:
                    self._bulletin.notice(notices.completed(done, now))


def _parts(group: list[Done]) -> list[list[Done]]:
    """Split a batch so that no script carries too many bytes."""
    parts: list[list[Done]] = [[]]
    size = 0
    for done in group:
        size += len(done.result or b"")
        if size > _RESULT_BYTES and parts[-1]:
            parts.append([])
            size = len(done.result or b"")
        parts[-1].append(done)
    return parts


def _ttl(done: Done) -> float:
    return done.job.result_ttl or 0.001
