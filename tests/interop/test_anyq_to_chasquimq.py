"""An AnyQ producer feeds a ChasquiMQ worker."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from tests.interop.ours import shared_queue
from tests.interop.peer import QUEUE, Run, chasquimq

from anyq import Backoff, Queue

pytestmark = pytest.mark.anyio


async def test_a_job_arrives_under_its_name_with_its_arguments(url: str) -> None:
    ours = shared_queue(url)
    async with chasquimq(url) as peer, ours.queue:
        await peer.work()
        job = await ours.act.enqueue("a", number=7)
        assert await peer.runs.first(1) == [Run(job.id, "act", {"give": "a", "number": 7})]


async def test_a_job_enqueued_by_name_arrives_too(url: str) -> None:
    queue = Queue(QUEUE, url, prefix="chasqui")
    async with chasquimq(url) as peer, queue:
        await peer.work()
        job = await queue.enqueue("welcome", {"to": "ada", "deep": [1.5, None, {"b": b"".hex()}]})
        expected = Run(job.id, "welcome", {"to": "ada", "deep": [1.5, None, {"b": ""}]})
        assert await peer.runs.first(1) == [expected]


async def test_every_job_of_a_batch_runs_once(url: str) -> None:
    ours = shared_queue(url)
    async with chasquimq(url) as peer, ours.queue:
        await peer.work()
        jobs = await ours.act.enqueue_many([(number,) for number in range(300)])
        runs = await peer.runs.first(300)
        assert sorted(run.id for run in runs) == sorted(job.id for job in jobs)


async def test_a_delayed_job_starts_at_its_time(url: str) -> None:
    ours = shared_queue(url)
    async with chasquimq(url) as peer, ours.queue:
        await peer.work()
        began = anyio.current_time()
        job = await ours.act.options(delay=0.4, id="later").enqueue()
        assert await peer.runs.first(1) == [Run("later", "act", {})]
        assert job.id == "later"
        assert anyio.current_time() - began >= 0.39


async def test_a_delayed_job_of_anyq_is_cancelled_by_chasquimq(url: str) -> None:
    ours = shared_queue(url)
    async with chasquimq(url) as peer, ours.queue:
        await ours.act.options(delay=60, id="later").enqueue()
        assert await peer.cancel_delayed("later")
        assert not await peer.cancel_delayed("later")
        assert await redis(ours.queue).zcard(key("delayed")) == 0


async def test_a_delayed_job_of_anyq_keeps_its_id_from_chasquimq_until_it_has_run(url: str) -> None:
    ours = shared_queue(url)
    async with chasquimq(url) as peer, ours.queue:
        assert (await ours.act.options(delay=0.5, id="one").enqueue("ours")).new
        assert await peer.add("act", {"give": "theirs"}, delay_ms=60_000, job_id="one") == "one"
        assert await redis(ours.queue).zcard(key("delayed")) == 1
        await peer.work()
        [run] = await peer.runs.first(1)
        assert run == Run("one", "act", {"give": "ours"})


async def test_items_that_anyq_gathered_are_one_job_for_chasquimq(url: str) -> None:
    """Its promoter lets them go, and its worker gets the list; or they are let go at once, being enough."""
    queue = Queue(QUEUE, url, prefix="chasqui")

    @queue.aggregate(size=3, delay=0.3)
    async def digest(messages: list[Any]) -> None: ...

    async with chasquimq(url) as peer, queue:
        await peer.work()
        handles = await digest.enqueue_many(["a", {"b": 1.5}, None, "d"])
        handles.append(await digest.enqueue("e"))
        payloads = [["a", {"b": 1.5}, None], ["d", "e"]]
        expected = [
            Run(handle.id, "digest", {"messages": payload})
            for handle, payload in zip((handles[0], handles[3]), payloads, strict=True)
        ]
        assert await peer.runs.first(2) == expected


async def test_a_group_of_anyq_is_cancelled_by_chasquimq(url: str) -> None:
    queue = Queue(QUEUE, url, prefix="chasqui")

    @queue.aggregate()
    async def digest(messages: list[Any]) -> None: ...

    async with chasquimq(url) as peer, queue:
        handle = (await digest.enqueue_many("ab"))[1]
        assert await peer.cancel_delayed(handle.id)
        assert await redis(queue).zcard(key("delayed")) == 0
        assert (await digest.enqueue("c")).new


async def test_a_job_is_retried_as_often_and_as_late_as_its_producer_said(url: str) -> None:
    ours = shared_queue(url)
    async with chasquimq(url) as peer, ours.queue:
        await peer.follow()
        await peer.work(max_attempts=1)
        options = ours.act.options(attempts=3, backoff=Backoff.fixed(0.15), timeout=30)
        job = await options.enqueue(fail=2)
        assert [run.attempt for run in await peer.runs.first(3)] == [1, 2, 3]
        assert (await peer.event("retry-scheduled", job.id))["backoff_ms"] == 150
        await peer.event("completed", job.id)


@pytest.mark.parametrize(
    ("arguments", "reason", "runs"),
    [
        pytest.param({"fail": 9}, "retries_exhausted", 2, id="used up"),
        pytest.param({"unrecoverable": "no such user"}, "unrecoverable", 1, id="never again"),
    ],
)
async def test_what_chasquimq_gave_up_lies_where_anyq_looks_for_dead_letters(
    url: str, arguments: dict[str, Any], reason: str, runs: int
) -> None:
    ours = shared_queue(url)
    async with chasquimq(url) as peer, ours.queue:
        await peer.follow()
        await peer.work()
        job = await ours.act.options(attempts=2, backoff=Backoff.fixed(0.02)).enqueue(**arguments)
        await peer.event("dlq", job.id)
        ((_, letter),) = await redis(ours.queue).xrange(key("dlq"))
        assert (letter[b"n"], letter[b"reason"]) == (b"act", reason.encode())
        assert len(peer.runs.told) == runs


async def test_the_result_of_a_chasquimq_worker_is_read_by_anyq(url: str) -> None:
    ours = shared_queue(url)
    async with chasquimq(url) as peer, ours.queue:
        await peer.work(store_results=True)
        job = await ours.act.options(result_ttl=60).enqueue({"sum": [6.5, None]})
        assert await job.result(timeout=10) == {"sum": [6.5, None]}


def key(suffix: str) -> str:
    return f"{{chasqui:{QUEUE}}}:{suffix}"


def redis(queue: Queue) -> Any:
    """The queue's own client: redis-py's commands, whose answers are typed for two worlds at once."""
    return queue.redis
