"""The events service: writes notices to the events stream, best effort, in pipelined batches. It closes last."""

from __future__ import annotations

import logging

from redis.exceptions import RedisError

from .._core.keys import Keys
from .._redis.client import Client
from .._store import events
from ..errors import RedisUnavailable
from .batches import batches
from .channels import Bulletin

logger = logging.getLogger("anyq.events")

#: Events in one write: what else goes over the connection waits no longer than the server takes for these.
_LARGEST_BATCH = 1000


class Events:
    """Writes the notices of one queue."""

    def __init__(self, *, queue: str, client: Client, keys: Keys, bulletin: Bulletin, keep: int) -> None:
        self._queue = queue
        self._client = client
        self._keys = keys
        self._bulletin = bulletin
        self._keep = keep
        self._failing = False

    async def run(self) -> None:
        """Write until the input ends. What cannot be written is dropped and counted: an event never slows a job."""
        async for batch in batches(self._bulletin.notices, _LARGEST_BATCH):
            try:
                replies = await events.append(self._client, self._keys, batch, self._keep)
                refused = [reply for reply in replies if isinstance(reply, Exception)]
            except (RedisUnavailable, RedisError) as error:
                replies = refused = [error]
            self._bulletin.dropped += len(batch) * len(refused) // len(replies)
            if bool(refused) != self._failing:
                self._failing = bool(refused)
                if refused:
                    logger.warning("%s: events are being dropped: %s", self._queue, refused[0])
                else:
                    logger.info("%s: events are written again", self._queue)
