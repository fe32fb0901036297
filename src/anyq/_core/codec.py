"""How a job lies in Redis: chasquimq's envelope, byte for byte, and what AnyQ adds behind it.

An entry has the fields ``d`` (envelope) and ``n`` (task name, when there is one), and ``l`` when deliveries of it were
lost with their workers. The envelope is a MessagePack array ``[id, payload bytes, created ms, failed runs]`` with an
optional fifth element, the retry override ``[attempts, [kind, delay ms, maximum ms, multiplier, jitter ms]]``. Behind
it may follow a map of AnyQ's own options, which foreign programs ignore.

A delayed job is a member of a sorted set: the name's length (32 bits, little endian), the name, the envelope. A name
has 256 bytes at most: where it is not the default one, the fourth byte holds the job's priority, counted from 1, so
that who promotes the job need not unpack it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs
import msgpack

from ..settings import NAME_LIMIT, Backoff
from .job import ERROR_LIMIT, NO_EXTRAS, NO_OVERRIDE, Extras, Job, Override
from .keys import DEFAULT_PRIORITY, PRIORITIES
from .values import ARRAY, MAP, Undecodable, require_depth, unpack, unpack_first

__all__ = [
    "LARGEST",
    "Undecodable",
    "decode",
    "delayed_member",
    "encode",
    "envelope_id",
    "headers",
    "interpret",
    "lane_byte",
    "member_id",
    "packed_id",
    "read_override",
    "recode",
    "split_member",
]

_pack = msgpack.Packer(use_bin_type=True).pack

# The keys of the map behind the envelope; one letter each, as they travel with every job that needs them.
_TIMEOUT: Final = "t"
_RESULT: Final = "r"
_PARKED: Final = "p"
_JITTER: Final = "j"
_LOST: Final = "l"
_CLAIM: Final = "c"
_UNIQUE: Final = "u"
_DEADLINE: Final = "d"
_SCHEDULED: Final = "s"
_NOTED: Final = "n"
_TRACE: Final = "w"
_TRACKED: Final = "f"
_AFTER: Final = "a"
_PRIORITY: Final = "y"
_ERROR: Final = "e"

#: Headers that a job carries for tracing, and characters in them, at most.
_TRACE_HEADERS: Final = 16
_TRACE_LIMIT: Final = 4096

# What a chasquimq worker assumes where a retry override leaves a slot empty (its sheet, section 2.3).
_FOREIGN_MAXIMUM = 30.0
_FOREIGN_MULTIPLIER = 2.0
_FOREIGN_SPREAD = 0.1

#: Whole numbers up to here are the same as floats in every language; what is longer is cut to it (285,000 years).
LARGEST: Final = 2**53 - 1

#: Bytes of an envelope in which its id is found.
_HEAD: Final = 280

_ENVELOPE_NAMES = ("id", "payload", "created_at_ms", "attempt", "retry")
_RETRY_NAMES = ("max_attempts", "backoff")
_BACKOFF_NAMES = ("kind", "delay_ms", "max_delay_ms", "multiplier", "jitter_ms")


def encode(
    job_id: str,
    payload: bytes,
    created_ms: int,
    failed: int = 0,
    override: Override = NO_OVERRIDE,
    extras: Extras = NO_EXTRAS,
) -> bytes:
    """Write an envelope: the field ``d`` of an entry."""
    if override is NO_OVERRIDE and extras is NO_EXTRAS:
        return _pack((job_id, payload, created_ms, failed))
    fields: list[Any] = [job_id, payload, created_ms, failed]
    if override.attempts is not None or override.backoff is not None:
        fields.append([override.attempts, _backoff_fields(override.backoff)])
        if override.backoff is not None and override.backoff.jitter and not extras.full_jitter:
            extras = _with_jitter(extras)
    options = _option_map(extras)
    return _pack(fields) + _pack(options) if options else _pack(fields)


def recode(job: Job, failed: int, extras: Extras | None = None) -> bytes:
    """Write a job's envelope again, with another count of failed runs; everything else is kept."""
    return encode(
        job.id, job.body, job.created_ms, failed, job.override, job.extras if extras is None else extras
    )


#: In the fourth byte of a member: the job is parked.
_PARKED_MARK: Final = 64


def delayed_member(
    name: str, envelope: bytes, priority: int = DEFAULT_PRIORITY, *, parked: bool = False
) -> bytes:
    """Write a job as a member of the delayed set; ``parked`` marks that it waits for a worker that knows its task."""
    encoded = name.encode()
    lane = lane_byte(priority) | (_PARKED_MARK if parked else 0)
    return len(encoded).to_bytes(3, "little") + bytes((lane,)) + encoded + envelope


def lane_byte(priority: int) -> int:
    """What stands in the fourth byte of a member."""
    return 0 if priority == DEFAULT_PRIORITY else priority + 1


def _name_size(member: bytes) -> int:
    lane = member[3] if len(member) > 3 else 0
    if lane & ~15 == _PARKED_MARK:
        lane &= 15
    return int.from_bytes(member[: 3 if lane <= len(PRIORITIES) else 4], "little")


def packed_id(job_id: str) -> bytes:
    """Write an id as it begins every envelope of its job, behind the envelope's first byte."""
    return _pack(job_id)


def split_member(member: bytes) -> tuple[bytes, bytes]:
    """Read a member of the delayed set: name and envelope.

    Raises:
        Undecodable: It has not both.
    """
    size = _name_size(member)
    if len(member) <= 4 + size:
        raise Undecodable("a delayed job without a name and an envelope")
    return member[4 : 4 + size], member[4 + size :]


def member_id(member: bytes) -> str | None:
    """Read the id from a member of the delayed set, or give ``None`` if it does not tell."""
    start = 4 + _name_size(member)
    return envelope_id(member[start : start + _HEAD])


def decode(data: bytes) -> tuple[str, bytes, int, int, Override, Extras]:
    """Read an envelope: id, payload bytes, created ms, failed runs, override, extras.

    Raises:
        Undecodable: The bytes are no envelope; the message says what is wrong.
    """
    return interpret(*unpack_first(data))


def interpret(fields: Any, rest: bytes) -> tuple[str, bytes, int, int, Override, Extras]:
    """Read an envelope that is unpacked, and the bytes behind it.

    Raises:
        Undecodable: It is none; the message says what is wrong.
    """
    require_depth(fields)
    if type(fields) is MAP:
        fields = _positions(fields, _ENVELOPE_NAMES)
    if type(fields) is not ARRAY or not 3 <= len(fields) <= 5:
        raise Undecodable("no array of 3 to 5 elements")
    job_id, payload, created_ms = fields[0], fields[1], fields[2]
    if type(job_id) is bytes:
        job_id = _text(job_id)
    if type(job_id) is not str:
        raise Undecodable("the id is no string")
    if type(payload) is not bytes:
        payload = _octets(payload)
    failed = fields[3] if len(fields) > 3 and fields[3] is not None else 0
    if type(created_ms) is not int or type(failed) is not int or created_ms < 0 or failed < 0:
        raise Undecodable("the time or the attempt is no whole number >= 0")
    if failed > LARGEST:  # one more, and the job could not be written down again
        raise Undecodable("the attempt is out of range")
    override = NO_OVERRIDE
    extras = NO_EXTRAS
    if rest:
        extras = _read_extras(rest)
    if len(fields) == 5 and fields[4] is not None:
        override = read_override(fields[4], full_jitter=extras.full_jitter)
    return job_id, payload, created_ms, failed, override, extras


def envelope_id(head: bytes) -> str | None:
    """Read the id from the first bytes of an envelope, or give ``None`` if they do not tell."""
    head = head[:_HEAD]
    unpacker = msgpack.Unpacker(max_buffer_size=max(len(head), 1))
    unpacker.feed(head)
    try:
        unpacker.read_array_header()
        job_id = unpacker.unpack()
    except (ValueError, TypeError, msgpack.UnpackException):
        return None
    return job_id if type(job_id) is str else None


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Undecodable("the id is not valid UTF-8") from None


def _octets(payload: Any) -> bytes:
    if type(payload) is ARRAY:  # how some MessagePack writers put down bytes
        try:
            return bytes(payload)
        except (ValueError, TypeError):
            pass
    raise Undecodable("the payload is no byte string")


def _positions(fields: Any, names: tuple[str, ...]) -> list[Any]:
    return [fields.get(name) for name in names]


def _backoff_fields(backoff: Backoff | None) -> list[Any] | None:
    if backoff is None:
        return None
    grows = backoff.kind == "exponential"
    return [
        backoff.kind,
        _to_milliseconds(backoff.delay),
        _to_milliseconds(backoff.maximum),
        min(backoff.multiplier, float(LARGEST)) if grows else None,
        _to_milliseconds(backoff.spread) if grows else 0,
    ]


def read_override(fields: Any, *, full_jitter: bool = False) -> Override:
    """Read a retry override.

    Raises:
        Undecodable: It is none; the message says what is wrong.
    """
    if type(fields) is MAP:
        fields = _positions(fields, _RETRY_NAMES)
    if type(fields) is not ARRAY or len(fields) != 2:
        raise Undecodable("the retry override is no pair")
    attempts, backoff = fields
    if attempts is not None and (type(attempts) is not int or attempts < 0):
        raise Undecodable("the retry override's attempts are no whole number >= 0")
    return Override(attempts, None if backoff is None else _read_backoff(backoff, full_jitter=full_jitter))


def _read_backoff(fields: Any, *, full_jitter: bool) -> Backoff:
    if type(fields) is MAP:
        fields = _positions(fields, _BACKOFF_NAMES)
    if type(fields) is not ARRAY or len(fields) != 5 or type(fields[0]) is not str:
        raise Undecodable("the retry override's backoff is no array of 5 that begins with its kind")
    kind, delay, maximum, multiplier, spread = fields
    for number in (delay, maximum, multiplier, spread):
        if number is not None and (type(number) not in (int, float) or not 0 <= number <= LARGEST):
            raise Undecodable("the retry override's backoff has a number out of range")
    if delay is None:
        raise Undecodable("the retry override's backoff has no delay")
    first = delay / 1000
    if kind == "fixed":
        # A fixed wait is what was asked for: chasquimq cuts it to its queue's maximum without a word.
        limit = first if maximum is None else maximum / 1000
        growth = 1.0
    else:
        limit = max(first, _FOREIGN_MAXIMUM) if maximum is None else maximum / 1000
        growth = _FOREIGN_MULTIPLIER if multiplier is None else max(1.0, float(multiplier))
    return Backoff(
        kind="fixed" if kind == "fixed" else "exponential",
        delay=first,
        maximum=limit,
        multiplier=growth,
        jitter=full_jitter and kind != "fixed",
        spread=_FOREIGN_SPREAD if spread is None else spread / 1000,
    )


def _option_map(extras: Extras) -> dict[str, Any]:
    options: dict[str, Any] = dict(extras.others)
    if extras.timeout is not None:
        options[_TIMEOUT] = max(1, _to_milliseconds(extras.timeout))
    if extras.result_ttl is not None:
        options[_RESULT] = max(1, _to_milliseconds(extras.result_ttl))
    if extras.parked:
        options[_PARKED] = max(1, _to_milliseconds(extras.parked))
    if extras.full_jitter:
        options[_JITTER] = True
    if extras.lost:
        options[_LOST] = extras.lost
    if extras.claim:
        options[_CLAIM] = extras.claim
    if extras.unique:
        options[_UNIQUE] = extras.unique
    if extras.deadline_ms is not None:
        options[_DEADLINE] = extras.deadline_ms
    if extras.scheduled is not None:
        options[_SCHEDULED] = extras.scheduled
    if extras.noted:
        options[_NOTED] = True
    if extras.trace:
        options[_TRACE] = dict(extras.trace)
    if extras.tracked:
        options[_TRACKED] = True
    if extras.after:
        options[_AFTER] = list(extras.after)
    if extras.priority != DEFAULT_PRIORITY:
        options[_PRIORITY] = extras.priority
    if extras.error is not None:
        options[_ERROR] = list(extras.error)
    return options


def _with_jitter(extras: Extras) -> Extras:
    return attrs.evolve(extras, full_jitter=True)


def _read_extras(data: bytes) -> Extras:
    """Read what follows the envelope; what is not AnyQ's is nobody's business and no error."""
    try:
        options = unpack(data)
    except Undecodable:
        return NO_EXTRAS
    if type(options) is not MAP:
        return NO_EXTRAS
    return Extras(
        timeout=_milliseconds(options.pop(_TIMEOUT, None)),
        result_ttl=_milliseconds(options.pop(_RESULT, None)),
        parked=_milliseconds(options.pop(_PARKED, None)) or 0.0,
        full_jitter=options.pop(_JITTER, None) is True,
        lost=_count(options.pop(_LOST, None)),
        claim=_word(options.pop(_CLAIM, None)),
        unique=_word(options.pop(_UNIQUE, None)),
        deadline_ms=_moment(options.pop(_DEADLINE, None)),
        scheduled=_moment(options.pop(_SCHEDULED, None)),
        noted=options.pop(_NOTED, None) is True,
        trace=headers(options.pop(_TRACE, None)),
        tracked=options.pop(_TRACKED, None) is True,
        after=_words(options.pop(_AFTER, None)),
        priority=_priority(options.pop(_PRIORITY, None)),
        error=_error(options.pop(_ERROR, None)),
        others=options,
    )


def headers(value: Any) -> Mapping[str, str]:
    """Give what tracing put there, unless it is no such thing or too much; then it is as good as nothing.

    Args:
        value: A map, for all one knows.
    """
    if type(value) is not MAP or len(value) > _TRACE_HEADERS:
        return {}
    found: dict[Any, Any] = value
    if not all(type(name) is str and type(text) is str for name, text in found.items()):
        return {}
    return found if sum(len(name) + len(text) for name, text in found.items()) <= _TRACE_LIMIT else {}


def _count(value: Any) -> int:
    return value if type(value) is int and 0 < value < 2**31 else 0


def _priority(value: Any) -> int:
    return value if type(value) is int and value in PRIORITIES else DEFAULT_PRIORITY


def _error(value: Any) -> tuple[str, str] | None:
    words = _words(value)
    return (words[0], words[1]) if len(words) == 2 and sum(map(len, words)) <= ERROR_LIMIT else None


def _word(value: Any) -> str:
    return value if type(value) is str and len(value) <= NAME_LIMIT else ""


def _moment(value: Any) -> int | None:
    return value if type(value) is int and 0 < value <= LARGEST else None


def _words(value: Any) -> tuple[str, ...]:
    return tuple(word for word in value if type(word) is str) if type(value) is ARRAY else ()


def _milliseconds(value: Any) -> float | None:
    return value / 1000 if type(value) is int and 0 < value <= LARGEST else None


def _to_milliseconds(seconds: float) -> int:
    return round(min(seconds * 1000, LARGEST))
