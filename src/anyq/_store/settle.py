"""Ending deliveries: every verb is idempotent, and a reply of "not ours" needs no action."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import attrs
import msgpack

from .._core.codec import member_id
from .._core.keys import GROUP, Keys
from .._redis.client import Argument, Client
from .._redis.scripts import Script
from . import scripts
from .belongings import Belonging, as_words, waited_for
from .cancels import kept_ms
from .tally import MINUTES, Tally

#: The reply of `Settling.retry` for a job that is not to come back, and of `Settling.end_cancelled` for one that is not
#: to end: nothing was done.
CANCELLED: Final = 2
NOT_ASKED: Final = 2

#: A list of byte strings for a script's `cmsgpack`, which is older than MessagePack's type for bytes.
_as_list = msgpack.Packer(use_bin_type=False).pack


@attrs.frozen
class Kept:
    """A finished job that leaves more behind than its entry: a result that is kept, or keys that end with it.

    Attributes:
        entry: Its entry id.
        job_id: Its id.
        result: The encoded result.
        ttl: Seconds to keep it; 0 keeps nothing.
        owned: What ends with the job.
    """

    entry: bytes
    job_id: str
    result: bytes
    ttl: float
    owned: Sequence[Belonging] = ()


@attrs.frozen
class Letter:
    """A job to be made a dead letter.

    Attributes:
        entry: Its entry id.
        fields: Fields and values of the dead letter, one after the other.
        job_id: Its id, if it has a readable one.
        failure: What to tell whoever waits for the result, encoded.
        ttl: Seconds to keep that; 0 keeps nothing.
        owned: What ends with the job.
    """

    entry: bytes
    fields: Sequence[bytes | str]
    job_id: str = ""
    failure: bytes = b""
    ttl: float = 0.0
    owned: Sequence[Belonging] = ()


@attrs.frozen
class Cut:
    """A job to be ended because somebody cancelled it.

    Attributes:
        entry: Its entry id.
        job_id: Its id.
        failure: What to tell whoever asks for the result, encoded.
        ttl: Seconds for which its result would have been kept; 0 for none.
        owned: What ends with it.
    """

    entry: bytes
    job_id: str
    failure: bytes
    ttl: float = 0.0
    owned: Sequence[Belonging] = ()


class Settling:
    """How one consumer ends its deliveries of one queue.

    Args:
        client: The connection.
        keys: The queue's keys.
        consumer: The consumer's name.
        dead_letters: How many dead letters are kept.
        minutes: Minutes of history that are kept.
    """

    def __init__(
        self,
        client: Client,
        keys: Keys,
        consumer: bytes,
        *,
        dead_letters: int,
        minutes: int = MINUTES,
    ) -> None:
        self._client = client
        self._keys = keys
        self._consumer = consumer
        self._dead_letters = dead_letters
        self._tally = Tally(client, keys, minutes)

    @property
    def shared(self) -> bool:
        """Whether programs other than AnyQ's may work on the queue."""
        return self._keys.shared

    async def ack(self, lane: bytes, entries: Sequence[bytes]) -> list[int]:
        """Acknowledge and delete; 1 per entry that was still there, else -1."""
        replies = await self._counting(scripts.ACK, (lane,), (GROUP, _as_list(entries)))
        return replies or [1] * len(entries)

    async def complete(self, lane: bytes, done: Sequence[Kept]) -> list[int]:
        """Acknowledge, delete, write results, end what jobs own, wake who waits; 1 per entry that was still pending."""
        keys = [lane]
        args: list[Argument] = [GROUP]
        for kept in done:
            keeps = kept.ttl > 0
            owned, words = as_words(kept.owned)
            keys += self._keys.result(kept.job_id), *owned
            args += kept.entry, max(1, round(kept.ttl * 1000)) if keeps else 0, kept.result
            args += self._keys.finished(kept.job_id) if keeps or waited_for(kept.owned) else b"", *words
        return await self._counting(scripts.COMPLETE, keys, args)

    async def retry(
        self, lane: bytes, moves: Sequence[tuple[bytes, int, bytes]], *, failed: Collection[bytes] = ()
    ) -> list[int]:
        """Move jobs to the delayed set: (entry, milliseconds from now, member).

        Args:
            lane: The stream they lie in.
            moves: The jobs.
            failed: The entries of those of which a run failed: these are counted as retried.

        Returns:
            Per entry 1: it was still ours, and is moved; `CANCELLED`: it is, and somebody cancelled its job meanwhile.
        """
        keys = [lane, self._keys.delayed, self._keys.cancels, self._keys.parked]
        args: list[Argument] = [GROUP, self._consumer, self._keys.due]
        for entry, delay_ms, member in moves:
            job_id = member_id(member) or ""
            keys.append(self._keys.delayed_member(job_id))
            args += entry, delay_ms, member, job_id, int(entry in failed)
        return await self._counting(scripts.RETRY, keys, args)

    async def bury(self, lane: bytes, letters: Sequence[Letter]) -> tuple[list[int], int]:
        """Move jobs to the dead letters; 1 per entry that was still ours, and how many old letters were trimmed."""
        keys = [lane, self._keys.dead_letters, self._keys.trimmed]
        args: list[Argument] = [GROUP, self._consumer, self._dead_letters]
        for letter in letters:
            keeps = letter.ttl > 0
            owned, words = as_words(letter.owned)
            keys += self._keys.failure(letter.job_id), *owned
            channel = self._keys.finished(letter.job_id) if keeps or waited_for(letter.owned) else b""
            args += letter.entry, max(1, round(letter.ttl * 1000)) if keeps else 0, letter.failure, channel
            args += len(letter.fields), *letter.fields, *words
        *moved, trimmed = await self._counting(scripts.BURY, keys, args)
        return moved, trimmed

    async def end_cancelled(self, lane: bytes, jobs: Sequence[Cut]) -> list[int]:
        """End jobs that somebody cancelled: as `Cut` says.

        Returns:
            Per entry 1: it was still ours, and is ended; `NOT_ASKED`: it is, but nobody asks for it any more.
        """
        keys = [lane, self._keys.cancels]
        args: list[Argument] = [GROUP, self._consumer]
        for job in jobs:
            owned, words = as_words(job.owned)
            keys += self._keys.failure(job.job_id), *owned
            args += job.entry, job.job_id, job.failure, kept_ms(job.ttl), self._keys.finished(job.job_id)
            args += words
        return await self._counting(scripts.END_CANCELLED, keys, args)

    async def hand_back(self, lane: bytes, entries: Sequence[bytes]) -> list[int]:
        """Hand entries back unstarted; 1 per entry that was still ours."""
        return await self._run(
            scripts.HAND_BACK, (lane, self._keys.returned), (GROUP, self._consumer, *entries)
        )

    async def set_aside(self, lane: bytes, task: str, entries: Sequence[tuple[bytes, int]]) -> list[int]:
        """Set jobs of a paused task aside: (entry, priority).

        Returns:
            1 per entry that was still ours, 2 if the task is not paused any more: then it was handed back.
        """
        keys = (lane, self._keys.pauses, self._keys.aside(task), self._keys.returned)
        args: list[Argument] = [GROUP, self._consumer, task]
        for entry in entries:
            args += entry
        return await self._run(scripts.SET_ASIDE, keys, args)

    async def _run(self, script: Script, keys: Sequence[bytes], args: Sequence[Argument]) -> list[int]:
        reply: list[int] = await self._client.run(script, keys, args)
        return reply

    async def _counting(self, script: Script, keys: Sequence[bytes], args: Sequence[Argument]) -> list[int]:
        reply: list[int] = await self._tally.run(script, keys, args)
        return reply
