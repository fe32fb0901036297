"""Moving due jobs into the stream."""

from __future__ import annotations

import attrs

from .._core.codec import envelope_id
from .._core.keys import Keys
from .._redis.client import Client
from . import leading, scripts
from .leading import COURTESY_MS, LOCK_MS
from .tally import MINUTES, Tally


@attrs.frozen
class Promotion:
    """What one look at the delayed jobs did.

    Attributes:
        jobs: Name and id of each job moved; the id is ``None`` where it could not be read.
        next_due: Seconds until the next one is due; ``None`` if none waits.
        waiting: How many are left.
        late: Seconds by which the first one was late.
        leads: Whether this worker holds the lock.
        spoiled: Members that are no jobs, made dead letters.
    """

    jobs: list[tuple[str, str | None]]
    next_due: float | None
    waiting: int
    late: float
    leads: bool
    spoiled: int


class Promoting:
    """How one consumer promotes the delayed jobs of one queue."""

    def __init__(self, client: Client, keys: Keys, consumer: bytes, minutes: int = MINUTES) -> None:
        self._client = client
        self._tally = Tally(client, keys, minutes)
        self._keys = keys
        self._consumer = consumer

    async def promote(self, limit: int) -> Promotion:
        """Move up to ``limit`` due jobs into the stream."""
        keys = (
            self._keys.delayed,
            self._keys.stream,
            self._keys.dead_letters,
            self._keys.promoter_lock,
            self._keys.parked,
            *self._keys.priority_lanes,
        )
        _, next_ms, waiting, late_ms, leads, spoiled, *heads = await self._tally.run(
            scripts.PROMOTE, keys, (self._consumer, LOCK_MS, limit, COURTESY_MS, self._keys.widened)
        )
        jobs = [
            (heads[index].decode("utf-8", "replace"), envelope_id(heads[index + 1]))
            for index in range(0, len(heads), 2)
        ]
        # Only now are their ids known, and with them the keys of the index that finds delayed jobs; it has served. Left
        # over by a crash it says nothing, for what is delayed is what lies in `delayed`, and it runs out by itself.
        spent = [self._keys.delayed_member(job_id) for _, job_id in jobs if job_id is not None]
        if spent:
            await self._client.run(scripts.UNINDEX, (self._keys.delayed, *spent), ())
        return Promotion(
            jobs, None if next_ms < 0 else next_ms / 1000, waiting, late_ms / 1000, bool(leads), spoiled
        )

    async def resign(self) -> None:
        """Give the lock up, if it is ours, so that somebody else promotes on time at once."""
        await leading.resign(self._client, self._keys.promoter_lock, self._consumer)
