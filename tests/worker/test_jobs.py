"""`queue.jobs()`: every job where it is, page by page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest
from tests.support.servers import SECONDS
from tests.worker.conftest import Notes, until, working

from anyq import Backoff, JobHandle, JobInfo, JobStatus, Limits, NotOpen, Queue, Unrecoverable, current_job

pytestmark = pytest.mark.anyio


async def listed(queue: Queue, *states: str, **where: Any) -> list[JobInfo]:
    return [job async for job in queue.jobs(states or None, **where)]


async def test_each_job_is_listed_where_it_is(queue: Queue, notes: Notes[str]) -> None:
    end = anyio.Event()

    @queue.task
    async def hold() -> None:
        notes.add("held")
        await end.wait()

    @queue.task
    async def die(secret: str) -> None:
        raise Unrecoverable("no way")

    @queue.task
    async def lazy() -> None: ...

    at = datetime.now(UTC) + timedelta(hours=1)
    async with queue, working(queue, concurrency=2, prefetch=0) as worker:
        await queue.pause("lazy")
        aside = await lazy.enqueue()
        await until(lambda: worker.statistics().set_aside)
        dead = await die.enqueue("hush")
        parked = await queue.enqueue("nobody knows")
        await until(lambda: worker.statistics().dead and worker.statistics().parked)
        delayed = await lazy.options(at=at, unique="key", priority=7, attempts=4).enqueue()
        waiting = await lazy.options(after=[await lazy.options(tracked=True, delay=90).enqueue()]).enqueue()
        running, cancelled = await hold.enqueue(), await hold.enqueue()
        await notes.first(2)
        low, high = await lazy.options(priority=1).enqueue(), await lazy.options(priority=9).enqueue()
        queued = await hold.enqueue()

        found = await listed(queue)
        jobs = {job.id: job for job in found}
        assert [job.state for job in found] == [
            "running", "running", "queued", "queued", "queued", "aside", "parked", "delayed", "delayed", "waiting",
        ]  # fmt: skip
        assert [job.id for job in found][2:5] == [high.id, queued.id, low.id], (
            "in the order in which they are read"
        )
        assert jobs[aside.id].state is JobStatus.ASIDE
        assert jobs[parked.id].state is JobStatus.PARKED
        assert jobs[parked.id].due_at is not None
        assert [job.id for job in await listed(queue, "parked")] == [parked.id]
        assert parked.id not in {job.id for job in await listed(queue, "delayed")}
        assert jobs[waiting.id].state is JobStatus.WAITING
        assert len(jobs[waiting.id].after) == 1
        info = jobs[delayed.id]
        assert (info.task, info.attempt, info.attempts, info.priority, info.unique) == (
            "lazy",
            1,
            4,
            7,
            "key",
        )
        assert info.due_at is not None
        assert abs(info.due_at - at) < timedelta(milliseconds=1)
        assert info.created_at is not None
        assert datetime.now(UTC) - info.created_at < timedelta(minutes=5)
        info = jobs[running.id]
        assert info.worker.startswith("anyq-")
        assert (info.task, info.attempt, info.entry != "") == ("hold", 1, True)

        [info] = await listed(queue, "failed")
        assert (info.id, info.reason, info.error, info.message) == (
            dead.id, "unrecoverable", "Unrecoverable", "no way",
        )  # fmt: skip
        assert info.payload is None
        assert info.ended_at is not None
        [info] = await listed(queue, "failed", payload=True)
        assert info.payload == {"secret": "hush"}
        assert "hush" not in repr(info)

        end.set()
        await worker.wait_idle()
        assert cancelled.id not in {job.id for job in await listed(queue, "running", "queued")}


async def test_a_job_that_somebody_cancelled_and_a_worker_still_has_says_so(
    queue: Queue, notes: Notes[str]
) -> None:
    @queue.task
    async def slow() -> None:
        notes.add("begun")
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await end.wait()

    end = anyio.Event()
    async with queue, working(queue):
        handle, other = await slow.enqueue_many([(), ()])
        await notes.first(2)
        await handle.cancel()
        assert {job.id: job.state.value for job in await listed(queue)} == {
            handle.id: "cancelling", other.id: "running",
        }  # fmt: skip
        assert [job.id for job in await listed(queue, "cancelling")] == [handle.id]
        assert [job.id for job in await listed(queue, "running")] == [other.id]
        end.set()
        await other.cancel(wait=True)


async def test_a_list_goes_on_behind_any_of_its_jobs(queue: Queue) -> None:
    @queue.task(name="b")
    async def known() -> None: ...

    async with queue:
        for task in ("a", "b"):
            await queue.enqueue_many(task, [{"number": number} for number in range(5)])
            await queue.enqueue_many(task, [{}] * 5, priority=8)
            await queue.enqueue_many(task, [{}] * 5, delay=60)
        for where in ({}, {"newest_first": True}, {"task": "b"}, {"task": known}):
            every = [job.id for job in await listed(queue, **where)]
            assert len(set(every)) == len(every) == (15 if "task" in where else 30)
            again: list[str] = []
            after = None
            while page := await listed(queue, **where, after=after, limit=4):
                again += [job.id for job in page]
                after = page[-1].cursor
            assert again == every
        assert [job.payload for job in await listed(queue, "queued", task="a", payload=True)][5:] == [
            {"number": number} for number in range(5)
        ]


async def test_the_given_up_are_paged_in_both_directions(queue: Queue) -> None:
    @queue.task
    async def die() -> None:
        raise Unrecoverable

    async with queue, working(queue) as worker:
        await die.enqueue_many([()] * 7)
        await worker.wait_idle()
        every = [job.id for job in await listed(queue, "failed")]
        assert len(every) == 7
        newest = await listed(queue, "failed", newest_first=True, limit=3)
        assert [job.id for job in newest] == every[:3:-1]
        rest = await listed(queue, "failed", newest_first=True, after=newest[-1].cursor)
        assert [job.id for job in rest] == every[3::-1]
        assert await listed(queue, "failed", task="other") == []


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"state": "done"}, "jobs are listed by these states: running"),
        ({"state": ["queued", 7]}, "not 7"),
        ({"limit": 0}, "limit"),
        ({"after": "nonsense"}, "cursor"),
        ({"after": "queued/elsewhere/1-1"}, "cursor"),
        ({"after": "queued/stream/x"}, "cursor"),
        ({"after": "failed//1-1"}, "such a list"),
        ({"after": "delayed//1); redis.call,1"}, "cursor"),
        ({"task": 7}, "task"),
    ],
    ids=str,
)
async def test_what_makes_no_sense_is_refused_before_anything_is_asked(
    queue: Queue, wrong: Any, says: str
) -> None:
    with pytest.raises((ValueError, TypeError), match=says):
        queue.jobs(**wrong)


async def test_a_queue_that_is_not_open_lists_nothing(queue: Queue) -> None:
    with pytest.raises(NotOpen):
        await anext(queue.jobs())


async def test_a_deep_backlog_is_searched_in_bounded_steps(queue: Queue) -> None:
    async with queue:
        await queue.enqueue_many("common", [{}] * 5000)
        rare = await queue.enqueue("rare")
        [found] = await listed(queue, task="rare")
        assert found.id == rare.id
        assert [job.id for job in await listed(queue, newest_first=True, limit=1)] == [rare.id]


# -- one of them ------------------------------------------------------------------------------------------------------


async def test_a_job_tells_all_that_is_known_of_it_wherever_it_is(queue: Queue, notes: Notes[str]) -> None:
    @queue.task(backoff=Backoff.fixed(60), attempts=2)
    async def render(pages: int) -> None:
        job = current_job()
        job.progress(job.attempt, 2, "half way")
        job.log("a blank page")
        notes.add(job.id)
        if job.attempt == 1:
            raise ConnectionError("no printer\n" + "x" * 10_000)
        await anyio.sleep_forever()

    async with queue:
        handle = await render.options(priority=8).enqueue(3)
        info = await handle.info()
        assert (info.id, info.task, info.state, info.attempt) == (handle.id, "render", "queued", 1)
        assert (info.priority, info.payload, info.progress, info.log) == (8, None, None, ())
        assert (await handle.info(payload=True)).payload == {"pages": 3}

        async with working(queue, drain_timeout=0):
            await notes.one()
            await state(handle, JobStatus.DELAYED)
            info = await queue.job(handle.id).info()
            assert (info.attempt, info.error, info.priority) == (2, "ConnectionError", 8)
            assert info.message.startswith("no printer\nxxx")
            assert len(info.message) < 500
            assert info.due_at is not None
            assert info.progress is not None
            assert (info.progress.message, [line.text for line in info.log]) == ("half way", ["a blank page"])

            await handle.run_now()
            await notes.first(2)
            info = await handle.info()
            assert (info.state, info.error, info.worker != "") == ("running", "ConnectionError", True)
            with anyio.fail_after(SECONDS):
                while (info := await handle.info()).started_at is None:
                    pass
            assert abs(datetime.now(UTC) - info.started_at) < timedelta(minutes=1)
        assert (await handle.info()).state is JobStatus.QUEUED, "it was handed back"


async def test_a_job_that_was_given_up_is_found_though_nobody_asked_to_keep_that(queue: Queue) -> None:
    @queue.task
    async def die(name: str) -> None:
        raise Unrecoverable("no way")

    async with queue, working(queue) as worker:
        handles = await die.enqueue_many([(name,) for name in "abc"])
        kept = await die.options(result_ttl=60).enqueue("d")
        await worker.wait_idle()
        for handle in (*handles, kept):
            info = await handle.info(payload=True)
            assert (info.id, info.state, info.task) == (handle.id, "failed", "die")
            assert (info.reason, info.message) == ("unrecoverable", "no way")
        assert (await kept.info(payload=True)).payload == {"name": "d"}
        await queue.dead_letters.delete_all()
        info = await kept.info()
        assert (info.state, info.reason, info.message) == ("failed", "unrecoverable", "no way")
        assert (await handles[0].info()).state is JobStatus.UNKNOWN


async def test_of_a_job_that_has_ended_there_is_how(queue: Queue) -> None:
    @queue.task(result_ttl=60)
    async def work() -> int:
        return 1

    async with queue, working(queue):
        done, cancelled = await work.enqueue(), await work.options(delay=60).enqueue()
        await done.result(timeout=SECONDS)
        await cancelled.cancel()
        assert [(await job.info()).state.value for job in (done, cancelled, queue.job("nobody"))] == [
            "done", "cancelled", "unknown",
        ]  # fmt: skip


async def test_a_job_that_waits_names_those_that_have_not_ended(queue: Queue) -> None:
    @queue.task
    async def work() -> None: ...

    async with queue:
        parents = [await work.options(tracked=True, delay=delay).enqueue() for delay in (60, None, 60)]
        child = await work.options(after=parents).enqueue()
        async with working(queue) as worker:
            await worker.wait_idle()
        info = await child.info()
        assert info.state is JobStatus.WAITING
        assert info.after == tuple(parent.id for parent in parents)
        assert info.waits_for == (parents[0].id, parents[2].id)


async def test_a_job_that_nearly_fills_the_limit_is_retried_all_the_same(redis_url: str) -> None:
    queue = Queue("work", redis_url, limits=Limits(payload=5000))
    ran: list[int] = []

    @queue.task(backoff=Backoff.fixed(0), attempts=2)
    async def fail(text: str) -> None:
        ran.append(current_job().attempt)
        raise ValueError("x" * 1000)

    async with queue, working(queue) as worker:
        await fail.enqueue("y" * 4900)
        await worker.wait_idle()
        [info] = await listed(queue, "failed")
    assert (ran, info.reason) == ([1, 2], "retries_exhausted")


async def state(handle: JobHandle[Any], wanted: JobStatus) -> None:
    """Wait until a job is so."""
    with anyio.fail_after(SECONDS):
        while await handle.status() is not wanted:
            pass
