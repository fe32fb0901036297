"""AnyQ, from ``enqueue`` in one process to the first line of the handler in another, idle in between."""

from __future__ import annotations

from time import monotonic_ns

import anyio
from shared import HELLO, QUEUE, Ear, arguments, pauses, wait_for_go

from anyq import Queue, Worker

options = arguments()
queue = Queue(QUEUE, options.url)


async def produce() -> None:
    async with queue:
        await queue.enqueue("probe", {"number": HELLO, "sent_ns": monotonic_ns()})
        wait_for_go()
        for number, pause in enumerate(pauses(options.jobs)):
            await anyio.sleep(pause)
            await queue.enqueue("probe", {"number": number, "sent_ns": monotonic_ns()})
        await anyio.sleep_forever()


async def work() -> None:
    ear = Ear(options.jobs, "anyq", "anyio", "trio", "redis", "hiredis", "msgpack")

    @queue.task
    async def probe(number: int, sent_ns: int) -> None:
        ear.hit(number, sent_ns)

    async with Worker(queue, concurrency=options.concurrency, events=False):
        await anyio.sleep_forever()


anyio.run(produce if options.produce else work, backend=options.backend)
