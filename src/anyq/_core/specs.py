"""How a schedule lies in Redis: chasquimq's bytes, and what AnyQ adds in a field of its own beside them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from hashlib import sha1
from typing import Any, Final, cast
from zlib import crc32

import attrs
import msgpack

from .codec import decode as decode_envelope
from .codec import encode as encode_envelope
from .codec import read_override
from .job import NO_EXTRAS, NO_OVERRIDE
from .schedules import LARGEST, MOST_MISSED, ONCE, SKIP_GRACE, Cron, Every, Missed, Spec
from .values import ARRAY, MAP, Undecodable, unpack

_SPEC_NAMES = (
    "key", "job_name", "pattern", "payload", "limit", "start_after_ms", "end_before_ms", "fired", "missed_fires",
    "retry",
)  # fmt: skip

# AnyQ's own field beside the spec: a map, with one-letter keys. The first is a check of the spec that it belongs to (a
# foreign program that writes another leaves this field alone), the last an envelope without a job: how the jobs run.
_CHECK: Final = "c"
_JITTER: Final = "j"
_GRACE: Final = "g"
_DEADLINE: Final = "x"
_DECLARED: Final = "d"
_OPTIONS: Final = "o"

_pack = msgpack.Packer(use_bin_type=True).pack


def encode(spec: Spec) -> tuple[bytes, bytes]:
    """Write a definition: chasquimq's field, and AnyQ's (empty when there is nothing to say in it)."""
    when = spec.when
    pattern = (
        {"Every": [when.milliseconds]} if isinstance(when, Every) else {"Cron": [when.expression, when.tz]}
    )
    fields: list[Any] = [
        spec.name, spec.task, pattern, _pack(spec.body), spec.limit, spec.start_ms, spec.end_ms, 0,
    ]  # fmt: skip
    # The default of chasquimq is left out, as by itself: later versions write it.
    if spec.missed.kind == "once":
        fields.append("FireOnce")
    elif spec.missed.kind == "all":
        fields.append({"FireAll": [spec.missed.most]})
    written = _pack(fields)
    own: dict[str, Any] = {}
    if spec.jitter_ms:
        own[_JITTER] = spec.jitter_ms
    if spec.deadline_ms is not None:
        own[_DEADLINE] = spec.deadline_ms
    if spec.missed.kind == "skip" and spec.missed.grace != SKIP_GRACE:
        own[_GRACE] = round(spec.missed.grace * 1000)
    if spec.declared:
        own[_DECLARED] = True
    if spec.override != NO_OVERRIDE or spec.extras != NO_EXTRAS:
        own[_OPTIONS] = encode_envelope("", b"", 0, 0, spec.override, spec.extras)
    return written, _pack({_CHECK: crc32(written), **own}) if own else b""


def decode(written: bytes, own: bytes) -> Spec:
    """Read a definition, AnyQ's or chasquimq's.

    Raises:
        Undecodable: It is none that AnyQ understands; the message says why.
    """
    fields: Any = unpack(written)
    if type(fields) is MAP:
        fields = [fields.get(one) for one in _SPEC_NAMES]
    if type(fields) is not ARRAY or not 7 <= len(fields) <= 10:
        raise Undecodable("no array of 7 to 10 elements")
    fields = [*fields, *[None] * (10 - len(fields))]
    key, task, pattern, payload, limit, start, end, _, missed, retry = fields
    if type(key) is not str or type(task) is not str:
        raise Undecodable("its name or its task is no string")
    try:
        spec = Spec(
            name=key,
            task=task,
            when=_read_pattern(pattern),
            body=_read_payload(payload),
            limit=_whole("limit", limit),
            start_ms=_whole("start", start),
            end_ms=_whole("end", end),
            missed=_read_missed(missed),
            override=NO_OVERRIDE if retry is None else read_override(retry),
        )
    except (ValueError, TypeError) as error:
        raise Undecodable(str(error)) from None
    return _with_own(spec, written, own) if own else spec


def token(written: bytes, own: bytes) -> bytes:
    """Name this very definition, for scripts that act only while it is the present one."""
    return sha1(written + own, usedforsecurity=False).hexdigest().encode()


def _with_own(spec: Spec, written: bytes, own: bytes) -> Spec:
    fields: Any = unpack(own)
    if type(fields) is not MAP or fields.get(_CHECK) != crc32(written):
        return spec  # a foreign program has written the schedule anew
    override, extras = spec.override, spec.extras
    template = fields.get(_OPTIONS)
    if type(template) is bytes:
        override, extras = decode_envelope(template)[4:]
    missed = spec.missed
    if missed.kind == "skip" and (grace := _whole("grace", fields.get(_GRACE))):
        missed = Missed.skip(grace=timedelta(milliseconds=max(1000, grace)))
    return attrs.evolve(
        spec,
        missed=missed,
        jitter_ms=_whole("jitter", fields.get(_JITTER)) or 0,
        deadline_ms=_whole("deadline", fields.get(_DEADLINE)),
        declared=fields.get(_DECLARED) is True,
        override=override,
        extras=extras,
    )


def _read_pattern(pattern: Any) -> Cron | Every:
    if type(pattern) is MAP and len(pattern) == 1:
        [(kind, value)] = cast("Mapping[Any, Any]", pattern).items()
        if type(value) is MAP:
            value = list(value.values())
        if type(value) is ARRAY:
            if kind == "Every" and len(value) == 1 and type(value[0]) is int:
                return Every(value[0] / 1000)
            if kind == "Cron" and len(value) in {1, 2}:
                return Cron(*value)
    raise Undecodable("its pattern is neither an interval nor a cron expression")


def _read_payload(payload: Any) -> bytes:
    if type(payload) is ARRAY:  # how some MessagePack writers put down bytes
        payload = bytes(payload)
    body = unpack(payload) if type(payload) is bytes else None
    if type(body) is not bytes:
        raise Undecodable("its payload is no byte string")
    return body


def _read_missed(missed: Any) -> Missed:
    if missed is None or missed == "Skip":
        return Missed.skip()
    if missed == "FireOnce":
        return ONCE
    if type(missed) is MAP and type(missed.get("FireAll")) in {int, ARRAY}:
        count = missed["FireAll"]
        count = count[0] if type(count) is ARRAY and len(count) == 1 else count
        if type(count) is int and count > 0:
            return Missed.all(min(count, MOST_MISSED))
    raise Undecodable("what is to become of its missed runs is unknown")


def _whole(what: str, value: Any) -> int | None:
    if value is None:
        return None
    if type(value) is not int or not 0 <= value <= LARGEST:
        raise Undecodable(f"its {what} is no whole number in range")
    return value
