"""What a type checker must know about queues and workers: never run, read by mypy and pyright."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, assert_type

import anyq
from anyq import Job, JobHandle, Queue, RetryLater, Worker, current_job

emails = Queue("emails", "redis://localhost:6379/0", prefix="anyq")
reports = Queue("reports")


@emails.task
async def welcome(to: str) -> None:
    assert_type(current_job(), Job)
    assert_type(current_job().attempt, int)
    raise RetryLater(timedelta(minutes=1))


@emails.fallback
async def anything_else(job: Job) -> None:
    assert_type(job.name, str)


async def by_name() -> None:
    async with emails as opened:
        assert_type(opened, Queue)
        assert_type(await opened.enqueue("welcome", {"to": "ada"}), JobHandle[Any])


async def embedded() -> None:
    async with Worker(emails, concurrency=100, drain_timeout=30) as worker:
        assert_type(worker, Worker)
        await worker.wait_idle()
        worker.stop()


async def alone() -> None:
    await Worker([emails, reports]).run()
    await anyq.serve(Worker(emails))
    Worker(emails, concurency=1)  # type: ignore[call-arg]
