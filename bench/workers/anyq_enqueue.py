"""AnyQ's producer: ``enqueue_many`` in batches, or one ``enqueue`` at a time, in turn and from many tasks."""

from __future__ import annotations

from time import perf_counter

import anyio
from shared import BATCH, QUEUE, arguments, rates, report

from anyq import Queue

options = arguments(mode=("bulk", "single"))
PACKAGES = ("anyq", "anyio", "trio", "redis", "hiredis", "msgpack")
queue = Queue(QUEUE, options.url)


@queue.task
async def noop(n: int) -> None: ...


async def bulk() -> None:
    batches = [
        [(n,) for n in range(first, min(first + BATCH, options.jobs))]
        for first in range(0, options.jobs, BATCH)
    ]
    began = perf_counter()
    for batch in batches:
        await noop.enqueue_many(batch)
    report(*PACKAGES, rate=options.jobs / (perf_counter() - began))


async def single() -> None:
    async def some(count: int) -> None:
        for n in range(count):
            await noop.enqueue(n)

    began = perf_counter()
    await some(options.jobs)
    sequential = perf_counter() - began
    began = perf_counter()
    async with anyio.create_task_group() as tasks:
        for _ in range(options.concurrency):
            tasks.start_soon(some, options.jobs // options.concurrency)
    rates(options.jobs, sequential, perf_counter() - began, *PACKAGES)


async def main() -> None:
    async with queue:
        await queue.redis.ping()
        await (bulk if options.mode == "bulk" else single)()


anyio.run(main, backend=options.backend)
