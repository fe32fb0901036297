"""Looking for one job by its id, and changing it, from outside of the workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import attrs

from .._core.codec import decode, packed_id, split_member
from .._core.job import NO_EXTRAS, Extras
from .._core.keys import GROUP, Keys
from .._core.values import MAP, Undecodable, unpack
from .._redis.client import Client
from ..settings import Retention
from . import scripts
from .belongings import Belonging, as_words, belongings
from .cancels import LASTS_MS, REASON, WITHDRAWN, kept_ms
from .publish import claims_ms
from .tally import Tally

#: Seconds for which the server remembers what a producer changed: far longer than anybody resends.
_REMEMBERED = 3600

#: Entries, and delayed jobs, in one stretch of a search: a bounded time in which the server serves nobody else.
_STRETCH = 1000


@attrs.frozen
class Delayed:
    """The job waits for its time, or for other jobs.

    Attributes:
        member: How it lies in the delayed set, or among those that wait.
        waits: Whether it waits for other jobs.
        due_ms: The millisecond when it is due, if it waits for that.
    """

    member: bytes
    waits: bool = False
    due_ms: float | None = attrs.field(default=None, eq=False)

    @property
    def name(self) -> bytes:
        """Its task's name."""
        return _apart(self.member)[0]

    @property
    def extras(self) -> Extras:
        """What AnyQ put behind its envelope."""
        return _extras(_apart(self.member)[1])


@attrs.frozen
class Lying:
    """The job lies in a lane.

    Attributes:
        lane: The lane.
        entry: Its entry id.
        envelope: Its envelope.
        owner: The consumer that has it; ``b""`` when nobody has.
        asked: Whether somebody cancelled it.
    """

    lane: bytes
    entry: bytes
    envelope: bytes
    owner: bytes
    asked: bool = False

    @property
    def extras(self) -> Extras:
        """What AnyQ put behind its envelope."""
        return _extras(self.envelope)


@attrs.frozen
class Ended:
    """The job has ended, and that is kept.

    Attributes:
        how: ``done``, ``failed``, ``cancelled`` (while it waited) or ``stopped`` (cancelled while a worker had it).
        failure: What is kept of that, encoded, if it is not done.
    """

    how: str
    failure: bytes = attrs.field(default=b"", eq=False, repr=False)


@attrs.frozen
class Reached:
    """A stretch of a lane was searched in vain.

    Attributes:
        place: Where to go on.
        end: Whether there is nothing more now.
    """

    place: bytes
    end: bool


Found = Delayed | Lying | Ended


@attrs.frozen
class Batch:
    """Under which number a change is sent, again and again until it is answered.

    Attributes:
        number: The number.
        lowest: The lowest number not yet answered.
    """

    number: int
    lowest: int


class Controlling:
    """How one producer looks for jobs of one queue, and changes them.

    Args:
        client: The connection.
        keys: The queue's keys.
        producer: This producer's random name: batches are counted per producer.
        retention: How long what is kept.
    """

    def __init__(self, client: Client, keys: Keys, producer: bytes, retention: Retention) -> None:
        self._client = client
        self._keys = keys
        self._sent = keys.sent(producer)
        self._retention = retention
        self._tally = Tally(client, keys, retention.history_minutes)

    # -- looking --------------------------------------------------------------------------------------------------

    async def look(self, job_id: str) -> tuple[Delayed | Ended | None, bool]:
        """Say what is known of a job without searching the lanes, and whether somebody cancelled it."""
        keys = self._keys
        places = (
            keys.delayed, keys.delayed_member(job_id), keys.result(job_id), keys.failure(job_id), keys.cancels,
            keys.waiting,
        )  # fmt: skip
        member, due, result, failure, asked, waiting = await self._client.run(
            scripts.WHERE, places, (job_id,)
        )
        if member:
            return Delayed(member, due_ms=float(due)), bool(asked)
        if waiting:
            return Delayed(waiting, waits=True), bool(asked)
        if failure:
            return Ended(_how(failure), failure), bool(asked)
        return (Ended("done") if result else None), bool(asked)

    async def seek(self, job_id: str, lane: bytes, first: bytes, last: bytes) -> Lying | Reached:
        """Search a stretch of a lane."""
        reply = await self._client.run(
            scripts.SEEK, (lane,), (GROUP, first, last, packed_id(job_id), _STRETCH)
        )
        if len(reply) == 3:
            return Lying(lane, *reply)
        return Reached(reply[0], bool(reply[1]))

    async def lanes(self) -> list[bytes]:
        """List the lanes of other priorities than the default one."""
        others = [lane for lane in self._keys.priority_lanes if lane != self._keys.stream]
        found = await self._client.call_many([(b"EXISTS", lane) for lane in others])
        return [lane for lane, exists in zip(others, found, strict=True) if exists == 1]

    async def asides(self) -> list[bytes]:
        """List the streams of jobs that are set aside, since their tasks are paused."""
        fields = await self._client.call(b"HKEYS", self._keys.pauses)
        prefix = self._keys.aside("")
        return [prefix + field[6:] for field in fields if field.startswith(b"aside:")]

    async def scan(self, job_id: str, cursor: bytes) -> Delayed | bytes | None:
        """Search a stretch of the delayed jobs; give the job, or where to go on, or ``None`` at the end."""
        following, member, due = await self._client.run(
            scripts.SCAN, (self._keys.delayed,), (cursor, packed_id(job_id), _STRETCH // 4)
        )
        if member:
            return Delayed(member, due_ms=float(due))
        return None if following == b"0" else cast("bytes", following)

    # -- changing -------------------------------------------------------------------------------------------------

    async def withdraw(self, batch: Batch, job_id: str, found: Delayed) -> bool:
        """Cancel a job that is delayed or waits for others; tell whether it was done."""
        keys = self._keys
        owned, words = as_words(self._owned(job_id, found))
        places = (
            keys.delayed, keys.delayed_member(job_id), keys.taken_id(job_id), keys.failure(job_id), self._sent,
            keys.events, keys.waiting, keys.parked, *owned,
        )  # fmt: skip
        done = await self._tally.run(
            scripts.WITHDRAW,
            places,
            (
                batch.number, batch.lowest, _REMEMBERED, found.member, WITHDRAWN, kept_ms(found.extras.result_ttl),
                keys.finished(job_id), self._retention.events, job_id, found.name, *words,
            ),
        )  # fmt: skip
        return bool(done)

    async def cancel(self, batch: Batch, job_id: str, found: Lying) -> int:
        """Cancel a job that lies in a lane: 1 done, 2 its worker is told, 0 it does not lie there any more."""
        keys = self._keys
        owned, words = as_words(self._owned(job_id, found))
        places = (
            found.lane,
            keys.cancels,
            keys.failure(job_id),
            self._sent,
            keys.events,
            keys.pauses,
            *owned,
        )
        aside = keys.aside("")
        counted = b"aside:" + found.lane.removeprefix(aside) if found.lane.startswith(aside) else b""
        reply: int = await self._tally.run(
            scripts.CANCEL,
            places,
            (
                batch.number, batch.lowest, _REMEMBERED, GROUP, found.entry, WITHDRAWN,
                kept_ms(found.extras.result_ttl), keys.finished(job_id), self._retention.events, job_id,
                LASTS_MS, keys.cancelling, counted, *words,
            ),
        )  # fmt: skip
        return reply

    async def reschedule(
        self, batch: Batch, job_id: str, found: Delayed, *, delay_ms: int | None, due_ms: int | None
    ) -> bool:
        """Let a delayed job wait for another time; tell whether it was done."""
        keys = self._keys
        owned = [one.key for one in self._owned(job_id, found)]
        places = (keys.delayed, keys.delayed_member(job_id), keys.taken_id(job_id), self._sent, *owned)
        when = ("in", delay_ms or 0) if due_ms is None else ("at", due_ms)
        done = await self._client.run(
            scripts.RESCHEDULE,
            places,
            (batch.number, batch.lowest, _REMEMBERED, found.member, *when, keys.due, claims_ms(keys)),
        )
        return bool(done)

    def _owned(self, job_id: str, found: Delayed | Lying) -> Sequence[Belonging]:
        # An earlier run may have told something, and nobody here knows.
        return belongings(self._keys, job_id, found.extras, self._retention, noted=True)


def _apart(member: bytes) -> tuple[bytes, bytes]:
    try:
        return split_member(member)
    except Undecodable:
        return b"", b""


def _extras(envelope: bytes) -> Extras:
    try:
        return decode(envelope)[5]
    except Undecodable:
        return NO_EXTRAS


def _how(failure: bytes) -> str:
    try:
        fields: Any = unpack(failure)
    except Undecodable:
        return "failed"
    if type(fields) is not MAP or fields.get("reason") != REASON:
        return "failed"
    return "stopped" if fields.get("held") else "cancelled"
