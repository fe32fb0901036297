"""Lifespans and dependencies: what lives as long as the worker runs jobs, and how handlers come by it."""

from __future__ import annotations

import functools
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import attrs
import pytest
from tests.support.servers import SECONDS
from tests.worker.conftest import AT_ONCE, Notes, dead_letter, drained, working

from anyq import Depends, Job, Queue, Task, Worker, current_job

pytestmark = pytest.mark.anyio


@attrs.define(eq=False)
class Shop:
    """Something that handlers work with."""

    name: str = "shop"
    open: bool = True


class Bookshop(Shop):
    """A more special one."""


class Street:
    """Something that needs another."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop


def opening(notes: Notes[Any], name: str, kind: type[Shop] = Shop) -> Callable[[], Any]:
    """A lifespan that notes when it is entered and left."""

    async def lifespan() -> AsyncIterator[Shop]:
        shop = kind(name)
        notes.add(f"{name} opens")
        try:
            yield shop
        finally:
            shop.open = False
            notes.add(f"{name} closes")

    return lifespan


async def test_who_is_cancelled_while_a_lifespan_is_entered_leaves_it_again(
    queue: Queue, notes: Notes[Any]
) -> None:
    """In the very turn in which it is entered: it waits for nobody then."""

    @queue.lifespan
    async def shop() -> AsyncIterator[None]:
        notes.add("opens")
        scope.cancel()
        try:
            yield
        finally:
            notes.add("closes")

    with anyio.fail_after(SECONDS, shield=True), anyio.CancelScope() as scope:
        async with Worker(queue):
            raise AssertionError("it was cancelled")
    assert scope.cancelled_caught
    assert notes.made == ["opens", "closes"]


async def test_handlers_get_what_lifespans_gave_by_its_type(queue: Queue, notes: Notes[Any]) -> None:
    queue.lifespan(opening(notes, "shop"))

    @queue.task
    async def buy(what: str, shop: Shop = Depends()) -> None:
        notes.add((what, shop.name, shop.open, current_job().payload))

    @queue.task
    def look(*, shop: Any = Depends(Shop), more: int = 1) -> None:
        notes.add((more, shop.name))

    async with queue:
        await buy.enqueue("tea")
        await queue.enqueue("buy", {"what": "cake"})
        await look.enqueue(more=2)
        await drained(queue, concurrency=1)
    assert notes.made == [
        "shop opens",
        ("tea", "shop", True, {"what": "tea"}),
        ("cake", "shop", True, {"what": "cake"}),
        (2, "shop"),
        "shop closes",
    ]


async def test_the_fallback_and_middleware_s_handlers_get_them_too(queue: Queue, notes: Notes[Any]) -> None:
    queue.lifespan(opening(notes, "shop"))

    @queue.middleware
    async def through(_: Job, call_next: Any) -> Any:
        return await call_next()

    @queue.task
    async def buy(shop: Shop = Depends()) -> None:
        notes.add(("buy", shop.name))

    @queue.fallback
    async def anything(job: Job, shop: Shop = Depends()) -> None:
        notes.add((job.name, shop.name))

    async with queue:
        await buy.enqueue()
        await queue.enqueue("any")
        await drained(queue, concurrency=1)
    assert notes.made[1:-1] == [("buy", "shop"), ("any", "shop")]


async def test_lifespans_are_entered_in_order_before_the_first_job_and_left_in_reverse_after_the_last(
    queue: Queue, notes: Notes[Any]
) -> None:
    @queue.task
    async def task() -> None:
        notes.add("job begins")
        await anyio.lowlevel.checkpoint()
        notes.add("job ends")

    queue.lifespan(opening(notes, "queue 1"))
    queue.lifespan(asynccontextmanager(opening(notes, "queue 2")))
    async with queue:
        await task.enqueue()
        async with working(queue, lifespan=[opening(notes, "worker")]) as worker:
            assert notes.made[:3] == ["worker opens", "queue 1 opens", "queue 2 opens"]
            worker.stop()
    assert notes.made[-3:] == ["queue 2 closes", "queue 1 closes", "worker closes"]
    assert notes.made[3:-3] in ([], ["job begins", "job ends"])


async def test_a_lifespan_outlives_the_handlers_of_the_drain(queue: Queue, notes: Notes[Any]) -> None:
    queue.lifespan(opening(notes, "shop"))
    go = anyio.Event()

    @queue.task
    async def buy(shop: Shop = Depends()) -> None:
        notes.add("in")
        await go.wait()
        notes.add(shop.open)

    async with queue:
        await buy.enqueue()
        async with working(queue) as worker:
            await notes.first(2)
            worker.stop()
            go.set()
    assert notes.made == ["shop opens", "in", True, "shop closes"]


async def test_a_lifespan_may_use_the_queue_at_both_ends(queue: Queue, notes: Notes[Any]) -> None:
    @queue.lifespan
    async def filling() -> AsyncIterator[None]:
        await task.enqueue("first")
        yield
        await task.enqueue("last")

    @queue.task
    async def task(what: str) -> None:
        notes.add(what)

    async with queue:
        async with working(queue) as worker:
            await worker.wait_idle()
            queue.lifespans.clear()
        assert notes.made == ["first"]
        await drained(queue)
    assert notes.made == ["first", "last"]


async def test_lifespans_may_depend_on_those_before_them(queue: Queue, notes: Notes[Any]) -> None:
    @queue.lifespan
    async def street(shop: Shop = Depends()) -> AsyncIterator[Street]:
        yield Street(shop)

    @queue.task
    async def walk(street: Street = Depends()) -> None:
        notes.add(street.shop.name)

    async with queue:
        await walk.enqueue()
        await drained(queue, lifespan=[opening(Notes[Any](), "worker's")])
    assert notes.made == ["worker's"]


async def test_the_exact_type_counts_before_a_subtype_and_the_queue_s_before_the_worker_s(
    queue: Queue, redis_url: str, notes: Notes[Any]
) -> None:
    other = Queue("other", redis_url)
    quiet = Notes[Any]()
    queue.lifespan(opening(quiet, "special", Bookshop))
    queue.lifespan(opening(quiet, "plain"))

    async def shop(shop: Shop = Depends()) -> None:
        notes.add(shop.name)

    async def bookshop(shop: Bookshop = Depends()) -> None:
        notes.add(shop.name)

    tasks: list[Task[..., Any]] = [
        queue.task(shop),
        queue.task(bookshop),
        other.task(shop),
        other.task(bookshop),
    ]
    async with queue, other:
        for task in tasks:
            await task.enqueue()
        await drained(queue, other, lifespan=[opening(quiet, "worker's", Bookshop)])
    assert sorted(notes.made) == ["plain", "special", "worker's", "worker's"]


async def test_a_lifespan_of_several_queues_is_entered_once(
    queue: Queue, redis_url: str, notes: Notes[Any]
) -> None:
    other = Queue("other", redis_url)
    lifespan = opening(notes, "shop")
    queue.lifespan(lifespan)
    other.lifespan(lifespan)
    async with working(queue, other):
        pass
    assert notes.made == ["shop opens", "shop closes"]


async def test_opening_a_queue_alone_enters_no_lifespan(queue: Queue, notes: Notes[Any]) -> None:
    queue.lifespan(opening(notes, "shop"))
    async with queue:
        await queue.enqueue("any")
    assert notes.made == []


# -- errors -----------------------------------------------------------------------------------------------------------


async def test_an_error_on_entering_comes_out_and_what_was_entered_is_left(
    queue: Queue, notes: Notes[Any]
) -> None:
    @asynccontextmanager
    async def broken() -> AsyncGenerator[None]:
        if await queue.redis.xlen("there is none") == 0:
            raise OSError("no shop here")
        yield

    with pytest.raises(OSError, match="no shop here"):
        async with working(queue, lifespan=[opening(notes, "shop"), broken]):
            notes.add("running")
    assert notes.made[0] == "shop opens"
    assert "running" not in notes.made


async def test_an_error_on_leaving_comes_out_after_the_drain(queue: Queue, notes: Notes[Any]) -> None:
    @queue.lifespan
    async def broken() -> AsyncIterator[None]:
        yield
        raise OSError("the door is stuck")

    @queue.task
    async def task() -> None:
        notes.add("ran")

    async with queue:
        await task.enqueue()
        with pytest.raises(OSError, match="the door is stuck"):
            await drained(queue, lifespan=[opening(notes, "shop")])
    assert notes.made == ["shop opens", "ran", "shop closes"]


async def test_a_lifespan_that_fails_while_the_worker_runs_drains_it_and_comes_out(
    queue: Queue, notes: Notes[Any]
) -> None:
    fire, begun = anyio.Event(), anyio.Event()

    @queue.lifespan
    async def burning() -> AsyncIterator[None]:
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(burn)
            yield

    async def burn() -> None:
        await fire.wait()
        raise OSError("fire")

    @queue.task
    async def task() -> None:
        begun.set()
        await fire.wait()
        await anyio.lowlevel.checkpoint()
        notes.add("ended")

    async with queue:
        await task.enqueue()
        with pytest.raises(OSError, match="fire"):
            async with working(queue):
                await begun.wait()
                fire.set()
                await anyio.sleep_forever()
        assert await queue.redis.xlen(queue.keys.stream) == 0
    assert notes.made == ["ended"]


async def test_a_lifespan_that_does_not_end_is_cancelled(
    queue: Queue, notes: Notes[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anyq.worker._GRACE", 1.1)

    @queue.lifespan
    async def stuck() -> AsyncIterator[None]:
        yield
        try:
            await anyio.sleep_forever()
        finally:
            notes.add("cancelled")

    with anyio.fail_after(SECONDS):
        async with Worker(queue, drain_timeout=0):
            pass
    assert notes.made == ["cancelled"]


async def test_a_start_that_is_cancelled_in_a_lifespan_leaves_what_was_entered(
    queue: Queue, notes: Notes[Any]
) -> None:
    @asynccontextmanager
    async def slow() -> AsyncGenerator[None]:
        notes.add("waits")
        await anyio.Event().wait()
        yield

    @asynccontextmanager
    async def shop() -> AsyncGenerator[None]:
        try:
            yield
        finally:
            notes.add("closed")

    async def start() -> None:
        async with Worker(queue, lifespan=[shop, slow]):
            notes.add("running")

    async with anyio.create_task_group() as nursery:
        nursery.start_soon(start)
        await notes.one()
        nursery.cancel_scope.cancel()
    assert notes.made == ["waits", "closed"]


async def test_a_second_request_to_stop_leaves_lifespans_sooner(
    queue: Queue, notes: Notes[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anyq.worker._GRACE", 1.1)

    @queue.lifespan
    async def stuck() -> AsyncIterator[None]:
        yield
        notes.add("stuck")
        await anyio.sleep_forever()

    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as nursery:
            worker = Worker(queue, drain_timeout=1000)
            await nursery.start(worker.run)
            worker.stop()
            await notes.one()
            worker.stop(drain_timeout=0)


class Unknown:
    """Nobody gives one."""


@pytest.mark.parametrize(
    ("lifespans", "says"),
    [
        (0, "task 'task' wants a Shop for 'shop', and no lifespan of its queue or worker gives one"),
        (2, "task 'task' wants a Shop for 'shop', and 2 lifespans give one"),
    ],
)
async def test_a_worker_whose_task_lacks_what_it_depends_on_does_not_start(
    queue: Queue, notes: Notes[Any], lifespans: int, says: str
) -> None:
    @queue.task
    async def task(shop: Shop = Depends()) -> None: ...

    for number in range(lifespans):
        queue.lifespan(opening(notes, str(number)))
    with pytest.raises(LookupError, match=re.escape(says)):
        async with working(queue):
            notes.add("running")
    assert "running" not in notes.made


async def test_a_late_task_that_lacks_what_it_depends_on_fails_its_own_jobs_alone(queue: Queue) -> None:
    async with queue:
        async with working(queue) as worker:

            @queue.task(attempts=2, backoff=AT_ONCE)
            async def task(what: Unknown = Depends()) -> None: ...

            await task.enqueue()
            await worker.wait_idle()
        letter = await dead_letter(queue)
    assert letter["error"] == b"LookupError"
    assert b"task 'task' wants a Unknown for 'what'" in letter["message"]


async def test_an_annotation_that_is_no_class_wants_the_type_named(queue: Queue) -> None:
    @queue.task
    async def task(shop: Shop | None = Depends()) -> None: ...

    with pytest.raises(LookupError, match=re.escape("or its default be Depends(ThatClass)")):
        async with working(queue):
            pass


async def test_an_annotation_that_cannot_be_resolved_wants_the_type_named(queue: Queue) -> None:
    class Local(Shop):
        pass

    @queue.task
    async def task(shop: Local = Depends()) -> None: ...

    with pytest.raises(LookupError, match=re.escape("name it in the default, as Depends(ThatType)")):
        async with working(queue):
            pass


# -- the function outside of a worker ---------------------------------------------------------------------------------


async def test_a_direct_call_wants_dependencies_given_and_a_payload_refuses_them() -> None:
    queue = Queue("work")

    @queue.task
    async def buy(what: str, shop: Shop = Depends()) -> str:
        return f"{what} in {shop.name}"

    @queue.task
    def look(shop: Shop = Depends()) -> str:
        return shop.name

    assert await buy("tea", Shop("given")) == "tea in given"
    assert look(shop=Shop("given")) == "given"
    with pytest.raises(TypeError, match="a worker fills 'shop'; called directly, it wants it given"):
        await buy("tea")
    with pytest.raises(TypeError, match="a worker fills 'shop'"):
        look()
    with pytest.raises(TypeError, match="unexpected keyword argument 'shop'"):
        buy.bind("tea", shop=Shop())
    with pytest.raises(TypeError, match="too many positional arguments"):
        buy.bind("tea", Shop())


async def test_partial_functions_and_methods_may_have_dependencies(queue: Queue, notes: Notes[Any]) -> None:
    class Customer:
        async def buy(self, shop: Shop = Depends()) -> None:
            notes.add(shop.name)

    async def look(what: str, shop: Shop = Depends()) -> None:
        notes.add((what, shop.name))

    queue.task(Customer().buy)
    queue.task(functools.partial(look, what="window"), name="look")
    async with queue:
        await queue.enqueue("buy")
        await queue.enqueue("look")
        await drained(queue, concurrency=1, lifespan=[opening(Notes[Any](), "shop")])
    assert notes.made == ["shop", ("window", "shop")]


def test_a_dependency_out_of_place_is_refused() -> None:
    queue = Queue("work")

    def positional(shop: Shop = Depends(), /) -> None: ...

    def early(shop: Shop = Depends(), more: int = 1) -> None: ...

    with pytest.raises(TypeError, match="'shop' is filled by name, and is given by position only"):
        queue.task(positional)
    with pytest.raises(TypeError, match="such parameters come last"):
        queue.task(early)
    with pytest.raises(TypeError, match="Depends takes a type"):
        Depends("shop")  # type: ignore[call-overload]
    assert repr(Depends(Shop)) == "Depends(Shop)"


def test_what_is_no_lifespan_is_refused() -> None:
    queue = Queue("work")

    async def coroutine() -> None: ...

    with pytest.raises(TypeError, match="a lifespan is an async generator function"):
        queue.lifespan(coroutine)  # type: ignore[type-var]
    with pytest.raises(TypeError, match="lifespan must be a list"):
        Worker(queue, lifespan=coroutine)  # type: ignore[arg-type]
