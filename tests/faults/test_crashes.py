"""Bugs and bad manners: a service that raises, handlers that raise anything, tasks cancelled in asyncio's own way."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextvars import ContextVar
from typing import NoReturn

import anyio
import pytest
import sniffio
from tests.faults.conftest import AT_ONCE, View, until, working
from tests.support.loops import LOOPS

from anyq import Queue, Worker
from anyq._services.acks import AckFlusher
from anyq._services.dead_letters import DeadLetterRelocator
from anyq._services.leases import LeaseKeeper
from anyq._services.promoter import Promoter
from anyq._services.pulse import Pulse
from anyq._services.reader import Reader
from anyq._services.retries import RetryRelocator

pytestmark = pytest.mark.anyio

place: ContextVar[object] = ContextVar("place", default="clean")


@pytest.mark.parametrize(
    ("service", "method", "left"),
    [
        pytest.param(AckFlusher, "_confirm", True, id="acks"),
        pytest.param(DeadLetterRelocator, "_letter", True, id="dead letters"),
        pytest.param(RetryRelocator, "_settled", False, id="retries"),
        pytest.param(LeaseKeeper, "_take_over", False, id="leases"),
        pytest.param(Promoter, "_tell", False, id="promoter"),
        pytest.param(Reader, "_read", False, id="reader"),
        pytest.param(Pulse, "_late", False, id="pulse"),
    ],
)
async def test_a_bug_in_a_service_ends_the_worker_and_comes_out_of_it(
    queue: Queue, view: View, monkeypatch: pytest.MonkeyPatch, service: type, method: str, left: bool
) -> None:
    """The block is cancelled, handlers at work go on to their end, and the error is the one that was raised."""
    cancelled = False
    ended: list[str] = []
    began = anyio.Event()

    @queue.task
    async def slow() -> None:
        began.set()
        with anyio.move_on_after(0.2):
            await anyio.sleep_forever()
        ended.append("slow")

    @queue.task(attempts=2, backoff=AT_ONCE)
    async def fail() -> None:
        raise KeyError

    def bug(*_: object, **__: object) -> NoReturn:
        raise ValueError("a bug")

    async with queue:
        with pytest.raises(ValueError, match="a bug"):
            async with working(queue, lease=1):
                await slow.enqueue()
                await began.wait()
                monkeypatch.setattr(service, method, bug)
                try:
                    await fail.enqueue()
                    await anyio.sleep_forever()
                except anyio.get_cancelled_exc_class():
                    cancelled = True
                    raise
    assert cancelled
    assert ended == ["slow"]
    assert bool(view.consumers) == left, (
        "what a broken service had in hand waits for another worker; nothing else does"
    )


class Rude(BaseException):
    """No Exception at all."""


class Incomparable:
    """A value that cannot be compared."""

    def __eq__(self, other: object) -> bool:
        raise TypeError

    __hash__ = object.__hash__


def recurse() -> None:
    recurse()


def error_of(kind: str) -> BaseException:
    match kind:
        case "exit":
            return SystemExit(3)
        case "rude":
            return Rude("rude")
        case "group":
            return ExceptionGroup("two", [ValueError(1), KeyError(2)])
        case "rude group":
            return BaseExceptionGroup("two", [ValueError(1), Rude("rude")])
        case "stop":
            return StopAsyncIteration()
        case _:
            return MemoryError()


@pytest.mark.parametrize("kind", ["exit", "rude", "group", "rude group", "stop", "memory"])
async def test_a_handler_may_raise_what_it_likes(queue: Queue, view: View, kind: str) -> None:
    ran: list[str] = []

    @queue.task(attempts=2, backoff=AT_ONCE)
    async def bad() -> None:
        ran.append("bad")
        raise error_of(kind)

    @queue.task
    async def good() -> None:
        ran.append("good")

    async with queue, working(queue, concurrency=1) as worker:
        await bad.enqueue()
        await good.enqueue()
        await until(lambda: ran.count("bad") == 2 and "good" in ran and view.stored == 0)
        assert worker.statistics().failed == 2
    [letter] = view.letters()
    assert letter["error"].decode() == type(error_of(kind)).__name__


async def test_a_handler_that_recurses_without_end_fails(queue: Queue, view: View) -> None:
    @queue.task(attempts=1)
    async def deep() -> None:
        recurse()

    async with queue, working(queue):
        await deep.enqueue()
        await until(view.letters)
    assert view.letters()[0]["error"] == b"RecursionError"
    assert sys.getrecursionlimit() > 0


async def test_a_handler_that_cancels_itself_has_failed(queue: Queue, view: View) -> None:
    """On asyncio anybody can raise CancelledError; on Trio a scope of the handler's own ends only itself."""
    ran: list[int] = []

    @queue.task(attempts=1)
    async def quits() -> None:
        ran.append(1)
        if sniffio.current_async_library() == "asyncio":
            raise asyncio.CancelledError
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anyio.sleep_forever()
        raise ValueError

    @queue.task
    async def good() -> None:
        ran.append(2)

    async with queue, working(queue, concurrency=1):
        await quits.enqueue()
        await good.enqueue()
        await until(lambda: ran == [1, 2] and view.letters())


@pytest.mark.parametrize("end", ["returned", "raised", "timed out", "was cut in a group"])
async def test_what_a_handler_leaves_in_its_context_is_not_the_next_ones(queue: Queue, end: str) -> None:
    seen: list[object] = []

    @queue.task(attempts=1, timeout=0.05 if end in ("timed out", "was cut in a group") else None)
    async def leave() -> None:
        place.set("dirty")
        if end == "raised":
            raise ValueError
        if end == "timed out":
            await anyio.sleep_forever()
        if end == "was cut in a group":
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(anyio.sleep_forever)
                try:
                    await anyio.sleep_forever()
                finally:
                    raise KeyError

    @queue.task
    async def look() -> None:
        seen.append(place.get())

    async with queue, working(queue, concurrency=1):
        await leave.enqueue()
        await look.enqueue()
        await until(lambda: seen)
    assert seen == ["clean"]


async def test_a_context_value_that_cannot_be_compared_ends_no_worker(queue: Queue) -> None:
    ran: list[int] = []

    @queue.task
    async def leave(number: int) -> None:
        place.set(Incomparable())
        ran.append(number)

    place.set(Incomparable())
    async with queue, working(queue, concurrency=1) as worker:
        await leave.enqueue_many([(1,), (2,)])
        await worker.wait_idle()
    assert ran == [1, 2]


@pytest.mark.parametrize("anyio_backend", [pytest.param(LOOPS["asyncio"], id="asyncio")])
@pytest.mark.parametrize("how", ["cancel", "cancel twice", "wait_for"])
async def test_asyncios_own_cancellation_drains_too(queue: Queue, view: View, how: str) -> None:
    began, ended = anyio.Event(), anyio.Event()
    worker = Worker(queue, drain_timeout=2)

    @queue.task
    async def slow() -> None:
        began.set()
        await until(lambda: worker.health().state == "draining")
        ended.set()

    async def block() -> None:
        async with queue, worker:
            await slow.enqueue()
            await anyio.sleep_forever()

    task = asyncio.create_task(block())
    await began.wait()
    if how == "wait_for":
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(task, 0.01)
    else:
        task.cancel()
        if how == "cancel twice":
            await until(lambda: worker.health().state == "draining")
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert ended.is_set()
    assert view.stored == 0
    view.assert_nobody_is_left()


async def _iterated() -> AsyncGenerator[int]:
    with anyio.move_on_after(0.01):
        yield 1


@pytest.mark.parametrize("how", ["a generator", "a scope"])
async def test_a_job_that_leaves_a_cancelled_scope_open_is_given_up_when_its_runs_are_used_up(
    queue: Queue, view: View, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Its worker cannot go on, and no other one ends by it for ever; other jobs lose nothing."""
    runs = 0
    left: list[object] = []
    started, others = anyio.Event(), 0

    @queue.task(attempts=2, backoff=AT_ONCE)
    async def leave() -> None:
        nonlocal runs
        runs += 1
        started.set()
        if how == "a generator":
            generator = _iterated()
            left.append(generator)
            await anext(generator)
            await anyio.sleep_forever()
        scope = anyio.CancelScope()
        left.append(scope.__enter__())
        scope.cancel()
        await anyio.lowlevel.checkpoint()

    @queue.task(attempts=1)
    async def other() -> None:
        nonlocal others
        await started.wait()
        others += 1

    async with queue:
        await leave.enqueue()
        await other.enqueue()
        for run in (1, 2):
            with pytest.raises(RuntimeError):
                async with working(queue, drain_timeout=5):
                    await anyio.sleep_forever()
            assert runs == run
        assert "'leave' was cancelled by a cancel scope or task group that it, or a job before" in caplog.text
        [letter] = view.letters()
        assert (letter["reason"], letter["error"]) == (b"retries_exhausted", b"ScopeLeft")
        async with working(queue) as worker:
            await worker.wait_idle()
    assert (runs, others) == (2, 1)
    view.assert_nobody_is_left()
