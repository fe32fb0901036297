"""The dead-letter relocator: keeps jobs that were given up, with the reason, the error and their history.

It ends because its input ended. One letter that cannot be written never holds the others back.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgpack

from .._core import notices
from .._core.codec import recode
from .._core.entry import PARENT_FAILED, Spoiled, admit
from .._core.outcome import Dead, Error
from .._store.belongings import Belonging
from .._store.settle import Letter
from ..metrics.sink import DeadLettered
from .clock import wall_ms
from .relocator import Relocator

logger = logging.getLogger("anyq.dead_letters")


class DeadLetterRelocator(Relocator[Dead | Spoiled]):
    """Moves jobs of one queue to its dead letters."""

    service = "dead-letter relocator"
    largest_batch = 32

    async def settle(self, lane: bytes, group: Sequence[Dead | Spoiled]) -> None:
        """Move jobs."""
        group = [_whole(outcome) for outcome in group]
        await self.journal.flush([outcome.job for outcome in group if isinstance(outcome, Dead)])
        letters = [self._letter(outcome) for outcome in group]
        reply, trimmed = await self.patience(self.settling.bury, lane, letters)
        for outcome, answer in zip(group, reply, strict=True):
            self.ledger.settled(lane, outcome.entry)
            self._settled(outcome, moved=answer == 1)
        if self.cancels.asked:
            await self.cancels.ended(
                outcome.job
                for outcome, answer in zip(group, reply, strict=True)
                if answer == 1 and isinstance(outcome, Dead)
            )
        if trimmed:
            logger.warning("%s: %d of the oldest dead letters were trimmed", self.queue, trimmed)

    def _letter(self, outcome: Dead | Spoiled) -> Letter:
        died = ("died_at", str(wall_ms()), "worker", self.worker)
        if isinstance(outcome, Spoiled):
            fields: list[bytes | str] = ["d", outcome.data]
            if outcome.name:
                fields += "n", outcome.name
            fields += "source_id", outcome.entry, "reason", outcome.reason, "detail", outcome.detail
            if outcome.fields:
                # A reader of any language can unpack what an entry without a job held.
                fields += "fields", msgpack.packb(list(outcome.fields))
            return Letter(outcome.entry, [*fields, *died], owned=self._left_by(outcome))
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
        return Letter(job.entry, [*fields, *died], job.id, failure, job.result_ttl or 0.0, self.owned(job))

    def _left_by(self, spoiled: Spoiled) -> Sequence[Belonging]:
        """What an entry's job owned, as far as the entry can be read: one that is too large for this worker can."""
        job = admit(self.queue, spoiled.lane, spoiled.entry, (b"d", spoiled.data), len(spoiled.data), None)
        return () if isinstance(job, Spoiled) else self.owned(job)

    def _settled(self, outcome: Dead | Spoiled, *, moved: bool) -> None:
        if not moved:  # sent again after a lost reply, or taken over meanwhile
            self.counts.late += 1
            return
        self.counts.dead += 1
        if isinstance(outcome, Spoiled):
            name = outcome.name.decode("utf-8", "replace")
            logger.error(
                "%s: entry %s is dead: %s (%s)",
                self.queue,
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
                self.queue, job.id, name, job.attempt, outcome.reason, error.type if error else "no error",
            )  # fmt: skip
            notice = notices.dead_outcome(outcome, wall_ms())
        if self.bulletin.events:
            self.bulletin.notice(notice)
        if self.bulletin.metrics:
            self.bulletin.observe(DeadLettered(queue=self.queue, task=name, reason=outcome.reason))


def _whole(outcome: Dead | Spoiled) -> Dead | Spoiled:
    """Make a job of an entry without fault: whoever waits for its result is told, and so are those that wait for it."""
    if not isinstance(outcome, Spoiled) or outcome.reason != PARENT_FAILED:
        return outcome
    fields = b"d", outcome.data, b"n", outcome.name
    home = outcome.home
    job = admit(home.queue, outcome.lane, outcome.entry, fields, len(outcome.data), home)
    if isinstance(job, Spoiled):
        return job
    task = home.tasks.get(job.name) or home.find(job.name)
    job.result_ttl = job.extras.result_ttl or (task.policy.result_ttl if task is not None else None)
    how, _, parent = outcome.detail.partition(":")
    ended = "was cancelled" if how == "cancelled" else "was given up"
    return Dead(job, PARENT_FAILED, Error("ParentFailed", f"job {parent!r}, for which it waited, {ended}"))
