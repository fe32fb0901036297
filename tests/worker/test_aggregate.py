"""Aggregation: many items become one call with the list, at the time and in the number that the task says."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import anyio
import msgpack
import pytest
from tests.support.proxy import FaultProxy, fault_proxy
from tests.support.servers import SECONDS, Server
from tests.worker.conftest import AT_ONCE, Notes, dead_letters, drained, length, until, working
from tests.worker.test_lost_replies import lose_replies

from anyq import (
    AggregateTask,
    Depends,
    JobCancelled,
    JobStatus,
    Limits,
    NotOpen,
    PayloadRefused,
    Queue,
    QueueFull,
    Worker,
    current_job,
)
from anyq._core.codec import decode, split_member

pytestmark = pytest.mark.anyio

Digest = AggregateTask[Any, int]


@pytest.fixture
def calls(notes: Notes[Any]) -> list[list[Any]]:
    """The lists that were handled."""
    return notes.made


def digest_of(queue: Queue, notes: Notes[Any], **settings: Any) -> Digest:
    @queue.aggregate(**{"delay": 60, "result_ttl": 60, **settings})
    async def digest(messages: list[Any]) -> int:
        notes.add(messages)
        return len(messages)

    return digest


# -- when a call starts -----------------------------------------------------------------------------------------------


async def test_so_many_items_become_a_call_at_once(queue: Queue, notes: Notes[Any]) -> None:
    digest = digest_of(queue, notes, size=3)
    async with working(queue):
        handles = [await digest.enqueue(number) for number in range(7)]
        assert await notes.first(2) == [[0, 1, 2], [3, 4, 5]]
        assert [handle.new for handle in handles] == [True, False, False, True, False, False, True]
        assert len({handle.id for handle in handles}) == 3
        assert await handles[1].result(timeout=SECONDS) == 3
        assert await handles[6].status() is JobStatus.DELAYED


async def test_fewer_items_become_a_call_after_a_quiet_time(queue: Queue, notes: Notes[Any]) -> None:
    digest = digest_of(queue, notes, delay=0.2)
    async with working(queue):
        begun = anyio.current_time()
        await digest.enqueue("a")
        handle = await digest.enqueue("b")
        assert await handle.result(timeout=SECONDS) == 2
        assert anyio.current_time() - begun >= 0.2
        again = await digest.enqueue("c")
        assert again.new
        assert await again.result(timeout=SECONDS) == 1
    assert notes.made == [["a", "b"], ["c"]]


async def test_a_call_starts_at_the_latest_so_long_after_its_first_item(
    queue: Queue, notes: Notes[Any]
) -> None:
    digest = digest_of(queue, notes, delay=0.25, maximum_delay=0.5)
    async with working(queue):
        number = 0
        while not notes.made:  # never quiet for a quarter of a second
            await digest.enqueue(number)
            number += 1
            with anyio.move_on_after(0.02):
                await until(lambda: notes.made)
    assert len(notes.made[0]) > 1


async def test_items_of_different_keys_never_share_a_call(queue: Queue, notes: Notes[Any]) -> None:
    digest = digest_of(queue, notes, key=lambda message: message["to"], size=2)
    async with working(queue):
        messages = [{"to": to, "text": number} for number, to in enumerate("abcabc")]
        handles = await digest.enqueue_many(messages)
        assert [handle.new for handle in handles] == [True, True, True, False, False, False]
        assert [handles[place].id for place in range(3)] == [handles[place].id for place in range(3, 6)]
        made = await notes.first(3)
    assert sorted([message["text"] for message in call] for call in made) == [[0, 3], [1, 4], [2, 5]]


async def test_many_items_keep_their_order_and_are_each_in_one_call(queue: Queue, notes: Notes[Any]) -> None:
    digest = digest_of(queue, notes, size=300, delay=0.1)
    async with working(queue):
        handles = await digest.enqueue_many(range(2500))
        await until(lambda: sum(map(len, notes.made)) == 2500)
    assert sum(handle.new for handle in handles) == len(notes.made) == 9
    assert sorted(notes.made) == [[*range(first, min(first + 300, 2500))] for first in range(0, 2500, 300)]


async def test_concurrent_callers_lose_and_double_nothing(queue: Queue, notes: Notes[Any]) -> None:
    digest = digest_of(queue, notes, size=7, delay=0.1)
    other = Queue("work", queue.url)
    second = digest_of(other, notes, size=7, delay=0.1)
    async with other, working(queue):
        async with anyio.create_task_group() as callers:
            for number in range(100):
                callers.start_soon(digest.enqueue, number)
                callers.start_soon(second.enqueue, number + 100)
        await until(lambda: sum(map(len, notes.made)) == 200)
    assert sorted(number for call in notes.made for number in call) == [*range(200)]
    assert all(len(call) <= 7 for call in notes.made)


# -- a call is a job --------------------------------------------------------------------------------------------------


async def test_it_is_enqueued_without_its_worker_and_by_other_programs(
    queue: Queue, notes: Notes[Any]
) -> None:
    digest = digest_of(queue, notes, size=2)
    async with queue:
        await digest.enqueue_many("ab")
        await queue.enqueue("digest", {"messages": ["by", "hand"]})
        await digest.task.enqueue(["whole"])
        await drained(queue)
    assert notes.made == [["a", "b"], ["by", "hand"], ["whole"]]


async def test_it_is_cancelled_with_all_of_its_items(queue: Queue, notes: Notes[Any]) -> None:
    digest = digest_of(queue, notes, size=3)
    async with queue:
        handles = await digest.enqueue_many("ab")
        await handles[0].cancel()
        with pytest.raises(JobCancelled):
            await handles[1].result(timeout=SECONDS)
        assert (await digest.enqueue("c")).new
        await digest.enqueue_many("de")
        await drained(queue)
    assert notes.made == [["c", "d", "e"]]


async def test_it_can_run_at_once_and_then_takes_no_more(queue: Queue, notes: Notes[Any]) -> None:
    digest = digest_of(queue, notes)
    async with working(queue):
        handle = await digest.enqueue("a")
        assert await handle.run_now()
        late = await digest.enqueue("b")
        assert late.new
        assert await handle.result(timeout=SECONDS) == 1
    assert notes.made == [["a"]]


async def test_it_is_retried_as_a_whole_and_becomes_a_dead_letter_with_its_items(queue: Queue) -> None:
    attempts: list[tuple[int, list[str]]] = []

    @queue.aggregate(size=2, attempts=2, backoff=AT_ONCE)
    async def digest(messages: list[str]) -> None:
        attempts.append((current_job().attempt, messages))
        raise ValueError

    async with queue:
        await digest.enqueue_many(["a", "b"])
        await drained(queue)
        [letter] = await dead_letters(queue)
        assert attempts == [(1, ["a", "b"]), (2, ["a", "b"])]
    assert letter["reason"] == b"retries_exhausted"
    assert msgpack.unpackb(decode(letter["d"])[1]) == {"messages": ["a", "b"]}


async def test_its_items_survive_a_worker_that_is_lost_with_them(
    redis_url: str, queue: Queue, notes: Notes[Any]
) -> None:
    began = anyio.Event()
    frozen = Queue("work", redis_url)

    @frozen.aggregate(name="digest", size=2)
    async def never(messages: list[Any]) -> None:
        began.set()
        await anyio.sleep_forever()

    digest = digest_of(queue, notes, size=2)
    async with queue:
        with anyio.fail_after(SECONDS):
            async with Worker(frozen, drain_timeout=0):
                await digest.enqueue_many("ab")
                await began.wait()
        assert notes.made == []
        await drained(queue)
    assert notes.made == [["a", "b"]]


async def test_it_goes_by_its_priority(queue: Queue, notes: Notes[Any]) -> None:
    digest = digest_of(queue, notes, size=2, priority=9)

    @queue.task
    async def plain() -> None:
        notes.add("plain")

    async with queue:
        await plain.enqueue()
        await digest.enqueue_many("ab")
        await drained(queue, concurrency=1)
    assert notes.made == [["a", "b"], "plain"]


async def test_plain_functions_and_what_a_worker_fills_in_work_as_in_any_task(queue: Queue) -> None:
    handled: list[tuple[list[int], str]] = []

    @queue.lifespan
    async def text() -> AsyncGenerator[str]:
        yield "resource"

    @queue.aggregate(size=2, result_ttl=60)
    def digest(numbers: list[int], text: str = Depends()) -> int:
        handled.append((numbers, text))
        return sum(numbers)

    async with working(queue):
        handles = await digest.enqueue_many([1, 2])
        assert await handles[0].result(timeout=SECONDS) == 3
    assert handled == [([1, 2], "resource")]


async def test_called_itself_it_is_its_function(queue: Queue, notes: Notes[Any]) -> None:
    digest = digest_of(queue, notes)
    assert await digest(["a"]) == 1
    assert repr(digest) == "<AggregateTask 'digest' of 'work'>"
    assert notes.made == [["a"]]


# -- what is refused --------------------------------------------------------------------------------------------------


async def test_an_item_that_cannot_travel_is_refused_with_its_place(
    redis_url: str, notes: Notes[Any]
) -> None:
    queue = Queue("work", redis_url, limits=Limits(payload=1000, depth=4))
    digest = digest_of(queue, notes)
    async with queue:
        with pytest.raises(PayloadRefused, match=r"digest: payload.messages\[1\]\['x'\] is an object"):
            await digest.enqueue_many([1, {"x": object()}])
        with pytest.raises(
            PayloadRefused, match=r"payload.messages\[0\] would make a job of 10\d\d bytes, .* 1000"
        ):
            await digest.enqueue("x" * 1000)
        with pytest.raises(PayloadRefused, match="nested more than 2 levels"):
            await digest.enqueue([[[[]]]])
        assert await queue.redis.zcard(queue.keys.delayed) == 0
        handle = await digest.enqueue([[]])
        await handle.run_now()
        await drained(queue)
    assert notes.made == [[[[]]]]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 0}, "size must be from 1 to 10000, not 0"),
        ({"delay": 0}, "delay must be a finite number of seconds > 0"),
        ({"delay": 5, "maximum_delay": 4}, "maximum_delay must not be shorter than delay, 5, and is 4"),
        ({"key": "to"}, "key must be a function of an item, not 'to'"),
        ({"colour": 1}, "a task has no option 'colour'"),
    ],
)
def test_settings_are_checked(
    queue: Queue, notes: Notes[Any], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        digest_of(queue, notes, **settings)


def test_its_function_takes_one_list(queue: Queue) -> None:
    with pytest.raises(
        TypeError, match=r"takes one parameter, the list of items, and <.*two.*> takes \(a, b\)"
    ):

        @queue.aggregate()  # type: ignore[arg-type]
        async def two(a: list[int], b: int) -> None: ...

    assert queue.runnables == {}


async def test_without_settings_it_needs_no_parentheses(queue: Queue) -> None:
    @queue.aggregate
    async def total(numbers: list[int]) -> int:
        return sum(numbers)

    assert await total([1, 2]) == 3
    async with queue:
        first, second = await total.enqueue_many([1, 2])
        assert first.id == second.id
    with pytest.raises(TypeError, match="a task that aggregates is a function of a list, not 'total'"):
        queue.aggregate("total")  # type: ignore[call-overload]


async def test_keys_and_open_queues_are_asked_for(queue: Queue, notes: Notes[Any]) -> None:
    digest = digest_of(queue, notes, key=lambda item: item)
    with pytest.raises(NotOpen):
        await digest.enqueue("a")
    async with queue:
        with pytest.raises(TypeError, match="the key of an item must be a string, not 1"):
            await digest.enqueue(1)


# -- trouble ----------------------------------------------------------------------------------------------------------


async def test_above_the_maximum_length_a_call_that_would_be_ready_waits_for_room(
    redis_url: str, notes: Notes[Any]
) -> None:
    queue = Queue("work", redis_url, max_length=2)
    digest = digest_of(queue, notes, size=2, key=lambda item: item[0])

    @queue.task
    async def plain() -> None: ...

    async with queue:
        await plain.enqueue_many([(), ()])
        await digest.enqueue("a1")
        with pytest.raises(TimeoutError), anyio.fail_after(0.1):
            await digest.enqueue("a2")
        await digest.enqueue("b1")  # makes nothing ready, and is not held up
        with pytest.raises(QueueFull):
            await plain.options(wait=False).enqueue()
        async with anyio.create_task_group() as callers:
            callers.start_soon(digest.enqueue, "a2")
            await drained(queue)
        await drained(queue)
    assert notes.made == [["a1", "a2"]]


async def test_a_lost_reply_doubles_no_item(server: Server, redis_url: str, notes: Notes[Any]) -> None:
    async with fault_proxy(server.socket) as proxy:
        queue = Queue("work", proxy.url)
        digest = digest_of(queue, notes, size=4)
        async with queue:
            await digest.enqueue(0)
            handles = await lose_replies(proxy, lambda: digest.enqueue_many(range(1, 10)))
            assert [handle.new for handle in handles] == [False] * 3 + [True, False, False, False] + [
                True,
                False,
            ]
            assert await length(queue) == 2
            [member] = await queue.redis.call("ZRANGE", queue.keys.delayed, 0, -1)
            assert decode(split_member(member)[1])[1].endswith(b"\x08\x09")
            await drained(queue)
    assert notes.made == [[0, 1, 2, 3], [4, 5, 6, 7]]


async def test_what_a_producer_gathered_is_there_when_it_dies(
    redis_url: str, queue: Queue, notes: Notes[Any]
) -> None:
    """Nothing is kept in the program: what was answered is in Redis, and another one goes on with it."""
    digest = digest_of(queue, notes, size=3)
    async with queue:
        first = await digest.enqueue("a")
    other = Queue("work", redis_url)
    async with other:
        second = await digest_of(other, notes, size=3).enqueue_many("bc")
        assert {handle.id for handle in second} == {first.id}
        await drained(other)
    assert notes.made == [["a", "b", "c"]]


async def test_a_caller_that_leaves_takes_only_what_was_not_sent(
    server: Server, redis_url: str, notes: Notes[Any]
) -> None:
    async with fault_proxy(server.socket) as proxy:
        queue = Queue("work", proxy.url)
        digest = digest_of(queue, notes)
        async with queue:
            await digest.enqueue("first")
            await stall(proxy, digest)
            await digest.enqueue("last")
            [member] = await queue.redis.call("ZRANGE", queue.keys.delayed, 0, -1)
            body = decode(split_member(member)[1])[1]
            assert b"last" in body
            assert b"not sent" not in body


async def stall(proxy: FaultProxy, digest: Digest) -> None:
    """One item is under way, another waits for it, and both callers leave."""
    proxy.drop("down")
    async with anyio.create_task_group() as callers:
        callers.start_soon(digest.enqueue, "under way")
        await proxy.until(lambda proxy: proxy.down.dropped > 0)
        callers.start_soon(digest.enqueue, "not sent")
        await anyio.wait_all_tasks_blocked()
        callers.cancel_scope.cancel()
    proxy.reset()
    proxy.heal()
