"""Whatever makes a job wait for its time, it is cancelled, moved to another time and let run at once by its id."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest
from tests.support.servers import SECONDS
from tests.worker.conftest import Notes, working

from anyq import Backoff, Cancellation, Every, JobHandle, JobStatus, Queue, RetryLater, Task, current_job

pytestmark = pytest.mark.anyio

HOUR = timedelta(hours=1)


class Origins:
    """A queue with tasks whose jobs come to wait in every way that there is."""

    def __init__(self, queue: Queue, notes: Notes[Any]) -> None:
        self.queue = queue

        @queue.task(backoff=Backoff.fixed(3600))
        async def act(how: str = "") -> None:
            notes.add(current_job().id)
            if current_job().attempt == 1 and how == "fails":
                raise ValueError
            if how == "later" and notes.made.count(current_job().id) == 1:
                raise RetryLater(3600)

        @queue.aggregate(delay=50)
        async def digest(items: list[str]) -> None:
            notes.add(current_job().id)

        self.act: Task[..., Any] = act
        self.digest = digest

    async def asked(self, **options: Any) -> JobHandle[Any]:
        return await self.act.options(**options).enqueue()

    async def ran(self, how: str, **options: Any) -> JobHandle[Any]:
        return await self.delayed(await self.act.options(**options).enqueue(how))

    async def gathers(self) -> JobHandle[Any]:
        return await self.digest.enqueue("item")

    async def planned(self, **options: Any) -> JobHandle[Any]:
        await self.queue.schedules.upsert("s", "act", Every(0.001), limit=1, **options)
        with anyio.fail_after(SECONDS):
            while True:
                async for job in self.queue.jobs("delayed"):
                    return self.queue.job(job.id)

    async def delayed(self, handle: JobHandle[Any]) -> JobHandle[Any]:
        with anyio.fail_after(SECONDS):
            while await handle.status() is not JobStatus.DELAYED:
                pass
        return handle


Origin = Callable[[Origins], Awaitable[JobHandle[Any]]]

ORIGINS: dict[str, Origin] = {
    "a delay": lambda of: of.asked(delay=HOUR),
    "a moment": lambda of: of.asked(at=datetime.now(UTC) + HOUR),
    "a delay, with an id": lambda of: of.asked(delay=HOUR, id="mine"),
    "a delay, with a unique key": lambda of: of.asked(delay=HOUR, unique="key"),
    "a delay, with a priority": lambda of: of.asked(delay=HOUR, priority=9),
    "a delay, tracked": lambda of: of.asked(delay=HOUR, tracked=True),
    "debouncing": lambda of: of.asked(unique="key", window=HOUR, debounce=True),
    "gathering": lambda of: of.gathers(),
    "a retry": lambda of: of.ran("fails"),
    "a retry, with an id": lambda of: of.ran("fails", id="mine"),
    "a retry, with a priority": lambda of: of.ran("fails", priority=0),
    "a retry of a schedule's job": lambda of: of.planned(payload={"how": "fails"}),
    "not now": lambda of: of.ran("later"),
    "a schedule's jitter": lambda of: of.planned(jitter=timedelta(days=365)),
}


@pytest.mark.parametrize("origin", ORIGINS.values(), ids=ORIGINS.keys())
async def test_a_job_that_waits_is_cancelled_moved_and_let_run(
    queue: Queue, notes: Notes[Any], origin: Origin
) -> None:
    origins = Origins(queue, notes)
    async with queue, working(queue) as worker:
        job = await origin(origins)
        before = notes.made.count(job.id)
        assert await queue.job(job.id).cancel() is Cancellation.CANCELLED
        assert await job.status() is JobStatus.CANCELLED
        assert not await job.run_now()
        await worker.wait_idle()
        assert notes.made.count(job.id) == before, "cancelled means never delivered"

        await queue.schedules.remove("s")
        job = await origin(origins)
        ran = len(notes.made)
        assert await queue.job(job.id).reschedule(delay=2 * HOUR)
        due = (await job.info()).due_at
        assert due is not None
        assert abs(due - datetime.now(UTC) - 2 * HOUR) < timedelta(seconds=SECONDS)
        assert await queue.job(job.id).reschedule(at=datetime.now(UTC))
        await notes.first(ran + 1)
        assert notes.made[ran:] == [job.id]

        await worker.wait_idle()
        await queue.schedules.remove("s")
        job = await origin(origins)
        ran = len(notes.made)
        assert await queue.job(job.id).run_now()
        await notes.first(ran + 1)
        assert notes.made[ran:] == [job.id]
