"""Middleware: what is put around a run, in which order, and what it can do to the run inside."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import anyio
import pytest
from tests.support.servers import SECONDS
from tests.worker import functions
from tests.worker.conftest import AT_ONCE, Notes, closing, dead_letter, dead_letters, drained, until, working

from anyq import (
    CallNext,
    Job,
    JobFailed,
    Middleware,
    Queue,
    RetryLater,
    Task,
    Unrecoverable,
    Worker,
    current_job,
)

pytestmark = pytest.mark.anyio

shelf: ContextVar[str] = ContextVar("shelf", default="empty")


def noting(notes: Notes[Any], name: str) -> Middleware:
    """Middleware that notes when a run goes in and comes out."""

    async def middleware(_: Job, call_next: CallNext) -> Any:
        notes.add(f"{name} in")
        result = await call_next()
        notes.add(f"{name} out")
        return result

    return middleware


@pytest.mark.parametrize("plain", [False, True], ids=["async", "thread"])
async def test_a_run_goes_through_the_worker_s_the_queue_s_and_the_task_s_middleware_and_back(
    queue: Queue, notes: Notes[Any], plain: bool
) -> None:
    queue.middleware(noting(notes, "queue 1"))
    task: Task[[], Any] = queue.task(
        noted(notes, plain), name="task", middleware=[noting(notes, "task 1"), noting(notes, "task 2")]
    )
    queue.middleware(noting(notes, "queue 2"))
    async with queue:
        await task.enqueue()
        await drained(queue, middleware=[noting(notes, "worker 1"), noting(notes, "worker 2")])
    order = ["worker 1", "worker 2", "queue 1", "queue 2", "task 1", "task 2"]
    assert notes.made == [
        *(f"{name} in" for name in order),
        "handler",
        *(f"{name} out" for name in reversed(order)),
    ]


def noted(notes: Notes[Any], plain: bool) -> Callable[[], Any]:
    def handler() -> None:
        notes.add("handler")

    async def coroutine() -> None:
        handler()

    return handler if plain else coroutine


@pytest.mark.parametrize("plain", [False, True], ids=["async", "thread"])
async def test_arguments_and_the_result_can_be_replaced(queue: Queue, plain: bool) -> None:
    @queue.middleware
    async def twice(job: Job, call_next: CallNext) -> Any:
        first = await call_next({"number": job.payload["number"] * 2})
        job.payload["number"] += 1
        return [first, await call_next()]

    def add(number: int) -> int:
        assert current_job().payload == {"number": number}
        return number + 100

    async def add_too(number: int) -> int:
        return add(number)

    task = queue.task(add if plain else add_too, name="add")
    async with queue, working(queue):
        assert await task.call(5, timeout=SECONDS) == [110, 111]


async def test_a_run_that_middleware_answers_never_reaches_the_handler(
    queue: Queue, notes: Notes[str]
) -> None:
    @queue.middleware
    async def cached(_job: Job, _call_next: CallNext) -> Any:
        return "from the cache"

    @queue.task
    async def task() -> str:
        notes.add("ran")
        return "made"

    async with queue, working(queue):
        assert await task.call(timeout=SECONDS) == "from the cache"
    assert notes.made == []


async def test_a_failure_in_middleware_is_the_job_s_failure(queue: Queue, notes: Notes[int]) -> None:
    @queue.middleware
    async def picky(job: Job, call_next: CallNext) -> Any:
        if job.attempt == 1:
            raise LookupError("not at first")
        await call_next()
        if job.attempt == 2:
            raise LookupError("nor afterwards")
        return "done"

    @queue.task(backoff=AT_ONCE)
    async def task() -> Any:
        notes.add(current_job().attempt)

    async with queue, working(queue) as worker:
        assert await task.call(timeout=SECONDS) == "done"
        assert worker.statistics().failed == 2
    assert notes.made == [2, 3]


async def test_a_failure_of_the_handler_passes_through_middleware_which_may_mend_it(queue: Queue) -> None:
    @queue.middleware
    async def mending(_: Job, call_next: CallNext) -> Any:
        try:
            return await call_next()
        except KeyError:
            return "mended"

    @queue.task(attempts=1)
    async def task(error: str) -> Any:
        raise {"key": KeyError, "value": ValueError}[error]("wrong")

    async with queue, working(queue):
        assert await task.call("key", timeout=SECONDS) == "mended"
        with pytest.raises(JobFailed, match="ValueError: wrong"):
            await task.call("value", timeout=SECONDS)


async def test_what_ends_or_delays_a_job_in_a_handler_does_so_in_middleware(
    queue: Queue, notes: Notes[Any]
) -> None:
    @queue.middleware
    async def guard(job: Job, call_next: CallNext) -> Any:
        notes.add((job.name, job.attempt))
        if job.name == "hopeless":
            raise Unrecoverable("no use")
        if len(notes.made) < 4:
            raise RetryLater(0)
        return await call_next()

    @queue.task
    async def hopeless() -> None: ...

    @queue.task
    async def later() -> None: ...

    async with queue:
        await hopeless.enqueue()
        await drained(queue)
        await later.enqueue()
        await drained(queue)
        letter = await dead_letter(queue)
    assert letter["reason"] == b"unrecoverable"
    assert notes.made == [("hopeless", 1), ("later", 1), ("later", 1), ("later", 1)]


async def test_a_payload_that_fits_only_after_middleware_mended_it_is_run_and_one_that_never_fits_is_not(
    queue: Queue, notes: Notes[Any]
) -> None:
    @queue.middleware
    async def renamed(job: Job, call_next: CallNext) -> Any:
        if "old" in job.payload:
            job.payload["new"] = job.payload.pop("old")
        return await call_next()

    @queue.task
    async def task(new: int) -> None:
        notes.add(new)

    async with queue:
        await queue.enqueue("task", {"old": 1})
        await queue.enqueue("task", {"other": 2})
        await drained(queue)
        letter = await dead_letter(queue)
    assert notes.made == [1]
    assert (letter["reason"], letter["error"]) == (b"bad_payload", b"BadPayload")
    assert letter["message"] == b"missing: new"


async def test_a_retry_begins_with_what_was_enqueued(queue: Queue, notes: Notes[Any]) -> None:
    @queue.middleware
    async def more(job: Job, call_next: CallNext) -> Any:
        return await call_next({"number": job.payload["number"] + 1})

    @queue.task(backoff=AT_ONCE, attempts=2)
    async def task(number: int) -> None:
        notes.add(number)
        raise ValueError

    async with queue, working(queue):
        await task.enqueue(1)
        assert await notes.first(2) == [2, 2]


async def test_middleware_is_around_the_fallback_too(queue: Queue, notes: Notes[Any]) -> None:
    queue.middleware(noting(notes, "queue"))

    @queue.fallback
    async def anything(job: Job) -> None:
        notes.add(job.payload)

    async with queue:
        await queue.enqueue("any", {"a": 1})
        await drained(queue)
    assert notes.made == ["queue in", {"a": 1}, "queue out"]


async def test_a_task_s_middleware_is_around_that_task_alone(queue: Queue, notes: Notes[Any]) -> None:
    @queue.task(middleware=[noting(notes, "one")])
    async def one() -> None: ...

    @queue.task
    async def two() -> None:
        notes.add("two")

    async with queue:
        await one.enqueue()
        await two.enqueue()
        await drained(queue, concurrency=1)
    assert notes.made == ["one in", "one out", "two"]


async def test_the_timeout_cuts_middleware_too(queue: Queue, notes: Notes[Any]) -> None:
    @queue.middleware
    async def slow(job: Job, call_next: CallNext) -> Any:
        notes.add(job.deadline is not None)
        await anyio.sleep_forever()
        return await call_next()

    @queue.task(timeout=0.05, attempts=1)
    async def task() -> None: ...

    async with queue:
        await task.enqueue()
        await drained(queue)
        letter = await dead_letter(queue)
    assert letter["error"] == b"TimedOut"
    assert notes.made == [True]


async def test_the_wait_for_a_thread_counts_for_nobody_behind_middleware_either(
    queue: Queue, notes: Notes[Any]
) -> None:
    go, started = threading.Event(), threading.Event()
    queue.middleware(noting(notes, "queue"))

    @queue.task(timeout=0.5, attempts=1)
    def task() -> None:
        notes.add("ran")

    @queue.task
    def busy() -> None:
        started.set()
        go.wait(SECONDS)

    async with queue, closing(go):
        async with working(queue, threads=1) as worker:
            await busy.enqueue()
            await until(started.is_set)
            await task.enqueue()
            await until(lambda: notes.made.count("queue in") == 2)
            with anyio.move_on_after(0.6):  # longer than a run may take
                await anyio.sleep_forever()
            go.set()
            await worker.wait_idle()
        assert await dead_letters(queue) == []
    assert "ran" in notes.made


@pytest.mark.parametrize("executor", ["thread", "process"])
async def test_the_clock_goes_on_when_middleware_does_not_wait_for_its_turn_any_more(
    queue: Queue, notes: Notes[Any], executor: Any
) -> None:
    go, started = threading.Event(), threading.Event()

    @queue.middleware
    async def impatient(job: Job, call_next: CallNext) -> Any:
        if job.name == "busy":
            return await call_next()
        with anyio.move_on_after(0.01):
            return await call_next()
        notes.add("gave up")
        return await anyio.sleep_forever()

    @queue.task
    def busy() -> None:
        started.set()
        go.wait(SECONDS)

    task = queue.task(functions.pid, executor=executor, timeout=0.2, attempts=1)
    async with queue, closing(go), working(queue, threads=1):
        await busy.enqueue()
        await until(started.is_set)
        with pytest.raises(JobFailed, match="took longer than its timeout"):
            await task.call()
    assert notes.made == ["gave up"]


async def test_context_variables_reach_the_handler_and_not_the_next_job(
    queue: Queue, notes: Notes[str]
) -> None:
    @queue.middleware
    async def setting(job: Job, call_next: CallNext) -> Any:
        notes.add(shelf.get())
        shelf.set(job.payload["what"])
        return await call_next()

    @queue.task
    async def task(what: str) -> None:
        notes.add(f"{what} {shelf.get()}")

    @queue.task
    def plain(what: str) -> None:
        notes.add(f"{what} {shelf.get()}")

    async with queue:
        await task.enqueue("tea")
        await plain.enqueue("cake")
        await drained(queue, concurrency=1)
    assert notes.made == ["empty", "tea tea", "empty", "cake cake"]


async def test_a_task_registered_or_replaced_while_the_worker_runs_has_its_middleware(
    queue: Queue, notes: Notes[Any]
) -> None:
    queue.middleware(noting(notes, "queue"))

    def register(what: str) -> Any:
        async def task() -> None:
            notes.add(what)

        return queue.task(task)

    async with queue, working(queue) as worker:
        for what in ("first", "second"):
            await register(what).enqueue()
            await worker.wait_idle()
    assert notes.made == ["queue in", "first", "queue out", "queue in", "second", "queue out"]


def test_what_is_no_middleware_is_refused() -> None:
    queue = Queue("work")

    def plain(_job: Job, call_next: CallNext) -> Any:
        return call_next()

    middleware = pytest.raises(TypeError, match=re.escape("an async def of (job, call_next)"))
    with middleware:
        queue.middleware(plain)
    with middleware:
        queue.task(lambda: None, name="task", middleware=[plain])
    with middleware:
        Worker(queue, middleware=[plain])

    async def short(_job: Job) -> None: ...

    with pytest.raises(
        TypeError, match=r"is called with \(job, call_next\), and .*short.* cannot be: too many"
    ):
        queue.middleware(short)  # type: ignore[type-var]
    with pytest.raises(TypeError, match="middleware must be a list"):
        Worker(queue, middleware=plain)  # type: ignore[arg-type]


# -- threads of a task's own ------------------------------------------------------------------------------------------


async def test_a_task_may_have_threads_of_its_own(queue: Queue, notes: Notes[Any]) -> None:
    go, lock = threading.Event(), threading.Lock()
    inside: list[int] = []

    def crowd() -> None:
        with lock:
            inside.append(1)
            notes.add(len(inside))
        go.wait(SECONDS)
        with lock:
            inside.pop()

    narrow = queue.task(crowd, name="narrow", threads=2)
    free = Notes[str]()
    other = queue.task(lambda: free.add("ran"), name="other")
    async with queue, closing(go):
        await narrow.enqueue_many([()] * 5)
        async with working(queue, threads=1) as worker:
            await notes.first(2)
            await until(lambda: worker.statistics().running == 5)
            await other.enqueue()
            await free.one()  # the worker's thread is not taken by the others
            assert len(notes.made) == 2
            go.set()
            await worker.wait_idle()
    assert max(notes.made) == 2
    assert len(notes.made) == 5


def test_threads_are_for_plain_functions_and_counted_from_one() -> None:
    queue = Queue("work")

    async def coroutine() -> None: ...

    with pytest.raises(TypeError, match="threads= is for plain functions"):
        queue.task(coroutine, threads=2)
    with pytest.raises(ValueError, match="threads must be >= 1"):
        queue.task(lambda: None, name="task", threads=0)


async def test_a_plain_function_is_called_again_by_middleware_only_after_it_returned(
    queue: Queue, notes: Notes[Any]
) -> None:
    """Two threads of one run could not both be told to stop, nor both be waited for at the worker's end."""
    begun, go = anyio.Event(), threading.Event()

    async def twice(_: Job, call_next: CallNext) -> Any:
        async def first() -> None:
            notes.add(await call_next())

        async with anyio.create_task_group() as group:
            group.start_soon(first)
            await begun.wait()
            try:
                await call_next()
            except RuntimeError as error:
                notes.add(str(error))
            finally:
                go.set()
        return await call_next()

    @queue.task(middleware=[twice], result_ttl=60)
    def plain() -> str:
        anyio.from_thread.run_sync(begun.set)
        go.wait(SECONDS)
        return "returned"

    async with queue, working(queue):
        assert await plain.call(timeout=SECONDS) == "returned"
    assert "is at work: await the first" in notes.made[0]
    assert notes.made[1:] == ["returned"]
