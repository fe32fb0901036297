"""The journal: writes down what running jobs tell, their progress and their logs, at most some times a second.

A handler never waits for Redis: what it tells is gathered (`Notes`) and written here, for all jobs in one script. The
last of it is written before the end of the run is: relocators call `flush`. What cannot be written is dropped: telling
never fails or holds up a job.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Iterable, Sequence

import anyio
import msgpack
from anyio import from_thread
from redis.exceptions import RedisError

from .._core import notices
from .._core.job import Job
from .._core.notes import Notes, pack_line, pack_progress
from .._store.notes import Note, Noting
from ..errors import ConfigurationError
from .channels import Bulletin
from .clock import wall_ms
from .patience import Patience

logger = logging.getLogger("anyq.journal")

#: Seconds between two writings.
_EVERY = 0.25

#: Jobs in one script, and bytes of their logs: a bounded time in which the server serves nobody else.
_LARGEST_BATCH, _LARGEST_BYTES = 100, 1024 * 1024


class Journal:
    """Writes down what the running jobs of one queue tell."""

    def __init__(self, *, queue: str, noting: Noting, patience: Patience, bulletin: Bulletin) -> None:
        self._queue = queue
        self._noting = noting
        self._patience = patience
        self._bulletin = bulletin
        self._thread = threading.get_ident()
        self._waiting: list[Job] = []
        self._wanted = anyio.Event()
        self._writing = anyio.Lock()
        self._failing = False

    # -- what handlers call, from any thread ----------------------------------------------------------------------

    def progress(self, job: Job, current: object, total: object, message: object) -> None:
        """Note how far a job is."""
        if (notes := self._notes(job)).tell(pack_progress(current, total, message, wall_ms(), job.attempt)):
            self._tell(job, notes)

    def log(self, job: Job, text: object) -> None:
        """Note a line of a job's log."""
        line = pack_line(text, self._noting.size, wall_ms(), job.attempt)
        if (notes := self._notes(job)).log(line):
            self._tell(job, notes)

    def _notes(self, job: Job) -> Notes:
        notes = job.notes
        if notes is None:
            notes = job.notes = Notes(self._noting.lines, self._noting.size)
            job.recorded = True  # its end is more than a bare acknowledgement now
        return notes

    def _tell(self, job: Job, notes: Notes) -> None:
        """Say that a job has told something, once until that is written."""
        if job.ended or job.cut is not None:  # its end takes along what there is; and the loop may be gone
            notes.awaited = False
        elif threading.get_ident() == self._thread:
            self._want(job)
        else:
            try:
                from_thread.run_sync(self._want, job)
            except RuntimeError:
                # A thread that the handler started itself: the next one tells, or the job's end.
                notes.awaited = False

    def _want(self, job: Job) -> None:
        self._waiting.append(job)
        self._wanted.set()

    # -- what is done about it ------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Write what gathers, until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted = anyio.Event()
            waiting, self._waiting = self._waiting, []
            await self.flush(waiting)
            await anyio.sleep(_EVERY)

    async def flush(self, jobs: Iterable[Job]) -> None:
        """Write all that these jobs have told so far."""
        if not any(job.notes is not None for job in jobs):
            return
        async with self._writing:  # one after the other: what is written last is what was told last
            lanes: dict[bytes, list[Job]] = defaultdict(list)
            for job in jobs:
                if job.notes is not None and job.notes.fresh:
                    lanes[job.lane].append(job)
            for lane, telling in lanes.items():
                for start in range(0, len(telling), _LARGEST_BATCH):
                    await self._write(lane, telling[start : start + _LARGEST_BATCH])

    async def _write(self, lane: bytes, jobs: Sequence[Job]) -> None:
        batch: list[Note] = []
        told: list[Job] = []
        weight = 0
        for job in jobs:
            assert job.notes is not None
            progress, lines = job.notes.take()
            batch.append(Note(job.entry, job.id, job.notes.written, progress, lines))
            told.append(job)
            weight += sum(map(len, lines))
            if weight > _LARGEST_BYTES:
                await self._send(lane, batch, told)
                batch, told, weight = [], [], 0
        if batch:
            await self._send(lane, batch, told)

    async def _send(self, lane: bytes, batch: Sequence[Note], jobs: Sequence[Job]) -> None:
        try:
            reply = await self._patience(self._noting.note, lane, batch)
        except (RedisError, ConfigurationError) as error:  # nothing that waiting could mend
            if not self._failing:
                logger.warning("%s: progress and logs of jobs are being dropped: %s", self._queue, error)
            self._failing = True
            return
        self._failing = False
        if self._bulletin.events:
            for job, note, answer in zip(jobs, batch, reply, strict=True):
                if answer == 1 and note.progress:
                    current, total, message, now, _ = msgpack.unpackb(note.progress)
                    self._bulletin.notice(notices.progress(job, current, total, message, now))
