"""Looking at dead letters, and mending: each change is one script that gives the same answers when it is sent again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from redis.exceptions import RedisError

from .._core.dead_letters import Raw, Revived
from .._core.keys import DEFAULT_PRIORITY, Keys
from .._redis.client import Argument, Client
from . import scripts
from .publish import Full, claims_ms
from .tally import MINUTES, Tally

#: Seconds for which the server remembers the last batch of a replay or a deletion: far longer than anybody resends.
_REMEMBERED = 3600

#: Letters that one script looks at: a bounded time in which the server serves nobody else.
_STRETCH = 1000

#: Groups of letters that one script gives.
_GROUPS_AT_ONCE = 500

#: Letters that one script trims, about.
_TRIMMED_AT_ONCE = 1000

#: Bytes of an envelope that are read of each letter when its arguments are not wanted: many are whole then.
HEAD = 1024

#: The whole envelope, and the fields of an entry that had none.
WHOLE = -1


@attrs.frozen
class Range:
    """Which letters are meant.

    Attributes:
        first: The lowest id, or ``-``.
        last: The highest id, or ``+``.
        conditions: Fields of the letter and what they must be; ``job`` is a piece of its envelope's head.
    """

    first: bytes = b"-"
    last: bytes = b"+"
    conditions: Mapping[str, str] = {}

    @property
    def everything(self) -> bool:
        """Whether all letters are meant."""
        return not self.conditions and self.first == b"-" and self.last == b"+"


async def count(client: Client, keys: Keys) -> int:
    """How many dead letters there are."""
    found: int = await client.call(b"XLEN", keys.dead_letters)
    return found


async def trimmed(client: Client, keys: Keys) -> int:
    """How many were ever trimmed."""
    return int(await client.call(b"GET", keys.trimmed) or 0)


async def newest(client: Client, keys: Keys) -> bytes | None:
    """The id of the one that died last."""
    _, *found = await _look(client, keys, Range(), newest_first=True, wanted=1, looks=1, given=0)
    return found[0][0] if found else None


async def matches(client: Client, keys: Keys, where: Range) -> tuple[int, Range | None]:
    """Count the letters in a stretch; and give the range that is left to look at."""
    reached, number = await _look(client, keys, where, wanted=0, looks=_STRETCH, given=0)
    return number, _rest(where, reached, newest_first=False)


async def look(
    client: Client, keys: Keys, where: Range, wanted: int, *, newest_first: bool = False, given: int = HEAD
) -> tuple[list[Raw], Range | None]:
    """Read letters from a stretch, ``wanted`` at most; and give the range that is left to look at."""
    reached, *found = await _look(
        client, keys, where, newest_first=newest_first, wanted=wanted, looks=_STRETCH, given=given
    )
    rows = [_raw(row[0], row[1], row[2], row[3:]) for row in found]
    return rows, _rest(where, reached, newest_first=newest_first)


async def errors(client: Client, keys: Keys, where: Range) -> tuple[list[Any], Range | None]:
    """Group the letters of a stretch by what went wrong; and give the range that is left to look at."""
    conditions = [word for condition in where.conditions.items() for word in condition]
    args: tuple[Argument, ...] = (where.first, where.last, _STRETCH, _GROUPS_AT_ONCE, *conditions)
    reached, *groups = await client.run(scripts.ERRORS, (keys.dead_letters,), args)
    return groups, _rest(where, reached, newest_first=False)


async def fetch(client: Client, keys: Keys, ids: Sequence[bytes]) -> list[Raw | None]:
    """Read letters by their ids, whole; ``None`` for one that is not there."""
    replies = await client.call_many([(b"XRANGE", keys.dead_letters, id, id) for id in ids])
    found: list[Raw | None] = []
    for reply in replies:
        if isinstance(reply, RedisError):
            raise reply
        if not reply:
            found.append(None)
            continue
        [(id, flat)] = reply
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        envelope = fields.pop(b"d", b"")
        found.append(Raw(id, len(envelope), envelope, fields))
    return found


class Mending:
    """One replay, or one deletion: batches with numbers, each of which takes effect once.

    Args:
        client: The connection.
        keys: The queue's keys.
        token: A random name.
        minutes: Minutes of history that are kept.
    """

    def __init__(self, client: Client, keys: Keys, token: bytes, minutes: int = MINUTES) -> None:
        self._client = client
        self._tally = Tally(client, keys, minutes)
        self._keys = keys
        self._memory = keys.mended(token)

    async def replay(self, batch: int, letters: Sequence[Revived], max_length: int) -> list[int | bytes]:
        """Make letters ready jobs again; per letter 1, or 0: gone, or ``id`` or ``unique``: what somebody else holds.

        Raises:
            Full: There is no room for all of them under ``max_length`` (0: no limit); nothing was done.
        """
        counted = (self._keys.pauses, *self._keys.all_lanes)
        keys = [
            self._keys.dead_letters,
            self._keys.stream,
            self._memory,
            self._keys.cancels,
            *counted,
        ]
        args: list[Argument] = [batch, _REMEMBERED, max_length, claims_ms(self._keys), len(counted)]
        args.append(self._keys.widened)
        for letter in letters:
            extras = letter.extras
            keys += self._keys.result(letter.job_id), self._keys.failure(letter.job_id)
            if extras.claim:
                keys.append(self._keys.taken_id(letter.job_id))
            if extras.unique:
                keys.append(self._keys.unique(extras.unique))
            args += (
                letter.id,
                letter.name,
                letter.envelope,
                extras.claim,
                letter.job_id if extras.unique else b"",
                b"" if self._keys.shared or extras.priority == DEFAULT_PRIORITY else extras.priority,
            )
        reply: Any = await self._tally.run(scripts.REPLAY, keys, args)
        if reply == -1:
            raise Full
        return list(reply)

    async def delete(self, batch: int, ids: Sequence[bytes]) -> int:
        """Delete letters; give how many there were."""
        keys = (self._keys.dead_letters, self._memory)
        deleted: int = await self._client.run(scripts.DISCARD, keys, (batch, _REMEMBERED, *ids))
        return deleted

    async def forget(self) -> None:
        """Drop the memory on the server; all batches were answered."""
        await self._client.call(b"DEL", self._memory)


async def trim(client: Client, keys: Keys, age: float) -> tuple[int, bool]:
    """Drop letters that are older than ``age`` seconds; give how many, and whether there may be more."""
    dropped, more = await client.run(
        scripts.TRIM, (keys.dead_letters, keys.trimmed), (max(1, round(age * 1000)), _TRIMMED_AT_ONCE)
    )
    return dropped, bool(more)


async def _look(
    client: Client,
    keys: Keys,
    where: Range,
    *,
    wanted: int,
    looks: int,
    given: int,
    newest_first: bool = False,
) -> list[Any]:
    conditions = [word for condition in where.conditions.items() for word in condition]
    args: tuple[Argument, ...] = (
        where.first,
        where.last,
        int(newest_first),
        wanted,
        looks,
        given,
        *conditions,
    )
    found: list[Any] = await client.run(scripts.LETTERS, (keys.dead_letters,), args)
    return found


def _rest(where: Range, reached: bytes, *, newest_first: bool) -> Range | None:
    if not reached:
        return None
    return attrs.evolve(where, last=reached) if newest_first else attrs.evolve(where, first=reached)


def _raw(id: bytes, size: int, envelope: bytes, flat: Sequence[bytes]) -> Raw:
    return Raw(id, size, envelope, dict(zip(flat[::2], flat[1::2], strict=True)))
