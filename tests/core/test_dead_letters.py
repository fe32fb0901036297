"""A dead letter is read whoever wrote it, whatever its bytes are, and becomes a job with all its runs before it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgpack
import pytest

from anyq import Backoff
from anyq._core.codec import decode, encode
from anyq._core.dead_letters import Hopeless, Raw, Revived, read, revive
from anyq._core.job import Extras, Override

LIMIT = 1000
ARGUMENTS = msgpack.packb({"to": "ada"})
DIED = datetime(2026, 11, 22, 20, tzinfo=UTC)
ID = b"%d-3" % (DIED.timestamp() * 1000)


def letter(envelope: bytes = b"", /, **fields: Any) -> Raw:
    return Raw(
        ID,
        len(envelope),
        envelope,
        {name.encode(): str(value).encode() for name, value in fields.items()},
    )


def test_a_letter_of_anyq_tells_everything() -> None:
    raw = letter(
        encode("j", ARGUMENTS, 1000, 2), n="welcome", source_id="5-0", reason="retries_exhausted", detail="in short",
        error="ValueError", message="at length", traceback="line", attempts=3, lost=1, created_at=2000,
        died_at=9, worker="anyq-1",
    )  # fmt: skip
    found = read(raw, payload=True)
    assert (found.id, found.job_id, found.task, found.reason) == (
        ID.decode(), "j", "welcome", "retries_exhausted",
    )  # fmt: skip
    assert (found.error, found.message, found.traceback) == ("ValueError", "at length", "line")
    assert (found.detail, found.attempts, found.lost, found.worker) == ("in short", 3, 1, "anyq-1")
    assert found.created_at == datetime.fromtimestamp(2, UTC)
    assert found.died_at == DIED, "by the server's clock, which orders and filters them"
    assert (found.entry, found.size) == ("5-0", raw.size)
    assert found.payload == {"to": "ada"}


def test_a_letter_of_chasquimq_tells_what_its_envelope_does() -> None:
    found = read(letter(encode("j", ARGUMENTS, 1000, 2), n="welcome", reason="retries_exhausted"))
    assert (found.job_id, found.attempts, found.error) == ("j", 3, "")
    assert found.created_at == datetime.fromtimestamp(1, UTC)


def test_arguments_are_secret_unless_asked_for() -> None:
    found = read(
        letter(encode("j", msgpack.packb({"password": "s3cret"}), 1, 0), n="welcome", reason="stalled")
    )
    assert found.payload is None
    assert "s3cret" not in repr(found)
    assert "s3cret" not in repr(
        read(letter(encode("j", msgpack.packb("s3cret"), 1, 0), message="s3cret"), payload=True)
    )


def test_a_letter_is_read_from_the_head_of_a_large_envelope() -> None:
    envelope = encode("j", bytes(5000), 1000, 0)
    found = read(Raw(ID, len(envelope), envelope[:500], {b"n": b"welcome"}))
    assert (found.job_id, found.size, found.created_at, found.attempts) == ("j", len(envelope), None, None)


@pytest.mark.parametrize(
    ("raw", "payload"),
    [
        pytest.param(letter(b"\xc1 no envelope"), b"\xc1 no envelope", id="bytes that are no envelope"),
        pytest.param(letter(encode("j", b"\xc1", 1, 0)), b"\xc1", id="arguments that are no MessagePack"),
        pytest.param(letter(), None, id="nothing"),
        pytest.param(
            Raw(ID, 0, b"", {b"fields": msgpack.packb([b"x", b"y"])}), [b"x", b"y"], id="fields of an entry"
        ),
        pytest.param(Raw(ID, 0, b"", {b"fields": b"\xc1"}), b"\xc1", id="unreadable fields"),
    ],
)
def test_whatever_its_bytes_are_a_letter_is_no_error(raw: Raw, payload: object) -> None:
    assert read(raw, payload=True).payload == payload


def test_hostile_fields_are_cut_and_made_text() -> None:
    raw = Raw(
        ID, 0, b"", {b"n": b"\xff\xfe", b"message": b"m" * 10**6, b"attempts": b"9" * 99, b"lost": b"-1"}
    )
    found = read(raw)
    assert found.task == "��"
    assert len(found.message) == 65_536
    assert (found.attempts, found.lost) == (None, 0)


def test_a_revived_job_is_the_same_but_for_its_used_runs() -> None:
    override = Override(7, Backoff.exponential(1, maximum=9))
    extras = Extras(timeout=4.0, result_ttl=5.0, parked=6.0, lost=2, claim="c", unique="u", others={"z": 1},
                    error=("ValueError", "no way"))  # fmt: skip
    found = revive(letter(encode("j", ARGUMENTS, 1000, 3, override, extras), n="welcome"), LIMIT)
    assert isinstance(found, Revived)
    job_id, body, created, failed, kept, behind = decode(found.envelope)
    assert (job_id, body, created, failed, found.name) == ("j", ARGUMENTS, 1000, 0, b"welcome")
    assert kept == override
    assert (behind.parked, behind.lost, behind.error) == (0.0, 0, None)
    assert (behind.timeout, behind.result_ttl, behind.claim, behind.unique) == (4.0, 5.0, "c", "u")
    assert behind.others == {"z": 1}


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (letter(), "no field 'd'"),
        (letter(b"\xc1"), "its bytes are no job"),
        (letter(encode("j", bytes(LIMIT), 1, 0)), "the limit is 1000"),
        (letter(encode("j", b"\x80", 1, 0), n="x" * 257), "the task's name has 257 bytes"),
        (Raw(ID, 0, encode("j", b"\x80", 1, 0), {b"n": b"\xff"}), "not valid UTF-8"),
    ],
)
def test_what_cannot_be_a_job_again_says_why(raw: Raw, why: str) -> None:
    found = revive(raw, LIMIT)
    assert isinstance(found, Hopeless)
    assert why in found.why
