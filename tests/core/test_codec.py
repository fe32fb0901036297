"""The envelope, byte for byte as chasquimq 1.3.0 writes it (its sheet, sections 2.2 to 2.4), and what it accepts."""

from __future__ import annotations

import string
from datetime import timedelta
from typing import Any

import attrs
import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyq._core.codec import Undecodable, decode, delayed_member, encode, envelope_id, recode
from anyq._core.job import NO_EXTRAS, NO_OVERRIDE, Extras, Job, Override
from anyq.settings import Backoff

ID = "01M81QZDDDVHYV0D6EWS8VP4DD"
CREATED = 1_795_355_030_957
PAYLOAD = bytes.fromhex("81a16101")  # {"a": 1}

PLAIN = bytes.fromhex(
    "94 ba 30314d3831515a44444456485956304436455753385650344444 c404 81a16101 cf000001a2037fb5ad 00"
)


def with_retry(tail: str) -> bytes:
    return b"\x95" + PLAIN[1:] + bytes.fromhex(tail)


def foreign(kind: str, delay: float, maximum: float, multiplier: float, spread: float) -> Backoff:
    return Backoff(
        kind=kind, delay=delay, maximum=maximum, multiplier=multiplier, jitter=False, spread=spread
    )


# -- as chasquimq writes ----------------------------------------------------------------------------------------------


def test_a_plain_job_is_written_as_chasquimq_writes_it() -> None:
    assert encode(ID, PAYLOAD, CREATED) == PLAIN


def test_a_plain_job_of_chasquimq_is_read() -> None:
    assert decode(PLAIN) == (ID, PAYLOAD, CREATED, 0, NO_OVERRIDE, NO_EXTRAS)


OVERRIDES = [
    pytest.param(
        "92 05 95 a5 6669786564 ccfa c0 c0 c0",
        Override(5, foreign("fixed", 0.25, 0.25, 1.0, 0.1)),
        id="fixed",
    ),
    pytest.param("92 05 c0", Override(5, None), id="attempts"),
    pytest.param(
        "92 c0 95 ab 6578706f6e656e7469616c 64 cd1388 cb4008000000000000 07",
        Override(None, foreign("exponential", 0.1, 5.0, 3.0, 0.007)),
        id="exponential",
    ),
]


@pytest.mark.parametrize(("tail", "override"), OVERRIDES)
def test_an_override_of_chasquimq_is_read(tail: str, override: Override) -> None:
    assert decode(with_retry(tail))[4] == override


def test_an_override_is_written_as_chasquimq_writes_it() -> None:
    assert encode(ID, PAYLOAD, CREATED, 0, Override(5)) == with_retry("92 05 c0")
    exponential = Override(None, foreign("exponential", 0.1, 5.0, 3.0, 0.007))
    assert encode(ID, PAYLOAD, CREATED, 0, exponential) == with_retry(OVERRIDES[2].values[0])  # type: ignore[arg-type]


def test_a_fixed_wait_names_its_maximum_because_chasquimq_would_cut_it_to_30_seconds() -> None:
    written = encode(ID, PAYLOAD, CREATED, 0, Override(5, Backoff.fixed(60)))
    assert written == with_retry("92 05 95 a5 6669786564 cdea60 cdea60 c0 00")


def test_full_jitter_rides_behind_the_envelope_where_chasquimq_ignores_it() -> None:
    override = Override(None, Backoff.exponential(0.1, maximum=5, multiplier=3))
    written = encode(ID, PAYLOAD, CREATED, 0, override)
    assert written == with_retry(
        "92 c0 95 ab 6578706f6e656e7469616c 64 cd1388 cb4008000000000000 00 81 a16a c3"
    )
    assert decode(written)[4:] == (override, Extras(full_jitter=True))


@pytest.mark.parametrize(
    ("name", "member"),
    [
        ("dly", "03000000 646c79 94 a6 756e69712d31 c404 81a16b01 cf000001a2037fb5c3 00"),
        ("", "00000000 94 a6 756e69712d31 c404 81a16b01 cf000001a2037fb5c3 00"),
        ("ü", "02000000 c3bc 94 a6 756e69712d31 c404 81a16b01 cf000001a2037fb5c3 00"),
    ],
)
def test_a_delayed_member_is_written_as_chasquimq_writes_it(name: str, member: str) -> None:
    envelope = encode("uniq-1", bytes.fromhex("81a16b01"), 1_795_355_030_979)
    assert delayed_member(name, envelope) == bytes.fromhex(member)


def test_a_long_name_has_its_length_in_four_bytes() -> None:
    assert delayed_member("n" * 256, b"e")[:5] == b"\x00\x01\x00\x00n"


# -- what chasquimq accepts -------------------------------------------------------------------------------------------

SHORT, P, C = "id", b"p", 5


def packed(*fields: Any) -> bytes:
    return msgpack.packb(list(fields))


def mapped(**fields: Any) -> bytes:
    return msgpack.packb({"id": SHORT, "payload": P, "created_at_ms": C, **fields})


def retry(*fields: Any) -> bytes:
    return packed(SHORT, P, C, 0, list(fields))


ACCEPTED = {
    "4 elements": (packed(SHORT, P, C, 2), 2),
    "5 with nil": (packed(SHORT, P, C, 2, None), 2),
    "3: the attempt defaults to 0": (packed(SHORT, P, C), 0),
    "a map": (mapped(attempt=2, retry=None), 2),
    "a map without attempt and retry": (mapped(), 0),
    "a map with unknown keys": (mapped(later="x"), 0),
    "an id as bytes": (packed(b"id", P, C, 0), 0),
    "an int of 64 bits": (b"\x94\xa2id\xc4\x01p\xcf" + bytes(7) + b"\x05\xcf" + bytes(8), 0),
    "a positive signed int": (b"\x94\xa2id\xc4\x01p\xd3" + bytes(7) + b"\x05\xd0\x01", 1),
    "a payload as bin 32": (b"\x94\xa2id\xc6\x00\x00\x00\x01p\x05\x00", 0),
    "a payload as an array of bytes": (packed(SHORT, [112], C, 0), 0),
    "bytes after the envelope": (packed(SHORT, P, C, 0) + b"\xff\x00junk", 0),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_what_chasquimq_accepts_is_accepted(case: str) -> None:
    data, failed = ACCEPTED[case]
    assert decode(data) == (SHORT, P, C, failed, NO_OVERRIDE, NO_EXTRAS)


def test_an_empty_id_is_accepted() -> None:
    assert decode(packed("", P, C, 0))[0] == ""


RETRIES = {
    "a pair of nils": (retry(None, None), NO_OVERRIDE),
    "a map": (packed(SHORT, P, C, 0, {"max_attempts": 3, "backoff": None}), Override(3)),
    "an empty map": (packed(SHORT, P, C, 0, {}), NO_OVERRIDE),
    "a backoff as a map": (
        retry(None, {"kind": "fixed", "delay_ms": 10, "max_delay_ms": None, "multiplier": None}),
        Override(None, foreign("fixed", 0.01, 0.01, 1.0, 0.1)),
    ),
    "an unknown kind, which counts as exponential": (
        retry(None, ["linear", 10, 20, 3.0, 0]),
        Override(None, foreign("exponential", 0.01, 0.02, 3.0, 0.0)),
    ),
    "a multiplier as an int": (
        retry(None, ["exponential", 10, 20, 2, 0]),
        Override(None, foreign("exponential", 0.01, 0.02, 2.0, 0.0)),
    ),
    "nils, which are chasquimq's defaults": (
        retry(None, ["exponential", 10, None, None, None]),
        Override(None, foreign("exponential", 0.01, 30.0, 2.0, 0.1)),
    ),
}


@pytest.mark.parametrize("case", RETRIES)
def test_a_retry_override_that_chasquimq_accepts_is_accepted(case: str) -> None:
    data, override = RETRIES[case]
    assert decode(data)[4] == override


def test_a_delay_above_30_seconds_is_kept_although_chasquimq_cuts_it() -> None:
    fixed = decode(retry(None, ["fixed", 60_000, None, None, None]))[4].backoff
    exponential = decode(retry(None, ["exponential", 40_000, None, None, None]))[4].backoff
    assert fixed is not None
    assert exponential is not None
    assert (fixed.maximum, exponential.maximum) == (60.0, 40.0)


def test_a_multiplier_below_one_counts_as_one() -> None:
    backoff = decode(retry(None, ["exponential", 10, 20, 0.5, 0]))[4].backoff
    assert backoff is not None
    assert backoff.multiplier == 1.0


REJECTED = {
    "nothing": b"",
    "2 elements": packed(SHORT, P),
    "6 elements": packed(SHORT, P, C, 0, None, None),
    "an id that is an int": packed(7, P, C, 0),
    "an id that is nil": packed(None, P, C, 0),
    "a map without an id": msgpack.packb({"payload": P, "created_at_ms": C}),
    "a map without a payload": msgpack.packb({"id": SHORT, "created_at_ms": C}),
    "a map without a time": msgpack.packb({"id": SHORT, "payload": P}),
    "a time as a float": packed(SHORT, P, 5.0, 0),
    "a negative time": packed(SHORT, P, -5, 0),
    "a time that is nil": packed(SHORT, P, None, 0),
    "a time that is true": packed(SHORT, P, True, 0),
    "an attempt that cannot be counted on": packed(SHORT, P, C, 2**53),
    "a negative attempt": packed(SHORT, P, C, -1),
    "an attempt as a float": packed(SHORT, P, C, 1.0),
    "a payload that is a str": packed(SHORT, "p", C, 0),
    "a payload that is a map": packed(SHORT, {"a": 1}, C, 0),
    "a payload that is an int": packed(SHORT, 1, C, 0),
    "a payload that is nil": packed(SHORT, None, C, 0),
    "a payload array with more than a byte": packed(SHORT, [256], C, 0),
    "a payload array of strings": packed(SHORT, ["p"], C, 0),
    "a retry array of 1": retry(None),
    "a retry array of 3": retry(None, None, None),
    "a retry that is an int": packed(SHORT, P, C, 0, 3),
    "negative attempts": retry(-1, None),
    "attempts as a float": retry(1.0, None),
    "a backoff array of 2": retry(None, ["fixed", 10]),
    "a backoff that is a str": retry(None, "fixed"),
    "a kind that is an int": retry(None, [1, 10, None, None, None]),
    "a negative delay": retry(None, ["fixed", -10, None, None, None]),
    "a delay that is nil": retry(None, ["fixed", None, None, None, None]),
    "a delay that is no number": retry(None, ["fixed", "10", None, None, None]),
    "a multiplier that is NaN": retry(None, ["exponential", 10, None, float("nan"), None]),
    "an infinite multiplier": retry(None, ["exponential", 10, None, float("inf"), None]),
    "a truncated envelope": PLAIN[:-1],
    "an id that is no UTF-8": b"\x94\xa2\xff\xfe\xc4\x01p\x05\x00",
    "an id of bytes that are no UTF-8": b"\x94\xc4\x01\xff\xc4\x01p\x05\x00",
    "another value": b"\xc0",
    "a type that MessagePack does not have": b"\xc1",
}


@pytest.mark.parametrize("case", REJECTED)
def test_what_is_no_envelope_is_rejected(case: str) -> None:
    with pytest.raises(Undecodable):
        decode(REJECTED[case])


def test_a_delay_as_a_float_is_accepted_although_chasquimq_rejects_it() -> None:
    backoff = decode(retry(None, ["fixed", 12.5, None, None, None]))[4].backoff
    assert backoff is not None
    assert backoff.delay == 0.0125


def test_an_attempt_that_is_nil_counts_as_none_failed_although_chasquimq_rejects_it() -> None:
    assert decode(packed(SHORT, P, C, None))[3] == 0


# -- written again ----------------------------------------------------------------------------------------------------


def job_of(data: bytes) -> Job:
    job_id, body, created_ms, failed, override, extras = decode(data)
    return Job("q", job_id, "task", failed + 1, created_ms, override, extras, body, b"lane", b"1-1", 0)


def test_a_retry_changes_the_count_of_failures_and_nothing_else() -> None:
    assert recode(job_of(PLAIN), 1) == PLAIN[:-1] + b"\x01"
    tail = str(OVERRIDES[2].values[0])
    before = with_retry(tail)
    place = len(PLAIN) - 1
    assert recode(job_of(before), 7) == before[:place] + b"\x07" + before[place + 1 :]


def test_the_canonical_form_is_written_whatever_form_was_read() -> None:
    assert recode(job_of(mapped(attempt=2)), 3) == packed(SHORT, P, C, 3)
    linear = recode(job_of(retry(None, ["linear", 10, 20, 3.0, 0])), 1)
    assert linear == packed(SHORT, P, C, 1, [None, ["exponential", 10, 20, 3.0, 0]])


def test_options_that_a_newer_anyq_wrote_are_carried_along() -> None:
    data = PLAIN + msgpack.packb({"t": 1500, "zz": [1, {"deep": True}], "r": 2000})
    extras = decode(data)[5]
    assert extras == Extras(timeout=1.5, result_ttl=2.0, others={"zz": [1, {"deep": True}]})
    again = decode(recode(job_of(data), 1))
    assert again[3] == 1
    assert again[5] == extras


def test_what_the_last_run_failed_with_travels_along_and_nothing_else_does_in_its_place() -> None:
    extras = Extras(error=("ValueError", "no way"))
    assert decode(encode(ID, PAYLOAD, CREATED, 1, extras=extras))[5] == extras
    for strange in (1, [], ["x"], ["x", 1], ["x", "y", "z"], ["x", "y" * 1000], {"x": "y"}):
        assert decode(PLAIN + msgpack.packb({"e": strange}))[5].error is None


def test_parking_is_written_over_the_jobs_other_options() -> None:
    job = job_of(encode(ID, PAYLOAD, CREATED, extras=Extras(timeout=2.0, deadline_ms=CREATED + 1)))
    again = decode(recode(job, 0, attrs.evolve(job.extras, parked=3.5)))
    assert again[5] == Extras(timeout=2.0, deadline_ms=CREATED + 1, parked=3.5)


@pytest.mark.parametrize(
    "rest",
    [b"\xc1", b"\x00", b"\x93\x01\x02\x03", b"\x81\x01\x02", b"\x82\xa1t", b"\x80\x80", b"\x91" * 500, b"}"],
)
def test_what_foreign_programs_put_behind_the_envelope_is_ignored(rest: bytes) -> None:
    assert decode(PLAIN + rest)[5] == NO_EXTRAS


@pytest.mark.parametrize("value", [0, -1, 1.5, "1", None, True, 2**63, [1]])
def test_an_option_out_of_range_is_as_if_it_were_not_there(value: Any) -> None:
    assert decode(PLAIN + msgpack.packb({"t": value, "r": value, "p": value, "d": value}))[5] == NO_EXTRAS


def test_a_time_shorter_than_a_millisecond_does_not_become_none() -> None:
    extras = Extras(timeout=0.0001, result_ttl=0.0001, parked=0.0001)
    assert decode(encode(ID, PAYLOAD, CREATED, extras=extras))[5] == Extras(0.001, 0.001, 0.001)


@pytest.mark.parametrize(
    "backoff",
    [
        Backoff.fixed(timedelta.max),
        Backoff.exponential(timedelta.max, maximum=timedelta.max),
        Backoff.exponential(1, multiplier=1e300, jitter=False),
    ],
)
def test_an_extreme_backoff_is_cut_to_what_can_be_read_again(backoff: Backoff) -> None:
    read = decode(encode(ID, PAYLOAD, CREATED, 0, Override(3, backoff), Extras(timeout=1e300)))
    assert read[4].backoff is not None
    assert read[4].backoff.maximum >= 60
    assert read[5].timeout == (2**53 - 1) / 1000


# -- the id at the head -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [4, 28, 30, 280])
def test_the_id_is_read_from_the_first_bytes(length: int) -> None:
    assert envelope_id(PLAIN[:length]) == (ID if length >= 28 else None)


@pytest.mark.parametrize(
    "head", [b"", b"\x94", b"\xc0", b"\x81\xa2id\xa1x", b"\x94\x07", b"\x94\xa2\xff\xff", b"\xc1"]
)
def test_a_head_without_an_id_has_none(head: bytes) -> None:
    assert envelope_id(head) is None


@given(st.binary(max_size=300))
def test_any_head_gives_an_id_or_none(head: bytes) -> None:
    assert isinstance(envelope_id(head), str | None)


# -- there and back ---------------------------------------------------------------------------------------------------

milliseconds = st.integers(1, 2**40).map(lambda number: number / 1000)
backoffs = st.one_of(
    st.integers(0, 10**9).map(lambda number: Backoff.fixed(number / 1000)),
    st.builds(
        lambda delay, maximum, multiplier, jitter: Backoff.exponential(
            delay, maximum=maximum, multiplier=multiplier, jitter=jitter
        ),
        milliseconds,
        milliseconds,
        st.floats(1, 100),
        st.booleans(),
    ),
)
overrides = st.builds(Override, st.none() | st.integers(0, 2**32), st.none() | backoffs)
unknown = st.dictionaries(
    st.text(string.ascii_letters, min_size=2, max_size=5),
    st.none() | st.integers(0, 100) | st.text(max_size=5) | st.lists(st.booleans(), max_size=3),
    max_size=3,
)
extras = st.builds(
    Extras,
    timeout=st.none() | milliseconds,
    result_ttl=st.none() | milliseconds,
    parked=st.just(0.0) | milliseconds,
    others=unknown,
)


@given(
    job_id=st.text(max_size=80),
    payload=st.binary(max_size=300),
    created=st.integers(0, 2**64 - 1),
    failed=st.integers(0, 2**53 - 1),
    override=overrides,
    extras=extras,
)
def test_an_envelope_comes_back_as_it_was_written(
    job_id: str, payload: bytes, created: int, failed: int, override: Override, extras: Extras
) -> None:
    jitters = override.backoff is not None and override.backoff.jitter
    written = encode(job_id, payload, created, failed, override, extras)
    read = decode(written)
    assert read[:4] == (job_id, payload, created, failed)
    assert read[4] == override
    assert read[5] == attrs.evolve(extras, full_jitter=jitters)
    job = Job("q", job_id, "n", failed + 1, created, *read[4:], payload, b"lane", b"1-1", 0)
    assert recode(job, failed) == written


@given(st.binary(max_size=200))
def test_any_bytes_are_an_envelope_or_undecodable(data: bytes) -> None:
    try:
        job_id, payload, created_ms, failed, _, _ = decode(data)
    except Undecodable:
        return
    assert isinstance(job_id, str)
    assert isinstance(payload, bytes)
    assert created_ms >= 0
    assert failed >= 0


leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=8)
)
shapes = st.recursive(
    leaves,
    lambda parts: st.lists(parts, max_size=6) | st.dictionaries(st.text(max_size=8), parts, max_size=6),
)
near_envelopes = st.tuples(
    st.text(max_size=4) | shapes,
    st.binary(max_size=4) | shapes,
    st.integers(0, 9) | shapes,
    st.integers(0, 9) | shapes,
    shapes,
)


@given(near_envelopes.map(list), st.binary(max_size=20))
def test_anything_like_an_envelope_is_one_or_undecodable(fields: list[Any], rest: bytes) -> None:
    try:
        job = job_of(msgpack.packb(fields) + rest)
    except Undecodable:
        return
    assert decode(recode(job, job.attempt - 1))[:4] == (job.id, job.body, job.created_ms, job.attempt - 1)
