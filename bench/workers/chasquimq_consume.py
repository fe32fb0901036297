"""ChasquiMQ's worker on preloaded jobs, with its defaults but for concurrency and events."""

from __future__ import annotations

import asyncio

import chasquimq
from shared import QUEUE, Stopwatch, Tally, arguments

options = arguments(handler=("noop", "yield"), events=("off", "on"), until=("empty", "handled"))
tally = Tally(options.jobs)


async def noop(job: chasquimq.Job) -> None:
    tally.hit()


async def yielding(job: chasquimq.Job) -> None:
    await asyncio.sleep(0)
    tally.hit()


async def main() -> None:
    stopwatch = Stopwatch(
        tally,
        options.url,
        f"{{chasqui:{QUEUE}}}:stream",
        empty=options.until == "empty",
        packages=["chasquimq", "msgpack"],
    )
    stopwatch.start()
    worker = chasquimq.Worker(
        QUEUE,
        noop if options.handler == "noop" else yielding,
        redis_url=options.url,
        concurrency=options.concurrency,
        events_enabled=options.events == "on",
    )
    await worker.run()


asyncio.run(main())
