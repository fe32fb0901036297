"""The trimmer: drops dead letters that are too old, where a queue's retention says so.

It looks when the worker starts and every minute then, in small bites; what it drops is logged and counted.
"""

from __future__ import annotations

import logging
import random

import anyio

from .._core.keys import Keys
from .._redis.client import Client
from .._store import dead_letters
from .patience import Patience

logger = logging.getLogger("anyq.dead_letters")

#: Seconds between two looks.
_PAUSE = 60.0


class Trimmer:
    """Keeps the dead letters of one queue within their age.

    Args:
        queue: The queue's name.
        client: The connection.
        keys: The queue's keys.
        patience: How it meets trouble.
        age: Seconds for which a letter is kept.
    """

    def __init__(self, *, queue: str, client: Client, keys: Keys, patience: Patience, age: float) -> None:
        self._queue = queue
        self._client = client
        self._keys = keys
        self._patience = patience
        self._age = age

    async def run(self) -> None:
        """Trim until cancelled."""
        while True:
            await self._trim()
            pause = min(_PAUSE, max(1.0, self._age))
            await anyio.sleep(random.uniform(pause / 2, pause))

    async def _trim(self) -> None:
        trimmed, more = 0, True
        while more:
            dropped, more = await self._patience(dead_letters.trim, self._client, self._keys, self._age)
            trimmed += dropped
        if trimmed:
            logger.warning("%s: %d dead letters were trimmed for their age", self._queue, trimmed)
