"""Each side lists and replays the dead letters that the other's workers wrote."""

from __future__ import annotations

import msgpack
import pytest
from tests.interop.ours import shared_queue
from tests.interop.peer import Run, chasquimq

from anyq import Worker

pytestmark = pytest.mark.anyio


async def test_anyq_lists_and_replays_what_chasquimq_gave_up(url: str) -> None:
    ours = shared_queue(url)
    async with chasquimq(url) as peer, ours.queue:
        await peer.follow()
        await peer.work()
        exhausted = await peer.add("act", {"fail": 2, "number": 7}, attempts=2, backoff=10)
        refused = await peer.add("act", {"unrecoverable": "no such user"})
        for job in (exhausted, refused):
            await peer.event("dlq", job)
        letters = {letter.job_id: letter async for letter in ours.queue.dead_letters.each(payload=True)}
        first, second = letters[exhausted], letters[refused]
        assert (first.task, first.reason, first.attempts) == ("act", "retries_exhausted", 2)
        assert first.payload == {"fail": 2, "number": 7}
        assert first.created_at is not None
        assert (second.task, second.reason, second.error) == ("act", "unrecoverable", "")
        assert await ours.queue.dead_letters.delete(second.id) == 1
        replayed = await ours.queue.dead_letters.replay_all(reason="retries_exhausted")
        assert (replayed.count, replayed.left) == (1, {})
        runs = await peer.runs.first(5)
        again = [run for run in runs if run.id == exhausted]
        assert [run.attempt for run in again] == [1, 2, 1, 2], "all its runs before it"


async def test_what_chasquimq_gave_up_runs_on_anyq_after_a_replay(url: str) -> None:
    ours = shared_queue(url)
    async with chasquimq(url) as peer:
        await peer.follow()
        await peer.work()
        job = await peer.add("act", {"fail": 1, "number": 7}, attempts=1)
        await peer.event("dlq", job)
    async with ours.queue, Worker(ours.queue):
        assert (await ours.queue.dead_letters.replay_all()).count == 1
        assert await ours.runs.first(1) == [Run(job, "act", {"fail": 1, "number": 7})]


async def test_what_is_no_job_to_chasquimq_is_told_by_anyq_and_stays(url: str) -> None:
    ours = shared_queue(url)
    async with chasquimq(url) as peer, ours.queue:
        await peer.work()
        await ours.queue.redis.call("XADD", ours.queue.keys.stream, "*", "x", "y")
        await ours.queue.redis.call("XADD", ours.queue.keys.stream, "*", "d", b"\xc1", "n", "act")
        good = await peer.add("act", {"unrecoverable": "once"})
        await peer.follow()
        await peer.event("dlq", good)
        letters = [letter async for letter in ours.queue.dead_letters.each()]
        assert {letter.reason for letter in letters} == {"malformed", "decode_failed", "unrecoverable"}
        replayed = await ours.queue.dead_letters.replay_all()
        assert replayed.count == 1, "two bad ones at the head hold up nobody"
        assert len(replayed.left) == 2


async def test_chasquimq_lists_and_replays_what_anyq_gave_up(url: str) -> None:
    ours = shared_queue(url)
    async with chasquimq(url) as peer, ours.queue:
        async with Worker(ours.queue) as worker:
            job = await ours.act.enqueue(unrecoverable="no such user", number=7)
            await worker.wait_idle()
        [letter] = await peer.dead_letters()
        assert (letter["name"], letter["reason"]) == ("act", "unrecoverable")
        assert await peer.replay() == 1
        assert await ours.queue.dead_letters.count() == 0
        await peer.work()
        [run] = await peer.runs.first(1)
        assert (run.id, run.payload["number"], run.attempt) == (job.id, 7, 1)


async def test_a_job_that_anyq_replays_has_an_envelope_that_chasquimq_reads(url: str) -> None:
    ours = shared_queue(url)
    async with chasquimq(url) as peer, ours.queue:
        async with Worker(ours.queue) as worker:
            job = await ours.act.options(timeout=5, attempts=3).enqueue(unrecoverable="once")
            await worker.wait_idle()
        assert (await ours.queue.dead_letters.replay_all()).count == 1
        [(_, [_, envelope, *_])] = await ours.queue.redis.call("XRANGE", ours.queue.keys.stream, "-", "+")
        unpacker = msgpack.Unpacker()
        unpacker.feed(envelope)
        assert unpacker.unpack()[3] == 0
        await peer.work()
        assert (await peer.runs.first(1))[0].id == job.id
