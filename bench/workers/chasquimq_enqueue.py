"""ChasquiMQ's producer: ``add_bulk`` in batches, or one ``add`` at a time, in turn and from many tasks."""

from __future__ import annotations

import asyncio
from time import perf_counter

import chasquimq
from shared import BATCH, QUEUE, arguments, rates, report

options = arguments(mode=("bulk", "single"))
PACKAGES = ("chasquimq", "msgpack")


async def bulk(queue: chasquimq.Queue) -> None:
    batches = [
        [{"name": "noop", "data": {"n": n}} for n in range(first, min(first + BATCH, options.jobs))]
        for first in range(0, options.jobs, BATCH)
    ]
    began = perf_counter()
    for batch in batches:
        await queue.add_bulk(batch)
    report(*PACKAGES, rate=options.jobs / (perf_counter() - began))


async def single(queue: chasquimq.Queue) -> None:
    async def some(count: int) -> None:
        for n in range(count):
            await queue.add("noop", {"n": n})

    began = perf_counter()
    await some(options.jobs)
    sequential = perf_counter() - began
    began = perf_counter()
    await asyncio.gather(*(some(options.jobs // options.concurrency) for _ in range(options.concurrency)))
    rates(options.jobs, sequential, perf_counter() - began, *PACKAGES)


async def main() -> None:
    # The cap is far above what is added: nothing may be trimmed.
    queue = chasquimq.Queue(QUEUE, redis_url=options.url, max_stream_len=10_000_000)
    await queue.get_job_result("connects")
    await (bulk if options.mode == "bulk" else single)(queue)


asyncio.run(main())
