"""An entry of the stream becomes a job, or is spoiled with a reason; never anything else, whatever lies there."""

from __future__ import annotations

from typing import Any

import attrs
import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyq._core.codec import encode, recode
from anyq._core.entry import Spoiled, admit
from anyq._core.job import NO_EXTRAS, NO_OVERRIDE, Extras, Job, Override

BODY = msgpack.packb({"a": 1})
ENVELOPE = encode("id", BODY, 1000, 2, Override(5), Extras(timeout=1.0))


def read(*fields: bytes, limit: int = 1000) -> Job | Spoiled:
    return admit("q", b"lane", b"1-1", fields, limit, "home", {b"welcome": "welcome"})


def test_an_entry_becomes_a_job() -> None:
    job = read(b"d", ENVELOPE, b"n", b"welcome")
    assert isinstance(job, Job)
    assert (job.queue, job.id, job.name, job.attempt, job.body) == ("q", "id", "welcome", 3, BODY)
    assert (job.lane, job.entry, job.lost, job.home) == (b"lane", b"1-1", 0, "home")
    assert (job.override, job.extras) == (Override(5), Extras(timeout=1.0))


def test_the_short_way_makes_the_same_job_as_the_long_one() -> None:
    envelope = encode("id", BODY, 1000, 2)
    short, long = read(b"d", envelope, b"n", b"welcome"), read(b"n", b"welcome", b"d", envelope)
    assert isinstance(short, Job)
    assert isinstance(long, Job)
    for field in attrs.fields(Job):
        assert getattr(short, field.name) == getattr(long, field.name), field.name
    assert (short.override, short.extras) == (long.override, long.extras) == (NO_OVERRIDE, NO_EXTRAS)
    assert short.override is NO_OVERRIDE
    assert short.extras is NO_EXTRAS


@pytest.mark.parametrize(
    "fields",
    [
        ("id", BODY, 1000, -1),
        ("id", BODY, -1, 0),
        ("id", BODY, 1000, 2**53),
        ("id", BODY, True, 0),
        ("id", BODY, 1000, False),
        ("id", BODY, 1000.0, 0),
        ("id", "text", 1000, 0),
        (1, BODY, 1000, 0),
        ("id", BODY),
    ],
)
def test_the_short_way_takes_no_other_envelope(fields: tuple[Any, ...]) -> None:
    spoiled = read(b"d", msgpack.packb(fields), b"n", b"welcome")
    assert isinstance(spoiled, Spoiled)
    assert spoiled.reason == "decode_failed"


def test_a_known_name_is_not_decoded_again() -> None:
    known = b"welcome".decode()  # an object of its own
    fields = (b"d", encode("id", BODY, 1000), b"n", b"welcome")
    job = admit("q", b"lane", b"1-1", fields, 1000, None, {b"welcome": known})
    other = admit("q", b"lane", b"1-1", fields, 1000, None, {b"other": "other"})
    assert isinstance(job, Job)
    assert isinstance(other, Job)
    assert job.name is known
    assert other.name == known


@pytest.mark.parametrize(
    "fields",
    [
        (b"n", b"welcome", b"d", ENVELOPE),
        (b"x", b"1", b"d", ENVELOPE, b"y", b"2", b"n", b"welcome"),
        (b"l", b"0", b"d", ENVELOPE, b"n", b"welcome"),
        (b"l", b"many", b"d", ENVELOPE, b"n", b"welcome"),
        (b"l", b"-1", b"d", ENVELOPE, b"n", b"welcome"),
        (b"l", b"", b"d", ENVELOPE, b"n", b"welcome"),
        (b"l", b"9" * 400, b"d", ENVELOPE, b"n", b"welcome"),
    ],
)
def test_order_and_foreign_fields_do_not_matter(fields: tuple[bytes, ...]) -> None:
    job = read(*fields)
    assert isinstance(job, Job)
    assert (job.name, job.attempt, job.lost) == ("welcome", 3, 0)


def test_lost_deliveries_count_as_runs() -> None:
    job = read(b"d", ENVELOPE, b"l", b"4")
    assert isinstance(job, Job)
    assert (job.attempt, job.lost) == (7, 4)


@pytest.mark.parametrize("lost", [0, 4])
def test_deliveries_lost_before_the_job_came_back_are_among_its_failed_runs(lost: int) -> None:
    envelope = encode("id", BODY, 1000, 3, extras=Extras(lost=2))
    job = read(b"d", envelope, b"n", b"welcome", *((b"l", b"%d" % lost) if lost else ()))
    assert isinstance(job, Job)
    assert (job.attempt, job.lost) == (4 + lost, 2 + lost)


def test_a_job_without_a_name_has_an_empty_one() -> None:
    job = read(b"d", ENVELOPE)
    assert isinstance(job, Job)
    assert job.name == ""


@pytest.mark.parametrize(
    ("fields", "reason", "detail"),
    [
        ((), "malformed", "no field 'd'"),
        ((b"n", b"x"), "malformed", "no field 'd'"),
        ((b"D", ENVELOPE), "malformed", "no field 'd'"),
        ((b"d", b""), "decode_failed", "incomplete"),
        ((b"d", b"junk"), "decode_failed", "no array"),
        ((b"d", ENVELOPE, b"n", b"\xff"), "decode_failed", "the name is not valid UTF-8"),
        ((b"d", b"x" * 1001), "oversize_payload", "1001 bytes, and the limit is 1000"),
    ],
)
def test_what_is_no_job_is_spoiled_with_the_reason(
    fields: tuple[bytes, ...], reason: str, detail: str
) -> None:
    spoiled = read(*fields, b"l", b"2")
    assert isinstance(spoiled, Spoiled)
    assert spoiled.reason == reason
    assert detail in spoiled.detail
    assert (spoiled.lane, spoiled.entry, spoiled.lost, spoiled.home) == (b"lane", b"1-1", 2, "home")


def test_a_spoiled_entry_keeps_its_bytes_and_name() -> None:
    spoiled = read(b"d", b"\xc1", b"n", b"\xff")
    assert isinstance(spoiled, Spoiled)
    assert (spoiled.data, spoiled.name, spoiled.fields) == (b"\xc1", b"\xff", ())


def test_an_entry_without_an_envelope_keeps_all_its_fields() -> None:
    spoiled = read(b"n", b"x", b"payload", b"{}")
    assert isinstance(spoiled, Spoiled)
    assert spoiled.fields == (b"n", b"x", b"payload", b"{}")


def test_a_message_that_was_deleted_is_malformed() -> None:
    spoiled = admit("q", b"lane", b"1-1", None, 1000, None)
    assert isinstance(spoiled, Spoiled)
    assert spoiled.reason == "malformed"


def test_the_limit_is_the_largest_that_is_taken() -> None:
    assert isinstance(read(b"d", ENVELOPE, limit=len(ENVELOPE)), Job)
    assert isinstance(read(b"d", ENVELOPE, limit=len(ENVELOPE) - 1), Spoiled)


def test_a_name_that_no_task_can_have_is_malformed() -> None:
    assert isinstance(read(b"d", ENVELOPE, b"n", b"x" * 256), Job)
    spoiled = read(b"d", ENVELOPE, b"n", b"x" * 257)
    assert isinstance(spoiled, Spoiled)
    assert (spoiled.reason, spoiled.data, spoiled.name) == ("malformed", ENVELOPE, b"x" * 257)


def test_a_number_of_runs_that_could_not_be_counted_on_is_spoiled() -> None:
    for failed in (2**53, 2**64 - 1):
        assert isinstance(read(b"d", encode("id", b"", 0, failed), b"l", b"1"), Spoiled)
    job = read(b"d", encode("id", b"", 0, 2**53 - 1), b"l", b"999999999")
    assert isinstance(job, Job)
    recode(job, job.attempt)


@given(
    st.lists(
        st.tuples(st.sampled_from([b"d", b"n", b"l", b"x"]) | st.binary(max_size=3), st.binary(max_size=60)),
        max_size=5,
    )
)
def test_any_entry_is_a_job_or_spoiled(pairs: list[tuple[bytes, bytes]]) -> None:
    found = read(*(part for pair in pairs for part in pair))
    assert isinstance(found, Job | Spoiled)
    repr(found)


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=5),
)


@given(
    st.binary(max_size=60)
    | (VALUES | st.lists(VALUES, max_size=6)).map(msgpack.packb)
    | st.tuples(st.text(max_size=5), st.binary(max_size=5), VALUES, VALUES).map(msgpack.packb)
    | st.builds(
        encode, st.text(max_size=5), st.binary(max_size=5), st.integers(0, 2**64 - 1), st.integers(0, 2**54)
    )
)
def test_the_short_way_and_the_long_one_agree_whatever_lies_there(envelope: bytes) -> None:
    short, long = read(b"d", envelope, b"n", b"welcome"), read(b"n", b"welcome", b"d", envelope)
    assert type(short) is type(long)
    for field in attrs.fields(type(short)):
        assert getattr(short, field.name) == getattr(long, field.name), field.name


def test_neither_arguments_nor_results_show_in_a_jobs_text() -> None:
    job = read(b"d", encode("id", msgpack.packb({"password": "hunter2"}), 0), b"n", b"login")
    assert isinstance(job, Job)
    job.payload = {"password": "hunter2"}
    assert repr(job) == "<Job 'id' 'login' of 'q', attempt 1 of ?>"
    assert "hunter2" not in str(job)


@pytest.mark.parametrize("created", [0, 1_795_355_030_957, 2**63, 2**64 - 1])
def test_any_time_of_creation_can_be_shown(created: int) -> None:
    job = read(b"d", encode("id", b"", created))
    assert isinstance(job, Job)
    assert job.created_at.tzinfo is not None
