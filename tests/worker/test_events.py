"""The events stream: who follows it sees what happens to every job, in order, and never slows it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import anyio
import pytest
from tests.worker.conftest import AT_ONCE, Notes, drained, envelope, put, rows, until, working

from anyq import Backoff, Queue, Retention, RetryLater, Task, Unrecoverable, Worker, current_job
from anyq._services import channels

pytestmark = pytest.mark.anyio

Event = Mapping[str, bytes]


async def events(queue: Queue) -> list[Event]:
    return await rows(queue, queue.keys.events)


def fields(event: Event) -> list[str]:
    return list(event)


def about(events: list[Event], job_id: str) -> list[str]:
    """What happened to one job, in order. Not ``waiting``: the promoter tells it, maybe after a quick run."""
    return [
        event["e"].decode() for event in events if event["id"] == job_id.encode() and event["e"] != b"waiting"
    ]


def has_done(worker: Worker, number: int) -> bool:
    return worker.statistics().done == number


def promotions(events: list[Event], job_id: str) -> int:
    return sum(event["id"] == job_id.encode() and event["e"] == b"waiting" for event in events)


@pytest.fixture
def act(queue: Queue) -> Task[..., Any]:
    """A task that does as it is told."""

    @queue.task(attempts=2, backoff=Backoff.fixed(0.004))
    async def act(how: str = "") -> None:
        if how == "fail":
            raise ValueError("x" * 3000)
        if how == "fail once" and current_job().attempt == 1:
            raise ValueError("once")
        if how == "unrecoverable":
            raise Unrecoverable("never")
        if how == "later" and not current_job().extras.others and Later.first():
            raise RetryLater(0.003)

    return act


class Later:
    """Says yes once."""

    asked = False

    @classmethod
    def first(cls) -> bool:
        before, cls.asked = cls.asked, True
        return not before


async def ended(queue: Queue, **settings: Any) -> list[Event]:
    """Run a worker until all jobs have ended, retries included, and give the events."""
    async with working(queue, **settings) as worker:
        await worker.wait_idle()
        while await queue.redis.zcard(queue.keys.delayed):
            await worker.wait_idle()
        await worker.wait_idle()
    return await events(queue)


async def test_a_job_that_succeeds_is_active_and_completed(queue: Queue, act: Task[..., Any]) -> None:
    async with queue:
        handle = await act.enqueue()
        before = time.time() * 1000
        active, completed, *_ = await ended(queue)
    assert fields(active) == ["e", "id", "ts", "n", "attempt"]
    assert (active["e"], active["id"], active["n"], active["attempt"]) == (
        b"active",
        handle.id.encode(),
        b"act",
        b"1",
    )
    assert abs(int(active["ts"]) - before) < 5000
    assert fields(completed) == ["e", "id", "ts", "n", "attempt", "duration_us"]
    assert (completed["e"], completed["id"], completed["attempt"]) == (b"completed", handle.id.encode(), b"1")
    assert 0 <= int(completed["duration_us"]) < 5_000_000


async def test_a_job_that_is_retried_says_so_and_waits(queue: Queue, act: Task[..., Any]) -> None:
    async with queue:
        handle = await act.enqueue("fail once")
        seen = await ended(queue)
    assert about(seen, handle.id) == ["active", "failed", "retry-scheduled", "active", "completed"]
    failed = next(event for event in seen if event["e"] == b"failed")
    assert fields(failed) == ["e", "id", "ts", "n", "attempt", "reason", "duration_us"]
    assert (failed["attempt"], failed["reason"]) == (b"1", b"once")
    retry = next(event for event in seen if event["e"] == b"retry-scheduled")
    assert fields(retry) == ["e", "id", "ts", "n", "attempt", "backoff_ms"]
    assert (retry["attempt"], retry["backoff_ms"]) == (b"2", b"4")
    assert promotions(seen, handle.id) == 1
    assert [event["attempt"] for event in seen if event["e"] == b"active"] == [b"1", b"2"]


async def test_a_job_that_is_given_up_says_why(queue: Queue, act: Task[..., Any]) -> None:
    async with queue:
        tired, never = await act.enqueue("fail"), await act.enqueue("unrecoverable")
        seen = await ended(queue)
    assert about(seen, tired.id) == ["active", "failed", "retry-scheduled", "active", "failed", "dlq"]
    assert about(seen, never.id) == ["active", "failed", "dlq"]
    dead = {event["id"].decode(): event for event in seen if event["e"] == b"dlq"}
    assert fields(dead[tired.id]) == ["e", "id", "ts", "n", "attempt", "reason"]
    assert (dead[tired.id]["attempt"], dead[tired.id]["reason"]) == (b"2", b"retries_exhausted")
    assert (dead[never.id]["attempt"], dead[never.id]["reason"]) == (b"1", b"unrecoverable")
    assert all(len(event["reason"]) <= 1000 for event in seen if event["e"] == b"failed")


async def test_a_job_that_wants_to_come_back_later_has_not_failed(queue: Queue, act: Task[..., Any]) -> None:
    Later.asked = False
    async with queue:
        handle = await act.enqueue("later")
        seen = await ended(queue)
    assert about(seen, handle.id) == ["active", "retry-scheduled", "active", "completed"]
    retry = next(event for event in seen if event["e"] == b"retry-scheduled")
    assert (retry["attempt"], retry["backoff_ms"]) == (b"1", b"3")


async def test_a_delayed_job_is_waiting_when_its_time_has_come(queue: Queue, act: Task[..., Any]) -> None:
    async with queue:
        handle = await act.options(delay=0.005).enqueue()
        seen = await ended(queue)
    assert about(seen, handle.id) == ["active", "completed"]
    waiting = next(event for event in seen if event["e"] == b"waiting")
    assert fields(waiting)[:3] == ["e", "id", "ts"]
    assert set(waiting) <= {"e", "id", "ts", "n"}


async def test_bytes_that_are_no_job_have_no_id(queue: Queue, act: Task[..., Any]) -> None:
    async with queue:
        await put(queue, "d", b"\xc1")
        await put(queue, "no", "job")
        seen = [event for event in await ended(queue) if event["e"] == b"dlq"]
    assert [(event["id"], event["attempt"], event["reason"]) for event in seen] == [
        (b"", b"0", b"decode_failed"),
        (b"", b"0", b"malformed"),
    ]


async def test_a_job_without_a_name_has_no_n(queue: Queue) -> None:
    queue.fallback(lambda _job: None)
    async with queue:
        await put(queue, "d", envelope())
        active, completed, *_ = await ended(queue)
    assert fields(active) == ["e", "id", "ts", "attempt"]
    assert fields(completed) == ["e", "id", "ts", "attempt", "duration_us"]


async def test_an_empty_queue_is_said_to_be_drained_once(queue: Queue, act: Task[..., Any]) -> None:
    async with queue, working(queue):
        await act.enqueue()
        with anyio.fail_after(5):
            while not (
                drained_events := [event for event in await events(queue) if event["e"] == b"drained"]
            ):
                await queue.redis.ping()
    assert [fields(event) for event in drained_events] == [["e", "id", "ts"]]
    assert drained_events[0]["id"] == b""


async def test_completed_is_said_only_after_the_job_is_gone(queue: Queue, act: Task[..., Any]) -> None:
    async with queue:
        await act.enqueue_many([()] * 50)
        async with working(queue, concurrency=5) as worker:
            held: set[bool] = set()
            while worker.statistics().done < 50:
                pipeline = await queue.redis.call_many(
                    [("XRANGE", queue.keys.events, "-", "+"), ("XLEN", queue.keys.stream)]
                )
                done = sum(b"completed" in row[1] for row in pipeline[0])
                held.add(done + pipeline[1] <= 50)
    assert held == {True}


async def test_the_events_of_each_job_are_in_order(queue: Queue, act: Task[..., Any]) -> None:
    async with queue:
        handles = await act.enqueue_many([("fail once",)] * 50)
        seen = await ended(queue, concurrency=20)
    for handle in handles:
        assert about(seen, handle.id) == ["active", "failed", "retry-scheduled", "active", "completed"]
        assert promotions(seen, handle.id) == 1


async def test_without_events_nothing_is_written(queue: Queue, act: Task[..., Any]) -> None:
    async with queue:
        await act.enqueue_many([("fail once",), ("unrecoverable",), ()])
        assert await ended(queue, events=False) == []
        assert not await queue.redis.exists(queue.keys.events)


async def test_the_stream_keeps_no_more_than_it_should(redis_url: str) -> None:
    queue = Queue("work", redis_url, retention=Retention(events=10))

    @queue.task
    async def work() -> None: ...

    async with queue:
        await work.enqueue_many([()] * 500)
        await drained(queue)
        assert await queue.redis.xlen(queue.keys.events) < 300


async def test_events_for_which_there_is_no_room_are_dropped_and_counted(
    queue: Queue, act: Task[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels, "_NOTICES", 5)
    async with queue:
        await act.enqueue_many([()] * 300)
        worker = await drained(queue)
        written = len([event for event in await events(queue) if event["e"] != b"drained"])
    assert worker.statistics().done == 300
    assert worker.statistics().dropped > 0
    assert written + worker.statistics().dropped >= 600 - 5


async def test_events_that_redis_refuses_harm_no_job(
    queue: Queue, act: Task[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with queue:
        await queue.redis.set(queue.keys.events, "mine")
        await act.enqueue_many([()] * 20)
        worker = await drained(queue)
    assert worker.statistics().done == 20
    assert worker.statistics().dropped >= 40
    assert caplog.text.count("events are being dropped") == 1


async def test_a_retry_is_told_before_the_next_run_however_soon_that_begins(queue: Queue) -> None:
    @queue.task(attempts=3, backoff=AT_ONCE)
    async def again() -> None:
        if current_job().attempt < 3:
            raise ValueError

    async with queue:
        async with working(queue) as worker:
            for number in range(1, 41):  # one by one: each retry finds an idle worker
                await again.enqueue()
                await until(partial(has_done, worker, number))
        seen = await events(queue)
    stories = {event["id"].decode() for event in seen if event["e"] != b"drained"}
    failing = ["active", "failed", "retry-scheduled"]
    assert [about(seen, job_id) for job_id in stories] == [[*failing, *failing, "active", "completed"]] * 40


async def test_notes_and_events_of_threads_agree(queue: Queue, notes: Notes[Any]) -> None:
    @queue.task(attempts=2, backoff=AT_ONCE)
    def plain() -> None:
        notes.add(current_job().attempt)
        if current_job().attempt == 1:
            raise ValueError

    async with queue:
        handle = await plain.enqueue()
        async with working(queue) as worker:
            await until(lambda: worker.statistics().done)
        story = about(await events(queue), handle.id)
    assert story == ["active", "failed", "retry-scheduled", "active", "completed"]
    assert notes.made == [1, 2]
