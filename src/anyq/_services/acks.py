"""The ack flusher: ends finished jobs, hundreds at a time, results and all.

It ends because its input ended. ``completed`` is said only after the server confirmed it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from operator import attrgetter

from .._core import notices
from .._core.job import Job
from .._store.settle import Kept
from .clock import wall_ms
from .relocator import Relocator

logger = logging.getLogger("anyq.acks")

#: Bytes of results that leave in one script at most.
_RESULT_BYTES = 4 * 1024 * 1024

_entry_of = attrgetter("entry")


class AckFlusher(Relocator[Job]):
    """Ends the finished jobs of one queue."""

    service = "ack flusher"
    largest_batch = 1000
    moves_jobs = False

    async def settle(self, lane: bytes, group: Sequence[Job]) -> None:
        """Acknowledge and delete; write the results that somebody asked for, and end what the jobs own."""
        recorded = [done for done in group if done.result is not None]
        plain = [done for done in group if done.result is None] if recorded else group
        if plain:
            entries = list(map(_entry_of, plain))
            await self._confirmed(lane, plain, await self.patience(self.settling.ack, lane, entries))
        if recorded:
            await self.journal.flush(recorded)
            for part in _parts(recorded):
                results = [
                    Kept(
                        done.entry,
                        done.id,
                        done.result or b"",
                        done.result_ttl or 0.0,
                        self.owned(done),
                    )
                    for done in part
                ]
                reply = await self.patience(self.settling.complete, lane, results)
                await self._confirmed(lane, part, reply)

    async def _confirmed(self, lane: bytes, group: Sequence[Job], reply: Sequence[int]) -> None:
        self._confirm(lane, group, reply)
        if self.cancels.asked:
            await self.cancels.ended(done for done, answer in zip(group, reply, strict=True) if answer == 1)

    def _confirm(self, lane: bytes, group: Sequence[Job], reply: Sequence[int]) -> None:
        held = self.ledger.lanes[lane]
        for entry in map(_entry_of, group):
            held.pop(entry, None)
        late = len(group) - reply.count(1)
        self.ledger.look()
        self.counts.done += len(group) - late
        if late:
            # Sent again after a lost reply, or taken over meanwhile: either way there is nothing left to do.
            self.counts.late += late
            logger.info("%s: %d finished jobs had been settled already", self.queue, late)
        if self.bulletin.events:
            now = wall_ms()
            for done, answer in zip(group, reply, strict=True):
                if answer == 1:
                    self.bulletin.notice(notices.completed(done, now))


def _parts(group: list[Job]) -> list[list[Job]]:
    """Split a batch so that no script carries too many bytes."""
    parts: list[list[Job]] = [[]]
    size = 0
    for done in group:
        size += len(done.result or b"")
        if size > _RESULT_BYTES and parts[-1]:
            parts.append([])
            size = len(done.result or b"")
        parts[-1].append(done)
    return parts
