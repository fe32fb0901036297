"""What becomes of a job whose run did not succeed: how often, how soon, and when it is given up."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from tests.worker.conftest import (
    AT_ONCE,
    Notes,
    dead_letter,
    dead_letters,
    envelope,
    length,
    put,
    until,
    working,
)

from anyq import Backoff, Queue, RetryLater, Task, Unrecoverable, Worker, current_job

pytestmark = pytest.mark.anyio

MILLISECOND = 0.001  # what Redis counts in


def failing(
    queue: Queue, notes: Notes[Any], error: BaseException | None = None, **settings: Any
) -> Task[..., Any]:
    """A task that fails so many times and then succeeds; each run is noted with its attempt."""

    @queue.task(**{"backoff": AT_ONCE, **settings})
    async def fail(times: int = 1000) -> None:
        job = current_job()
        notes.add((job.attempt, job.attempts))
        if job.attempt <= times:
            raise error or ValueError("not yet")

    return fail


async def settled(queue: Queue, jobs: int = 1, **settings: Any) -> Worker:
    """Run a worker until so many jobs are done or dead."""
    async with working(queue, **settings) as worker:
        await until(lambda: worker.statistics().done + worker.statistics().dead >= jobs)
    return worker


async def test_a_failed_job_runs_again_until_it_succeeds(queue: Queue, notes: Notes[Any]) -> None:
    fail = failing(queue, notes, attempts=4)
    async with queue:
        await fail.enqueue(2)
        statistics = (await settled(queue)).statistics()
        assert await length(queue) == 0
    assert notes.made == [(1, 4), (2, 4), (3, 4)]
    assert (statistics.started, statistics.failed, statistics.retried, statistics.done) == (3, 2, 2, 1)


async def test_a_job_is_given_up_after_exactly_as_many_runs_as_it_has_attempts(
    queue: Queue, notes: Notes[Any]
) -> None:
    fail = failing(queue, notes, attempts=3)
    async with queue:
        handle = await fail.enqueue()
        statistics = (await settled(queue)).statistics()
        letter = await dead_letter(queue)
    assert notes.made == [(1, 3), (2, 3), (3, 3)]
    assert (statistics.failed, statistics.retried, statistics.dead, statistics.done) == (3, 2, 1, 0)
    assert (letter["reason"], letter["attempts"], letter["error"]) == (
        b"retries_exhausted",
        b"3",
        b"ValueError",
    )
    assert letter["message"] == letter["detail"] == b"not yet"
    assert handle.id.encode() in letter["d"]


ATTEMPTS: Sequence[tuple[str, dict[str, Any]]] = [
    ("job", {"job": 1, "task": 2, "queue": 3, "worker": 4}),
    ("task", {"task": 1, "queue": 2, "worker": 3}),
    ("queue", {"queue": 1, "worker": 2}),
    ("worker", {"worker": 1}),
]


@pytest.mark.parametrize(("_who", "attempts"), ATTEMPTS, ids=[who for who, _ in ATTEMPTS])
async def test_the_closest_word_on_attempts_and_backoff_counts(
    redis_url: str,
    notes: Notes[Any],
    _who: str,
    attempts: dict[str, int],
) -> None:
    def settings(who: str) -> dict[str, Any]:
        known = attempts.get(who)
        return {} if known is None else {"attempts": known + 1, "backoff": Backoff.fixed((known - 1) * 100)}

    queue = Queue("work", redis_url, **settings("queue"))
    fail = failing(queue, notes, **{"backoff": None, **settings("task")})
    async with queue:
        await fail.options(**settings("job")).enqueue()
        await settled(queue, **settings("worker"))
    assert notes.made == [(1, 2), (2, 2)]


async def test_without_any_word_a_job_has_five_runs(queue: Queue, notes: Notes[Any]) -> None:
    async with queue:
        await failing(queue, notes).enqueue()
        await settled(queue)
    assert [attempt for attempt, _ in notes.made] == [1, 2, 3, 4, 5]


async def test_unrecoverable_is_never_retried(queue: Queue, notes: Notes[Any]) -> None:
    class Gone(Unrecoverable):
        """The customer does not exist any more."""

    fail = failing(queue, notes, Gone("customer 7 is gone"), attempts=9)
    async with queue:
        await fail.enqueue()
        await settled(queue)
        letter = await dead_letter(queue)
    assert notes.made == [(1, 9)]
    assert (letter["reason"], letter["error"], letter["message"]) == (
        b"unrecoverable",
        b"Gone",
        b"customer 7 is gone",
    )


async def test_retry_later_uses_up_no_attempt(queue: Queue, notes: Notes[Any]) -> None:
    seen = 0

    @queue.task(attempts=2, backoff=AT_ONCE)
    async def busy() -> None:
        nonlocal seen
        seen += 1
        notes.add(current_job().attempt)
        if seen <= 3:
            raise RetryLater(0 if seen % 2 else timedelta(milliseconds=1), "the other side is busy")
        raise ValueError

    async with queue:
        await busy.enqueue()
        statistics = (await settled(queue)).statistics()
    assert notes.made == [1, 1, 1, 1, 2]
    assert (statistics.retried, statistics.failed) == (4, 2)


def test_retry_later_refuses_a_delay_that_is_none() -> None:
    with pytest.raises(ValueError, match="delay must be"):
        RetryLater(-1)
    with pytest.raises(TypeError, match="delay must be"):
        RetryLater("soon")
    assert str(RetryLater(1.5)) == "again in 1.5 s"


async def test_a_job_keeps_all_that_it_was_through_its_retries(queue: Queue, notes: Notes[Any]) -> None:
    @queue.task
    async def fail(a: Any) -> None:
        job = current_job()
        notes.add((job.id, job.created_at, job.attempts, job.result_ttl, job.deadline is not None, a))
        raise ValueError

    options = fail.options(id="mine", attempts=3, backoff=AT_ONCE, timeout=60, result_ttl=30)
    async with queue:
        await options.enqueue({"deep": b"\xff"})
        await settled(queue)
    assert len(set(map(repr, notes.made))) == 1
    assert notes.made[0][2:] == (3, 30.0, True, {"deep": b"\xff"})
    assert len(notes.made) == 3


# -- waits ------------------------------------------------------------------------------------------------------------


async def times(queue: Queue, backoff: Backoff, runs: int) -> list[float]:
    """When each run of a failing job began, from the first, in seconds."""
    moments: list[float] = []

    @queue.task(attempts=runs, backoff=backoff)
    async def fail() -> None:
        moments.append(time.monotonic())
        raise ValueError

    async with queue:
        await fail.enqueue()
        await settled(queue)
    return [moment - moments[0] for moment in moments]


async def test_a_fixed_backoff_waits_as_long_every_time(queue: Queue) -> None:
    _, first, second, third = await times(queue, Backoff.fixed(0.03), 4)
    assert first > 0.03 - MILLISECOND
    assert second - first > 0.03 - MILLISECOND
    assert third - second > 0.03 - MILLISECOND
    assert third < 2


async def test_an_exponential_backoff_waits_longer_and_longer_up_to_its_maximum(queue: Queue) -> None:
    backoff = Backoff.exponential(0.01, multiplier=4, maximum=0.05, jitter=False)
    _, first, second, third = await times(queue, backoff, 4)
    assert first > 0.01 - MILLISECOND
    assert second - first > 0.04 - MILLISECOND
    assert 0.05 - MILLISECOND < third - second < 1


async def test_a_job_s_own_backoff_with_full_jitter_never_waits_longer_than_its_maximum(
    queue: Queue, notes: Notes[Any]
) -> None:
    fail = failing(queue, notes, attempts=5, backoff=Backoff.fixed(3600))
    async with queue, working(queue) as worker:
        await fail.options(backoff=Backoff.exponential(3600, maximum=0.02)).enqueue()
        await notes.first(5)
        await worker.wait_idle()
        assert worker.statistics().dead == 1


async def test_a_function_says_how_long_to_wait_after_so_many_failures(
    queue: Queue, notes: Notes[Any]
) -> None:
    def wait(failures: int) -> timedelta:
        notes.add(failures)
        return timedelta(milliseconds=10 * failures)

    _, first, second = await times(queue, Backoff.of(wait), 3)
    assert notes.made == [1, 2]
    assert first > 0.01 - MILLISECOND
    assert second - first > 0.02 - MILLISECOND


@pytest.mark.parametrize("nonsense", [-1, float("nan"), "soon", None, ZeroDivisionError("in the rule")])
async def test_a_backoff_function_that_fails_is_logged_and_the_default_used(
    queue: Queue, notes: Notes[Any], caplog: pytest.LogCaptureFixture, nonsense: Any
) -> None:
    def wait(failures: int) -> Any:
        if isinstance(nonsense, Exception):
            raise nonsense
        return nonsense

    fail = failing(queue, notes, attempts=2, backoff=Backoff.of(wait))
    async with queue:
        await fail.enqueue()
        await settled(queue)
    assert len(notes.made) == 2
    assert "a backoff function failed, the default backoff is used" in caplog.text


# -- names that no task has -------------------------------------------------------------------------------------------


async def test_an_unknown_task_waits_longer_and_longer_for_a_worker_that_knows_it(
    redis_url: str, queue: Queue, notes: Notes[Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    old = Queue("work", redis_url)
    async with old:
        await old.enqueue("news", {"a": 1}, attempts=1)
        await old.enqueue("news", {"a": 2}, attempts=1)
        async with working(old) as worker:
            await until(lambda: worker.statistics().parked == 2)
            assert worker.statistics().unknown_tasks == {"news": 2}
            assert worker.statistics().failed == 0
        assert await old.redis.zcard(old.keys.delayed) == 2

    @queue.task
    async def news(a: int) -> None:
        notes.add((a, current_job().attempt))

    async with working(queue):
        await notes.first(2)
    assert sorted(notes.made) == [(1, 1), (2, 1)], "no attempt was used up, though there was but one"
    assert caplog.text.count("no task here is named 'news'") == 1


async def test_an_unknown_task_is_given_up_when_the_grace_is_over(queue: Queue) -> None:
    async with queue:
        await queue.enqueue("nobody", {"a": 1})
        worker = await settled(queue, unknown_task_grace=0.05)
        letter = await dead_letter(queue)
    assert letter["reason"] == b"unknown_task"
    assert letter["n"] == b"nobody"
    assert letter["message"] == b"no worker knew the task 'nobody' for 0.05 s"
    assert worker.statistics().parked == 1


async def test_without_any_grace_an_unknown_task_is_given_up_at_once(queue: Queue) -> None:
    async with queue:
        await queue.enqueue("nobody")
        await put(queue, "d", envelope({}))
        worker = await settled(queue, 2, unknown_task_grace=0)
        assert [letter["reason"] for letter in await dead_letters(queue)] == [b"unknown_task"] * 2
    assert worker.statistics().parked == 0
