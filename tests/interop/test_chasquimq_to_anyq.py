"""A ChasquiMQ producer feeds an AnyQ worker."""

from __future__ import annotations

import anyio
import pytest
from tests.interop.ours import shared_queue
from tests.interop.peer import Run, chasquimq

from anyq import Cancellation, JobStatus, Worker

pytestmark = pytest.mark.anyio


async def test_a_named_job_runs_the_task_of_that_name(url: str) -> None:
    ours = shared_queue(url)
    async with chasquimq(url) as peer, Worker(ours.queue):
        job = await peer.add("act", {"give": 1, "number": 7})
        assert await ours.runs.first(1) == [Run(job, "act", {"give": 1, "number": 7})]


async def test_a_job_without_a_name_reaches_the_fallback(url: str) -> None:
    ours = shared_queue(url)
    async with chasquimq(url) as peer, Worker(ours.queue):
        job = await peer.add("", ["no", "map", {"deep": [1.5, None]}])
        assert await ours.runs.first(1) == [Run(job, "", ["no", "map", {"deep": [1.5, None]}])]


async def test_every_job_of_a_batch_runs_once(url: str) -> None:
    ours = shared_queue(url)
    async with chasquimq(url) as peer:
        jobs = await peer.add_bulk([{"name": "act", "data": {"number": number}} for number in range(300)])
        async with Worker(ours.queue) as worker:
            await worker.wait_idle()
            assert sorted(run.id for run in ours.runs.told) == sorted(jobs)


async def test_a_delayed_job_starts_at_its_time(url: str) -> None:
    ours = shared_queue(url)
    async with chasquimq(url) as peer, Worker(ours.queue):
        began = anyio.current_time()
        job = await peer.add("act", {}, delay_ms=400, job_id="later")
        assert await ours.runs.first(1) == [Run(job, "act", {})]
        assert anyio.current_time() - began >= 0.39


async def test_a_delayed_job_of_chasquimq_keeps_its_id_from_anyq_until_it_has_run(url: str) -> None:
    ours = shared_queue(url)
    async with chasquimq(url) as peer, ours.queue:
        await peer.add("act", {"give": "theirs"}, delay_ms=500, job_id="one")
        again = await ours.act.options(delay=60, id="one").enqueue("ours")
        assert not again.new
        assert await again.status() is JobStatus.DELAYED
        async with Worker(ours.queue):
            assert await ours.runs.first(1) == [Run("one", "act", {"give": "theirs"})]


async def test_a_job_is_retried_as_often_and_as_late_as_its_producer_said(url: str) -> None:
    ours = shared_queue(url)
    async with chasquimq(url) as peer, Worker(ours.queue, attempts=1):
        await peer.follow()
        job = await peer.add(
            "act", {"fail": 2}, attempts=3, backoff={"kind": "fixed", "delay_ms": 150, "jitter_ms": 0}
        )
        assert [run.attempt for run in await ours.runs.first(3)] == [1, 2, 3]
        assert (await peer.event("retry-scheduled", job))["backoff_ms"] == 150
        await peer.event("completed", job)
        assert await peer.dead_letters() == []


async def test_what_used_up_its_attempts_is_a_dead_letter_that_chasquimq_can_see(url: str) -> None:
    ours = shared_queue(url)
    async with chasquimq(url) as peer, Worker(ours.queue):
        await peer.follow()
        job = await peer.add("act", {"fail": 9}, attempts=2, backoff=20)
        event = await peer.event("dlq", job)
        assert (event["attempt"], event["reason"]) == (2, "retries_exhausted")
        (letter,) = await peer.dead_letters()
        assert (letter["name"], letter["reason"]) == ("act", "retries_exhausted")
        assert [run.attempt for run in ours.runs.told] == [1, 2]


async def test_a_dead_letter_of_anyq_can_be_replayed_by_chasquimq(url: str) -> None:
    ours = shared_queue(url)
    async with chasquimq(url) as peer, Worker(ours.queue):
        await peer.follow()
        job = await peer.add("act", {"unrecoverable": "there is no such user"})
        assert (await peer.event("dlq", job))["reason"] == "unrecoverable"
        assert await peer.replay() == 1
        assert await ours.runs.first(2) == 2 * [Run(job, "act", {"unrecoverable": "there is no such user"})]


async def test_the_result_of_an_anyq_worker_is_read_by_chasquimq(url: str) -> None:
    ours = shared_queue(url)
    ours.queue.task(_sum, name="sum", result_ttl=60)
    async with chasquimq(url) as peer, Worker(ours.queue):
        await peer.follow()
        job = await peer.add("sum", {"numbers": [1, 2, 3.5]})
        await peer.event("completed", job)
        assert await peer.result(job) == {"sum": 6.5}


async def _sum(numbers: list[float]) -> dict[str, float]:
    return {"sum": sum(numbers)}


async def test_a_delayed_job_of_chasquimq_is_moved_and_cancelled_by_anyq(url: str) -> None:
    ours = shared_queue(url)
    async with chasquimq(url) as peer, ours.queue:
        for _ in range(2):  # its id is free again, for chasquimq too
            await peer.add("act", {}, job_id="later", delay_ms=60_000)
            job = ours.queue.job("later")
            assert await job.status() is JobStatus.DELAYED
            assert await job.reschedule(delay=90)
            assert await job.cancel() is Cancellation.CANCELLED
            assert not await peer.cancel_delayed("later")
        plain = await peer.add("act", {}, delay_ms=60_000)
        assert await ours.queue.job(plain).cancel() is Cancellation.CANCELLED, "without an index, too"
