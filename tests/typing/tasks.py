"""What a type checker must know about tasks: never run, read by mypy and pyright.

A line that ends in `type: ignore[...]` is a mistake that must be found: both checkers complain when it is not.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import assert_type

from anyq import Backoff, JobHandle, Queue

queue = Queue("typing")


@queue.task
async def welcome(to: str, name: str = "you") -> str:
    return f"{to} {name}"


@queue.task(attempts=3, backoff=Backoff.exponential(0.1, maximum=timedelta(seconds=30)), timeout=30)
def add(a: int, b: int = 0) -> int:
    return a + b


@queue.task(name="nothing", result_ttl=60)
async def nothing() -> None: ...


async def arguments_are_those_of_the_function() -> None:
    assert_type(await welcome.enqueue("ada"), JobHandle[str])
    assert_type(await welcome.enqueue("ada", name="Ada"), JobHandle[str])
    assert_type(await add.enqueue(1, b=2), JobHandle[int])
    assert_type(await nothing.enqueue(), JobHandle[None])
    await welcome.enqueue()  # type: ignore[call-arg]
    await welcome.enqueue(1)  # type: ignore[arg-type]
    await welcome.enqueue("ada", nmae="Ada")  # type: ignore[call-arg]
    await add.enqueue("1")  # type: ignore[arg-type]
    await nothing.enqueue(1)  # type: ignore[call-arg]


async def options_keep_the_signature() -> None:
    later = welcome.options(delay=60, id="welcome:ada", attempts=2, result_ttl=timedelta(hours=1))
    assert_type(await later.enqueue("ada"), JobHandle[str])
    await later.enqueue(1)  # type: ignore[arg-type]
    await add.options(at=datetime.now(UTC)).enqueue(1)
    add.options(dealy=60)  # type: ignore[call-arg]


async def a_task_is_still_its_function() -> None:
    assert_type(await welcome("ada"), str)
    assert_type(add(1, 2), int)
    add("1")  # type: ignore[arg-type]


async def results_have_the_type_that_the_function_returns() -> None:
    job = await add.enqueue(1)
    assert_type(job.id, str)
    assert_type(await job.result(timeout=10), int)
    assert_type(await nothing.call(), None)
