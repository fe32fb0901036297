"""AnyQ's worker on preloaded jobs, with its defaults but for concurrency and events."""

from __future__ import annotations

import anyio
from shared import QUEUE, Stopwatch, Tally, arguments

from anyq import Queue, Worker

options = arguments(handler=("noop", "yield"), events=("off", "on"), until=("empty", "handled"))
tally = Tally(options.jobs)
queue = Queue(QUEUE, options.url)


async def noop(n: int) -> None:  # noqa: ARG001
    tally.hit()


async def yielding(n: int) -> None:  # noqa: ARG001
    await anyio.sleep(0)  # noqa: ASYNC115 - what a user would write is what is measured
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
