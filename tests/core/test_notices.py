"""Events have chasquimq's fields, in its order (its sheet, section 2.8)."""

from __future__ import annotations

import hiredis
from hypothesis import given
from hypothesis import strategies as st

from anyq._core import notices
from anyq._core.job import Extras, Job, Override
from anyq._core.outcome import Dead, Error, Retry

NOW = 1_795_355_080_744


def job(name: str = "ok") -> Job:
    return Job("q", "ok1", name, 2, 0, Override(), Extras(), b"", b"lane", b"1-1", 0)


def told(notice: notices.Notice) -> list[str]:
    """The fields and values, as the server reads them."""
    count, words = notice
    reader = hiredis.Reader()
    reader.feed(f"{count}{notices.begin(b'{anyq:q}:events')}{words}".encode("latin-1"))
    command: list[bytes] = reader.gets()
    assert reader.gets() is False, "no more and no less than one command"
    assert command[:3] == [b"XADD", b"{anyq:q}:events", b"*"]
    return [word.decode() for word in command[3:]]


def test_a_run_begins() -> None:
    assert told(notices.active(job(), NOW)) == [
        "e", "active", "id", "ok1", "ts", str(NOW), "n", "ok", "attempt", "2"
    ]  # fmt: skip


def test_a_job_is_done() -> None:
    done = job()
    done.seconds = 0.001976
    assert told(notices.completed(done, NOW)) == [
        "e", "completed", "id", "ok1", "ts", str(NOW), "n", "ok", "attempt", "2", "duration_us", "1976"
    ]  # fmt: skip


def test_a_run_failed() -> None:
    assert told(notices.failed(job(), Error("ValueError", "no"), 1976, NOW)) == [
        "e", "failed", "id", "ok1", "ts", str(NOW), "n", "ok",
        "attempt", "2", "reason", "no", "duration_us", "1976",
    ]  # fmt: skip


def test_a_failure_without_words_has_its_type_as_the_reason() -> None:
    assert "KeyError" in told(notices.failed(job(), Error("KeyError", ""), 1, NOW))


def test_a_reason_is_cut() -> None:
    assert told(notices.failed(job(), Error("E", "x" * 9999), 1, NOW))[11] == "x" * 1000


def test_a_retry_names_the_coming_run() -> None:
    assert told(notices.retry_scheduled(Retry(job(), 0.25, 2), NOW)) == [
        "e", "retry-scheduled", "id", "ok1", "ts", str(NOW), "n", "ok", "attempt", "3", "backoff_ms", "250"
    ]  # fmt: skip


def test_a_job_is_given_up() -> None:
    assert told(notices.dead_outcome(Dead(job(), "unrecoverable"), NOW)) == [
        "e", "dlq", "id", "ok1", "ts", str(NOW), "n", "ok", "attempt", "2", "reason", "unrecoverable"
    ]  # fmt: skip


def test_an_entry_that_is_no_job_has_an_empty_id() -> None:
    assert told(notices.dead("", "", 0, "decode_failed", NOW)) == [
        "e", "dlq", "id", "", "ts", str(NOW), "attempt", "0", "reason", "decode_failed"
    ]  # fmt: skip


def test_a_delayed_job_is_ready() -> None:
    assert told(notices.waiting("ok1", "", NOW)) == ["e", "waiting", "id", "ok1", "ts", str(NOW)]


def test_a_waiting_job_has_its_name_which_chasquimq_leaves_out() -> None:
    assert told(notices.waiting("ok1", "ok", NOW))[6:] == ["n", "ok"]


def test_the_queue_ran_empty() -> None:
    assert told(notices.drained(NOW)) == ["e", "drained", "id", "", "ts", str(NOW)]


def test_a_job_without_a_name_has_no_field_for_it() -> None:
    for notice in (
        told(notices.active(job(""), NOW)),
        told(notices.completed(job(""), NOW)),
        told(notices.dead_outcome(Dead(job(""), "stalled"), NOW)),
    ):
        assert "n" not in notice[::2]


@given(st.text(), st.text(), st.integers(0, 2**53), st.integers(0, 2**63), st.floats(0, 1e9))
def test_whatever_the_names_are_both_ways_of_writing_say_the_same(
    job_id: str, name: str, attempt: int, now: int, seconds: float
) -> None:
    run = Job("q", job_id, name, attempt, 0, Override(), Extras(), b"", b"lane", b"1-1", 0)
    run.seconds = seconds
    named = ["n", readable(name)] if name else []
    first = ["id", readable(job_id), "ts", str(now), *named, "attempt", str(attempt)]
    assert told(notices.active(run, now)) == ["e", "active", *first]
    assert told(notices.cancelled(run, now)) == ["e", "cancelled", *first]
    took = str(round(seconds * 1_000_000))
    assert told(notices.completed(run, now)) == ["e", "completed", *first, "duration_us", took]


def readable(text: str) -> str:
    return text.encode(errors="replace").decode()
