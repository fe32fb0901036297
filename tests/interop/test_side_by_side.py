"""Workers of both on one queue, and what each tells on the events stream."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import anyio
import pytest
from tests.interop.ours import shared_queue
from tests.interop.peer import PATIENCE, Peer, chasquimq

from anyq import Backoff, Events, Worker

pytestmark = pytest.mark.anyio


async def test_every_job_is_run_once_by_one_of_the_two(url: str) -> None:
    ours = shared_queue(url)
    async with chasquimq(url) as peer, ours.queue:
        jobs = [job.id for job in await ours.act.enqueue_many([(number,) for number in range(500)])]
        await peer.work(concurrency=5, read_count=5)
        async with Worker(ours.queue, concurrency=5) as worker:
            jobs += await peer.add_bulk(
                [{"name": "act", "data": {"number": number}} for number in range(500)]
            )
            await worker.wait_idle()
            theirs = await peer.runs.first(len(jobs) - len(ours.runs.told))
            assert sorted(run.id for run in [*ours.runs.told, *theirs]) == sorted(jobs)


async def test_chasquimq_s_workers_are_listed_beside_anyq_s(url: str) -> None:
    ours = shared_queue(url)
    async with chasquimq(url) as peer, ours.queue:
        await peer.work()
        await peer.add("act", {"number": 1})
        await peer.runs.first(1)
        async with Worker(ours.queue) as worker:
            mine, foreign = await ours.queue.workers()
            assert (mine.name, mine.lives, mine.knows("act")) == (worker.name, True, True)
            assert (foreign.state, foreign.lives, foreign.knows("act")) == ("foreign", False, None)


@pytest.mark.parametrize("first", ["chasquimq", "anyq"])
async def test_whoever_holds_the_promoter_s_lock_keeps_it_and_every_delayed_job_is_run_once(
    url: str, first: str
) -> None:
    ours = shared_queue(url)
    async with chasquimq(url) as peer, ours.queue, AsyncExitStack() as stack:

        async def held() -> bytes | None:
            holder: bytes | None = await ours.queue.redis.call("GET", ours.queue.keys.promoter_lock)
            return holder

        async def start(who: str) -> None:
            if who == "chasquimq":
                await peer.work(concurrency=5)
            else:
                await stack.enter_async_context(Worker(ours.queue, concurrency=5))

        await start(first)
        with anyio.fail_after(PATIENCE):
            while (holder := await held()) is None:
                await anyio.lowlevel.checkpoint()
        assert holder.startswith(b"anyq-") == (first == "anyq")
        await start("anyq" if first == "chasquimq" else "chasquimq")
        jobs = [job.id for job in await ours.act.options(delay=0.3).enqueue_many([()] * 100)]
        jobs += [await peer.add("act", {}, delay_ms=300) for _ in range(20)]
        with anyio.fail_after(PATIENCE):
            while len(ours.runs.told) + len(peer.runs.told) < len(jobs):
                await anyio.lowlevel.checkpoint()
        assert sorted(run.id for run in [*ours.runs.told, *peer.runs.told]) == sorted(jobs)
        assert await held() == holder


async def test_a_retry_that_anyq_scheduled_may_run_on_chasquimq(url: str) -> None:
    ours = shared_queue(url)
    async with chasquimq(url) as peer, ours.queue:
        await peer.follow()
        job = await ours.act.options(attempts=3, backoff=Backoff.fixed(1)).enqueue(fail=1)
        async with Worker(ours.queue):
            await peer.event("retry-scheduled", job.id)
        await peer.work()
        (run,) = await peer.runs.first(1)
        assert (run.id, run.attempt) == (job.id, 2)
        await peer.event("completed", job.id)


async def test_a_retry_that_chasquimq_scheduled_may_run_on_anyq(url: str) -> None:
    ours = shared_queue(url)
    async with chasquimq(url) as peer, ours.queue:
        await peer.follow()
        await peer.work()
        job = await peer.add("act", {"fail": 1}, attempts=3, backoff=500)
        await peer.event("retry-scheduled", job)
    async with Worker(ours.queue):
        (run,) = await ours.runs.first(1)
        assert (run.id, run.attempt) == (job, 2)


async def test_what_anyq_hands_back_chasquimq_starts_at_once(url: str) -> None:
    ours = shared_queue(url)
    entered = anyio.Event()

    async def hold() -> None:
        entered.set()
        await anyio.sleep_forever()

    task = ours.queue.task(hold, name="hold")
    async with chasquimq(url) as peer, ours.queue:
        jobs = [(await task.enqueue()).id for _ in range(10)]
        async with Worker(ours.queue, concurrency=1, drain_timeout=0):
            await entered.wait()
        await peer.work()
        runs = await peer.runs.first(10)
        assert sorted(run.id for run in runs) == sorted(jobs)
        assert {run.attempt for run in runs} == {1}


@pytest.mark.parametrize(
    ("data", "last"),
    [
        pytest.param({"fail": 1}, "completed", id="retried and done"),
        pytest.param({"fail": 9}, "dlq", id="given up"),
        pytest.param({"unrecoverable": "no such user"}, "dlq", id="never again"),
    ],
)
async def test_both_tell_the_same_story_with_the_same_fields(
    url: str, data: dict[str, Any], last: str
) -> None:
    ours = shared_queue(url)
    async with chasquimq(url) as peer:
        await peer.follow()
        async with Worker(ours.queue):
            mine = await story(peer, data, last)
        await peer.work()
        theirs = await story(peer, data, last)
        assert mine == theirs


async def test_anyq_follows_what_both_tell(url: str) -> None:
    ours = shared_queue(url)
    async with chasquimq(url) as peer, ours.queue, ours.queue.events() as events:
        async with Worker(ours.queue):
            mine = await followed(events, await peer.add("act", {"fail": 1}, attempts=2, backoff=20))
        await peer.work()
        theirs = await followed(events, await peer.add("act", {"fail": 1}, attempts=2, backoff=20))
    assert mine == theirs
    assert [kind for kind, *_ in mine] == ["active", "failed", "retry-scheduled", "active", "completed"]


async def followed(events: Events, job: str) -> list[tuple[str, str, int | None, dict[str, type]]]:
    """What happened to a job, until it is done; of the numbers only that they are some."""
    seen: list[tuple[str, str, int | None, dict[str, type]]] = []
    async for event in events:
        if event.job_id == job and event.kind != "waiting":
            fields = {name: type(value) for name, value in event.fields.items()}
            seen.append((event.kind, event.task, event.attempt, fields))
            if event.kind == "completed":
                break
    return seen


async def story(peer: Peer, data: dict[str, Any], last: str) -> list[tuple[str, int | None, list[str]]]:
    """Let a job run, and give its events: name, attempt, fields.

    ChasquiMQ tells ``waiting`` of a promoted job, at any time around its run: that one is left out.
    """
    job = await peer.add("act", data, attempts=2, backoff=20)
    await peer.event(last, job)
    return [
        (event["e"], event.get("attempt"), sorted(event))
        for event in peer.events.told
        if event["id"] == job and event["e"] != "waiting"
    ]
