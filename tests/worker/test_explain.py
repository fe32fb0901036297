"""`queue.explain()`: why a job is not running, asked of a real queue."""

from __future__ import annotations

import anyio
import pytest
from tests.support.servers import SECONDS
from tests.worker.conftest import Notes, until, working

from anyq import Backoff, JobStatus, Queue, ReasonKind, Unrecoverable

pytestmark = pytest.mark.anyio


async def kinds(queue: Queue, id: str) -> list[str]:
    return [str(reason.kind) for reason in (await queue.explain(id)).reasons]


async def comes_to(queue: Queue, id: str, wanted: list[str]) -> None:
    """Workers tell about themselves once in a while."""
    with anyio.fail_after(SECONDS):
        while await kinds(queue, id) != wanted:
            pass


async def test_a_queued_job_says_who_could_run_it_and_what_comes_before_it(
    queue: Queue, notes: Notes[str]
) -> None:
    end = anyio.Event()

    @queue.task
    async def hold() -> None:
        notes.add("held")
        await end.wait()

    async with queue:
        first = await hold.enqueue()
        assert await kinds(queue, first.id) == ["no_worker"]
        async with working(queue, concurrency=1, prefetch=0) as worker:
            await notes.one()
            await comes_to(queue, first.id, ["running"])
            await hold.enqueue_many([()] * 2)
            last = await hold.enqueue()
            await hold.options(priority=9).enqueue()
            await comes_to(queue, last.id, ["busy", "behind"])
            behind = (await queue.explain(last.id)).reasons[1]
            assert behind.count == 3
            assert behind.text == "3 jobs come before it, 1 of them in lanes that are read sooner."
            await queue.pause()
            assert (await kinds(queue, last.id))[0] == "queue_paused"
            await queue.resume()
            end.set()
            await worker.wait_idle()
            assert await kinds(queue, last.id) == ["unknown"]


async def test_jobs_before_one_are_counted_exactly_up_to_ten_thousand(queue: Queue) -> None:
    async with queue:
        await queue.enqueue_many("t", [{}] * 10_000)
        handle = await queue.enqueue("t", id="mine")
        *_, behind = (await queue.explain(handle.id)).reasons
        assert behind.text == "10,000 jobs come before it."
        await queue.enqueue("t")
        handle = await queue.enqueue("t", id="another")
        *_, behind = (await queue.explain(handle.id)).reasons
        assert (behind.text, behind.count) == ("More than 10,000 jobs come before it.", 10_000)


async def test_what_was_given_up_failed_or_waits_says_for_what(queue: Queue, notes: Notes[str]) -> None:
    @queue.task(backoff=Backoff.fixed(60))
    async def fail(how: str) -> None:
        notes.add(how)
        raise (Unrecoverable if how == "dead" else ConnectionError)("no way")

    @queue.task
    async def work() -> None: ...

    async with queue, working(queue, concurrency=3) as worker:
        dead, retried = await fail.enqueue_many([("dead",), ("later",)])
        root = await work.options(tracked=True, delay=60).enqueue()
        child = await work.options(after=[root], tracked=True).enqueue()
        grandchild = await work.options(after=[child, root]).enqueue()
        strange = await queue.enqueue("strange")
        await until(lambda: worker.statistics().dead and worker.statistics().retried)
        await until(lambda: worker.statistics().parked)

        assert await kinds(queue, root.id) == ["due"]
        retry = await queue.explain(retried.id)
        assert retry.reasons[0].kind is ReasonKind.RETRY
        assert "Run 1 failed: ConnectionError: no way. It is due again at " in str(retry)
        assert retry.reasons[0].at == retry.job.due_at
        assert "given up at" in str(await queue.explain(dead.id))
        [reason] = (await queue.explain(grandchild.id)).reasons
        assert reason.jobs == {child.id: JobStatus.WAITING, root.id: JobStatus.DELAYED}
        assert f"That one waits for {root.id} (delayed)." in reason.text
        await comes_to(queue, strange.id, ["parked", "unknown_task"])

        await queue.pause("work")
        aside = await work.enqueue()
        await until(lambda: worker.statistics().set_aside)
        assert await kinds(queue, aside.id) == ["task_paused"]
        assert await kinds(queue, root.id) == ["due", "task_paused"]


async def test_a_job_that_waits_for_what_nobody_knows_any_more_says_so(queue: Queue) -> None:
    async with queue:
        parent = await queue.enqueue("t", tracked=True)
        child = await queue.enqueue("t", after=[parent])
        await queue.redis.delete(queue.keys.track(parent.id))
        assert await kinds(queue, child.id) == ["stranded"]


async def test_to_explain_changes_nothing(queue: Queue) -> None:
    async with queue:
        handle = await queue.enqueue("t", delay=60)
        before = {key: await queue.redis.dump(key) for key in await queue.redis.keys()}
        for id in (handle.id, "nobody"):
            await queue.explain(id)
        assert {key: await queue.redis.dump(key) for key in await queue.redis.keys()} == before
        with pytest.raises(ValueError, match="id"):
            await queue.explain("")
