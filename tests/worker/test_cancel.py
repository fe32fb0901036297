"""Cancelling jobs wherever they are, letting delayed ones wait for another time, and asking how one is."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest
from tests.support.servers import SECONDS
from tests.worker.conftest import AT_ONCE, Notes, closing, dead_letters, drained, length, until, working

from anyq import (
    Backoff,
    Cancellation,
    JobCancelled,
    JobFailed,
    JobHandle,
    JobStatus,
    Queue,
    RetryLater,
    Task,
    current_job,
)
from anyq.metrics import JobOutcome, MemorySink

pytestmark = pytest.mark.anyio


@pytest.fixture
def begun() -> anyio.Event:
    return anyio.Event()


@pytest.fixture
def wait(queue: Queue, notes: Notes[Any], begun: anyio.Event) -> Task[..., Any]:
    """A task that goes on until it is cut, and notes why it was."""

    @queue.task(result_ttl=60)
    async def wait(name: str = "") -> None:
        notes.add(f"began {name}")
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            notes.add(f"{current_job().cut} {current_job().cancelled}")

    return wait


@pytest.fixture
async def opened(queue: Queue) -> AsyncGenerator[Queue]:
    async with queue:
        yield queue


async def status(handle: JobHandle[Any], wanted: JobStatus) -> None:
    """Wait until a job is so."""
    with anyio.fail_after(SECONDS):
        while await handle.status() != wanted:
            pass


# -- what waits -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{"delay": 60}, {"delay": 60, "id": "mine"}, {"at": datetime.now(UTC) + timedelta(days=400)}]
)
async def test_a_delayed_job_is_cancelled_and_never_runs(
    opened: Queue, wait: Task[..., Any], notes: Notes[Any], options: Any
) -> None:
    handle = await wait.options(**options).enqueue()
    assert await handle.status() is JobStatus.DELAYED
    assert await handle.cancel() is Cancellation.CANCELLED
    assert await handle.status() is JobStatus.CANCELLED
    assert await handle.cancel() is Cancellation.CANCELLED, "asked again it has the same answer"
    assert not await handle.run_now()
    assert (await drained(opened)).statistics().started == 0
    assert notes.made == []


async def test_a_retry_that_waits_is_cancelled_and_so_is_a_job_put_off(
    opened: Queue, notes: Notes[Any]
) -> None:
    @opened.task(backoff=Backoff.fixed(60))
    async def fail(later: bool) -> None:
        notes.add(current_job().id)
        if later:
            raise RetryLater(60)
        raise ValueError

    async with working(opened) as worker:
        handles = await fail.enqueue_many([(True,), (False,)])
        await notes.first(2)
        for handle in handles:
            await status(handle, JobStatus.DELAYED)
            assert await handle.cancel() is Cancellation.CANCELLED
        await worker.wait_idle()
    assert len(notes.made) == 2
    assert await dead_letters(opened) == []


async def test_a_parked_job_is_cancelled(opened: Queue) -> None:
    handle = await opened.enqueue("nobody knows")
    async with working(opened):
        await status(handle, JobStatus.PARKED)
        assert await handle.cancel() is Cancellation.CANCELLED
    assert await opened.redis.zcard(opened.keys.delayed) == 0


async def test_a_job_that_waits_for_others_is_cancelled_and_those_that_wait_for_it_are_told(
    opened: Queue, notes: Notes[Any]
) -> None:
    @opened.task
    async def note(name: str) -> None:
        notes.add(name)

    parent = await note.options(delay=60, tracked=True).enqueue("parent")
    child = await note.options(after=[parent], tracked=True).enqueue("child")
    grandchild = await note.options(after=[child], result_ttl=60).enqueue("grandchild")
    assert await child.status() is JobStatus.WAITING
    assert not await child.run_now()
    assert await child.cancel() is Cancellation.CANCELLED
    assert await child.status() is JobStatus.CANCELLED
    async with working(opened):
        with pytest.raises(JobFailed) as caught:
            await grandchild.result(timeout=SECONDS)
        assert not isinstance(caught.value, JobCancelled)
        assert await parent.run_now()
        assert await notes.one() == "parent"
    assert notes.made == ["parent"]


async def test_a_job_that_is_set_aside_is_cancelled(opened: Queue, notes: Notes[Any]) -> None:
    @opened.task
    async def note() -> None:
        notes.add("ran")

    async with working(opened) as worker:
        await opened.pause("note")
        handle = await note.enqueue()
        await until(lambda: worker.statistics().set_aside)
        assert await handle.status() is JobStatus.ASIDE
        assert await handle.cancel() is Cancellation.CANCELLED
        assert not await opened.redis.exists(opened.keys.aside("note"))
        assert b"aside:note" not in await opened.redis.hkeys(opened.keys.pauses)
        await opened.resume("note")
        await worker.wait_idle()
    assert notes.made == []


@pytest.mark.parametrize("options", [{}, {"id": "mine"}])
async def test_a_queued_job_is_cancelled_by_its_id_and_never_runs(
    opened: Queue, wait: Task[..., Any], notes: Notes[Any], options: Any
) -> None:
    await wait.enqueue_many([("x",)] * 3)
    handle = await wait.options(**options).enqueue()
    await wait.enqueue("y")
    assert await handle.status() is JobStatus.QUEUED
    assert await opened.job(handle.id).cancel(wait=True) is Cancellation.CANCELLED
    assert await opened.job(handle.id).status() is JobStatus.CANCELLED
    assert await length(opened) == 4


async def test_an_id_is_free_again_and_its_next_job_is_another(opened: Queue, notes: Notes[Any]) -> None:
    @opened.task(result_ttl=60)
    async def give(value: int) -> int:
        return value

    first = await give.options(id="mine", delay=60).enqueue(1)
    assert await first.cancel() is Cancellation.CANCELLED
    second = await give.options(id="mine").enqueue(2)
    assert second.new
    assert await second.status() is JobStatus.QUEUED
    async with working(opened):
        assert await second.result(timeout=SECONDS) == 2


async def test_who_waits_for_the_result_of_a_cancelled_job_is_told(
    opened: Queue, wait: Task[..., Any]
) -> None:
    for options in ({"delay": 60}, {}):
        handle = await wait.options(**options).enqueue()  # type: ignore[arg-type]
        errors: list[JobFailed] = []

        async def listen(handle: JobHandle[Any] = handle, errors: list[JobFailed] = errors) -> None:
            with pytest.raises(JobCancelled) as caught:
                await handle.result()
            errors.append(caught.value)

        with anyio.fail_after(SECONDS):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(listen)
                await anyio.lowlevel.checkpoint()
                await handle.cancel()
        assert (errors[0].reason, errors[0].job_id) == ("cancelled", handle.id)
        assert "before it began" in str(errors[0])


# -- what runs --------------------------------------------------------------------------------------------------------


async def test_a_running_job_is_cut_and_is_neither_retried_nor_a_dead_letter(
    opened: Queue, wait: Task[..., Any], notes: Notes[Any], begun: anyio.Event
) -> None:
    sink = MemorySink()
    async with working(opened, metrics=sink) as worker:
        handle = await wait.enqueue()
        await begun.wait()
        assert await handle.status() is JobStatus.RUNNING
        assert await handle.cancel() is Cancellation.CANCELLING
        with pytest.raises(JobCancelled):
            await handle.result(timeout=SECONDS)
        assert notes.made == ["began ", "cancelled True"]
        await worker.wait_idle()
        found = worker.statistics()
    assert (found.cancelled, found.done, found.failed, found.retried, found.dead, found.released) == (
        1,
        0,
        0,
        0,
        0,
        0,
    )
    assert await dead_letters(opened) == []
    assert await opened.redis.call("EXISTS", opened.keys.cancels) == 0
    outcomes = [seen.outcome for seen in sink.observations if isinstance(seen, JobOutcome)]
    assert outcomes == ["cancelled"]
    rows = await opened.redis.call("XRANGE", opened.keys.events, "-", "+")
    assert [row[1][1] for row in rows][:2] == [b"active", b"cancelled"]


async def test_waiting_for_it_returns_when_the_handler_has_really_ended(
    opened: Queue, notes: Notes[Any]
) -> None:
    begun, clean = anyio.Event(), anyio.Event()

    @opened.task
    async def slow() -> None:
        try:
            begun.set()
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await clean.wait()
            notes.add("clean")

    async with working(opened):
        handle = await slow.enqueue()
        await begun.wait()
        async with anyio.create_task_group() as tasks:

            async def cancel() -> None:
                notes.add(await handle.cancel(wait=True))

            tasks.start_soon(cancel)
            await status(handle, JobStatus.CANCELLING)
            with pytest.raises(TimeoutError):
                await handle.cancel(wait=True, timeout=0.05)
            assert notes.made == []
            clean.set()
        assert notes.made == ["clean", Cancellation.STOPPED]
        assert await handle.status() is JobStatus.CANCELLED


@pytest.mark.parametrize("ends", ["raises", "returns"])
async def test_a_thread_sees_it_and_its_end_decides(opened: Queue, ends: str) -> None:
    let_go = threading.Event()

    @opened.task(result_ttl=60)
    def stubborn() -> str:
        job = current_job()
        while not job.cancelled:
            let_go.wait(0.001)
        let_go.wait(SECONDS)
        if ends == "raises":
            raise ValueError
        return "late"

    async with closing(let_go), working(opened) as worker:
        handle = await stubborn.enqueue()
        await status(handle, JobStatus.RUNNING)
        assert await handle.cancel() is Cancellation.CANCELLING
        with pytest.raises(TimeoutError):
            await handle.cancel(wait=True, timeout=0.05)
        await until(lambda: worker.health().stuck == (handle.id,))
        let_go.set()
        done = await handle.cancel(wait=True, timeout=SECONDS)
        if ends == "raises":
            assert done is Cancellation.STOPPED
            assert await handle.status() is JobStatus.CANCELLED
        else:
            assert done is Cancellation.OVER, "a late success is a success"
            assert await handle.result(timeout=SECONDS) == "late"
        assert await opened.redis.call("EXISTS", opened.keys.cancels) == 0


async def test_a_job_that_a_worker_has_and_has_not_begun_never_begins(
    opened: Queue, wait: Task[..., Any], notes: Notes[Any], begun: anyio.Event
) -> None:
    async with working(opened, concurrency=1) as worker:
        await wait.enqueue("first")
        await begun.wait()
        await opened.redis.call("CONFIG", "SET", "hz", 100)
        handle = await wait.enqueue("second")
        await until(lambda: worker.statistics().buffered or worker.statistics().held == 1)
        assert await handle.cancel(wait=True) in {Cancellation.CANCELLED, Cancellation.STOPPED}
        assert worker.statistics().running == 1
        worker.stop(drain_timeout=0)
    assert notes.made[0] == "began first"
    assert "began second" not in notes.made


async def test_a_job_is_cancelled_while_its_worker_drains(
    opened: Queue, wait: Task[..., Any], begun: anyio.Event
) -> None:
    async with working(opened, drain_timeout=SECONDS) as worker:
        handle = await wait.enqueue()
        await begun.wait()
        worker.stop()
        await until(lambda: worker.health().state == "draining")
        assert await handle.cancel(wait=True) is Cancellation.STOPPED
    assert worker.left_nothing


async def test_a_job_that_is_handed_back_meanwhile_is_cancelled_all_the_same(
    opened: Queue, begun: anyio.Event
) -> None:
    @opened.task
    async def slow() -> None:
        try:
            begun.set()
            await anyio.sleep_forever()
        finally:  # cut by the worker's stop before it is cancelled
            with anyio.CancelScope(shield=True):
                await asked.wait()

    asked = anyio.Event()
    async with working(opened, drain_timeout=0) as worker:
        handle = await slow.enqueue()
        await begun.wait()
        worker.stop()
        await until(lambda: worker.health().stuck)
        assert await handle.cancel() is Cancellation.CANCELLING
        asked.set()
    assert await length(opened) + await opened.redis.xlen(opened.keys.returned) == 1
    assert (await drained(opened)).statistics().started == 0, "the next worker knows"
    assert await handle.status() is JobStatus.CANCELLED


async def test_a_failing_run_that_is_cancelled_is_not_retried(opened: Queue, notes: Notes[Any]) -> None:
    @opened.task(backoff=AT_ONCE)
    async def fail() -> None:
        notes.add("run")
        try:
            await anyio.sleep_forever()
        finally:
            raise ValueError

    async with working(opened) as worker:
        handle = await fail.enqueue()
        await notes.first(1)
        assert await handle.cancel(wait=True) is Cancellation.STOPPED
        await worker.wait_idle()
    assert notes.made == ["run"]


async def test_many_jobs_are_cancelled_at_once_on_several_workers(opened: Queue, notes: Notes[Any]) -> None:
    @opened.task
    async def wait(number: int) -> None:
        notes.add(number)
        await anyio.sleep_forever()

    async with working(opened) as one, working(opened) as two:
        handles = await wait.enqueue_many([(number,) for number in range(30)])
        await notes.first(20)
        done: list[Cancellation] = []

        async def cancel(handle: JobHandle[Any]) -> None:
            done.append(await handle.cancel(wait=True))

        async with anyio.create_task_group() as tasks:
            for handle in handles:
                tasks.start_soon(cancel, handle)
        assert len(done) == 30
        assert set(done) <= {Cancellation.STOPPED, Cancellation.CANCELLED}
        await one.wait_idle()
        await two.wait_idle()
        assert one.statistics().cancelled + two.statistics().cancelled == done.count(Cancellation.STOPPED)


# -- another time -----------------------------------------------------------------------------------------------------


async def test_a_delayed_job_runs_at_its_new_time(opened: Queue, notes: Notes[Any]) -> None:
    @opened.task
    async def stamp(name: str) -> None:
        notes.add(name)

    async with working(opened):
        sooner = await stamp.options(delay=60).enqueue("sooner")
        later = await stamp.options(delay=0.15).enqueue("later")
        assert await later.reschedule(at=datetime.now(UTC) + timedelta(days=1))
        assert await sooner.reschedule(delay=timedelta(seconds=0.2))
        assert await notes.one() == "sooner"
        assert await later.run_now()
        await notes.first(2)
        assert not await later.run_now()
        assert not await later.reschedule(delay=1)
    assert notes.made == ["sooner", "later"]


async def test_a_retry_runs_now(opened: Queue, notes: Notes[Any]) -> None:
    @opened.task(backoff=Backoff.fixed(60))
    async def fail() -> None:
        notes.add(current_job().attempt)
        if current_job().attempt < 3:
            raise ValueError

    async with working(opened):
        handle = await fail.enqueue()
        for run in (1, 2):
            await notes.first(run)
            await status(handle, JobStatus.DELAYED)
            assert await opened.job(handle.id).run_now()
        await notes.first(3)
    assert notes.made == [1, 2, 3]


@pytest.mark.parametrize(
    ("when", "error", "message"),
    [
        ({}, ValueError, "either delay or at"),
        ({"delay": 1, "at": datetime.now(UTC)}, ValueError, "either delay or at"),
        ({"delay": -1}, ValueError, "delay must be"),
        ({"delay": "1"}, TypeError, "delay must be"),
        ({"at": datetime(2030, 1, 1)}, ValueError, "naive"),
    ],
)
async def test_a_time_that_is_none_is_refused(
    opened: Queue, when: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        await opened.job("a").reschedule(**when)


# -- what is over -----------------------------------------------------------------------------------------------------


async def test_what_is_over_is_left_as_it_is(opened: Queue) -> None:
    @opened.task(attempts=1)
    async def end(how: str) -> None:
        if how == "fails":
            raise ValueError

    done = await end.options(result_ttl=60).enqueue("well")
    failed = await end.options(result_ttl=60).enqueue("fails")
    gone = await end.enqueue("well")
    await drained(opened)
    assert [await job.status() for job in (done, failed, gone)] == [
        JobStatus.DONE,
        JobStatus.FAILED,
        JobStatus.UNKNOWN,
    ]
    assert [await job.cancel(wait=True) for job in (done, failed, gone)] == [
        Cancellation.OVER,
        Cancellation.OVER,
        Cancellation.UNKNOWN,
    ]
    assert [await job.status() for job in (done, failed)] == [JobStatus.DONE, JobStatus.FAILED]
    assert await opened.job("never was").cancel() is Cancellation.UNKNOWN
    assert not await opened.job("never was").run_now()


async def test_a_message_without_a_request_cuts_nothing(
    opened: Queue, wait: Task[..., Any], begun: anyio.Event
) -> None:
    async with working(opened) as worker:
        handle = await wait.options(id="mine").enqueue()
        await begun.wait()
        while not await opened.redis.publish(opened.keys.cancelling, "mine"):
            pass  # nobody listens yet
        other = await wait.enqueue()
        await status(other, JobStatus.RUNNING)
        assert await other.cancel(wait=True) is Cancellation.STOPPED
        assert await handle.status() is JobStatus.RUNNING
        assert await handle.cancel(wait=True) is Cancellation.STOPPED
        await worker.wait_idle()
        assert worker.statistics().cancelled == 2


async def test_statuses_are_words(opened: Queue) -> None:
    handle = await opened.enqueue("nobody")
    assert await handle.status() == "queued"
    assert f"{await handle.cancel()}" == "cancelled"
