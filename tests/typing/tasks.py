"""What a type checker must know about tasks: never run, read by mypy and pyright.

A line that ends in `type: ignore[...]` is a mistake that must be found: both checkers complain when it is not.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

from anyq import AggregateTask, Backoff, CallNext, Depends, Job, JobHandle, Queue, Worker

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
    assert_type(await add.call(1, b=2), int)
    assert_type(await add.call(1, timeout=5), int)
    await add.call("1")  # type: ignore[call-overload]
    await add.call(1, 2, 3)  # type: ignore[call-overload]


class Mailer:
    """Something that handlers work with."""


@queue.lifespan
async def mailer() -> AsyncIterator[Mailer]:
    yield Mailer()


@queue.middleware
async def around(job: Job, call_next: CallNext) -> Any:
    return await call_next({**job.payload, "a": 1})


@queue.task(middleware=[around])
async def send(to: str, mailer: Mailer = Depends(), other: Any = Depends(Mailer)) -> None:
    assert_type(mailer, Mailer)


@queue.task(executor="process", timeout=60)
def compute(number: int) -> int:
    return number


def plain(job: Job, call_next: CallNext) -> int:
    return 1


async def dependencies_need_not_be_given() -> None:
    assert_type(await send.enqueue("ada"), JobHandle[None])
    await send("ada", Mailer())
    await send.enqueue()  # type: ignore[call-arg]
    assert_type(await compute.options(deadline=60).enqueue(1), JobHandle[int])
    send.options(deadline="soon")  # type: ignore[arg-type]
    Worker(queue, middleware=[around], lifespan=[mailer], processes=2)
    Worker(queue, middleware=[plain])  # type: ignore[list-item]
    queue.task(compute.function, executor="fork")  # type: ignore[call-overload]


@queue.aggregate(
    key=lambda message: message["to"], size=10, delay=1, maximum_delay=timedelta(minutes=1), attempts=3
)
async def digest(messages: list[dict[str, str]]) -> int:
    return len(messages)


@queue.aggregate()
def total(numbers: list[int], mailer: Mailer = Depends()) -> float:
    return sum(numbers)


@queue.aggregate
async def longest(texts: list[str]) -> int:
    return max(map(len, texts))


async def items_are_those_of_the_list() -> None:
    assert_type(await longest.enqueue("a"), JobHandle[int])
    await longest.enqueue(1)  # type: ignore[arg-type]
    assert_type(digest, AggregateTask[dict[str, str], int])
    assert_type(await digest.enqueue({"to": "ada"}), JobHandle[int])
    assert_type(await total.enqueue_many([1, 2]), list[JobHandle[float]])
    assert_type(await digest.task.enqueue([{"to": "ada"}]), JobHandle[int])
    await total.enqueue("1")  # type: ignore[arg-type]
    await digest.enqueue([{"to": "ada"}])  # type: ignore[arg-type]
    queue.aggregate(sise=3)  # type: ignore[call-overload]
