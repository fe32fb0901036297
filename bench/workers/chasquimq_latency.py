"""ChasquiMQ, from ``add`` in one process to the first line of the handler in another, idle in between."""

from __future__ import annotations

import asyncio
from time import monotonic_ns

import chasquimq
from shared import HELLO, QUEUE, Ear, arguments, pauses, wait_for_go

options = arguments()


async def produce() -> None:
    queue = chasquimq.Queue(QUEUE, redis_url=options.url)
    await queue.add("probe", {"number": HELLO, "sent_ns": monotonic_ns()})
    wait_for_go()
    for number, pause in enumerate(pauses(options.jobs)):
        await asyncio.sleep(pause)
        await queue.add("probe", {"number": number, "sent_ns": monotonic_ns()})
    await asyncio.Event().wait()


async def work() -> None:
    ear = Ear(options.jobs, "chasquimq", "msgpack")

    async def probe(job: chasquimq.Job) -> None:
        ear.hit(job.data["number"], job.data["sent_ns"])

    worker = chasquimq.Worker(
        QUEUE, probe, redis_url=options.url, concurrency=options.concurrency, events_enabled=False
    )
    await worker.run()


asyncio.run(produce() if options.produce else work())
