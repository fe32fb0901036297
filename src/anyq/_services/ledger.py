"""What this worker holds: every entry from the moment its delivery arrived until Redis confirmed how it ended.

The ledger, not the channel, is the record: it is filled before an entry is handed on, so whatever happens to the
hand-over, the entry is renewed, and handed back or reported at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import anyio

from .._core.entry import Spoiled
from .._core.job import Job


class Ledger:
    """The held entries of one queue.

    Args:
        lanes: The streams that are read.
    """

    __slots__ = ("_struck", "lanes")

    def __init__(self, lanes: Iterable[bytes]) -> None:
        self.lanes: dict[bytes, dict[bytes, Job | Spoiled]] = {lane: {} for lane in lanes}
        self._struck: anyio.Event | None = None

    def open(self, lanes: Iterable[bytes]) -> None:
        """Hold entries of these lanes too."""
        # A new map: others may be in the middle of the old one.
        self.lanes = {**{lane: {} for lane in lanes}, **self.lanes}

    def settled(self, lane: bytes, entry: bytes) -> None:
        """Strike an entry out; its end is confirmed."""
        self.lanes[lane].pop(entry, None)
        self.look()

    def holds(self, job: Job) -> bool:
        """Tell whether a job is held."""
        return job.entry in self.lanes[job.lane]

    def look(self) -> None:
        """Wake who waits for entries to be struck out; for those who struck many out themselves."""
        if self._struck is not None:
            self._struck.set()
            self._struck = None

    async def empty(self) -> None:
        """Wait until nothing is held."""
        await self._until(lambda: not len(self))

    async def rid_of(self, jobs: Sequence[Job]) -> None:
        """Wait until none of these is held."""
        await self._until(lambda: not any(map(self.holds, jobs)))

    async def _until(self, true: Callable[[], bool]) -> None:
        while not true():
            if self._struck is None:
                self._struck = anyio.Event()
            await self._struck.wait()

    def jobs(self) -> list[Job]:
        """List the jobs that are held."""
        return [job for held in self.lanes.values() for job in held.values() if isinstance(job, Job)]

    def __len__(self) -> int:
        return sum(len(held) for held in self.lanes.values())
