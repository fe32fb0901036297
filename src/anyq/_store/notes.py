"""What running jobs tell: written by the worker that runs them, read by whoever has a handle."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from .._core.keys import GROUP, Keys
from .._redis.client import Argument, Client
from . import scripts

#: Milliseconds that both keys last after the last writing, should no script end their job: a week.
_OUTLIVES = 7 * 24 * 3600 * 1000


@attrs.frozen
class Note:
    """What a job told since the last writing.

    Attributes:
        entry: Its entry id.
        job_id: Its id.
        number: Which writing of this run it is: sent again, it takes effect once.
        progress: How far it is, encoded; empty when it did not say.
        lines: Lines of its log, encoded.
    """

    entry: bytes
    job_id: str
    number: int
    progress: bytes
    lines: Sequence[bytes]


@attrs.frozen
class Noting:
    """How one consumer writes down what its jobs tell.

    Attributes:
        client: The connection.
        keys: The queue's keys.
        consumer: The consumer's name.
        lines: Lines of a log that are kept.
        size: Bytes of a log that are kept.
    """

    client: Client
    keys: Keys
    consumer: bytes
    lines: int
    size: int

    async def note(self, lane: bytes, notes: Sequence[Note]) -> list[int]:
        """Write; 1 per job that was still ours."""
        keys = [lane]
        args: list[Argument] = [GROUP, self.consumer, self.lines, self.size, _OUTLIVES]
        for note in notes:
            keys += self.keys.progress(note.job_id), self.keys.log(note.job_id)
            args += note.entry, b"%b:%d" % (note.entry, note.number), note.progress, len(note.lines)
            args += note.lines
        reply: list[int] = await self.client.run(scripts.NOTE, keys, args)
        return reply


async def progress(client: Client, keys: Keys, job_id: str) -> bytes | None:
    """Get how far a job said that it is."""
    found: bytes | None = await client.call(b"HGET", keys.progress(job_id), b"progress")
    return found


async def log(client: Client, keys: Keys, job_id: str) -> list[bytes]:
    """Get the lines that are kept of a job's log."""
    lines: list[bytes] = await client.call(b"LRANGE", keys.log(job_id), 0, -1)
    return lines
