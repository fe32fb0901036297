"""Listing jobs where they lie, page by page: looking, without touching, and never at all of them at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import attrs
from redis.exceptions import RedisError

from .._core.codec import Undecodable, split_member
from .._core.dead_letters import Raw
from .._core.jobs import Seen, priority_of
from .._core.keys import GROUP, Keys
from .._core.workers import Consumer, WorkerInfo, describe
from .._redis.client import Client
from . import dead_letters, scripts
from .dead_letters import WHOLE, Range

#: Jobs that one script looks at: a bounded time in which the server serves nobody else.
_STRETCH = 1000


@attrs.frozen
class Page:
    """A part of a list.

    Attributes:
        jobs: What was found.
        rest: Behind which place to go on; ``""`` at the end.
    """

    jobs: Sequence[Seen]
    rest: str


@attrs.frozen
class Asked:
    """What is to be listed.

    Attributes:
        wanted: Jobs, at most.
        newest_first: Whether to begin with those that came last, or are due last.
        payload: Whether to give their payloads too.
        task: The task's name; ``None`` for any.
        parked: Of delayed jobs: whether those that are parked are wanted, or only the others; ``None`` for both.
    """

    wanted: int
    newest_first: bool = False
    payload: bool = False
    task: str | None = None
    parked: bool | None = None

    @property
    def name(self) -> str:
        """The task, in the words of the scripts."""
        return "" if self.task is None else f"={self.task}"


async def in_lane(client: Client, lane: bytes, asked: Asked, place: str, *, held: bool) -> Page:
    """List what workers have of a lane (``held``), or what nobody has of it."""
    return await _in_stream(client, lane, GROUP, asked, place, held=held)


async def set_aside(client: Client, aside: bytes, asked: Asked, place: str) -> Page:
    """List what was set aside of a task."""
    return await _in_stream(client, aside, b"", asked, place, held=False)


async def _in_stream(
    client: Client, stream: bytes, group: bytes, asked: Asked, place: str, *, held: bool
) -> Page:
    rest, *rows = await client.run(
        scripts.LIST_LANE,
        (stream,),
        (
            group, int(held), place, int(asked.newest_first), asked.wanted, _STRETCH, int(asked.payload), asked.name,
        ),
    )  # fmt: skip
    return Page([_lying(*row) for row in rows], rest.decode())


def _lying(
    entry: bytes,
    size: int,
    envelope: bytes,
    name: bytes,
    lost: bytes,
    priority: bytes,
    owner: bytes,
    _idle: int,
) -> Seen:
    place = entry.decode()
    return Seen(
        place=place,
        size=size,
        envelope=envelope,
        name=name,
        entry=place,
        lost=int(lost) if lost.isdigit() and len(lost) < 10 else 0,
        owner=owner,
        priority=int(priority) if priority.isdigit() and len(priority) == 1 else None,
    )


async def delayed(client: Client, keys: Keys, asked: Asked, place: str) -> Page:
    """List jobs that wait for their time, in the order in which they are due."""
    score, _, seen = place.partition(",")
    mark = "" if asked.parked is None else "parked" if asked.parked else "delayed"
    rest, count, *rows = await client.run(
        scripts.LIST_DELAYED,
        (keys.delayed,),
        (
            score, seen or 0, int(asked.newest_first), asked.wanted, _STRETCH, int(asked.payload), asked.name, mark,
        ),
    )  # fmt: skip
    found = [
        Seen(
            place=f"{due.decode()},{number}",
            size=size,
            envelope=envelope,
            name=name,
            priority=priority_of(lane),
            due_ms=float(due),
        )
        for due, number, size, envelope, name, lane in rows
    ]
    return Page(found, f"{rest.decode()},{count}" if rest else "")


async def waiting(client: Client, keys: Keys, asked: Asked, place: str) -> Page:
    """List jobs that wait for others, in no order."""
    cursor, _, skip = place.partition(",")
    rest, count, *rows = await client.run(
        scripts.LIST_WAITING,
        (keys.waiting,),
        (cursor or 0, skip or 0, asked.wanted, _STRETCH, int(asked.payload), asked.name),
    )
    found = [
        Seen(
            place=f"{at.decode()},{number}",
            size=size,
            envelope=envelope,
            name=name,
            priority=priority_of(lane),
        )
        for at, number, size, envelope, name, lane, _ in rows
    ]
    return Page(found, f"{rest.decode()},{count}" if rest else "")


async def present(client: Client, lanes: Sequence[bytes]) -> list[bytes]:
    """Say which of these lanes there are."""
    found = await client.call_many([(b"EXISTS", lane) for lane in lanes])
    return [lane for lane, exists in zip(lanes, found, strict=True) if exists == 1]


async def asides(client: Client, keys: Keys) -> list[str]:
    """Name the tasks of which jobs are set aside, in order."""
    fields: list[Any] = await client.call(b"HKEYS", keys.pauses)
    return sorted(field[6:].decode("utf-8", "replace") for field in fields if field.startswith(b"aside:"))


async def cancelling(client: Client, keys: Keys, job_ids: Iterable[str]) -> set[str]:
    """Say which of these jobs, which workers have, somebody cancelled."""
    wanted = list(job_ids)
    if not wanted:
        return set()
    scores = await client.call(b"ZMSCORE", keys.cancels, *wanted)
    return {job_id for job_id, score in zip(wanted, scores, strict=True) if score is not None}


async def lying(client: Client, lane: bytes, entry: bytes) -> Seen | None:
    """Read one job where it lies in a lane, whole; ``None`` if it is not there any more."""
    rows, pending = await client.call_many(
        [(b"XRANGE", lane, entry, entry), (b"XPENDING", lane, GROUP, entry, entry, 1)]
    )
    if isinstance(rows, RedisError):
        raise rows
    if not rows:
        return None
    flat: Sequence[bytes] = rows[0][1]
    fields = dict(zip(flat[::2], flat[1::2], strict=False))
    envelope = fields.get(b"d", b"")
    # An error: there is no group.
    owner = b"" if isinstance(pending, RedisError) or not pending else pending[0][1]
    lost, priority = fields.get(b"l", b""), fields.get(b"priority", b"")
    return _lying(entry, len(envelope), envelope, fields.get(b"n", b""), lost, priority, owner, 0)


def member(job: bytes, due_ms: float | None) -> Seen:
    """Read a job as it lies in the delayed set, or among those that wait, whole."""
    try:
        name, envelope = split_member(job)
    except Undecodable:
        name, envelope = b"", b""
    return Seen(
        place="",
        size=len(envelope),
        envelope=envelope,
        name=name,
        priority=priority_of(job[3]) if len(job) > 3 else None,
        due_ms=due_ms,
    )


async def letter(client: Client, keys: Keys, job_id: str) -> Raw | None:
    """Find the last dead letter of a job, whole, by looking at them all, a stretch at a time; ``None`` for none."""
    rest: Range | None = Range(conditions={"job": job_id})
    while rest is not None:
        found, rest = await dead_letters.look(client, keys, rest, 1, newest_first=True, given=WHOLE)
        if found and found[0].job_id == job_id:  # the script looked for its bytes only
            return found[0]
    return None


async def outcomes(client: Client, keys: Keys, job_ids: Sequence[str]) -> dict[str, str]:
    """Say how those of these jobs are of which that is tracked: ``alive``, ``done``, ``dead`` or ``cancelled``."""
    if not job_ids:
        return {}
    found = await client.call(b"MGET", *map(keys.track, job_ids))
    return {id: word.decode() for id, word in zip(job_ids, found, strict=True) if word is not None}


async def worker(client: Client, keys: Keys, consumer: bytes, now_ms: float) -> WorkerInfo:
    """Read what the worker that has a job tells about itself."""
    return describe(consumer, Consumer(0, 0.0), await client.call(b"GET", keys.heartbeat(consumer)), now_ms)


async def count_before(client: Client, lane: bytes, entry: bytes, most: int) -> int:
    """Count the jobs of a lane that nobody has taken and that come before one; about ``most``, if there are more."""
    count, place = 0, b""
    while count <= most:
        place, found = await client.run(scripts.COUNT_BEFORE, (lane,), (GROUP, place, entry, _STRETCH))
        count += found
        if not place:
            break
    return count


async def ready(client: Client, lanes: Sequence[bytes]) -> int:
    """Count the jobs of these lanes that nobody has taken."""
    asked = [command for lane in lanes for command in ((b"XLEN", lane), (b"XPENDING", lane, GROUP))]
    replies = await client.call_many(asked)
    total = 0
    for length, pending in zip(replies[::2], replies[1::2], strict=True):
        if isinstance(length, RedisError):
            raise length
        held = 0 if isinstance(pending, RedisError) else pending[0]  # an error: there is no group
        total += max(0, length - held)
    return total
