"""What a type checker must know about schedules: never run, read by mypy and pyright."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import assert_type

from anyq import Cron, Every, JobHandle, Missed, Queue, Schedule

queue = Queue("typing")


@queue.cron("0 2 * * *", tz="Europe/Berlin", payload={"name": "ada"}, attempts=3, missed=Missed.skip())
async def report(name: str) -> int:
    return len(name)


@queue.every(timedelta(minutes=1), limit=3, jitter=5, start=datetime.now(UTC))
def look(number: int = 0) -> str:
    return str(number)


@queue.every(60, name="another")
@queue.task(timeout=30)
async def both(number: int = 0) -> str:
    return str(number)


async def a_scheduled_function_is_a_task() -> None:
    assert_type(await report.enqueue("ada"), JobHandle[int])
    assert_type(await both.enqueue(1), JobHandle[str])
    assert_type(look(1), str)
    await report.enqueue(1)  # type: ignore[arg-type]


async def schedules_at_run_time() -> None:
    made = await queue.schedules.upsert("s", report, Cron("@daily"), {"name": "ada"}, end=datetime.now(UTC))
    assert_type(made, Schedule)
    assert_type(made.when, Cron | Every)
    assert_type(await queue.schedules.list(), list[Schedule])
    assert_type(await queue.schedules.get("s"), Schedule | None)
    assert_type(await queue.schedules.remove("s"), bool)
    await queue.schedules.upsert("s", "report", 60)  # type: ignore[arg-type]
    await queue.schedules.upsert("s", "report", Every(60), delay=60)  # type: ignore[call-arg]
    queue.every(60, missed="all")  # type: ignore[arg-type]
