"""Adding jobs: each verb is one script that takes effect once, however often the same batch is sent."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter

import attrs

from .._core.codec import delayed_member, envelope_id, lane_byte
from .._core.keys import DEFAULT_PRIORITY, PRIORITIES, Keys
from .._redis.client import Client
from .._redis.connection import Waiter
from ..errors import RedisUnavailable
from . import scripts
from .tally import MINUTES, Tally

#: Seconds for which the server remembers which batches of a producer took effect: far longer than anybody resends.
REMEMBERED = 3600

#: Milliseconds past its due time for which a job holds its claims, should no script ever end it (a stream that somebody
#: deleted). On a queue shared with chasquimq, whose workers end no claims, it is chasquimq's hour.
_CLAIMS_MS = 30 * 24 * 3600 * 1000
_SHARED_CLAIMS_MS = 3600 * 1000

#: How many jobs may wait for one: a bounded time in which the server serves nobody else when that one ends.
MOST_CHILDREN = 1000


def claims_ms(keys: Keys) -> int:
    """Milliseconds past its due time for which a job of this queue holds its claims at most."""
    return _SHARED_CLAIMS_MS if keys.shared else _CLAIMS_MS


class Full(Exception):
    """The stream holds ``max_length`` jobs; nothing was added."""


@attrs.frozen
class Holder:
    """The job that holds a unique key.

    Attributes:
        job_id: Its id.
        done: Whether that is the last word. If not, nothing was done: this job held the key and was not expected, or
            does not wait any more, and so could not be replaced.
    """

    job_id: str
    done: bool = True


@attrs.frozen
class Obstacle:
    """The job for which another cannot wait; that one was not added.

    Attributes:
        job_id: Its id.
        crowded: Too many wait for it already; otherwise nothing is known of it.
    """

    job_id: str
    crowded: bool


#: What became of a job that was to be added: ``True`` it is new; ``False`` its chosen id was taken; else the `Holder`
#: of its unique key, or the `Obstacle` to its waiting.
Answer = bool | Holder | Obstacle


@attrs.define  # not frozen: that takes three times as long to make, and they are made by the thousand
class Addition:
    """A job to be added.

    Attributes:
        name: The task's name.
        envelope: The job, encoded.
        job_id: Its id, when the caller chose it or it has a unique key; ``None`` for others, which need no check.
        delay_ms: Milliseconds to wait, by the server's clock.
        due_ms: The epoch millisecond it is due, instead of a delay.
        priority: Which lane it goes by.
        claim: With what it takes its id, when the caller chose it.
        unique: Its unique key.
        window_ms: Milliseconds for which it holds that key at least, ended or not.
        replaces: With a unique key: the id of the job that waits under it and is to be replaced by this one (``""``:
            nobody is expected there). ``None`` leaves alone whoever is there.
        tracked: Whether other jobs may wait for it.
        after: The ids of jobs that it waits for.
        runs_anyway: Whether it is run though one of those was given up.
    """

    name: str
    envelope: bytes
    job_id: str | None = None
    delay_ms: int | None = None
    due_ms: int | None = None
    priority: int = DEFAULT_PRIORITY
    claim: str = ""
    unique: str | None = None
    window_ms: int = 0
    replaces: str | None = None
    tracked: bool = False
    after: tuple[str, ...] = ()
    runs_anyway: bool = False

    @property
    def delayed(self) -> bool:
        """Whether it waits for its time."""
        return self.delay_ms is not None or self.due_ms is not None

    @property
    def plain(self) -> bool:
        """Whether it is ready at once, has no priority and needs no check: the common case, and the quick script."""
        return (
            self.job_id is None
            and self.delay_ms is None
            and self.due_ms is None
            and self.priority == DEFAULT_PRIORITY
        )


class Publishing:
    """How one producer adds jobs to one queue.

    Args:
        client: The connection.
        keys: The queue's keys.
        producer: This producer's random name: batches are counted per producer.
        minutes: Minutes of history that are kept.
    """

    def __init__(self, client: Client, keys: Keys, producer: bytes, minutes: int = MINUTES) -> None:
        self._client = client
        self._tally = Tally(client, keys, minutes)
        self._keys = keys
        self._sent, self._next = keys.sent(producer), keys.next_batch(producer)
        self._counted = (keys.pauses, *keys.all_lanes)  # what max_length is about

    async def publish(self, batch: int, lowest: int, jobs: Sequence[Addition], max_length: int) -> None:
        """Add plain jobs, as batch number ``batch``; ``lowest`` is the lowest batch not yet answered.

        Raises:
            Full: There is no room for all of them under ``max_length`` (0: no limit); nothing was added.
        """
        args: list[bytes | str | int] = [batch, lowest, max_length, REMEMBERED, len(jobs)]
        for name, alike in groupby(jobs, attrgetter("name")):
            envelopes = [job.envelope for job in alike]
            args += [name, len(envelopes), *envelopes]
        keys = (self._keys.stream, self._sent, self._next, *(self._counted if max_length else ()))
        if await self._tally.run(scripts.PUBLISH, keys, args) != 1:
            raise Full

    def begin(self, batch: int, lowest: int, name: str, envelopes: Sequence[bytes]) -> Waiter | None:
        """Send plain jobs of one task as a batch, without waiting; ``None`` if nothing could be sent."""
        count = len(envelopes)
        args: list[bytes | str | int] = [batch, lowest, 0, REMEMBERED, count, name, count, *envelopes]
        keys = (self._keys.stream, self._sent, self._next)
        return self._client.begin(scripts.PUBLISH, *self._tally.words(keys, args))

    async def ended(self, waiter: Waiter | None) -> bool:
        """Wait for what `begin` sent, and tell whether it was added for sure."""
        try:
            return waiter is not None and await self._client.ended(waiter) == 1
        except RedisUnavailable:
            return False

    async def schedule(
        self, batch: int, lowest: int, jobs: Sequence[Addition], max_length: int
    ) -> list[Answer]:
        """Add jobs that are delayed, have a priority, a chosen id or a unique key; tell for each what became of it.

        Args:
            batch: The number of this batch.
            lowest: The lowest batch not yet answered.
            jobs: The jobs, all of one priority.
            max_length: How many may be ready in all; 0 for any number.

        Raises:
            Full: There is no room for all that are ready now; nothing was added.
        """
        priority = jobs[0].priority
        counted = self._counted if max_length else ()
        keys = [self._keys.lane(priority), self._keys.delayed, self._sent, self._keys.cancels, *counted]
        lasting = claims_ms(self._keys)
        args: list[bytes | str | int] = [batch, lowest, max_length, REMEMBERED, self._keys.due, lasting]
        args += lane_byte(priority), self._keys.widened, len(counted)
        for job in jobs:
            if job.due_ms is not None:
                args += "at", job.due_ms
            elif job.delay_ms is not None:
                args += "in", job.delay_ms
            else:
                args += "", 0
            owner = job.job_id or "" if job.unique is not None else ""
            args += job.name, job.envelope, job.claim, owner, job.window_ms
            args += "" if job.replaces is None else "last", job.replaces or "", "t" if job.tracked else ""
            keys += self._claims(job)
        reply = await self._tally.run(scripts.SCHEDULE, keys, args)
        if reply == -1:
            raise Full
        return [_answer(answer) for answer in reply]

    def _claims(self, job: Addition) -> list[bytes]:
        """The keys that one job brings along, in the script's order."""
        keys: list[bytes] = []
        job_id = job.job_id or (envelope_id(job.envelope) if job.delayed else None) or ""
        if job.claim:
            keys += self._claimed(job_id)
        if job.unique is not None:
            keys.append(self._keys.unique(job.unique))
        if job.delayed:
            keys.append(self._keys.delayed_member(job_id))
        if job.replaces and job.replaces != job_id:
            keys.append(self._keys.delayed_member(job.replaces))
        if job.tracked:
            keys.append(self._keys.track(job_id))
        if job.replaces is not None:
            keys.append(self._keys.parked)
        return keys

    def _claimed(self, job_id: str) -> tuple[bytes, ...]:
        """The keys that are about a chosen id: that it is taken, and what an earlier job of it left."""
        keys = self._keys
        of = keys.taken_id, keys.result, keys.failure, keys.progress, keys.log
        return tuple(key(job_id) for key in of)

    async def await_(
        self, batch: int, lowest: int, jobs: Sequence[Addition], max_length: int
    ) -> list[Answer]:
        """Add jobs that wait for others; tell for each what became of it.

        Raises:
            Full: There is no room for one that would be ready now; nothing was added.
        """
        keys = [self._keys.waiting, self._keys.children, self._sent, self._keys.pauses, self._keys.returned]
        keys += *(self._keys.lane(priority) for priority in PRIORITIES), self._keys.cancels
        args: list[bytes | str | int] = [batch, lowest, max_length, REMEMBERED, _CLAIMS_MS, MOST_CHILDREN]
        args.append(self._keys.widened)
        for job in jobs:
            assert job.job_id is not None
            keys += (self._keys.track(id) for id in (job.job_id, *job.after))
            keys += self._claimed(job.job_id) if job.claim else ()
            keys += () if job.unique is None else (self._keys.unique(job.unique),)
            args += job.job_id, delayed_member(job.name, job.envelope, job.priority)
            args += "r" if job.runs_anyway else "f", job.claim, "" if job.unique is None else job.window_ms
            args += len(job.after), *job.after
        reply = await self._tally.run(scripts.AWAIT, keys, args)
        if reply == -1:
            raise Full
        return [_answer(answer) for answer in reply]

    async def forget(self) -> None:
        """Drop this producer's memory on the server; it is going away."""
        await self._client.call(b"DEL", self._sent, self._next)


def _answer(reply: int | bytes) -> Answer:
    if isinstance(reply, int):
        return reply == 1
    kind, job_id = reply[:1], reply[1:].decode()
    if kind in b"um":
        return Obstacle(job_id, crowded=kind == b"m")
    return Holder(job_id, done=kind == b"h")
