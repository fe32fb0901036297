"""Deadlines: from when on a job is not started any more, whoever set it, and who hears of it."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest
from tests.support.servers import SECONDS
from tests.worker.conftest import AT_ONCE, Notes, dead_letter, dead_letters, drained, until, working

from anyq import Backoff, JobFailed, Queue, RetryLater, Worker, current_job

pytestmark = pytest.mark.anyio

LONG = 3600


def from_now(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


async def until_passed(deadline: datetime) -> None:
    await until(lambda: datetime.now(UTC) > deadline + timedelta(milliseconds=20))


# -- jobs that wait ---------------------------------------------------------------------------------------------------


async def test_a_job_that_waited_past_its_deadline_is_not_started_and_who_waits_is_told(
    queue: Queue, notes: Notes[Any]
) -> None:
    @queue.task(result_ttl=60)
    async def task() -> None:
        notes.add("ran")

    async with queue:
        deadline = from_now(0.05)
        handle = await task.options(deadline=deadline).enqueue()
        await until_passed(deadline)
        async with working(queue) as worker:
            with pytest.raises(JobFailed, match=r"its deadline, .*, is over") as failed:
                await handle.result(timeout=SECONDS)
            await worker.wait_idle()
            assert worker.statistics().started == 0
        letter = await dead_letter(queue)
    assert failed.value.reason == "expired"
    assert (letter["reason"], letter["error"]) == (b"expired", b"Expired")
    assert notes.made == []


@pytest.mark.parametrize("deadline", [LONG, timedelta(seconds=LONG), "moment"])
async def test_a_job_starts_before_its_deadline(queue: Queue, notes: Notes[Any], deadline: Any) -> None:
    @queue.task
    async def task() -> None:
        notes.add(current_job().deadline)

    async with queue:
        await task.options(deadline=from_now(LONG) if deadline == "moment" else deadline).enqueue()
        await drained(queue)
    [told] = notes.made
    assert abs(told - from_now(LONG)) < timedelta(seconds=60)


async def test_seconds_count_anew_for_each_job(queue: Queue, notes: Notes[Any]) -> None:
    @queue.task
    async def task(name: str) -> None:
        notes.add((name, current_job().deadline))

    hurried = task.options(deadline=LONG)
    async with queue:
        await hurried.enqueue("first")
        await until_passed(from_now(0.01))
        await hurried.enqueue("second")
        await drained(queue, concurrency=1)
    deadlines = dict(notes.made)
    assert deadlines["first"] < deadlines["second"]


async def test_many_jobs_by_name_have_deadlines_too(queue: Queue, notes: Notes[Any]) -> None:
    @queue.task
    async def task() -> None:
        notes.add("ran")

    async with queue:
        await queue.enqueue_many("task", [{}, {}], deadline=0.001)
        await queue.enqueue("task", deadline=from_now(-LONG))
        await queue.enqueue("task", deadline=datetime(1970, 1, 1, tzinfo=UTC))
        await until_passed(from_now(0.01))
        await drained(queue)
        assert [letter["reason"] for letter in await dead_letters(queue)] == [b"expired"] * 4
    assert notes.made == []


async def test_a_delayed_job_is_looked_at_when_it_is_due(queue: Queue, notes: Notes[Any]) -> None:
    @queue.task
    async def task() -> None:
        notes.add("ran")

    async with queue:
        deadline = from_now(0.1)
        await task.options(delay=0.2, deadline=deadline).enqueue()
        async with working(queue):
            await until(lambda: datetime.now(UTC) > deadline)
            while not await queue.redis.xlen(queue.keys.dead_letters):
                await anyio.lowlevel.checkpoint()
        assert (await dead_letter(queue))["reason"] == b"expired"
    assert notes.made == []


async def test_the_server_s_clock_decides(
    queue: Queue, notes: Notes[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    @queue.task
    async def task() -> None:
        notes.add("ran")

    real = time.time_ns
    async with queue:
        monkeypatch.setattr(time, "time_ns", lambda: real() - LONG * 10**9)  # a producer that is an hour late
        await task.options(deadline=60).enqueue()
        monkeypatch.setattr(time, "time_ns", lambda: real() + LONG * 10**9)  # and a worker that is early
        await drained(queue)
    assert notes.made == ["ran"]


# -- jobs that come back ----------------------------------------------------------------------------------------------


async def test_a_retry_after_the_deadline_is_given_up_at_once_with_its_error(
    queue: Queue, notes: Notes[Any]
) -> None:
    @queue.task(backoff=Backoff.fixed(LONG), attempts=9, result_ttl=60)
    async def task() -> None:
        notes.add(current_job().attempt)
        raise ValueError("the reason why")

    async with queue, working(queue):
        handle = await task.options(deadline=60).enqueue()
        with pytest.raises(JobFailed, match="the reason why") as failed:
            await handle.result(timeout=SECONDS)
    assert failed.value.reason == "expired"
    assert notes.made == [1]


async def test_retry_later_past_the_deadline_is_given_up_at_once(queue: Queue) -> None:
    @queue.task
    async def task() -> None:
        raise RetryLater(LONG)

    async with queue:
        await task.options(deadline=60).enqueue()
        await drained(queue)
        letter = await dead_letter(queue)
    assert letter["reason"] == b"expired"
    assert letter["message"].startswith(b"it would come back after its deadline")


async def test_a_job_keeps_its_deadline_through_its_retries(queue: Queue, notes: Notes[Any]) -> None:
    @queue.task(backoff=AT_ONCE, attempts=3)
    async def task() -> None:
        notes.add(current_job().deadline)
        raise ValueError

    async with queue, working(queue):
        deadline = from_now(LONG).replace(microsecond=5000)
        await task.options(deadline=deadline).enqueue()
        assert await notes.first(3) == [deadline] * 3


async def test_a_job_that_nobody_knows_is_not_parked_past_its_deadline(queue: Queue) -> None:
    async with queue:
        await queue.enqueue("unknown", deadline=0.5)
        await drained(queue)
        letter = await dead_letter(queue)
    assert letter["reason"] == b"expired"


async def test_a_run_goes_on_past_the_job_s_deadline(queue: Queue, notes: Notes[Any]) -> None:
    @queue.task
    async def task() -> None:
        notes.add("began")
        deadline = current_job().deadline
        assert deadline is not None
        await until_passed(deadline)
        notes.add("ended")

    async with queue, working(queue) as worker:
        await task.options(deadline=0.3).enqueue()
        await notes.first(2)
        await worker.wait_idle()
    assert notes.made == ["began", "ended"]


@pytest.mark.parametrize(
    ("timeout", "deadline", "nearer"), [(60, LONG, 60), (LONG, 60, 60), (None, 60, 60), (60, None, 60)]
)
async def test_a_handler_sees_the_nearer_of_timeout_and_deadline(
    queue: Queue, notes: Notes[Any], timeout: float | None, deadline: float | None, nearer: float
) -> None:
    @queue.task
    async def task() -> None:
        notes.add(current_job().deadline)

    async with queue:
        await task.options(timeout=timeout, deadline=deadline).enqueue()
        await drained(queue)
    [told] = notes.made
    assert abs(told - from_now(nearer)) < timedelta(seconds=30)


# -- the caller's scope -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["scope", "timeout"])
async def test_a_call_that_nobody_waits_for_any_more_is_not_begun(
    queue: Queue, notes: Notes[Any], how: str
) -> None:
    @queue.task
    async def task() -> None:
        notes.add("ran")

    async with queue:
        with anyio.move_on_after(LONG if how == "timeout" else 0.5) as scope:
            if how == "scope":
                await task.call()
            else:
                with pytest.raises(TimeoutError):
                    await task.call(timeout=0.5)
        assert scope.cancelled_caught is (how == "scope")
        await until_passed(from_now(0.5))
        await drained(queue)
        assert (await dead_letter(queue))["reason"] == b"expired"
    assert notes.made == []


async def test_the_deadline_of_a_call_is_the_nearest_one(queue: Queue, notes: Notes[Any]) -> None:
    @queue.task
    async def task() -> None:
        notes.add(current_job().deadline)

    async with queue, Worker(queue, drain_timeout=1):
        with anyio.fail_after(600):
            await task.call()
            await task.call(timeout=300)
            await task.options(deadline=120).call(timeout=300)
            await task.options(deadline=LONG).call()
            await task.options(deadline=from_now(60)).call()
        near = [round((told - from_now(0)).total_seconds() / 60) for told in notes.made]
        assert near == [10, 5, 2, 10, 1]


async def test_without_a_scope_a_call_has_no_deadline_and_enqueue_inherits_none(
    queue: Queue, notes: Notes[Any]
) -> None:
    @queue.task(result_ttl=60)
    async def task() -> None:
        notes.add(current_job().deadline)

    async with queue, Worker(queue, drain_timeout=1):
        await task.call()
        with anyio.fail_after(60):
            handle = await task.enqueue()
            await handle.result()
    assert notes.made == [None, None]


async def test_a_call_from_a_handler_inherits_the_timeout_of_its_run(queue: Queue, notes: Notes[Any]) -> None:
    @queue.task(timeout=60)
    async def outer() -> None:
        notes.add(current_job().deadline)
        await inner.call()

    @queue.task
    async def inner() -> None:
        notes.add(current_job().deadline)

    async with queue, working(queue):
        await outer.enqueue()
        first, second = await notes.first(2)
    assert abs(first - second) < timedelta(seconds=5)


# -- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"deadline": 0}, ValueError, "deadline must be a finite number of seconds > 0"),
        ({"deadline": datetime(2026, 1, 1)}, ValueError, "deadline must be an aware datetime"),
        ({"deadline": "soon"}, TypeError, "deadline must be a number of seconds"),
        ({"deadline": 5, "delay": 5}, ValueError, "is over before the job is due"),
        ({"deadline": from_now(1), "at": from_now(2)}, ValueError, "is over before the job is due"),
    ],
)
def test_a_deadline_that_makes_no_sense_is_refused(options: Any, error: type[Exception], says: str) -> None:
    task = Queue("work").task(lambda: None, name="task")
    with pytest.raises(error, match=says):
        task.options(**options)
