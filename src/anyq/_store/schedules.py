"""Schedules: what is due, what is known of them, and the step that makes their jobs and plans them anew.

Times that a decision follows from are planned in Python, by the rules of `_core.schedules`, and written by scripts that
act only while nothing has changed since they were read.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Literal, cast

import attrs
from redis.exceptions import RedisError

from .._core.codec import lane_byte
from .._core.keys import Keys
from .._core.schedules import Firing, Spec
from .._core.specs import decode, encode, token
from .._core.values import Undecodable
from .._redis.client import Argument, Client, ScriptCall
from . import leading, scripts
from .leading import COURTESY_MS, LOCK_MS
from .publish import claims_ms
from .tally import MINUTES, Tally

#: Milliseconds for which an ended schedule is remembered after a program last asked for it, so that asking for the
#: same once more does not begin anew.
REMEMBERED_MS = 30 * 24 * 3600 * 1000

#: Said of a schedule whose run was left out: a job still holds its unique key.
LEFT_OUT = 2

#: Schedules read at once.
_PAGE = 50

Place = Literal["active", "paused", "ended"]


@attrs.frozen
class Look:
    """What is due.

    Attributes:
        now_ms: The server's clock.
        next_due: Seconds until something that is not due yet will be; ``None`` if nothing waits.
        leads: Whether nobody else holds the lock.
        declared: Whether the declared schedules were written since the last flush.
        names: The schedules that are due.
    """

    now_ms: int
    next_due: float | None
    leads: bool
    declared: bool
    names: list[str]


@attrs.frozen
class Known:
    """A schedule, as it was read.

    Attributes:
        name: Its name.
        place: Where it stands.
        score: Its planned time, in the server's own words.
        token: Names the definition that was read.
        spec: The definition; ``None`` if AnyQ does not understand it.
        why: What AnyQ does not understand about it.
        fired: How many runs it has made.
        last_ms: The last planned time whose run was made.
        left_out: How many planned times made none, since a job held the unique key.
    """

    name: str
    place: Place
    score: bytes
    token: bytes
    spec: Spec | None
    why: str
    fired: int
    last_ms: int | None
    left_out: int = 0

    @property
    def planned_ms(self) -> int:
        """Its planned time, in milliseconds."""
        return int(float(self.score))


@attrs.frozen
class Run:
    """A job that a schedule makes.

    Attributes:
        job_id: Its id.
        due_ms: The epoch millisecond it is due.
        envelope: The job, encoded.
    """

    job_id: str
    due_ms: int
    envelope: bytes


class Scheduling:
    """Schedules of one queue.

    Args:
        client: The connection.
        keys: The queue's keys.
        worker: The worker's name, for the lock.
        minutes: Minutes of history that are kept.
    """

    def __init__(self, client: Client, keys: Keys, worker: bytes = b"", minutes: int = MINUTES) -> None:
        self._client = client
        self._tally = Tally(client, keys, minutes)
        self._keys = keys
        self._worker = worker

    # -- what the scheduler does --------------------------------------------------------------------------------------

    async def due(self, limit: int, skip: int = 0) -> Look:
        """Say which are due, up to ``limit`` of them after the first ``skip``."""
        keys = self._keys
        # A chasquimq scheduler reads and writes in two steps, with nothing but the lock to keep others away.
        courtesy = "" if keys.shared else COURTESY_MS
        now_ms, next_ms, leads, declared, *names = await self._client.run(
            scripts.DUE_SCHEDULES,
            (keys.schedules, keys.scheduler_lock, keys.declared_schedules),
            (self._worker, LOCK_MS, courtesy, limit, skip),
        )
        return Look(
            now_ms,
            None if next_ms < 0 else next_ms / 1000,
            bool(leads),
            bool(declared),
            [_text(n) for n in names],
        )

    async def fire(self, plans: Sequence[tuple[Known, Firing, Sequence[Run]]]) -> list[int]:
        """Make jobs and plan anew, for each schedule in one step.

        Returns:
            For each: 1 that was done now, `LEFT_OUT` so it was, and no job was made, since another one holds their
            unique key; 0 somebody else was quicker, or it is not as it was.
        """
        keys = self._keys
        calls: list[ScriptCall] = []
        for known, firing, runs in plans:
            assert known.spec is not None
            unique = known.spec.extras.unique if runs else ""
            args: list[Argument] = [
                known.name,
                known.score,
                known.token,
                _moment(firing.next_ms),
                firing.times[-1] if firing.times else "",
                self._worker if keys.shared else "",
                REMEMBERED_MS,
                keys.due,
                lane_byte(known.spec.extras.priority),
                keys.widened,
                runs[0].job_id if unique else "",
                _moment(firing.otherwise_ms),
                claims_ms(keys),
            ]
            for run in runs:
                args += run.due_ms, known.spec.task, run.envelope
            indices = [keys.delayed_member(run.job_id) for run in runs]
            claimed = [keys.unique(unique)] if unique else []
            record = keys.schedule(known.name)
            places = (
                keys.schedules,
                record,
                keys.ended_schedules,
                keys.lane(known.spec.extras.priority),
                keys.delayed,
                keys.scheduler_lock,
            )
            calls.append((scripts.FIRE_SCHEDULE, *self._tally.words((*places, *indices, *claimed), args)))
        replies = await self._client.run_many(calls)
        for reply in replies:
            if isinstance(reply, RedisError):
                raise reply
        return [int(reply) for reply in replies]

    async def mark_declared(self) -> None:
        """Note that the declared schedules are written."""
        await self._client.call(b"SET", self._keys.declared_schedules, 1)

    async def resign(self) -> None:
        """Give the lock up, if it is ours, so that somebody else starts runs on time at once."""
        await leading.resign(self._client, self._keys.scheduler_lock, self._worker)

    # -- what users do ------------------------------------------------------------------------------------------------

    async def read(self, names: Sequence[str]) -> tuple[int, list[Known]]:
        """Give the server's clock and those schedules that exist."""
        found: list[Known] = []
        now_ms = 0
        names = list(names)
        while names or not now_ms:
            keys = self._keys
            records = [keys.schedule(name) for name in names[:_PAGE]]
            now_ms, *rows = await self._client.run(
                scripts.READ_SCHEDULES,
                (keys.schedules, keys.paused_schedules, keys.ended_schedules, *records),
                names[:_PAGE],
            )
            found += [
                _known(name, *cast("list[bytes]", row))
                for name, row in zip(names, rows, strict=False)
                if row[0]
            ]
            names = names[len(rows) :]
        return now_ms, found

    async def pages(self) -> AsyncGenerator[list[str]]:
        """Give the names of all schedules, page by page."""
        keys = self._keys
        for places in (keys.schedules, keys.paused_schedules, keys.ended_schedules):
            start = 0
            while names := await self._client.call(b"ZRANGE", places, start, start + _PAGE - 1):
                yield [_text(name) for name in names]
                start += _PAGE

    async def put(self, spec: Spec, before: Known | None, planned_ms: int, *, keep: bool, anew: bool) -> bool:
        """Write a definition; tell whether the one before was still the one that was read.

        Args:
            spec: The definition.
            before: What was read.
            planned_ms: Its planned time.
            keep: Whether it keeps the one that it has.
            anew: Whether its counters start anew.
        """
        keys = self._keys
        definition, own = encode(spec)
        reply = await self._client.run(
            scripts.PUT_SCHEDULE,
            (keys.schedules, keys.schedule(spec.name), keys.paused_schedules, keys.ended_schedules),
            (
                spec.name,
                b"" if before is None else before.token,
                definition,
                own,
                planned_ms,
                int(keep),
                int(anew),
                keys.schedules_changed,
            ),
        )
        return bool(reply == 1)

    async def remember(self, name: str) -> None:
        """Remember an ended schedule for longer."""
        keys = (self._keys.schedule(name), self._keys.ended_schedules)
        await self._client.run(scripts.REMEMBER_SCHEDULE, keys, (name, REMEMBERED_MS))

    async def pause(self, name: str) -> bool:
        """Pause one; tell whether it is paused."""
        keys = (self._keys.schedules, self._keys.paused_schedules)
        return bool(await self._client.run(scripts.PAUSE_SCHEDULE, keys, (name,)) == 1)

    async def resume(self, known: Known, planned_ms: int | None) -> bool:
        """Let one go on; tell whether it was still paused, and as it was read."""
        keys = self._keys
        reply = await self._client.run(
            scripts.RESUME_SCHEDULE,
            (keys.schedules, keys.schedule(known.name), keys.paused_schedules, keys.ended_schedules),
            (known.name, known.token, _moment(planned_ms), REMEMBERED_MS, keys.schedules_changed),
        )
        return bool(reply == 1)

    async def remove(self, name: str) -> bool:
        """Remove one; tell whether there was one."""
        keys = self._keys
        places = (keys.schedules, keys.schedule(name), keys.paused_schedules, keys.ended_schedules)
        return bool(await self._client.run(scripts.REMOVE_SCHEDULE, places, (name,)) == 1)


def _known(
    name: str,
    place: bytes,
    score: bytes,
    definition: bytes,
    own: bytes,
    fired: bytes,
    last: bytes,
    left_out: bytes,
) -> Known:
    spec, why = None, ""
    try:
        if not definition:
            raise Undecodable("it has no definition")
        spec = decode(definition, own)
        if spec.name != name:
            raise Undecodable("its definition has another name")
        if not 0 <= float(score) < 2**53:
            raise Undecodable("its planned time is out of range")
    except Undecodable as error:
        spec, why = None, str(error)
    # What has no definition was never written: a definition may be put there.
    named = token(definition, own) if definition else b""
    where = cast("Place", place.decode())
    counted = _number(fired) or 0, _number(last), _number(left_out) or 0
    return Known(name, where, score, named, spec, why, *counted)


def _number(digits: bytes) -> int | None:
    return int(digits) if digits.isdigit() and len(digits) < 17 else None


def _moment(value: int | None) -> Argument:
    return "" if value is None else value


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")  # no name that AnyQ reads; it is not found
