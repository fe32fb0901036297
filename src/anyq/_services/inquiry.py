"""The inquiry: all that can be learned of one job, from whatever place it lies in.

A job moves while it is looked at; one that is not where it was seen is looked for again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import attrs
from anyio.lowlevel import checkpoint

from .._core.dead_letters import read as read_letter
from .._core.explain import COUNTED, Explanation, Facts, explain
from .._core.jobs import JobInfo, Seen, of_letter, read
from .._core.keys import Keys
from .._core.notes import unpack_line, unpack_progress
from .._core.status import JobStatus
from .._core.values import MAP, Undecodable, unpack
from .._redis.client import Client
from .._store import jobs, notes, pauses
from .._store.control import Delayed, Ended, Found, Lying
from .._store.workers import workers
from ..settings import from_milliseconds
from .controller import Controller, status_of
from .patience import Patience

#: Those that a job waits for, of which it is asked how they are; and how far it is followed for what they wait.
_PARENTS, _LINKS = 5, 5

_OVER = frozenset({JobStatus.DONE, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.UNKNOWN})


class Inquiry:
    """Asks about jobs of one queue.

    Args:
        keys: The queue's keys.
        client: The connection.
        controller: Finds them.
        patience: How it meets trouble.
        server_ms: Gives the server's time of day.
    """

    def __init__(
        self,
        *,
        keys: Keys,
        client: Client,
        controller: Controller,
        patience: Patience,
        server_ms: Callable[[], Awaitable[float]],
    ) -> None:
        self._keys = keys
        self._client = client
        self._controller = controller
        self._patience = patience
        self._server_ms = server_ms

    async def info(self, job_id: str, *, payload: bool) -> JobInfo:
        """Tell what is known of a job."""
        info, _ = await self._look(job_id, payload=payload)
        return await self._told(info)

    async def explain(self, job_id: str) -> Explanation:
        """Say why a job is not running."""
        info, found = await self._look(job_id, payload=False)
        if info.state in _OVER:
            return explain(Facts(job=info, now=await self._now()))
        paused = await self._patience(pauses.look, self._client, self._keys)
        ahead, sooner = 0, 0
        if isinstance(found, Lying) and info.state is JobStatus.QUEUED:
            ahead, sooner = await self._before(found)
        parents, chain = await self._parents(info)
        return explain(
            Facts(
                job=info,
                now=await self._now(),
                queue_pause=paused.queue,
                task_pause=paused.tasks.get(info.task),
                workers=await self._patience(workers, self._client, self._keys),
                ahead=ahead,
                sooner=sooner,
                parents=parents,
                chain=chain,
            )
        )

    # -- what there is to know ------------------------------------------------------------------------------------

    async def _look(self, job_id: str, *, payload: bool) -> tuple[JobInfo, Found | None]:
        while True:
            found = await self._controller.find(job_id)
            info = await self._read(job_id, found, payload=payload)
            if info is not None:
                return info, found
            await checkpoint()  # it went elsewhere in between

    async def _before(self, found: Lying) -> tuple[int, int]:
        """Count the ready jobs that come before one: in its lane, and in those that are read sooner."""
        keys = self._keys
        order = (keys.returned, *reversed(keys.priority_lanes)) if keys.priority_lanes else keys.lanes
        sooner = order[: order.index(found.lane)] if found.lane in order else ()
        ahead = await self._patience(jobs.count_before, self._client, found.lane, found.entry, COUNTED)
        return ahead, await self._patience(jobs.ready, self._client, sooner) if sooner else 0

    async def _parents(self, info: JobInfo) -> tuple[dict[str, JobStatus], list[tuple[str, JobStatus]]]:
        """Say how some of those are that a job waits for, and for what the first of them that waits, waits itself."""
        parents = {id: await self._controller.status(id) for id in info.waits_for[:_PARENTS]}
        chain: list[tuple[str, JobStatus]] = []
        link = next((id for id, state in parents.items() if state is JobStatus.WAITING), None)
        while link is not None and len(chain) < _LINKS:
            below, _ = await self._look(link, payload=False)
            link = next(iter(below.waits_for), None)
            if link is not None:
                chain.append((link, state := await self._controller.status(link)))
                if state is not JobStatus.WAITING:
                    break
        return parents, chain

    async def _now(self) -> datetime:
        return from_milliseconds(round(await self._server_ms()))

    async def _read(self, job_id: str, found: Found | None, *, payload: bool) -> JobInfo | None:
        state = status_of(self._keys, found)
        match found:
            case Delayed(member=member, due_ms=due_ms):
                info = read(jobs.member(member, due_ms), state, payload=payload)
            case Lying(lane=lane, entry=entry):
                seen: Seen | None = await self._patience(jobs.lying, self._client, lane, entry)
                if seen is None:
                    return None
                if bool(seen.owner) is not (state in {JobStatus.RUNNING, JobStatus.CANCELLING}):
                    return None
                info = await self._running(read(seen, state, payload=payload), seen.owner)
            case _:
                return await self._ended(job_id, found, payload=payload)
        return attrs.evolve(info, id=info.id or job_id, waits_for=await self._waits_for(info))

    async def _running(self, info: JobInfo, owner: bytes) -> JobInfo:
        """Say since when it runs."""
        if not owner:
            return info
        now = await self._server_ms()
        worker = await self._patience(jobs.worker, self._client, self._keys, owner, now)
        begun = (run.since for run in worker.runs if run.id == info.id and not run.waits)
        return attrs.evolve(info, started_at=next(begun, None))

    async def _waits_for(self, info: JobInfo) -> tuple[str, ...]:
        if info.state is not JobStatus.WAITING or not info.after:
            return ()
        outcomes = await self._patience(jobs.outcomes, self._client, self._keys, info.after)
        return tuple(parent for parent in info.after if outcomes.get(parent) == "alive")

    async def _ended(self, job_id: str, found: Found | None, *, payload: bool) -> JobInfo:
        if isinstance(found, Ended) and found.how != "failed":
            return JobInfo(id=job_id, task="", state=status_of(self._keys, found))
        raw = await self._patience(jobs.letter, self._client, self._keys, job_id)
        if raw is not None:
            return of_letter(read_letter(raw, payload=payload))
        if found is None:
            return JobInfo(id=job_id, task="", state=JobStatus.UNKNOWN)
        assert isinstance(found, Ended)
        reason, error, message = _failure(found.failure)
        return JobInfo(
            id=job_id, task="", state=JobStatus.FAILED, reason=reason, error=error, message=message
        )

    async def _told(self, info: JobInfo) -> JobInfo:
        """Add what it told about itself."""
        progress = await self._patience(notes.progress, self._client, self._keys, info.id)
        log = await self._patience(notes.log, self._client, self._keys, info.id)
        if progress is None and not log:
            return info
        return attrs.evolve(
            info,
            progress=None if progress is None else unpack_progress(progress),
            log=tuple(unpack_line(line) for line in log),
        )


def _failure(failure: bytes) -> tuple[str, str, str]:
    try:
        fields: Any = unpack(failure)
    except Undecodable:
        return "", "", ""
    if type(fields) is not MAP:
        return "", "", ""
    return str(fields.get("reason", "")), str(fields.get("type", "")), str(fields.get("message", ""))
