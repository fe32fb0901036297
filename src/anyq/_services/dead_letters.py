"""The dead-letter relocator: keeps jobs that were given up, with the reason, the error and their history.

It ends because its input ended. One letter that cannot be written never holds the others back.
"""

from __future__ import annotations

import logging
from collections import defaultdict

import msgpack

from .._core import notices
from .._core.codec import recode
from .._core.entry import Spoiled
from .._core.outcome import Dead
from .._store.settle import Letter, Settling
from ..metrics.sink import DeadLettered
from .batches import batches
from .channels import Bulletin, Outcomes
from .clock import wall_ms
from .counts import Counts
from .ledger import Ledger
from .patience import Patience

logger = logging.getLogger("anyq.dead_letters")

_LARGEST_BATCH = 32


class DeadLetterRelocator:
    """Moves jobs of one queue to its dead letters."""

    def __init__(
        self,
        *,
        queue: str,
        worker: str,
        settling: Settling,
        patience: Patience,
        ledger: Ledger,
        outcomes: Outcomes,
        bulletin: Bulletin,
        counts: Counts,
    ) -> None:
        self._queue = queue
        self._worker = worker
        self._settling = settling
        self._patience = patience
        self._ledger = ledger
        self._input = outcomes.dead.receive
        self._bulletin = bulletin
        self._counts = counts

    async def run(self) -> None:
        """Move until the input ends."""
        async for batch in batches(self._input, _LARGEST_BATCH):
            lanes: dict[bytes, list[Dead | Spoiled]] = defaultdict(list)
            for outcome in batch:
                lanes[outcome.job.lane if isinstance(outcome, Dead) else outcome.lane].append(outcome)
            for lane, group in lanes.items():
                letters = [self._letter(outcome) for outcome in group]
                reply, trimmed = await self._patience(lambda: self._settling.bury(lane, letters))  # noqa: B023
                for outcome, letter, answer in zip(group, letters, reply, strict=True):
                    self._ledger.settled(lane, letter.entry)
                    self._settled(outcome, moved=answer == 1)
                if trimmed:
                    logger.warning("%s: %d of the oldest dead letters were trimmed", self._queue, trimmed)

    def _letter(self, outcome: Dead | Spoiled) -> Letter:
        died = ("died_at", str(wall_ms()), "worker", self._worker)
        if isinstance(outcome, Spoiled):
            fields: list[bytes | str] = ["d", outcome.data]
            if outcome.name:
                fields += "n", outcome.name
            fields += "source_id", outcome.entry, "reason", outcome.reason, "detail", outcome.detail
            if outcome.fields:
                # A reader of any language can unpack what an entry without a job held.
                fields += "fields", msgpack.packb(list(outcome.fields))
            return Letter(outcome.entry, [*fields, *died])
        job, error = outcome.job, outcome.error
        fields = ["d", recode(job, job.attempt - 1)]
        if job.name:
            fields += "n", job.name
        fields += "source_id", job.entry, "reason", outcome.reason
        if error is not None:
            if error.message:
                fields += "detail", error.message[:500]
            fields += "error", error.type, "message", error.message, "traceback", error.traceback
        fields += "attempts", str(job.attempt), "lost", str(job.lost), "created_at", str(job.created_ms)
        failure = b""
        if job.result_ttl:
            failure = msgpack.packb(
                {
                    "reason": outcome.reason,
                    "type": error.type if error else "",
                    "message": error.message if error else "",
                    "traceback": error.traceback if error else "",
                }
            )
        return Letter(job.entry, [*fields, *died], job.id, failure, job.result_ttl or 0.0)

    def _settled(self, outcome: Dead | Spoiled, *, moved: bool) -> None:
        if not moved:  # sent again after a lost reply, or taken over meanwhile
            self._counts.late += 1
            return
        self._counts.dead += 1
        if isinstance(outcome, Spoiled):
            name = outcome.name.decode("utf-8", "replace")
            logger.error(
                "%s: entry %s is dead: %s (%s)",
                self._queue,
                outcome.entry.decode(),
                outcome.reason,
                outcome.detail,
            )
            notice = notices.dead("", name, 0, outcome.reason, wall_ms())
        else:
            job, error = outcome.job, outcome.error
            name = job.name
            logger.error(
                "%s: job %r of task %r is dead after attempt %d: %s (%s)",
                self._queue, job.id, name, job.attempt, outcome.reason, error.type if error else "no error",
            )  # fmt: skip
            notice = notices.dead_outcome(outcome, wall_ms())
        if self._bulletin.events:
            self._bulletin.notice(notice)
        if self._bulletin.metrics:
            self._bulletin.observe(DeadLettered(queue=self._queue, task=name, reason=outcome.reason))
