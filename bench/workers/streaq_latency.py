"""streaQ, from ``enqueue`` in one process to the first line of the handler in another, idle in between."""

from __future__ import annotations

from time import monotonic_ns
from typing import Any

import anyio
import streaq
from shared import HELLO, QUEUE, Ear, arguments, pauses, wait_for_go

options = arguments()
worker: streaq.Worker[Any] = streaq.Worker(
    redis_url=options.url, queue_name=QUEUE, concurrency=options.concurrency, handle_signals=False
)


async def produce() -> None:
    async with worker:
        await worker.enqueue_unsafe("probe", HELLO, monotonic_ns())
        wait_for_go()
        for number, pause in enumerate(pauses(options.jobs)):
            await anyio.sleep(pause)
            await worker.enqueue_unsafe("probe", number, monotonic_ns())
        await anyio.sleep_forever()


async def work() -> None:
    ear = Ear(options.jobs, "streaq", "coredis", "anyio")

    # Nothing kept, nothing logged: the least that a task can ask for.
    @worker.task(name="probe", ttl=0, silent=True)
    async def probe(number: int, sent_ns: int) -> None:
        ear.hit(number, sent_ns)

    await worker.run_async()


anyio.run(produce if options.produce else work, backend=options.backend)
