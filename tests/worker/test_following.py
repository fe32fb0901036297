"""Who follows the events of a queue gets each once and in order, goes on where it was, and is told what is gone."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.support.proxy import FaultProxy, fault_proxy
from tests.support.servers import SECONDS, Server
from tests.worker.conftest import Notes, drained, until, working

from anyq import ConfigurationError, Event, Events, NotOpen, Queue, Unrecoverable
from anyq._core import notices

pytestmark = pytest.mark.anyio


@pytest.fixture
def queue(redis_url: str) -> Queue:
    """A queue with a task that does as it is told."""
    queue = Queue("work", redis_url)

    @queue.task
    async def act(how: str = "") -> None:
        if how:
            raise Unrecoverable(how)

    return queue


@pytest.fixture
async def proxy(anyio_backend: object, server: Server, redis_url: str) -> AsyncGenerator[FaultProxy]:
    async with fault_proxy(server.socket) as proxy:
        yield proxy


async def tell(queue: Queue, *jobs: str, id: str = "*") -> list[str]:
    """Write an event about each of these jobs; gives the events' ids."""
    commands = [
        ("XADD", queue.keys.events, id, "e", "completed", "id", job, "ts", 5, "attempt", 1) for job in jobs
    ]
    return [reply.decode() for reply in await queue.redis.call_many(commands)]


async def first(count: int, events: Events) -> list[Event]:
    """The next so many."""
    with anyio.fail_after(SECONDS):
        return [await anext(events) for _ in range(count)]


async def all_of(events: Events) -> list[Event]:
    with anyio.fail_after(SECONDS):
        return [event async for event in events]


def jobs(events: list[Event]) -> list[str]:
    return [event.job_id for event in events]


async def test_a_job_s_story_is_told_while_it_happens(queue: Queue) -> None:
    async with queue, queue.events() as events, working(queue):
        good = await queue.enqueue("act")
        active, completed = await first(2, events)
        bad = await queue.enqueue("act", {"how": "never"})
        story = await first(3, events)
    assert (active.kind, active.job_id, active.task, active.attempt) == ("active", good.id, "act", 1)
    assert abs(active.at - datetime.now(UTC)) < timedelta(seconds=60)
    assert completed.kind == "completed"
    assert isinstance(completed.fields["duration_us"], int)
    assert [event.kind for event in story] == ["active", "failed", "dlq"]
    assert story[2].fields == {"reason": "unrecoverable"}
    assert {event.job_id for event in story} == {bad.id}
    assert not any(event.missed for event in [active, completed, *story])


async def test_it_begins_now_or_after_an_event_or_at_a_moment_or_at_the_oldest(queue: Queue) -> None:
    async with queue:
        ids = await tell(queue, "a", "b", "c")
        assert jobs(await all_of(queue.events(after="0", follow=False))) == ["a", "b", "c"]
        assert jobs(await all_of(queue.events(after=ids[0], follow=False))) == ["b", "c"]
        for moment, seen in [(timedelta(hours=-1), ["a", "b", "c"]), (timedelta(hours=1), [])]:
            at = datetime.now(UTC) + moment
            assert jobs(await all_of(queue.events(after=at, follow=False))) == seen
        exactly = datetime.fromtimestamp(int(ids[0].partition("-")[0]) / 1000, UTC)
        assert "a" in jobs(await all_of(queue.events(after=exactly, follow=False)))
        async with queue.events() as now:
            await tell(queue, "d")
            assert jobs(await first(1, now)) == ["d"]
        assert await all_of(queue.events(follow=False)) == []


async def test_only_what_was_asked_for_is_given(queue: Queue) -> None:
    async with queue:
        good, bad = await queue.enqueue("act"), await queue.enqueue("act", {"how": "never"})
        await drained(queue)
        ends = await all_of(queue.events(after="0", kinds=("completed", "dlq"), follow=False))
        assert {event.kind: event.job_id for event in ends} == {"completed": good.id, "dlq": bad.id}
        for job in (bad, bad.id):
            mine = await all_of(queue.events(after="0", job=job, follow=False))
            assert [event.kind for event in mine] == ["active", "failed", "dlq"]
        passed = queue.events(after="0", job="nobody", follow=False)
        assert await all_of(passed) == []
        last = await all_of(queue.events(after="0", follow=False))
        assert passed.position == last[-1].id, "what was passed over need not be read again"


async def test_without_following_it_ends_where_the_stream_did_when_it_began(queue: Queue) -> None:
    async with queue:
        await tell(queue, *(f"{number}" for number in range(1200)))
        events = queue.events(after="0", follow=False)
        seen = await first(1, events)
        await tell(queue, "late")
        seen += await all_of(events)
        assert jobs(seen) == [f"{number}" for number in range(1200)]
        assert await all_of(events) == [], "it stays so"


async def test_who_goes_on_after_the_last_event_misses_and_repeats_none(queue: Queue) -> None:
    seen: list[Event] = []
    async with queue:
        async with queue.events(after="0") as events:
            await tell(queue, "a", "b")
            seen += await first(1, events)
        await tell(queue, "c")
        async with queue.events(after=seen[-1].id) as events:
            seen += await first(2, events)
    assert jobs(seen) == ["a", "b", "c"]
    assert not any(event.missed for event in seen)


async def test_who_comes_back_too_late_is_told_that_events_are_gone(queue: Queue) -> None:
    async with queue:
        ids = await tell(queue, "a", "b", "c", "d")
        await queue.redis.xtrim(queue.keys.events, maxlen=2, approximate=False)
        late = await all_of(queue.events(after=ids[0], follow=False))
        assert [(event.job_id, event.missed) for event in late] == [("c", True), ("d", False)]
        narrow = await all_of(queue.events(after=ids[0], job="d", follow=False))
        assert [(event.job_id, event.missed) for event in narrow] == [("d", True)], (
            "also if it was another job's"
        )
        for known in (ids[2], "0", datetime.fromtimestamp(1, UTC)):
            assert not any(event.missed for event in await all_of(queue.events(after=known, follow=False)))


@pytest.mark.parametrize(
    "again", ["1-1", "9999999999999-1"], ids=["with an earlier clock", "with a later clock"]
)
async def test_a_stream_that_was_lost_and_made_anew_is_followed(queue: Queue, again: str) -> None:
    async with queue, queue.events(after="0") as events:
        await tell(queue, "a")
        assert jobs(await first(1, events)) == ["a"]
        await queue.redis.delete(queue.keys.events)
        await tell(queue, "b", id=again)
        [found] = await first(1, events)
        assert (found.job_id, found.missed) == ("b", True)


@pytest.mark.parametrize("protocol", [2, 3])
async def test_either_protocol_will_do(redis_url: str, protocol: int) -> None:
    async with Queue("work", f"{redis_url}?protocol={protocol}") as queue:
        async with queue.events() as events:
            await tell(queue, "a")
            assert jobs(await first(1, events)) == ["a"]
        assert jobs(await all_of(queue.events(after="0", follow=False))) == ["a"]


async def test_a_step_that_is_cancelled_loses_no_event(queue: Queue) -> None:
    async with queue, queue.events(after="0") as events:
        with anyio.move_on_after(0.01):
            await anext(events)
        await tell(queue, "a", "b")
        assert jobs(await first(1, events)) == ["a"]
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anext(events)
        assert jobs(await first(1, events)) == ["b"]


async def test_an_outage_is_waited_through(queue: Queue, proxy: FaultProxy, notes: Notes[Event]) -> None:
    behind = Queue("work", proxy.url)

    async def follow(*, task_status: Any) -> None:
        async with behind, behind.events(after="0") as events:
            task_status.started()
            async for event in events:
                notes.add(event)

    async with queue, anyio.create_task_group() as tasks:
        await tasks.start(follow)
        await tell(queue, "a")
        await notes.first(1)
        proxy.refuse()
        proxy.reset()
        await tell(queue, "b")
        await proxy.until(lambda proxy: proxy.refused > 1)
        proxy.heal()
        await notes.first(2)
        proxy.freeze()
        await tell(queue, "c")
        await proxy.until(lambda proxy: proxy.up.held > 0 or proxy.down.held > 0)
        proxy.reset()
        proxy.heal()
        seen = await notes.first(3)
        tasks.cancel_scope.cancel()
    assert jobs(seen) == ["a", "b", "c"]
    assert not any(event.missed for event in seen)


async def test_a_loop_that_is_left_leaves_no_connection(queue: Queue, server: Server) -> None:
    async with queue:
        await tell(queue, "a", "b")
        before = len(server.clients())
        async for event in queue.events(after="0"):
            assert event.job_id == "a"
            break
        async with queue.events(after="0") as events:
            await anext(events)
            assert len(server.clients()) == before + 1
        await until(lambda: len(server.clients()) == before)
        with pytest.raises(StopAsyncIteration):
            await anext(events)
        await events.aclose()


async def test_it_has_no_task_and_only_one_may_wait_for_the_next(queue: Queue) -> None:
    async with queue, queue.events() as events, anyio.create_task_group() as tasks:

        async def wait() -> None:
            await anext(events)

        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(RuntimeError, match="another task"):
            await anext(events)
        await tell(queue, "a")


async def test_when_the_queue_is_left_it_ends_with_it_or_goes_on_with_another_opening(queue: Queue) -> None:
    held = queue.events(after="0")
    with pytest.raises(NotOpen):
        await anext(held)
    ended = anyio.Event()

    async def wait() -> None:
        with pytest.raises(NotOpen):
            await anext(queue.events())
        ended.set()

    async with anyio.create_task_group() as tasks:
        async with queue:
            await tell(queue, "a", "b")
            assert jobs(await first(1, held)) == ["a"]
            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
        with anyio.fail_after(SECONDS):
            await ended.wait()
    async with queue:
        assert jobs(await first(1, held)) == ["b"]
        await tell(queue, "c")
        assert jobs(await first(1, held)) == [
            "c"
        ]  # the fixture sees that leaving the queue closed its connection


async def test_what_waiting_cannot_mend_is_raised(queue: Queue) -> None:
    async with queue:
        await queue.redis.set(queue.keys.events, "mine")
        with pytest.raises(ConfigurationError, match="holds something else"):
            await anext(queue.events(after="0"))


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        (lambda queue: queue.events(after="yesterday"), ValueError, "an event's id"),
        (lambda queue: queue.events(after="1-99999999999999999999"), ValueError, "an event's id"),
        (lambda queue: queue.events(after=5), TypeError, "an event's id or an aware datetime"),
        (lambda queue: queue.events(after=datetime(2026, 1, 1)), ValueError, "naive"),
        (lambda queue: queue.events(kinds="completed"), TypeError, "collection"),
    ],
)
def test_wrong_arguments_are_refused_at_once(
    redis_url: str, wrong: Callable[[Queue], Events], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        wrong(Queue("work", redis_url))


def test_all_kinds_that_a_worker_tells_are_in_the_docs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "events.md").read_text(encoding="utf-8")
    kinds = [value for name, value in vars(notices).items() if name.isupper() and isinstance(value, str)]
    assert len(kinds) >= 9
    assert not [kind for kind in kinds if f"| `{kind}`" not in page]
