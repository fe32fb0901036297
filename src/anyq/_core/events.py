"""An event as it is read: what happened to a job, whoever wrote it, AnyQ or ChasquiMQ.

Rule: whatever lies in the stream is read, and no entry is an error: fields that nobody knows are passed on, numbers
that are none are text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import attrs

from ..settings import from_milliseconds

#: Fields whose values are whole numbers, and numbers.
_WHOLE: Final = frozenset({b"backoff_ms", b"delay_ms", b"duration_us"})
_NUMBERS: Final = frozenset({b"current", b"total"})

_COMMON: Final = frozenset({b"e", b"id", b"ts", b"n", b"attempt"})

_NUMBER = re.compile(rb"-?\d{1,15}(\.\d{1,20})?(e[+-]?\d{1,3})?", re.ASCII)


@attrs.frozen(kw_only=True)
class Event:
    """Something that happened, mostly to a job.

    Attributes:
        id: Its id: what comes after it is read with ``queue.events(after=event.id)``.
        kind: What happened, such as ``completed``; see the table in docs/events.md.
        job_id: The job's id; ``""`` for an event of the queue, and for bytes that were no job.
        task: The task's name; ``""`` if it is not known.
        at: When it happened, by the clock of who wrote it.
        attempt: Which run of the job it is about, from 1; ``None`` if about none.
        fields: What else this kind of event tells: numbers, and text.
        missed: Whether events before this one may have been missed: they were trimmed before they were read, or went
            with the server's data.
    """

    id: str
    kind: str
    job_id: str
    task: str
    at: datetime
    attempt: int | None
    fields: Mapping[str, int | float | str]
    missed: bool = False

    def __repr__(self) -> str:
        about = f" of job {self.job_id!r}" if self.job_id else ""
        more = "".join(f", {name}={value!r}" for name, value in self.fields.items())
        return f"<Event {self.id}: {self.kind}{about}, attempt={self.attempt}{more}>"


@attrs.frozen
class Wanted:
    """Which events are asked for.

    Attributes:
        kinds: Their kinds; none for any.
        job: The job's id; ``None`` for any.
    """

    kinds: frozenset[bytes]
    job: bytes | None

    def has(self, fields: Mapping[bytes, bytes]) -> bool:
        """Tell whether this is one of them."""
        return (not self.kinds or fields.get(b"e") in self.kinds) and self.job in (None, fields.get(b"id"))


def pairs(words: Sequence[bytes]) -> dict[bytes, bytes]:
    """Give an entry's fields, which are listed with their values, as a map."""
    return dict(zip(words[::2], words[1::2], strict=False))


def read(id: bytes, fields: Mapping[bytes, bytes], *, missed: bool = False) -> Event:
    """Read an event; whatever it is, it is one."""
    at, attempt = _whole(fields.get(b"ts")), _whole(fields.get(b"attempt"))
    return Event(
        id=id.decode(),
        kind=_text(fields.get(b"e", b"")),
        job_id=_text(fields.get(b"id", b"")),
        task=_text(fields.get(b"n", b"")),
        at=from_milliseconds(int(id.partition(b"-")[0]) if at is None else at),
        attempt=attempt,
        fields={_text(name): _value(name, value) for name, value in fields.items() if name not in _COMMON},
        missed=missed,
    )


def _value(name: bytes, value: bytes) -> int | float | str:
    if name in _WHOLE:
        whole = _whole(value)
        return _text(value) if whole is None else whole
    if name in _NUMBERS and (number := _NUMBER.fullmatch(value)) is not None:
        return float(value) if number[1] or number[2] else int(value)
    return _text(value)


def _whole(value: bytes | None) -> int | None:
    return int(value) if value is not None and value.isdigit() and len(value) < 16 else None


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
