"""AnyQ's worker on preloaded jobs, with its defaults but for concurrency and events."""

from __future__ import annotations

from importlib import import_module

import anyio
from shared import QUEUE, Stopwatch, Tally, arguments

from anyq import Queue, Worker

options = arguments(handler=("noop", "yield"), events=("off", "on"), until=("empty", "handled"))
tally = Tally(options.jobs)
queue = Queue(QUEUE, options.url)


async def noop(n: int) -> None:
    tally.hit()


#: The backend's own, as ChasquiMQ's handler takes asyncio's: what is measured is the worker, not the layer between.
sleep = import_module(options.backend).sleep


async def yielding(n: int) -> None:
    await sleep(0)
    tally.hit()


queue.task(noop if options.handler == "noop" else yielding, name="noop")


async def main() -> None:
    stopwatch = Stopwatch(
        tally,
        options.url,
        f"{{anyq:{QUEUE}}}:stream",
        empty=options.until == "empty",
        packages=["anyq", "anyio", "trio", "redis", "hiredis", "msgpack"],
    )
    stopwatch.start()
    async with Worker(queue, concurrency=options.concurrency, events=options.events == "on"):
        await anyio.sleep_forever()


anyio.run(main, backend=options.backend)
