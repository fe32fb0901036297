"""The demonstration itself: enqueue, work, collect every result, measure, and account for each job."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

import anyio
from anyio.abc import TaskStatus
from redis.exceptions import RedisError

from ..._redis.tasks import ungrouped
from ...errors import AnyQError, JobFailed
from ...handles import JobHandle
from ...queue import Queue
from ...serve import serve
from ...worker import Worker
from .account import Account, Ping, Plan
from .display import Display
from .tasks import Survey, Tasks, register

#: Jobs that are enqueued at a time, and results that are waited for at a time.
_BATCH = 1000
_COLLECTORS = 100

#: Jobs that find an idle worker, one after the other, and the seconds that this may take.
_PINGS, _PING_TIME = 200, 2.0

#: Then delayed jobs, one due after the other, in seconds.
_DELAYED, _FIRST_DELAY, _DELAY_STEP = 50, 0.1, 0.01

#: How often the display moves, in seconds, and how long tidying up may take.
_TICK = 0.1
_FAREWELL = 2.0


def plan(files: Sequence[Path], missing: Path) -> list[Plan]:
    """Make jobs: every 25th fails its first run, every 40th is delayed, one wants a missing file."""
    return [
        *(
            Plan(
                str(file),
                failures=int(index % 25 == 0),
                delay=(0.3, 0.6, 0.9)[index % 3] if index % 40 == 1 else 0.0,
            )
            for index, file in enumerate(files)
        ),
        Plan(str(missing)),
    ]


async def play(
    plans: Sequence[Plan], *, url: str, concurrency: int, display: Display, silence: float = 90.0
) -> Account:
    """Run the demonstration and give its books. A signal drains and ends it early.

    Args:
        plans: The jobs.
        url: Where the queue is to be.
        concurrency: Jobs that run at the same time.
        display: Shows how far it is.
        silence: Seconds without any news after which what has not been heard of is missing.
    """
    queue = Queue(f"demo-{secrets.token_hex(4)}", url, prefix="anyq-demo")
    tasks = register(queue)
    worker = Worker(queue, concurrency=concurrency)
    account = Account()

    async def work(*, task_status: TaskStatus[None]) -> None:
        account.stopped_by = await serve(worker, task_status=task_status)
        nursery.cancel_scope.cancel()

    async def show() -> None:
        while True:
            await anyio.sleep(_TICK)
            account.retried = worker.statistics().retried
            display.update(account)

    try:
        with ungrouped():
            async with queue:
                try:
                    async with anyio.create_task_group() as nursery:
                        await nursery.start(work)
                        nursery.start_soon(show)
                        account.began = time.monotonic()
                        await _collect(account, await _enqueue(account, tasks, plans), silence)
                        await _measure(account, tasks, silence)
                        worker.stop()
                finally:
                    await _tidy(queue, account)
    finally:
        account.retried = worker.statistics().retried
        display.update(account)
    return account


async def _enqueue(account: Account, tasks: Tasks, plans: Iterable[Plan]) -> list[JobHandle[Survey]]:
    """Make all jobs, in batches; the handles come in the order in which the jobs are due."""
    handles: list[JobHandle[Survey]] = []
    for delay, group in groupby(sorted(plans, key=_delay), key=_delay):
        survey = tasks.survey.options(delay=delay or None)
        alike = list(group)
        for batch in (alike[at : at + _BATCH] for at in range(0, len(alike), _BATCH)):
            now = time.monotonic()
            made = await survey.enqueue_many([(os.fsencode(one.path), now, one.failures) for one in batch])
            account.enqueued(made, batch)
            handles += made
    return handles


async def _collect(account: Account, handles: Iterable[JobHandle[Survey]], silence: float) -> None:
    """Wait for every job's end; give up on what is left after a long silence."""
    source = iter(handles)

    async def collect() -> None:
        for handle in source:
            try:
                account.surveyed[handle.id] = await handle.result()
            except JobFailed as failure:
                account.dead[handle.id] = failure

    async def listen_for_silence() -> None:
        heard = -1
        while account.settled > heard:
            heard = account.settled
            await anyio.sleep(silence)
        nursery.cancel_scope.cancel()

    async with anyio.create_task_group() as nursery:
        nursery.start_soon(listen_for_silence)
        async with anyio.create_task_group() as collectors:
            for _ in range(_COLLECTORS):
                collectors.start_soon(collect)
        nursery.cancel_scope.cancel()


async def _measure(account: Account, tasks: Tasks, silence: float) -> None:
    """Enqueue small jobs one after the other, then delayed ones: each finds a worker that has nothing to do."""

    async def enqueue(delay: float) -> JobHandle[float]:
        handle = await tasks.ping.options(delay=delay or None).enqueue(time.monotonic())
        account.pings[handle.id] = Ping(delay)
        return handle

    async def collect(handle: JobHandle[float]) -> None:
        ping = account.pings[handle.id]
        with anyio.move_on_after(silence):
            try:
                ping.late = await handle.result() - ping.delay
            except JobFailed as failure:
                account.dead[handle.id] = failure

    ends = time.monotonic() + _PING_TIME
    for _ in range(_PINGS):
        await collect(await enqueue(0))
        if time.monotonic() > ends:
            break
    delayed = [await enqueue(_FIRST_DELAY + step * _DELAY_STEP) for step in range(_DELAYED)]
    async with anyio.create_task_group() as collectors:
        for handle in delayed:
            collectors.start_soon(collect, handle)


async def _tidy(queue: Queue, account: Account) -> None:
    """Leave nothing on a server that is not ours; best effort, also when the demonstration was cut short."""
    keys = queue.keys
    names = [*keys.all_lanes, keys.delayed, keys.dead_letters, keys.events, keys.promoter_lock]
    names += keys.counts, keys.history
    for job_id in [*account.plans, *account.pings]:
        names += keys.result(job_id), keys.failure(job_id)
    with anyio.move_on_after(_FAREWELL, shield=True):
        try:
            for at in range(0, len(names), _BATCH):
                await queue.redis.unlink(*names[at : at + _BATCH])
        except (AnyQError, RedisError):
            return


def _delay(one: Plan) -> float:
    return one.delay
