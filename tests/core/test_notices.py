"""Events have chasquimq's fields, in its order (its sheet, section 2.8)."""

from __future__ import annotations

from anyq._core import notices
from anyq._core.job import Extras, Job, Override
from anyq._core.outcome import Dead, Error, Retry

NOW = 1_795_355_080_744


def job(name: str = "ok") -> Job:
    return Job("q", "ok1", name, 2, 0, Override(), Extras(), b"", b"lane", b"1-1", 0)


def test_a_run_begins() -> None:
    assert notices.active(job(), NOW) == (
        b"e", b"active", b"id", "ok1", b"ts", NOW, b"n", "ok", b"attempt", 2
    )  # fmt: skip


def test_a_job_is_done() -> None:
    done = job()
    done.seconds = 0.001976
    assert notices.completed(done, NOW) == (
        b"e", b"completed", b"id", "ok1", b"ts", NOW, b"n", "ok", b"attempt", 2, b"duration_us", 1976
    )  # fmt: skip


def test_a_run_failed() -> None:
    assert notices.failed(job(), Error("ValueError", "no"), 1976, NOW) == (
        b"e", b"failed", b"id", "ok1", b"ts", NOW, b"n", "ok",
        b"attempt", 2, b"reason", "no", b"duration_us", 1976,
    )  # fmt: skip


def test_a_failure_without_words_has_its_type_as_the_reason() -> None:
    assert "KeyError" in notices.failed(job(), Error("KeyError", ""), 1, NOW)


def test_a_reason_is_cut() -> None:
    assert notices.failed(job(), Error("E", "x" * 9999), 1, NOW)[11] == "x" * 1000


def test_a_retry_names_the_coming_run() -> None:
    assert notices.retry_scheduled(Retry(job(), 0.25, 2), NOW) == (
        b"e", b"retry-scheduled", b"id", "ok1", b"ts", NOW, b"n", "ok", b"attempt", 3, b"backoff_ms", 250
    )  # fmt: skip


def test_a_job_is_given_up() -> None:
    assert notices.dead_outcome(Dead(job(), "unrecoverable"), NOW) == (
        b"e", b"dlq", b"id", "ok1", b"ts", NOW, b"n", "ok", b"attempt", 2, b"reason", "unrecoverable"
    )  # fmt: skip


def test_an_entry_that_is_no_job_has_an_empty_id() -> None:
    assert notices.dead("", "", 0, "decode_failed", NOW) == (
        b"e", b"dlq", b"id", "", b"ts", NOW, b"attempt", 0, b"reason", "decode_failed"
    )  # fmt: skip


def test_a_delayed_job_is_ready() -> None:
    assert notices.waiting("ok1", "", NOW) == (b"e", b"waiting", b"id", "ok1", b"ts", NOW)


def test_a_waiting_job_has_its_name_which_chasquimq_leaves_out() -> None:
    assert notices.waiting("ok1", "ok", NOW)[6:] == (b"n", "ok")


def test_the_queue_ran_empty() -> None:
    assert notices.drained(NOW) == (b"e", b"drained", b"id", "", b"ts", NOW)


def test_a_job_without_a_name_has_no_field_for_it() -> None:
    for notice in (
        notices.active(job(""), NOW),
        notices.completed(job(""), NOW),
        notices.dead_outcome(Dead(job(""), "stalled"), NOW),
    ):
        assert b"n" not in notice[::2]
