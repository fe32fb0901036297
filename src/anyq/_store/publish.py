"""Adding jobs: each verb is one script that takes effect once, however often the same batch is sent."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from .._core.codec import envelope_id
from .._core.keys import Keys
from .._redis.client import Client
from . import scripts

#: Seconds for which the server remembers which batches of a producer took effect: far longer than anybody resends.
_REMEMBERED = 3600


class Full(Exception):
    """The stream holds ``max_length`` jobs; nothing was added."""


@attrs.frozen
class Addition:
    """A job to be added.

    Attributes:
        name: The task's name.
        envelope: The job, encoded.
        job_id: Its id, when the caller chose it; ``None`` for a made one, which needs no check.
        delay_ms: Milliseconds to wait, by the server's clock.
        due_ms: The epoch millisecond it is due, instead of a delay.
    """

    name: str
    envelope: bytes
    job_id: str | None = None
    delay_ms: int | None = None
    due_ms: int | None = None

    @property
    def delayed(self) -> bool:
        """Whether it waits for its time."""
        return self.delay_ms is not None or self.due_ms is not None

    @property
    def plain(self) -> bool:
        """Whether it is ready at once and needs no check: the common case, and the quick script."""
        return self.job_id is None and self.delay_ms is None and self.due_ms is None


class Publishing:
    """How one producer adds jobs to one queue.

    Args:
        client: The connection.
        keys: The queue's keys.
        producer: This producer's random name: batches are counted per producer.
        keep_ids: Seconds past a job's due time for which its chosen id stays taken.
    """

    def __init__(self, client: Client, keys: Keys, producer: bytes, keep_ids: float) -> None:
        self._client = client
        self._keys = keys
        self._producer = producer
        self._sent = keys.sent(producer)
        self._keep = round(keep_ids * 1000)

    async def publish(self, batch: int, lowest: int, jobs: Sequence[Addition], max_length: int) -> None:
        """Add plain jobs, as batch number ``batch``; ``lowest`` is the lowest batch not yet answered.

        Raises:
            Full: There is no room for all of them under ``max_length`` (0: no limit); nothing was added.
        """
        args: list[bytes | str | int] = [batch, lowest, max_length, _REMEMBERED]
        for job in jobs:
            args.append(job.name)
            args.append(job.envelope)
        if await self._client.run(scripts.PUBLISH, (self._keys.stream, self._sent), args) != 1:
            raise Full

    async def schedule(
        self, batch: int, lowest: int, jobs: Sequence[Addition], max_length: int
    ) -> list[bool]:
        """Add jobs that are delayed or have a chosen id; tell for each whether it is new.

        Raises:
            Full: There is no room for all that are ready now; nothing was added.
        """
        keys = [self._keys.stream, self._keys.delayed, self._sent]
        token = b"%b:%d" % (self._producer, batch)
        args: list[bytes | str | int] = [batch, lowest, max_length, _REMEMBERED, token, self._keys.due]
        for job in jobs:
            if job.due_ms is not None:
                args += "at", job.due_ms
            elif job.delay_ms is not None:
                args += "in", job.delay_ms
            else:
                args += "", 0
            args += job.name, job.envelope, self._keep if job.job_id is not None else 0
            if job.job_id is not None:
                keys.append(self._keys.taken_id(job.job_id))
            if job.delayed:
                keys.append(self._keys.delayed_member(job.job_id or envelope_id(job.envelope) or ""))
        reply = await self._client.run(scripts.SCHEDULE, keys, args)
        if reply == -1:
            raise Full
        return [answer == 1 for answer in reply]

    async def forget(self) -> None:
        """Drop this producer's memory on the server; it is going away."""
        await self._client.call(b"DEL", self._sent)
