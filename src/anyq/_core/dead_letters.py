"""A dead letter as a value: read from its entry, whoever wrote it, and turned into a job again.

AnyQ notes more than chasquimq does; what a letter does not tell is ``None`` or empty, and no letter is an error: its
bytes are anybody's. Arguments are secret: they are decoded only on request, and ``repr`` never shows them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import attrs

from ..settings import NAME_LIMIT, from_milliseconds
from .codec import Undecodable, decode, encode, envelope_id
from .job import NO_EXTRAS, Extras
from .values import unpack

#: The longest text of a letter that is given, in characters; what AnyQ's workers write is shorter.
_TEXT: Final = 65_536

#: Reasons of letters whose job ran.
_RAN: Final = frozenset({"retries_exhausted", "unrecoverable"})


@attrs.frozen(kw_only=True, repr=False)
class DeadLetter:
    """A job that was given up, as it is kept.

    Attributes:
        id: The letter's own id: its place among the dead letters, which are ordered by the time of death.
        job_id: The job's id; ``""`` if the bytes do not tell.
        task: The task's name; ``""`` for none.
        reason: Why it was given up, in one word: ``retries_exhausted``, ``unrecoverable``, ``stalled``,
            ``expired``, ``bad_payload``, ``bad_result``, ``unknown_task``, ``malformed``, ``decode_failed``,
            ``oversize_payload``.
        detail: What exactly was wrong, in short.
        error: The type of the last exception; ``""`` for none.
        message: Its text, cut to a limit.
        traceback: Its formatted traceback, cut to a limit.
        attempts: Runs that it had; ``None`` if that is not known.
        lost: Those of them that were lost with their workers.
        created_at: When it was enqueued, by the clock of the program that did; ``None`` if that is not known.
        died_at: When it was given up, by the server's clock.
        worker: The worker that gave it up; ``""`` if that is not known.
        entry: The id that its entry had in the stream.
        size: Bytes of the job as it lay in the stream.
        payload: The arguments by name, when they were asked for; else ``None``. As bytes where they cannot be decoded,
            and the fields and values of an entry that was no job.
    """

    id: str
    job_id: str
    task: str
    reason: str
    detail: str
    error: str
    message: str
    traceback: str
    attempts: int | None
    lost: int
    created_at: datetime | None
    died_at: datetime
    worker: str
    entry: str
    size: int
    payload: Any = None

    def __repr__(self) -> str:
        job = f"job {self.job_id!r}" if self.job_id else "no readable job"
        return f"<DeadLetter {self.id} of {self.task!r}: {job}, {self.reason}>"


@attrs.frozen(kw_only=True)
class DeadLetterGroup:
    """Dead letters of the same task that were given up for the same reason, with the same type of exception.

    Attributes:
        error: The type of the last exception; ``""`` for none.
        task: The task's name; ``""`` for none.
        reason: Why they were given up, in one word, as in `DeadLetter`.
        count: How many there are.
        first_at: When the first of them was given up, by the server's clock.
        last_at: When the last of them was.
        last: The id of the last one.
        message: The text of its exception, cut short; or what was wrong, in short.
    """

    error: str
    task: str
    reason: str
    count: int
    first_at: datetime
    last_at: datetime
    last: str
    message: str


@attrs.frozen
class Raw:
    """A dead letter as it lies in Redis.

    Attributes:
        id: Its id.
        size: Bytes of its envelope.
        envelope: The envelope, or its head.
        fields: What else there is.
    """

    id: bytes
    size: int
    envelope: bytes
    fields: Mapping[bytes, bytes]

    @property
    def name(self) -> bytes:
        """The task's name."""
        return self.fields.get(b"n", b"")

    @property
    def job_id(self) -> str:
        """The job's id, ``""`` if the bytes do not tell."""
        return envelope_id(self.envelope) or ""


@attrs.frozen
class Revived:
    """A dead letter that can become a job again.

    Attributes:
        id: The letter's id.
        name: The task's name.
        envelope: The job, with a fresh budget of attempts.
        job_id: The job's id.
        extras: What AnyQ put behind its envelope.
    """

    id: bytes
    name: bytes
    envelope: bytes
    job_id: str
    extras: Extras


@attrs.frozen
class Hopeless:
    """A dead letter that cannot become a job again.

    Attributes:
        id: The letter's id.
        why: What prevents it.
    """

    id: bytes
    why: str


def read(raw: Raw, *, payload: bool = False) -> DeadLetter:
    """Read a dead letter; with its arguments only if its whole envelope is there."""
    fields = raw.fields
    job_id, attempts, created_ms, arguments = raw.job_id, None, None, None
    body: bytes | None = None
    if len(raw.envelope) == raw.size:
        try:
            job_id, body, created_ms, failed, _, _ = decode(raw.envelope)
        except Undecodable:
            arguments = raw.envelope or _fields(fields.get(b"fields"))
        else:
            attempts = failed + 1 if _text(fields.get(b"reason")) in _RAN else None
    if payload and body is not None:
        try:
            arguments = unpack(body)
        except Undecodable:
            arguments = body
    noted = _number(fields.get(b"attempts"))
    created = _number(fields.get(b"created_at"))
    return DeadLetter(
        id=raw.id.decode(),
        job_id=job_id,
        task=_text(raw.name),
        reason=_text(fields.get(b"reason")),
        detail=_text(fields.get(b"detail")),
        error=_text(fields.get(b"error")),
        message=_text(fields.get(b"message")),
        traceback=_text(fields.get(b"traceback")),
        attempts=attempts if noted is None else noted,
        lost=_number(fields.get(b"lost")) or 0,
        created_at=_moment(created_ms if created is None else created),
        died_at=_died(raw.id),
        worker=_text(fields.get(b"worker")),
        entry=_text(fields.get(b"source_id")),
        size=raw.size,
        payload=arguments if payload else None,
    )


class Grouping:
    """Puts the groups of one stretch of letters after another together.

    Args:
        most: Groups at most; of more, those that come first are counted.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._groups: dict[tuple[bytes, bytes, bytes], _Group] = {}

    def add(self, rows: Iterable[Sequence[Any]]) -> None:
        """Add what a later stretch has."""
        for error, task, reason, count, first, last, message in rows:
            key = (error, task, reason)
            group = self._groups.get(key)
            if group is None:
                if len(self._groups) >= self._most:
                    continue
                group = self._groups[key] = _Group(first)
            group.count += count
            group.last, group.message = last, message

    def groups(self) -> list[DeadLetterGroup]:
        """Give them, the largest first; of the same size, that of the last letter."""
        found = [
            DeadLetterGroup(
                error=_text(error),
                task=_text(task),
                reason=_text(reason),
                count=group.count,
                first_at=_died(group.first),
                last_at=_died(group.last),
                last=group.last.decode(),
                message=_text(group.message),
            )
            for (error, task, reason), group in self._groups.items()
        ]
        return sorted(found, key=lambda group: (-group.count, -group.last_at.timestamp()))


@attrs.define
class _Group:
    first: bytes
    last: bytes = b""
    count: int = 0
    message: bytes = b""


def revive(raw: Raw, limit: int) -> Revived | Hopeless:
    """Give the job of a dead letter a fresh budget of attempts, and no deadline; everything else about it stays.

    Args:
        raw: The letter, with its whole envelope.
        limit: The largest job that the queue takes, in bytes.
    """
    if not raw.envelope:
        return Hopeless(raw.id, "it has no job: its entry had no field 'd'")
    if len(raw.name) > NAME_LIMIT:
        return Hopeless(raw.id, f"the task's name has {len(raw.name)} bytes, and the limit is {NAME_LIMIT}")
    try:
        raw.name.decode()
        job_id, body, created_ms, _, override, extras = decode(raw.envelope)
    except UnicodeDecodeError:
        return Hopeless(raw.id, "the task's name is not valid UTF-8")
    except Undecodable as error:
        return Hopeless(raw.id, f"its bytes are no job: {error}")
    if extras is not NO_EXTRAS:
        extras = attrs.evolve(extras, parked=0.0, lost=0, deadline_ms=None, error=None)
    envelope = encode(job_id, body, created_ms, 0, override, extras)
    if len(envelope) > limit:
        return Hopeless(raw.id, f"the job has {len(envelope)} bytes, and the limit is {limit}")
    return Revived(raw.id, raw.name, envelope, job_id, extras)


def _died(id: bytes) -> datetime:
    return from_milliseconds(int(id.partition(b"-")[0]))


def _text(value: bytes | None) -> str:
    return (value or b"")[: 4 * _TEXT].decode("utf-8", "replace")[:_TEXT]


def _number(value: bytes | None) -> int | None:
    return int(value) if value is not None and value.isdigit() and len(value) < 16 else None


def _moment(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else from_milliseconds(milliseconds)


def _fields(value: bytes | None) -> Any:
    if value is None:
        return None
    try:
        return unpack(value)
    except Undecodable:
        return value
