"""What a run comes to, as a table of cases: never more runs than the job has, and none used up that did not fail."""

from __future__ import annotations

import math

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyq._core.job import Extras, Job, Override
from anyq._core.outcome import (
    BAD_PAYLOAD,
    EXPIRED,
    RETRIES_EXHAUSTED,
    STALLED,
    UNKNOWN_TASK,
    UNRECOVERABLE,
    Dead,
    Error,
    Retry,
    expired,
    given_up,
    in_time,
    judge,
    park,
)
from anyq.errors import RetryLater, Unrecoverable
from anyq.settings import ERROR_TEXT_LIMIT, Backoff

SOON = Backoff.fixed(3)


def job(attempt: int = 1, *, lost: int = 0, parked: float = 0.0, name: str = "task") -> Job:
    return Job("q", "id", name, attempt, 0, Override(), Extras(parked=parked), b"", b"lane", b"1-1", lost)


class Fatal(Unrecoverable):
    """A user's own."""


# -- a run that raised ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attempt", "attempts", "raised", "expected"),
    [
        (1, 3, ValueError("no"), (3.0, 1)),
        (2, 3, ValueError("no"), (3.0, 2)),
        (3, 3, ValueError("no"), RETRIES_EXHAUSTED),
        (4, 3, ValueError("no"), RETRIES_EXHAUSTED),
        (1, 1, ValueError("no"), RETRIES_EXHAUSTED),
        (1, 0, ValueError("no"), RETRIES_EXHAUSTED),
        (1, 3, Unrecoverable("never"), UNRECOVERABLE),
        (1, 3, Fatal("never"), UNRECOVERABLE),
        (3, 3, Unrecoverable("never"), UNRECOVERABLE),
        (1, 3, RetryLater(60), (60.0, 0)),
        (2, 3, RetryLater(60), (60.0, 1)),
        (3, 3, RetryLater(60), (60.0, 2)),
        (1, 1, RetryLater(0), (0.0, 0)),
        (1, 3, SystemExit(1), (3.0, 1)),
        (1, 3, KeyboardInterrupt(), (3.0, 1)),
        (1, 3, ExceptionGroup("many", [ValueError()]), (3.0, 1)),
        (1, 3, TimeoutError(), (3.0, 1)),
    ],
)
def test_a_failed_run_is_judged(
    attempt: int, attempts: int, raised: BaseException, expected: tuple[float, int] | str
) -> None:
    outcome = judge(job(attempt), raised, attempts, SOON, 0.5)
    if isinstance(outcome, Retry):
        assert (outcome.delay, outcome.failed) == expected
    else:
        assert outcome.reason == expected


def test_a_failure_keeps_its_error_and_a_postponement_has_none() -> None:
    failed = judge(job(), ValueError("no"), 3, SOON, 0.5)
    assert failed.error is not None
    assert (failed.error.type, failed.error.message) == ("ValueError", "no")
    assert judge(job(), RetryLater(1), 3, SOON, 0.5).error is None


def test_the_wait_follows_the_number_of_the_run_and_the_draw() -> None:
    backoff = Backoff.exponential(1, maximum=60)
    outcome = judge(job(4), ValueError(), 10, backoff, 0.5)
    assert isinstance(outcome, Retry)
    assert outcome.delay == 4.0


@pytest.mark.parametrize("broken", [lambda _: -1, lambda _: "soon", lambda _: 1 / 0, lambda _: math.nan])
def test_a_backoff_function_that_fails_is_told_and_the_default_is_used(broken: object) -> None:
    told: list[ValueError] = []
    first = job()
    outcome = judge(first, OSError(), 3, Backoff.of(broken), 0.5, told.append)  # type: ignore[arg-type]
    assert isinstance(outcome, Retry)
    assert outcome.delay == 0.25
    assert outcome.failed == 1
    assert len(told) == 1
    untold = judge(first, OSError(), 3, Backoff.of(broken), 0.5)  # type: ignore[arg-type]
    assert (untold.job, untold.error) == (first, outcome.error)


@given(
    attempt=st.integers(1, 50),
    attempts=st.integers(1, 50),
    draw=st.floats(0, 1, exclude_max=True),
)
def test_a_retry_leaves_a_run_and_counts_exactly_one_failure(
    attempt: int, attempts: int, draw: float
) -> None:
    outcome = judge(job(attempt), ValueError(), attempts, Backoff.exponential(), draw)
    if isinstance(outcome, Retry):
        assert attempt < attempts
        assert outcome.failed == attempt  # so the next run is attempt + 1
        assert given_up(job(outcome.failed + 1), attempts) is None
    else:
        assert attempt >= attempts


@given(
    attempts=st.integers(1, 20),
    fates=st.lists(st.sampled_from(["fail", "later", "crash", "release", "park"]), max_size=80),
)
def test_a_job_never_has_more_runs_than_attempts(attempts: int, fates: list[str]) -> None:
    failed = lost = used = 0
    for fate in fates:
        delivery = job(failed + lost + 1, lost=lost)
        dead = given_up(delivery, attempts)
        assert (dead is not None) == (used >= attempts)
        if dead is not None:
            break
        if fate == "fail":
            used += 1
            outcome = judge(delivery, ValueError(), attempts, SOON, 0.5)
            if isinstance(outcome, Dead):
                assert used == attempts
                break
            failed, lost = outcome.failed, 0
        elif fate == "later":
            outcome = judge(delivery, RetryLater(1), attempts, SOON, 0.5)
            assert isinstance(outcome, Retry)
            failed, lost = outcome.failed, 0
        elif fate == "crash":
            used += 1
            lost += 1
        elif fate == "park":
            outcome = park(delivery, 3600)
            assert isinstance(outcome, Retry)
            failed, lost = outcome.failed, 0
    assert used <= attempts


# -- before a run -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attempt", "lost", "attempts", "reason"),
    [
        (1, 0, 1, None),
        (3, 0, 3, None),
        (3, 2, 3, None),
        (4, 0, 3, RETRIES_EXHAUSTED),
        (4, 3, 3, STALLED),
        (4, 1, 3, STALLED),
        (2, 1, 1, STALLED),
        (1, 0, 0, RETRIES_EXHAUSTED),
    ],
)
def test_a_job_without_a_run_left_is_given_up_before_it_runs(
    attempt: int, lost: int, attempts: int, reason: str | None
) -> None:
    dead = given_up(job(attempt, lost=lost), attempts)
    assert (dead and dead.reason) == reason
    if reason == STALLED:
        assert dead is not None
        assert dead.error == Error("Stalled", f"{lost} of its runs were lost with their workers")


# -- a name that nobody knows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("deadline_ms", "now_ms", "reason"),
    [(None, 2000.0, None), (2000, 1999.9, None), (2000, 2000.0, EXPIRED), (1, 2000.0, EXPIRED)],
)
def test_a_job_is_not_started_from_its_deadline_on(
    deadline_ms: int | None, now_ms: float, reason: str | None
) -> None:
    late = attrs.evolve(job(), extras=Extras(deadline_ms=deadline_ms))
    dead = expired(late, now_ms)
    assert (dead and dead.reason) == reason


@pytest.mark.parametrize(
    ("deadline_ms", "delay", "stays"),
    [(None, 1e9, True), (5000, 2.9, True), (5000, 3.0, False), (1, 0.0, False)],
)
def test_a_retry_after_the_deadline_is_given_up_with_its_error(
    deadline_ms: int | None, delay: float, stays: bool
) -> None:
    late = attrs.evolve(job(), extras=Extras(deadline_ms=deadline_ms))
    failed = Error("ValueError", "no")
    for error in (failed, None):
        retry = Retry(late, delay, 1, error)
        outcome = in_time(retry, 2000.0)
        if stays:
            assert outcome is retry
        else:
            assert isinstance(outcome, Dead)
            assert outcome.reason == EXPIRED
            assert outcome.error is not None
            assert outcome.error.type == ("Expired" if error is None else "ValueError")
    dead = Dead(late, RETRIES_EXHAUSTED, failed)
    assert in_time(dead, 2000.0) is dead


def test_parking_waits_longer_each_time_and_uses_no_attempt() -> None:
    parked, waits = 0.0, []
    while True:
        outcome = park(job(2, parked=parked), 300)
        if isinstance(outcome, Dead):
            break
        assert outcome.failed == 1
        assert outcome.error is None
        assert outcome.parked == parked + outcome.delay
        waits.append(outcome.delay)
        parked = outcome.parked
    assert waits == [1, 1, 2, 4, 8, 16, 32, 60, 60, 60, 56]
    assert parked == 300
    assert outcome.reason == UNKNOWN_TASK
    assert outcome.error is not None
    assert outcome.error.message == "no worker knew the task 'task' for 300 s"


def test_no_grace_means_dead_at_once() -> None:
    assert isinstance(park(job(), 0), Dead)


@given(st.floats(0, 1e9), st.floats(0, 1e9))
def test_parking_ends_with_the_grace(parked: float, grace: float) -> None:
    outcome = park(job(parked=parked), grace)
    if isinstance(outcome, Retry):
        assert parked < grace
        assert 0 < outcome.delay <= 60
        assert outcome.parked is not None
        assert outcome.parked <= grace + 0.001
    else:
        assert parked >= grace


# -- an error, kept ---------------------------------------------------------------------------------------------------


class Rude(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not telling")


def test_an_error_is_its_type_message_and_traceback() -> None:
    try:
        raise LookupError("nobody here")
    except LookupError as caught:
        error = Error.of(caught)
    assert (error.type, error.message) == ("LookupError", "nobody here")
    assert "test_outcome.py" in error.traceback
    assert error.traceback.endswith("LookupError: nobody here\n")


def test_an_error_that_cannot_say_what_it_is_is_kept_all_the_same() -> None:
    error = Error.of(Rude())
    assert error.message == "<no message: its __str__ raised RuntimeError>"
    assert error.type == "Rude"


def test_a_long_error_is_cut_and_its_end_is_kept_in_the_traceback() -> None:
    error = Error.of(ValueError("x" * 100_000 + "END"))
    assert len(error.message) <= ERROR_TEXT_LIMIT + 3
    assert len(error.traceback) <= ERROR_TEXT_LIMIT + 10
    assert error.traceback.endswith("END\n")


def test_an_error_with_half_a_character_can_be_stored() -> None:
    error = Error.of(ValueError("\ud800 \x00 ü"))
    assert error.message == "? \x00 ü"
    error.traceback.encode()


def test_an_endless_recursion_is_kept_short() -> None:
    def again() -> None:
        again()

    with pytest.raises(RecursionError) as caught:
        again()
    assert len(Error.of(caught.value).traceback) <= ERROR_TEXT_LIMIT + 10


@given(st.text())
def test_any_message_can_be_stored(text: str) -> None:
    error = Error.of(Exception(text))
    error.message.encode()
    error.traceback.encode()


def test_reasons_are_chasquimqs_words() -> None:
    assert (RETRIES_EXHAUSTED, UNRECOVERABLE, STALLED) == ("retries_exhausted", "unrecoverable", "stalled")
    assert BAD_PAYLOAD == "bad_payload"
