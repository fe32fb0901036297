"""The jobs of a queue, listed: part by part, each in pages, as whoever iterates asks for more.

Rule: a list only looks. It holds nothing open, neither here nor on the server: leaving it early leaves nothing, and to
go on needs no more than the cursor of a job.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Final, Self

import attrs

from ._core.dead_letters import read as read_letter
from ._core.jobs import Cursor, JobInfo, Seen, kinds, of_letter, read, states
from ._core.keys import Keys
from ._core.status import JobStatus
from ._place import Place
from ._redis.client import Client
from ._store import dead_letters
from ._store import jobs as store
from ._store.dead_letters import HEAD, WHOLE, Range
from ._store.jobs import Asked
from .settings import at_least

#: Jobs that one round trip brings, at most.
_PAGE: Final = 200


@attrs.frozen
class _Part:
    """A part of the list: jobs of one kind, in one place.

    Attributes:
        kind: Its kind.
        name: Which of the parts of that kind it is.
    """

    kind: JobStatus
    name: str = ""


class Jobs(AsyncIterator[JobInfo]):
    """Goes through the jobs of a queue: what `Queue.jobs` gives."""

    def __init__(
        self,
        queue: Place,
        *,
        state: str | Iterable[str] | None = None,
        task: str | None = None,
        limit: int | None = None,
        after: str | None = None,
        newest_first: bool = False,
        payload: bool = False,
    ) -> None:
        self._queue = queue
        self._states = frozenset(states(state))
        self._kinds = kinds(self._states)
        self._left = None if limit is None else at_least("limit", limit, 1)
        if task is not None and not isinstance(task, str):
            raise TypeError(f"task must be a string, not {task!r}")
        self._asked = Asked(min(_PAGE, limit or _PAGE), newest_first, payload, task, self._parked())
        self._after = None if after is None else Cursor.parse(after)
        if self._after is not None:
            self._check(self._after)
        self._parts: Iterator[_Part] | None = None
        self._part: _Part | None = None
        self._place = ""
        self._page: Iterator[JobInfo] = iter(())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> JobInfo:
        if self._left == 0:
            raise StopAsyncIteration
        while (found := next(self._page, None)) is None:
            await self._turn()
        if self._left is not None:
            self._left -= 1
        return found

    async def _turn(self) -> None:
        """Get the next page, which may be empty; a call that was cancelled may be made again."""
        if self._parts is None:
            self._parts = iter(await self._queue.ask("the jobs", self._all_parts))
        if self._part is None:
            self._part, self._place = next(self._parts, None), ""
            if self._part is None:
                raise StopAsyncIteration
            if self._after is not None and self._part == _Part(self._after.kind, self._after.part):
                self._place = self._after.place
        part, place = self._part, self._place
        jobs, self._place = await self._queue.ask("the jobs", self._look, part, place)
        if not self._place:
            self._part = None
        self._page = iter([job for job in jobs if job.state in self._states])

    # -- its parts ------------------------------------------------------------------------------------------------

    async def _all_parts(self, client: Client, keys: Keys) -> list[_Part]:
        """Name the parts that there are, from the place on where the list begins."""
        lanes, present = _lanes(keys), set[str]()
        if {JobStatus.RUNNING, JobStatus.QUEUED} & {*self._kinds}:
            found = await store.present(client, list(lanes.values()))
            present = {name for name, lane in lanes.items() if lane in found}
        parts: list[_Part] = []
        for kind in self._kinds:
            if kind in {JobStatus.RUNNING, JobStatus.QUEUED}:
                parts += [_Part(kind, name) for name in lanes if name in present]
            elif kind is JobStatus.ASIDE:
                parts += [_Part(kind, task) for task in await store.asides(client, keys)]
            else:
                parts.append(_Part(kind))
        begins = self._after
        return parts if begins is None else [part for part in parts if not self._before(part, begins)]

    def _parked(self) -> bool | None:
        """Which of the delayed jobs are wanted, where a mark tells: other programs that share a queue keep none."""
        timed = self._states & {JobStatus.DELAYED, JobStatus.PARKED}
        return None if self._queue.keys.shared or len(timed) != 1 else JobStatus.PARKED in timed

    def _before(self, part: _Part, cursor: Cursor) -> bool:
        """Whether a part comes before the one that a cursor is in."""
        if part.kind is not cursor.kind:
            return self._kinds.index(part.kind) < self._kinds.index(cursor.kind)
        if part.kind is JobStatus.ASIDE:
            return part.name < cursor.part
        names = ["", *_lanes(self._queue.keys)]
        return names.index(part.name) < names.index(cursor.part)

    def _check(self, cursor: Cursor) -> None:
        """Refuse a cursor that is none of this queue's, or of another list."""
        lanes = {JobStatus.RUNNING, JobStatus.QUEUED}
        known = cursor.part in _lanes(self._queue.keys) if cursor.kind in lanes else not cursor.part
        if cursor.kind not in self._kinds or not (known or cursor.kind is JobStatus.ASIDE):
            raise ValueError(f"after must be the cursor of a job in such a list, not {str(cursor)!r}")

    # -- their jobs -----------------------------------------------------------------------------------------------

    async def _look(self, client: Client, keys: Keys, part: _Part, place: str) -> tuple[list[JobInfo], str]:
        """Get a page of a part, and behind which place to go on."""
        asked = self._asked
        match part.kind:
            case JobStatus.FAILED:
                return await self._letters(client, keys, place)
            case JobStatus.RUNNING | JobStatus.QUEUED:
                lane = _lanes(keys)[part.name]
                held = part.kind is JobStatus.RUNNING
                page = await store.in_lane(client, lane, asked, place, held=held)
            case JobStatus.ASIDE:
                page = await store.set_aside(client, keys.aside(part.name), asked, place)
            case JobStatus.DELAYED:
                page = await store.delayed(client, keys, asked, place)
            case _:
                page = await store.waiting(client, keys, asked, place)
        jobs = [self._read(part, seen) for seen in page.jobs]
        if part.kind is JobStatus.RUNNING:
            cancelled = await store.cancelling(client, keys, [job.id for job in jobs])
            jobs = [
                attrs.evolve(job, state=JobStatus.CANCELLING) if job.id in cancelled else job for job in jobs
            ]
        return jobs, page.rest

    def _read(self, part: _Part, seen: Seen) -> JobInfo:
        cursor = str(Cursor(part.kind, part.name, seen.place))
        return read(seen, part.kind, cursor=cursor, payload=self._asked.payload)

    async def _letters(self, client: Client, keys: Keys, place: str) -> tuple[list[JobInfo], str]:
        asked = self._asked
        conditions = {} if asked.task is None else {"n": asked.task}
        edge = b"(" + place.encode()
        if not place:
            span = Range(conditions=conditions)
        elif asked.newest_first:
            span = Range(last=edge, conditions=conditions)
        else:
            span = Range(first=edge, conditions=conditions)
        given = WHOLE if asked.payload else HEAD
        found, rest = await dead_letters.look(
            client, keys, span, asked.wanted, newest_first=asked.newest_first, given=given
        )
        jobs = [
            of_letter(
                read_letter(raw, payload=asked.payload),
                cursor=str(Cursor(JobStatus.FAILED, "", raw.id.decode())),
            )
            for raw in found
        ]
        if rest is None:
            return jobs, ""
        return jobs, (rest.last if asked.newest_first else rest.first).decode().removeprefix("(")


def _lanes(keys: Keys) -> dict[str, bytes]:
    """The lanes by their names in a cursor, in the order in which they are read."""
    others = reversed(keys.priority_lanes) if keys.priority_lanes else ()
    lanes = dict.fromkeys((keys.returned, *others, keys.stream))
    tag = keys.stream.removesuffix(b"stream")
    return {lane.removeprefix(tag).decode(): lane for lane in lanes}


__all__ = ["JobInfo", "Jobs"]
