"""Replaying and deleting dead letters, in batches, each sent until it is answered.

Rule: nothing here touches Redis but through the verbs of `_store.dead_letters`; they may be sent again, so an outage in
the middle doubles no job and miscounts nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Final

import anyio
import attrs
from redis.exceptions import RedisError

from ._core.dead_letters import Hopeless, Raw, Revived, revive
from ._core.keys import Keys
from ._place import Place
from ._redis.client import Client
from ._services.hesitation import Hesitation
from ._store.dead_letters import Mending
from ._store.publish import Full
from .errors import AnyQError

#: Letters that one script replays or deletes: a bounded time in which the server serves nobody else.
AT_ONCE: Final = 200

#: Pauses of a replay that waits for room, in seconds.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 0.5

#: Why a letter stays.
GONE: Final = "there is no such dead letter"
_HELD: Final = {
    b"id": "another job has its id by now",
    b"unique": "another job holds its unique key",
}


@attrs.frozen(kw_only=True)
class Replayed:
    """What a replay came to.

    Attributes:
        count: Jobs that are ready again.
        left: The letters that stay dead letters, by their ids, and why each of them does.
    """

    count: int
    left: Mapping[str, str]


class Mender:
    """One replay, or one deletion.

    Args:
        queue: The queue.
        largest: The largest job that it takes, in bytes.

    Attributes:
        count: Letters that were replayed, or deleted.
        left: Those that stay, and why.
    """

    def __init__(self, queue: Place, largest: int) -> None:
        self._queue = queue
        self._largest = largest
        self._token = os.urandom(9).hex().encode()
        self._number = 0
        self.count = 0
        self.left: dict[str, str] = {}

    @property
    def replayed(self) -> Replayed:
        """What the replay came to so far."""
        return Replayed(count=self.count, left=self.left)

    async def replay(self, found: Sequence[Raw], *, named: bool) -> None:
        """Replay letters, when there is room for them.

        Args:
            found: The letters, whole.
            named: Whether just these are meant; of all letters, one that is gone since it was read is no news: somebody
                else's replay took it along.
        """
        revived: list[Revived] = []
        for raw in found:
            letter = revive(raw, self._largest)
            if isinstance(letter, Hopeless):
                self.left[letter.id.decode()] = letter.why
            else:
                revived.append(letter)
        # A batch that fills the whole queue would wait until it is empty, and starve beside producers.
        longest = max(1, self._queue.max_length // 10) if self._queue.max_length else AT_ONCE
        for start in range(0, len(revived), longest):
            batch = revived[start : start + longest]
            for letter, answer in zip(batch, await self._replay(batch), strict=True):
                if answer == 1:
                    self.count += 1
                elif isinstance(answer, bytes):
                    self.left[letter.id.decode()] = _HELD.get(answer, "Redis refused it")
                elif named:
                    self.left[letter.id.decode()] = GONE

    async def delete(self, ids: Sequence[bytes]) -> None:
        """Delete letters."""
        self._number += 1
        self.count += await self._queue.ask("the dead letters", self._send_delete, self._number, ids)

    async def end(self) -> None:
        """Tidy up on the server. Best effort: what is remembered there runs out by itself."""
        if self._number:
            try:
                await self._mending(self._queue.session.client, self._queue.keys).forget()
            except (AnyQError, RedisError):
                return

    async def _replay(self, batch: Sequence[Revived]) -> Sequence[int | bytes]:
        self._number += 1
        hesitation = Hesitation(_FIRST_PAUSE, _LONGEST_PAUSE)
        while True:
            try:
                return await self._queue.ask("the dead letters", self._send_replay, self._number, batch)
            except Full:
                await anyio.sleep(hesitation.next())

    async def _send_replay(
        self, client: Client, keys: Keys, number: int, batch: Sequence[Revived]
    ) -> list[int | bytes]:
        return await self._mending(client, keys).replay(number, batch, self._queue.max_length or 0)

    async def _send_delete(self, client: Client, keys: Keys, number: int, ids: Sequence[bytes]) -> int:
        return await self._mending(client, keys).delete(number, ids)

    def _mending(self, client: Client, keys: Keys) -> Mending:
        return Mending(client, keys, self._token, self._queue.retention.history_minutes)
