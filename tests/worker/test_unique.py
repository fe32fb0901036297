"""Unique jobs: one at a time for a key, however they end; a duplicate is told whose job it is. Or the last wins."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from tests.support.hands import Table
from tests.support.servers import SECONDS
from tests.worker.conftest import AT_ONCE, Notes, dead_letters, drained, until, working

from anyq import JobFailed, JobHandle, Limits, Queue, ResultsDisabled, Task, Unrecoverable
from anyq._core.codec import decode, split_member

pytestmark = pytest.mark.anyio


@pytest.fixture
def note(queue: Queue, notes: Notes[Any]) -> Task[..., Any]:
    @queue.task(attempts=2, backoff=AT_ONCE)
    async def note(value: Any, fail: str = "") -> Any:
        notes.add(value)
        if fail == "once" and notes.made.count(value) == 1:
            raise ValueError
        if fail == "for good":
            raise Unrecoverable
        return value

    return note


async def held(queue: Queue) -> list[bytes]:
    """The claims that are held."""
    names: list[bytes] = []
    for key in (queue.keys.unique("*"), queue.keys.taken_id("*")):
        names += await queue.redis.call("KEYS", key)
    return names


# -- the first wins ---------------------------------------------------------------------------------------------------


async def test_a_duplicate_gets_a_handle_on_the_job_that_is_there(
    queue: Queue, note: Task[..., Any], notes: Notes[Any]
) -> None:
    async with queue:
        first = await note.options(unique="k", result_ttl=60).enqueue(1)
        second = await note.options(unique="k").enqueue(2)
        by_name = await queue.enqueue("note", {"value": 3}, unique="k", id="mine", delay=60)
        other = await note.options(unique="another").enqueue(4)
        assert [first.new, second.new, by_name.new, other.new] == [True, False, False, True]
        assert first.id == second.id == by_name.id != other.id
        await drained(queue)
        assert await second.result(timeout=SECONDS) == 1
        assert await held(queue) == []
    assert sorted(notes.made) == [1, 4]


@pytest.mark.parametrize("end", ["", "once", "for good"])
async def test_a_key_and_an_id_are_free_again_when_their_job_has_ended_however(
    queue: Queue, note: Task[..., Any], notes: Notes[Any], end: str
) -> None:
    async with queue:
        for value in (1, 2):
            handle = await note.options(unique="k", id="mine").enqueue(value, fail=end)
            assert handle.new
            assert len(await held(queue)) == 2
            await drained(queue)
            assert await held(queue) == []
        assert len(await dead_letters(queue)) == (2 if end == "for good" else 0)
    assert notes.made == ([1, 1, 2, 2] if end == "once" else [1, 2])


async def test_a_key_is_held_while_its_job_runs_and_while_it_waits_for_its_retry(queue: Queue) -> None:
    running, go_on = anyio.Event(), anyio.Event()

    @queue.task(attempts=2, backoff=AT_ONCE)
    async def work() -> None:
        running.set()
        await go_on.wait()
        raise ValueError

    async with queue:
        mine = work.options(unique="k")
        async with working(queue):
            await mine.enqueue()
            await running.wait()
            assert not (await mine.enqueue()).new
            go_on.set()
            await until_async(lambda: dead_letters(queue))
            assert (await mine.options(unique="k", delay=60).enqueue()).new


async def until_async(look: Any) -> None:
    with anyio.fail_after(SECONDS):
        while not await look():
            pass


async def test_a_job_that_is_too_large_for_its_worker_gives_its_key_back_all_the_same(
    redis_url: str, queue: Queue
) -> None:
    small = Queue("work", redis_url, limits=Limits(payload=200))
    async with queue:
        await queue.enqueue("note", {"value": "x" * 300}, unique="k", id="mine")
        await drained(small)
        assert len(await dead_letters(queue)) == 1
        assert await held(queue) == []


async def test_with_a_window_a_key_is_held_at_least_for_that_long(
    queue: Queue, note: Task[..., Any], notes: Notes[Any]
) -> None:
    async with queue:
        mine = note.options(unique="k", window=60)
        first = await mine.enqueue(1)
        await drained(queue)
        again = await mine.enqueue(2)
        assert (again.new, again.id) == (False, first.id)
        assert 50_000 < await queue.redis.call("PTTL", queue.keys.unique("k")) <= 60_000
        short = note.options(unique="short", window=0.001)
        await short.enqueue(3)
        assert not (await short.enqueue(4)).new, "its job has not ended"
        await drained(queue)
        assert (await short.enqueue(5)).new
        await drained(queue)
    assert notes.made == [1, 3, 5]


async def test_of_fifty_tasks_with_one_key_one_makes_a_job_and_all_hold_the_same_handle(
    queue: Queue, note: Task[..., Any], notes: Notes[Any]
) -> None:
    handles: list[Any] = []

    async def enqueue(number: int) -> None:
        handles.append(await note.options(unique="k").enqueue(number))

    async with queue:
        async with anyio.create_task_group() as callers:
            callers.start_soon(note.enqueue, "something else")
            for number in range(50):
                callers.start_soon(enqueue, number)
        await drained(queue)
    assert len({handle.id for handle in handles}) == 1
    assert [handle.new for handle in handles].count(True) == 1
    assert len(notes.made) == 2


async def test_a_killed_worker_s_job_keeps_its_key_until_another_worker_has_ended_it(
    queue: Queue, note: Task[..., Any], notes: Notes[Any]
) -> None:
    async with queue:
        handle = await note.options(unique="k", result_ttl=60).enqueue(1)
        # What a worker leaves that was killed with the job in its hands: an entry in its name, and no heartbeat.
        await queue.redis.call("XGROUP", "CREATE", queue.keys.stream, "default", "0", "MKSTREAM")
        await queue.redis.call(
            "XREADGROUP", "GROUP", "default", "anyq-dead", "STREAMS", queue.keys.stream, ">"
        )
        assert not (await note.options(unique="k").enqueue(2)).new
        async with working(queue, lease=1):
            assert await handle.result(timeout=SECONDS) == 1
            await until_async(lambda: freed(queue))
    assert notes.made == [1]


async def freed(queue: Queue) -> bool:
    return not await held(queue)


# -- the last wins ----------------------------------------------------------------------------------------------------


async def test_the_last_of_many_calls_runs_once_with_its_arguments_for_all_handles(
    queue: Queue, note: Task[..., Any], notes: Notes[Any]
) -> None:
    async with queue:
        mine = note.options(unique="k", window=0.05, debounce=True, result_ttl=60)
        handles = [await mine.enqueue(number) for number in range(5)]
        async with working(queue) as worker:
            results = [await handle.result(timeout=SECONDS) for handle in handles]
            await worker.wait_idle()
        assert await held(queue) == []
    made = [number for number, handle in enumerate(handles) if handle.new]
    assert results[-1] == 4
    assert notes.made[-1] == 4
    assert len(notes.made) == len(made) == len({handle.id for handle in handles})


async def test_each_call_moves_the_time_and_the_job_is_found_by_its_id(
    queue: Queue, note: Task[..., Any]
) -> None:
    async with queue:
        mine = note.options(unique="k", window=60, debounce=True)
        first = await mine.enqueue(1)
        [(member, due)] = (await Table(queue.redis, queue.keys).delayed()).items()
        await queue.redis.zadd(queue.keys.delayed, {member: due - 30_000})
        second = await mine.enqueue(2)
        [(member, later)] = (await Table(queue.redis, queue.keys).delayed()).items()
        assert (first.new, second.new) == (True, False)
        assert later >= due
        assert decode(split_member(member)[1])[0] == first.id == second.id
        assert await queue.redis.get(queue.keys.delayed_member(first.id)) == member


async def test_a_call_while_the_job_runs_makes_another_that_waits(queue: Queue, notes: Notes[Any]) -> None:
    running, go_on = anyio.Event(), anyio.Event()

    @queue.task
    async def work(value: int) -> None:
        notes.add(value)
        running.set()
        await go_on.wait()

    async with queue:
        mine = work.options(unique="k", window=0.01, debounce=True)
        async with working(queue) as worker:
            first = await mine.enqueue(1)
            await running.wait()
            second, third = await mine.enqueue(2), await work.options(unique="k").enqueue(9)
            assert second.new
            assert second.id != first.id
            assert (third.new, third.id) == (False, second.id)
            go_on.set()
            await until(lambda: len(notes.made) == 2)
            await worker.wait_idle()
        assert await held(queue) == []
    assert notes.made == [1, 2]


async def test_who_took_a_key_as_the_first_is_not_replaced(queue: Queue, note: Task[..., Any]) -> None:
    async with queue:
        first = await note.options(unique="k", delay=60).enqueue(1)
        second = await note.options(unique="k", window=1, debounce=True).enqueue(2)
        assert (second.new, second.id) == (False, first.id)


async def test_fifty_debouncing_tasks_leave_one_job(queue: Queue, note: Task[..., Any]) -> None:
    ids: set[str] = set()

    async def enqueue(number: int) -> None:
        ids.add((await note.options(unique="k", window=60, debounce=True).enqueue(number)).id)

    async with queue:
        async with anyio.create_task_group() as callers:
            for number in range(50):
                callers.start_soon(enqueue, number)
        assert await queue.redis.zcard(queue.keys.delayed) == 1
        assert len(ids) == 1


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"window": 1}, "none was given: set unique="),
        ({"debounce": True}, "none was given: set unique="),
        ({"unique": "k", "debounce": True}, "set window="),
        ({"unique": "k", "debounce": True, "window": 1, "delay": 1}, "excludes delay, at and id"),
        ({"unique": "k", "debounce": True, "window": 1, "id": "i"}, "excludes delay, at and id"),
        ({"unique": ""}, "unique must not be empty"),
        ({"unique": "{k}"}, "unique must not contain braces"),
        ({"unique": "k", "window": 0}, "window must be a finite number of seconds > 0"),
    ],
)
async def test_wrong_combinations_are_refused(note: Task[..., Any], options: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        note.options(**options)


async def test_a_key_belongs_to_one_job(queue: Queue, note: Task[..., Any]) -> None:
    async with queue:
        with pytest.raises(ValueError, match="unique 'k' belongs to one job, and 2 were given"):
            await note.options(unique="k").enqueue_many([(1,), (2,)])


# -- the result of the job that is there ------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"unique": "k"}, {"id": "mine"}, {"unique": "k", "window": 60}])
@pytest.mark.parametrize("end", ["", "for good"])
async def test_who_waits_for_a_job_that_keeps_nothing_is_told_so_when_it_ends(
    queue: Queue, note: Task[..., Any], options: Any, end: str
) -> None:
    raised: list[ResultsDisabled] = []

    async def wait(handle: JobHandle[Any]) -> None:
        with pytest.raises(ResultsDisabled, match="has ended, and its result is not kept: set") as caught:
            await handle.result(timeout=3)
        raised.append(caught.value)

    async with queue:
        await note.options(**options).enqueue(1, fail=end)
        again = await note.options(**options, result_ttl=60).enqueue(2)
        assert not again.new
        async with anyio.create_task_group() as waiters:
            waiters.start_soon(wait, again)
            await anyio.wait_all_tasks_blocked()
            await drained(queue)
        await wait(again)  # and who comes later, at once
        assert len(raised) == 2


async def test_a_duplicate_gets_the_result_that_the_first_call_asked_to_keep(
    queue: Queue, note: Task[..., Any]
) -> None:
    async with queue:
        await note.options(id="mine", result_ttl=60).enqueue(1)
        again = await note.options(id="mine").enqueue(2)
        assert not again.new
        await drained(queue)
        assert await again.result(timeout=SECONDS) == 1


async def test_who_waits_for_a_job_that_is_dead_is_told_why_if_that_is_kept(
    queue: Queue, note: Task[..., Any]
) -> None:
    async with queue:
        await note.options(unique="k", result_ttl=60).enqueue(1, fail="for good")
        again = await note.options(unique="k").enqueue(2)
        await drained(queue)
        with pytest.raises(JobFailed):
            await again.result(timeout=SECONDS)
