"""What this worker holds: every entry from the moment its delivery arrived until Redis confirmed how it ended.

The ledger, not the channel, is the record: it is filled before an entry is handed on, so whatever happens to the
hand-over, the entry is renewed, and handed back or reported at the end.
"""

from __future__ import annotations

from collections.abc import Iterable

import anyio

from .._core.entry import Spoiled
from .._core.job import Job


class Ledger:
    """The held entries of one queue.

    Args:
        lanes: The streams that are read.
    """

    __slots__ = ("_awaited", "lanes")

    def __init__(self, lanes: Iterable[bytes]) -> None:
        self.lanes: dict[bytes, dict[bytes, Job | Spoiled]] = {lane: {} for lane in lanes}
        self._awaited: anyio.Event | None = None

    def settled(self, lane: bytes, entry: bytes) -> None:
        """Strike an entry out; its end is confirmed."""
        self.lanes[lane].pop(entry, None)
        self.look()

    def holds(self, job: Job) -> bool:
        """Tell whether a job is held."""
        return job.entry in self.lanes[job.lane]

    def look(self) -> None:
        """Wake who waits for the ledger to be empty, if it is; for those who struck many entries out themselves."""
        if self._awaited is not None and not len(self):
            self._awaited.set()

    async def empty(self) -> None:
        """Wait until nothing is held."""
        if len(self):
            if self._awaited is None or self._awaited.is_set():
                self._awaited = anyio.Event()
            await self._awaited.wait()

    def jobs(self) -> list[Job]:
        """List the jobs that are held."""
        return [job for held in self.lanes.values() for job in held.values() if isinstance(job, Job)]

    def __len__(self) -> int:
        return sum(len(held) for held in self.lanes.values())
