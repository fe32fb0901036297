"""One run of one job: what a handler sees, how it may be written, how long it may take, what it cannot do to others."""

from __future__ import annotations

import asyncio
import functools
import math
import signal
import sys
import threading
import time
import types
from collections.abc import Awaitable, Callable, Generator
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio import from_thread
from tests.support.servers import SECONDS
from tests.worker.conftest import AT_ONCE, Notes, closing, dead_letter, drained, envelope, put, until, working

from anyq import Job, Queue, Task, current_job
from anyq._services.runners import _ends_us

pytestmark = pytest.mark.anyio

INTERRUPTED = Path(__file__).with_name("interrupted.py")

shelf: ContextVar[Any] = ContextVar("shelf", default="empty")


# -- how a handler may be written -------------------------------------------------------------------------------------


class Shop:
    """Methods, callables and partial functions are functions too."""

    def __init__(self, notes: Notes[Any]) -> None:
        self.notes = notes

    async def sell(self, item: str) -> None:
        self.notes.add(("sell", item))

    def wrap(self, item: str) -> None:
        self.notes.add(("wrap", item))

    async def __call__(self, item: str) -> None:
        self.notes.add(("call", item))


async def test_methods_callables_and_partials_are_handlers(queue: Queue, notes: Notes[Any]) -> None:
    shop = Shop(notes)
    tasks: list[Task[..., Any]] = [
        queue.task(shop.sell),
        queue.task(shop.wrap),
        queue.task(shop, name="call"),
        queue.task(functools.partial(shop.sell, item="partial"), name="partial"),
    ]
    async with queue:
        for task in tasks[:3]:
            await task.enqueue("tea")
        await tasks[3].enqueue()
        await drained(queue)
    assert sorted(notes.made) == [("call", "tea"), ("sell", "partial"), ("sell", "tea"), ("wrap", "tea")]


async def test_every_kind_of_parameter_gets_its_argument(queue: Queue, notes: Notes[Any]) -> None:
    @queue.task
    async def positional(a: int, b: int = 2, /, c: int = 3) -> None:
        notes.add((a, b, c))

    @queue.task
    def keyword(a: int, *, b: int = 2, **more: int) -> None:
        notes.add((a, b, more))

    async with queue:
        await positional.enqueue(1)
        await positional.enqueue(1, 5, c=6)
        await keyword.enqueue(1, b=5, x=6, more=7)
        await queue.enqueue("keyword", {"a": 1})
        await drained(queue, concurrency=1)
    assert notes.made == [(1, 2, 3), (1, 5, 6), (1, 5, {"x": 6, "more": 7}), (1, 2, {})]


async def test_a_fallback_takes_whatever_has_no_task(queue: Queue, notes: Notes[Any]) -> None:
    @queue.task
    async def known() -> None:
        notes.add("known")

    @queue.fallback
    async def anything(job: Job) -> None:
        assert job is current_job()
        notes.add((job.name, job.payload))

    async with queue:
        await known.enqueue()
        await queue.enqueue("unknown", ["any", "value"])
        await queue.enqueue("", None)
        await put(queue, "d", envelope(7))
        worker = await drained(queue, concurrency=1)
    assert notes.made == ["known", ("unknown", ["any", "value"]), ("", {}), ("", 7)]
    assert worker.statistics().unknown_tasks == {}


async def test_a_plain_fallback_runs_in_a_thread(queue: Queue, notes: Notes[Any]) -> None:
    queue.fallback(
        lambda job: notes.add((job.payload, threading.current_thread() is threading.main_thread()))
    )
    async with queue:
        await queue.enqueue("any", {"a": 1})
        await drained(queue)
    assert notes.made == [({"a": 1}, False)]


# -- threads ----------------------------------------------------------------------------------------------------------


async def test_plain_functions_run_beside_each_other_in_threads_and_the_loop_goes_on(
    queue: Queue, notes: Notes[Any]
) -> None:
    together = threading.Barrier(5, timeout=SECONDS)

    @queue.task
    def plain() -> None:
        together.wait()
        notes.add(threading.get_ident())

    async with queue:
        await plain.enqueue_many([()] * 5)
        await drained(queue, concurrency=5)
    assert len(set(notes.made)) == 5
    assert threading.get_ident() not in notes.made


async def test_no_more_threads_are_used_than_the_worker_allows(queue: Queue, notes: Notes[Any]) -> None:
    go, lock, inside = threading.Event(), threading.Lock(), []

    @queue.task
    def plain() -> None:
        with lock:
            inside.append(1)
            notes.add(len(inside))
        go.wait(SECONDS)
        with lock:
            inside.pop()

    async with queue, closing(go):
        await plain.enqueue_many([()] * 6)
        async with working(queue, threads=2) as worker:
            await notes.first(2)
            await until(lambda: worker.statistics().running == 6)
            assert len(notes.made) == 2
            go.set()
            await worker.wait_idle()
    assert max(notes.made) == 2
    assert len(notes.made) == 6


async def test_the_wait_for_a_thread_does_not_count_as_the_run(queue: Queue, notes: Notes[int]) -> None:
    @queue.task(timeout=1, attempts=1)
    def task(number: int) -> None:
        # Four runs take longer than one may, and the one thread takes them in turn.
        threading.Event().wait(0.3)
        notes.add(number)

    async with queue:
        await task.enqueue_many([(number,) for number in range(4)])
        worker = await drained(queue, threads=1)
    assert sorted(notes.made) == [0, 1, 2, 3]
    assert worker.statistics().failed == 0


async def test_a_coroutine_that_nobody_awaits_is_no_success(queue: Queue, notes: Notes[str]) -> None:
    async def handler() -> None:
        notes.add("ran")

    @functools.wraps(handler)
    def plain() -> Any:
        return handler()

    task = queue.task(plain, name="task", attempts=1)
    async with queue:
        await task.enqueue()
        await drained(queue)
        letter = await dead_letter(queue)
    assert letter["error"] == b"TypeError"
    assert b"'task' is a plain function, and it returned a coroutine" in letter["message"]
    assert notes.made == []


async def test_a_thread_may_call_back_into_the_loop(queue: Queue, notes: Notes[Any]) -> None:
    @queue.task
    def plain() -> None:
        handle = from_thread.run(queue.enqueue, "more")
        notes.add(handle.name)

    @queue.task
    async def more() -> None:
        notes.add("ran")

    async with queue:
        await plain.enqueue()
        await drained(queue)
    assert sorted(notes.made) == ["more", "ran"]


# -- current_job ------------------------------------------------------------------------------------------------------


def facts(job: Job) -> dict[str, Any]:
    names = ("queue", "id", "name", "attempt", "attempts", "created_at", "deadline", "cancelled", "payload")
    return {name: getattr(job, name) for name in names}


async def test_a_handler_its_child_tasks_and_its_thread_see_the_job(queue: Queue, notes: Notes[Any]) -> None:
    @queue.task(attempts=3)
    async def handler(a: int) -> None:
        notes.add(facts(current_job()))
        async with anyio.create_task_group() as children:
            for _ in range(2):
                children.start_soon(child)
        await anyio.to_thread.run_sync(plain)

    async def child() -> None:
        await anyio.lowlevel.checkpoint()
        plain()

    def plain() -> None:
        notes.add(facts(current_job()))

    before = datetime.now(UTC)
    async with queue:
        handle = await handler.enqueue(4)
        await drained(queue)
    assert len(notes.made) == 4
    for seen in notes.made:
        created = seen.pop("created_at")
        assert abs(created - before).total_seconds() < 5
        assert created.tzinfo is UTC
        assert seen == {
            "queue": "work", "id": handle.id, "name": "handler", "attempt": 1, "attempts": 3, "deadline": None,
            "cancelled": False, "payload": {"a": 4},
        }  # fmt: skip


async def test_a_plain_function_sees_its_job_and_its_deadline(queue: Queue, notes: Notes[Any]) -> None:
    @queue.task(timeout=60)
    def plain() -> None:
        notes.add(current_job())

    async with queue:
        handle = await plain.enqueue()
        await drained(queue)
    [job] = notes.made
    assert job.id == handle.id
    assert 50 < (job.deadline - datetime.now(UTC)).total_seconds() <= 60
    assert repr(job) == f"<Job {handle.id!r} 'plain' of 'work', attempt 1 of 5>"


async def test_outside_of_a_handler_there_is_no_job(queue: Queue) -> None:
    with pytest.raises(LookupError, match="outside of a job's handler"):
        current_job()
    async with working(queue):
        with pytest.raises(LookupError):
            current_job()


async def test_concurrent_handlers_each_see_their_own_job(queue: Queue, notes: Notes[Any]) -> None:
    everybody = anyio.Event()

    @queue.task
    async def handler(number: int) -> None:
        notes.add(None)
        await everybody.wait()
        assert current_job().payload == {"number": number}
        notes.add(current_job().id)

    async with queue:
        handles = await handler.enqueue_many([(n,) for n in range(10)])
        async with working(queue) as worker:
            await notes.first(10)
            everybody.set()
            await worker.wait_idle()
    assert set(notes.made[10:]) == {handle.id for handle in handles}


# -- context ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fails", [False, True])
async def test_what_a_handler_leaves_in_context_variables_the_next_one_does_not_see(
    queue: Queue, notes: Notes[Any], fails: bool
) -> None:
    @queue.task(attempts=1)
    async def messy() -> None:
        notes.add(shelf.get())
        shelf.set("full")
        if fails:
            raise ValueError

    async with queue:
        await messy.enqueue_many([()] * 3)
        await drained(queue, concurrency=1)
    assert notes.made == ["empty"] * 3


async def test_handlers_see_the_context_that_the_worker_was_started_in(
    queue: Queue, notes: Notes[Any]
) -> None:
    @queue.task
    async def handler() -> None:
        notes.add(shelf.get())

    @queue.task
    def plain() -> None:
        notes.add(shelf.get())

    token = shelf.set("of the application")
    try:
        async with queue:
            await handler.enqueue()
            await plain.enqueue()
            await drained(queue)
    finally:
        shelf.reset(token)
    assert notes.made == ["of the application"] * 2


async def test_a_value_that_cannot_be_compared_may_be_left_in_a_context_variable(
    queue: Queue, notes: Notes[Any]
) -> None:
    class Array:
        def __eq__(self, other: object) -> bool:
            raise ValueError("the truth value of an array is ambiguous")

        __hash__ = None  # type: ignore[assignment]

    @queue.task
    async def messy() -> None:
        notes.add(type(shelf.get()))
        shelf.set(Array())

    token = shelf.set(Array())
    try:
        async with queue:
            await messy.enqueue_many([()] * 3)
            assert (await drained(queue, concurrency=1)).statistics().done == 3
    finally:
        shelf.reset(token)


# -- timeouts ---------------------------------------------------------------------------------------------------------


async def test_a_run_that_takes_too_long_is_cancelled_and_counts_as_failed(
    queue: Queue, notes: Notes[Any]
) -> None:
    @queue.task(timeout=0.02, attempts=2, backoff=AT_ONCE)
    async def slow() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            notes.add(current_job().attempt)

    async with queue:
        await slow.enqueue()
        worker = await worked_until_dead(queue)
        letter = await dead_letter(queue)
    assert notes.made == [1, 2]
    assert worker.statistics().failed == 2
    assert letter["reason"] == b"retries_exhausted"
    assert letter["error"] == b"TimedOut"
    assert letter["message"] == b"the run took longer than its timeout of 0.02 s"


class CoarseLoop(asyncio.SelectorEventLoop):
    """A loop whose clock goes in steps, as uvloop's does, only larger."""

    def time(self) -> float:
        return super().time() // 0.05 * 0.05


@pytest.mark.parametrize(
    "anyio_backend", [pytest.param(("asyncio", {"loop_factory": CoarseLoop}), id="coarse")]
)
async def test_the_timeout_of_a_job_that_made_it_is_not_the_next_one_s(
    queue: Queue, notes: Notes[Any]
) -> None:
    @queue.task(timeout=0.5)
    async def quick() -> None: ...

    @queue.task
    async def without() -> None:
        notes.add(anyio.current_effective_deadline())

    async with queue:
        for task in (quick, without):
            await task.enqueue()
        await drained(queue, concurrency=1)
    assert notes.made == [math.inf]


async def test_a_timeout_counts_by_the_clock_that_it_was_set_by(queue: Queue, notes: Notes[Any]) -> None:
    """Whose clock goes in steps cuts a run some milliseconds early; it has failed all the same."""

    @queue.task(timeout=0.0499, attempts=3, backoff=AT_ONCE)
    async def slow() -> None:
        notes.add(current_job().attempt)
        await anyio.sleep_forever()

    async with queue:
        await slow.enqueue_many([()] * 5)
        async with working(queue) as worker:
            await until(lambda: worker.statistics().dead == 5)
    assert sorted(notes.made) == sorted([1, 2, 3] * 5)


async def worked_until_dead(queue: Queue, **settings: Any) -> Any:
    async with working(queue, **settings) as worker:
        await until(lambda: worker.statistics().dead)
    return worker


@pytest.mark.parametrize("which", ["queue", "task", "job"])
async def test_the_closest_timeout_counts(redis_url: str, notes: Notes[Any], which: str) -> None:
    short, long = 0.01, 60
    queue = Queue("work", redis_url, timeout=short if which == "queue" else long, attempts=1)
    of_task = {"queue": None, "task": short, "job": long}[which]

    @queue.task(timeout=of_task)
    async def slow() -> None:
        deadline = current_job().deadline
        assert deadline is not None
        await anyio.sleep_forever()

    async with queue:
        await (slow.options(timeout=short) if which == "job" else slow).enqueue()
        await worked_until_dead(queue)
        assert (await dead_letter(queue))["message"] == b"the run took longer than its timeout of 0.01 s"


async def test_the_job_after_one_that_was_cut_has_all_its_time(queue: Queue, notes: Notes[Any]) -> None:
    @queue.task(timeout=0.01, attempts=1)
    async def slow() -> None:
        await anyio.sleep_forever()

    @queue.task(timeout=60)
    async def quick() -> None:
        await anyio.lowlevel.checkpoint()
        notes.add("quick")

    @queue.task
    async def without() -> None:
        await anyio.lowlevel.checkpoint()
        notes.add("without")

    async with queue:
        for task in (slow, quick, slow, without, quick):
            await task.enqueue()
        worker = await drained(queue, concurrency=1)
    assert notes.made == ["quick", "without", "quick"]
    assert worker.statistics().done == 3


async def test_a_handler_that_ends_well_in_spite_of_its_timeout_is_done(
    queue: Queue, notes: Notes[Any]
) -> None:
    @queue.task(timeout=0.01, result_ttl=60)
    async def stubborn() -> str:
        with anyio.CancelScope(shield=True), anyio.move_on_after(0.03):
            await anyio.sleep_forever()
        return "done"

    @queue.task(timeout=0.01, result_ttl=60)
    async def catching() -> str:
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            pass
        return "caught"

    async with queue, working(queue) as worker:
        assert await stubborn.call(timeout=SECONDS) == "done"
        assert await catching.call(timeout=SECONDS) == "caught"
        assert worker.statistics().failed == 0


async def test_what_a_handler_raises_while_it_is_cut_still_counts_as_the_timeout(queue: Queue) -> None:
    @queue.task(timeout=0.01, attempts=1)
    async def clumsy() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise ZeroDivisionError("in the clean-up")

    async with queue:
        await clumsy.enqueue()
        await worked_until_dead(queue)
        assert (await dead_letter(queue))["error"] == b"TimedOut"


async def test_a_timeout_of_the_handler_s_own_is_its_own_error(queue: Queue) -> None:
    @queue.task(timeout=60, attempts=1)
    async def careful() -> None:
        with anyio.fail_after(0.01):
            await anyio.sleep_forever()

    async with queue:
        await careful.enqueue()
        await worked_until_dead(queue)
        assert (await dead_letter(queue))["error"] == b"TimeoutError"


async def test_a_thread_past_its_timeout_is_told_and_never_run_beside_itself(
    queue: Queue, notes: Notes[Any]
) -> None:
    @queue.task(timeout=0.02, attempts=2, backoff=AT_ONCE)
    def plain() -> None:
        job = current_job()
        notes.add(("begin", job.attempt))
        limit = time.monotonic() + SECONDS
        while not job.cancelled and time.monotonic() < limit:
            pass
        notes.add(("end", job.attempt))
        raise InterruptedError

    async with queue:
        await plain.enqueue()
        await worked_until_dead(queue)
        letter = await dead_letter(queue)
    assert notes.made == [("begin", 1), ("end", 1), ("begin", 2), ("end", 2)]
    assert letter["error"] == b"TimedOut"


async def test_a_thread_that_ends_well_past_its_timeout_is_done(queue: Queue, notes: Notes[Any]) -> None:
    go = threading.Event()

    @queue.task(timeout=0.01)
    def plain() -> None:
        go.wait(SECONDS)

    async with queue, closing(go):
        await plain.enqueue()
        async with working(queue) as worker:
            await until(lambda: worker.health().stuck)
            health = worker.health()
            assert not health.ok
            assert health.problems == ("1 runs ignore that they were cut",)
            go.set()
            await worker.wait_idle()
            assert worker.health().ok
        assert worker.statistics().done == 1


# -- what a handler cannot do to others -------------------------------------------------------------------------------


class Nasty(Exception):
    def __str__(self) -> str:
        raise RuntimeError


class Endless(Exception):
    def __str__(self) -> str:
        return "x" * 1_000_000


class Half(Exception):
    def __str__(self) -> str:
        return "half a \ud83d"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (Nasty(), b"<no message: its __str__ raised RuntimeError>"),
        (Endless(), b"x" * 8192 + b"..."),
        (Half(), b"half a ?"),
        (SystemExit(3), b"3"),
        (BaseException("base"), b"base"),
        (ExceptionGroup("several", [ValueError("one"), KeyError("two")]), b"several (2 sub-exceptions)"),
        (StopAsyncIteration("odd"), b"odd"),
    ],
)
async def test_whatever_a_handler_raises_it_ends_the_run_and_nothing_else(
    queue: Queue, notes: Notes[Any], error: BaseException, message: bytes
) -> None:
    @queue.task(attempts=1)
    async def wild() -> None:
        raise error

    @queue.task(attempts=1)
    def wild_in_a_thread() -> None:
        raise error

    @queue.task
    async def calm() -> None:
        notes.add("calm")

    async with queue:
        await wild.enqueue()
        await wild_in_a_thread.enqueue()
        await calm.enqueue()
        worker = await drained(queue, concurrency=1)
        letters = [letter["message"] async for letter in letters_of(queue)]
    assert letters == [message, message]
    assert notes.made == ["calm"]
    assert worker.statistics().dead == 2


@pytest.mark.parametrize("kind", [KeyboardInterrupt, GeneratorExit])
async def test_an_interruption_that_a_thread_s_function_raised_by_itself_ends_its_run(
    queue: Queue, notes: Notes[Any], kind: type[BaseException]
) -> None:
    """No signal is raised in a thread: Ctrl-C is none of this."""

    @queue.task(attempts=1)
    def wild() -> None:
        raise kind("enough")

    @queue.task
    async def calm() -> None:
        notes.add("calm")

    async with queue:
        await wild.enqueue()
        await calm.enqueue()
        worker = await drained(queue, concurrency=1)
        [letter] = [letter async for letter in letters_of(queue)]
    assert letter["error"] == b"RuntimeError"
    assert letter["message"] == f"task 'wild' raised {kind.__name__} in its thread: enough".encode()
    assert kind.__name__ in letter["traceback"].decode()
    assert notes.made == ["calm"]
    assert worker.statistics().dead == 1


@pytest.mark.parametrize("how", ["plainly", "in middleware", "by a generator"])
async def test_a_generator_s_end_that_a_handler_raises_ends_its_run(
    queue: Queue, notes: Notes[Any], how: str
) -> None:
    @types.coroutine
    def generator() -> Generator[None]:
        if how:
            raise GeneratorExit("enough")
        yield

    if how == "in middleware":

        @queue.middleware
        async def through(_: Job, call_next: Callable[[], Awaitable[Any]]) -> Any:
            return await call_next()

    @queue.task(attempts=1)
    async def wild() -> None:
        if how == "by a generator":
            await generator()
        raise GeneratorExit("enough")

    @queue.task
    async def calm() -> None:
        notes.add("calm")

    async with queue:
        await wild.enqueue()
        await calm.enqueue()
        worker = await drained(queue, concurrency=1)
        [letter] = [letter async for letter in letters_of(queue)]
    assert (letter["error"], letter["message"]) == (b"GeneratorExit", b"enough")
    assert notes.made == ["calm"]
    assert worker.statistics().dead == 1


def test_a_runner_that_is_closed_is_not_told_that_a_handler_failed() -> None:
    """As a coroutine is that an event loop leaves behind; however deep what it waits for lies."""
    ends: list[bool] = []

    @types.coroutine
    def wait() -> Generator[None]:
        yield

    async def handler(depth: int) -> None:
        await (handler(depth - 1) if depth else wait())

    async def runner() -> None:
        try:
            await handler(3)
        except BaseException as error:
            ends.append(_ends_us(error))
            raise

    closed, thrown = runner(), runner()
    closed.send(None)
    closed.close()
    thrown.send(None)
    with suppress(GeneratorExit):
        thrown.throw(GeneratorExit)
    assert ends == [True, True]


async def test_ctrl_c_in_a_handler_ends_the_worker(redis_url: str, anyio_backend_name: str) -> None:
    """It is no failure of the job's: that is somebody else's to run."""
    queue = Queue("work", redis_url)
    async with queue:
        await queue.enqueue("wild")
        ended = await anyio.run_process(
            [sys.executable, str(INTERRUPTED), anyio_backend_name, redis_url, queue.name], check=False
        )
        assert ended.returncode == -signal.SIGINT, ended.stderr.decode()
        assert b"KeyboardInterrupt" in ended.stderr
        assert [letter async for letter in letters_of(queue)] == []
        assert sum([await queue.redis.xlen(lane) for lane in queue.keys.lanes]) == 1


async def letters_of(queue: Queue) -> Any:
    letters: Any = await queue.redis.xrange(queue.keys.dead_letters)
    for letter in letters:
        yield {key.decode(): value for key, value in letter[1].items()}


async def test_a_cancellation_that_nobody_ordered_is_a_failure_of_the_handler(queue: Queue) -> None:
    @queue.task(attempts=1)
    async def odd() -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anyio.sleep_forever()
        raise RuntimeError("after a scope of its own")

    async with queue:
        await odd.enqueue()
        await drained(queue)
        assert (await dead_letter(queue))["message"] == b"after a scope of its own"
