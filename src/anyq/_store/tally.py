"""How a verb runs a script that counts: with the keys and the number that ``_count.lua`` takes from the end.

Whatever is counted is counted by the script that does it; nobody counts anything besides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._core.keys import Keys
from .._redis.client import Argument, Client
from .._redis.scripts import Script
from ..settings import Retention

#: Minutes of history that are kept, unless a queue says otherwise.
MINUTES = Retention().history_minutes


class Tally:
    """Where a queue's scripts count.

    Args:
        client: The connection.
        keys: The queue's keys.
        minutes: Minutes of history that are kept.
    """

    __slots__ = ("_args", "_client", "_keys")

    def __init__(self, client: Client, keys: Keys, minutes: int = MINUTES) -> None:
        self._client = client
        self._keys = (keys.counts, keys.history)
        self._args = (minutes,)

    async def run(self, script: Script, keys: Sequence[Argument], args: Sequence[Argument]) -> Any:
        """Run a script that begins with ``_count.lua``."""
        return await self._client.run(script, (*keys, *self._keys), (*args, *self._args))

    def words(
        self, keys: Sequence[Argument], args: Sequence[Argument]
    ) -> tuple[Sequence[Argument], Sequence[Argument]]:
        """Give what such a script is called with, for those who call it themselves."""
        return (*keys, *self._keys), (*args, *self._args)
