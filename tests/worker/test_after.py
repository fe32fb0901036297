"""Jobs that wait for others: let go in the step that ends the last of those, or given up with the first that was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest
from tests.support.servers import SECONDS
from tests.worker.conftest import AT_ONCE, Notes, dead_letters, drained, until, working

from anyq import JobFailed, JobOptions, JobStatus, Queue, Retention, Task, Unrecoverable, current_job
from anyq._store.publish import MOST_CHILDREN

pytestmark = pytest.mark.anyio


@pytest.fixture
def step(queue: Queue, notes: Notes[Any]) -> Task[..., Any]:
    @queue.task(attempts=2, backoff=AT_ONCE, result_ttl=60)
    async def step(name: str, fail: str = "") -> str:
        notes.add(name)
        if fail == "once" and current_job().attempt == 1:
            raise ValueError
        if fail == "for good":
            raise Unrecoverable
        return name.upper()

    return step


async def remains(queue: Queue) -> list[bytes]:
    """What is left of waiting, besides the memory of how jobs ended."""
    names: list[bytes] = await queue.redis.call("KEYS", "*")
    return [name for name in names if name in {queue.keys.waiting, queue.keys.children}]


# -- waiting ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fail", ["", "once"])
async def test_a_job_starts_when_all_that_it_waits_for_are_done(
    queue: Queue, step: Task[..., Any], notes: Notes[Any], fail: str
) -> None:
    async with queue:
        first = await step.options(tracked=True).enqueue("first", fail=fail)
        second = await step.options(tracked=True, delay=0.02).enqueue("second")
        child = await step.options(after=[first, second.id]).enqueue("child")
        last = await step.options(after=(child,)).enqueue("last")
        async with working(queue, concurrency=3):
            assert await last.result(timeout=SECONDS) == "LAST"
        assert await remains(queue) == []
    assert set(notes.made[:-2]) == {"first", "second"}
    assert notes.made[-2:] == ["child", "last"]
    assert notes.made.count("child") == notes.made.count("last") == 1


async def test_a_job_of_a_chosen_id_waits_for_others_and_has_its_id_until_it_has_ended(
    queue: Queue, step: Task[..., Any], notes: Notes[Any]
) -> None:
    async with queue:
        for _ in range(2):  # its id is free again
            parent = await step.options(tracked=True).enqueue("parent")
            child = await step.options(after=[parent], id="mine").enqueue("child")
            again = await step.options(after=[parent], id="mine").enqueue("again")
            other = await step.options(id="mine").enqueue("other")
            assert [child.new, again.new, other.new] == [True, False, False]
            assert child.id == again.id == other.id == "mine"
            assert await child.status() is JobStatus.WAITING
            await drained(queue)
            assert await again.result(timeout=SECONDS) == "CHILD"
        with pytest.raises(ValueError, match="nothing is known of job 'nobody'"):
            await step.options(after=["nobody"], id="yours").enqueue("child")
        assert (await step.options(id="yours").enqueue("free")).new
        assert await remains(queue) == []
    assert notes.made == ["parent", "child"] * 2


@pytest.mark.parametrize("end", ["failed", "cancelled"])
async def test_a_chosen_id_is_free_again_when_its_job_failed_with_another_or_was_cancelled(
    queue: Queue, step: Task[..., Any], end: str
) -> None:
    async with queue:
        parent = await step.options(tracked=True).enqueue("parent", fail="for good")
        child = await step.options(after=[parent], id="mine").enqueue("child")
        if end == "cancelled":
            await child.cancel()
        else:
            await drained(queue)
        assert (await step.options(id="mine", delay=60).enqueue("another")).new


async def test_a_job_is_not_let_go_by_what_an_earlier_job_of_its_id_waited_for(
    queue: Queue, step: Task[..., Any], notes: Notes[Any]
) -> None:
    async with queue:
        before = await step.options(tracked=True).enqueue("before")
        parent = await step.options(tracked=True, delay=SECONDS * 10).enqueue("parent")
        assert (
            await (await step.options(after=[before], id="mine").enqueue("earlier")).cancel() == "cancelled"
        )
        child = await step.options(after=[parent], id="mine").enqueue("child")
        assert child.new
        async with working(queue):
            await before.result(timeout=SECONDS)
            assert await child.status() == JobStatus.WAITING
            await parent.run_now()
            assert await child.result(timeout=SECONDS) == "CHILD"
        assert await remains(queue) == []
    assert notes.made == ["before", "parent", "child"]


async def test_a_worker_hears_of_the_lane_of_a_job_that_is_let_go(queue: Queue, step: Task[..., Any]) -> None:
    async with working(queue):
        parent = await step.options(tracked=True, delay=0.05).enqueue("parent")
        child = await step.options(after=[parent], priority=3).enqueue("child")
        assert await child.result(timeout=3) == "CHILD"


async def test_a_child_gets_the_results_of_its_parents_if_it_asks(queue: Queue) -> None:
    @queue.task(result_ttl=60)
    async def number(value: int) -> int:
        return value

    @queue.task(result_ttl=60)
    async def total() -> int:
        return sum([await queue.job(id).result(timeout=SECONDS) for id in current_job().after])

    async with queue:
        parents = await number.options(tracked=True).enqueue_many([(1,), (2,), (3,)])
        child = await total.options(after=parents).enqueue()
        async with working(queue):
            assert await child.result(timeout=SECONDS) == 6


async def test_many_children_of_one_parent_are_let_go_together(
    queue: Queue, step: Task[..., Any], notes: Notes[Any]
) -> None:
    async with queue:
        parent = await step.options(tracked=True).enqueue("parent")
        children = await step.options(after=[parent]).enqueue_many([(f"child {n}",) for n in range(50)])
        async with working(queue):
            for child in children:
                await child.result(timeout=SECONDS)
        assert await remains(queue) == []
    assert notes.made[0] == "parent"
    assert len(set(notes.made)) == len(notes.made) == 51


async def test_a_chosen_id_a_unique_key_and_a_track_go_together(
    queue: Queue, step: Task[..., Any], notes: Notes[Any]
) -> None:
    async with queue:
        parent = await step.options(tracked=True, id="mine", unique="k").enqueue("parent")
        await step.options(after=["mine"]).enqueue("child")
        await drained(queue)
        assert (await step.options(tracked=True, id="mine", unique="k").enqueue("again")).id == parent.id
        await step.options(after=["mine"]).enqueue("after again")
        await drained(queue)
    assert notes.made == ["parent", "child", "again", "after again"]


# -- a parent that has ended ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("on_failure", ["fail", "run"])
@pytest.mark.parametrize("fail", ["", "for good"])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_how_a_parent_ended_decides_whether_it_did_so_before_or_after(
    queue: Queue, step: Task[..., Any], notes: Notes[Any], when: str, fail: str, on_failure: Any
) -> None:
    async with queue:
        parent = await step.options(tracked=True).enqueue("parent", fail=fail)
        if when == "before":
            await drained(queue)
        child = await step.options(after=[parent], on_failure=on_failure).enqueue("child")
        await drained(queue)
        if fail and on_failure == "fail":
            with pytest.raises(
                JobFailed, match=f"job '{parent.id}', for which it waited, was given up"
            ) as caught:
                await child.result(timeout=SECONDS)
            assert caught.value.reason == "parent_failed"
        else:
            assert await child.result(timeout=SECONDS) == "CHILD"
        assert await remains(queue) == []
    assert ("child" in notes.made) == (not fail or on_failure == "run")


async def test_failure_goes_down_to_grandchildren_at_once_though_other_parents_still_run(
    queue: Queue, step: Task[..., Any], notes: Notes[Any]
) -> None:
    go_on = anyio.Event()

    @queue.task
    async def slow() -> None:
        await go_on.wait()

    async with queue:
        still = await slow.options(tracked=True).enqueue()
        bad = await step.options(tracked=True).enqueue("bad", fail="for good")
        child = await step.options(after=[still, bad]).enqueue("child")
        grandchild = await step.options(after=[child]).enqueue("grandchild")
        sturdy = await step.options(after=[child], on_failure="run").enqueue("sturdy")
        async with working(queue) as worker:
            with pytest.raises(JobFailed, match=child.id):
                await grandchild.result(timeout=SECONDS)
            assert await sturdy.result(timeout=SECONDS) == "STURDY"
            go_on.set()
            await until(lambda: worker.statistics().done == 2)
        letters = await dead_letters(queue)
        assert [letter["reason"] for letter in letters].count(b"parent_failed") == 2
        assert await remains(queue) == []
    assert notes.made == ["bad", "sturdy"]


@pytest.mark.parametrize("ends", ["done", "dead", "cancelled", "failed with its parent"])
async def test_a_job_that_waits_holds_its_unique_key_until_it_has_ended(
    queue: Queue, step: Task[..., Any], notes: Notes[Any], ends: str
) -> None:
    async with queue:
        parent = await step.options(tracked=True).enqueue("parent", fail="for good" if "with" in ends else "")
        options: JobOptions = {"after": [parent], "unique": "k"}
        child = await step.options(**options).enqueue("child", fail="for good" if ends == "dead" else "")
        again = await step.options(**options).enqueue("again")
        elsewhere = await step.options(unique="k").enqueue("elsewhere")
        assert (child.new, again.new, elsewhere.new) == (True, False, False)
        assert child.id == again.id == elsewhere.id
        if ends == "cancelled":
            await child.cancel()
        else:
            await drained(queue)
        assert (await step.options(after=[parent], on_failure="run", unique="k").enqueue("next")).new
        await drained(queue)
        assert await remains(queue) == []
    assert notes.made[-1] == "next"
    assert notes.made.count("child") == (ends in {"done", "dead"})


async def test_a_unique_key_is_kept_for_its_window_beside_what_a_job_waited_for(
    queue: Queue, step: Task[..., Any]
) -> None:
    async with queue:
        parent = await step.options(tracked=True).enqueue("parent")
        child = await step.options(after=[parent], id="mine", unique="k", window=100).enqueue("child")
        await drained(queue)
        later = await step.options(after=[parent], id="other", unique="k", window=100).enqueue("later")
        assert (child.new, later.new, later.id) == (True, False, "mine")
        assert 90_000 < await queue.redis.call("PTTL", queue.keys.unique("k")) <= 100_000


async def test_how_a_job_ended_is_known_for_as_long_as_the_queue_says(redis_url: str) -> None:
    queue = Queue("work", redis_url, retention=Retention(outcomes=100))
    forgetful = Queue("forgetful", redis_url, retention=Retention(outcomes=0))

    async def act() -> None: ...

    tasks = [queue.task(act), forgetful.task(act)]
    async with queue, forgetful:
        first, second = [await task.options(tracked=True).enqueue() for task in tasks]
        await drained(queue, forgetful)
        assert 90_000 < await queue.redis.call("PTTL", queue.keys.track(first.id)) <= 100_000
        with pytest.raises(ValueError, match="nothing is known of job"):
            await tasks[1].options(after=[second]).enqueue()


# -- crashes ----------------------------------------------------------------------------------------------------------


async def test_children_of_a_job_whose_worker_was_killed_are_let_go_by_the_one_that_ends_it(
    queue: Queue, step: Task[..., Any], notes: Notes[Any]
) -> None:
    async with queue:
        parent = await step.options(tracked=True).enqueue("parent")
        child = await step.options(after=[parent]).enqueue("child")
        # What a worker leaves that was killed with the job in its hands: an entry in its name, and no heartbeat.
        await queue.redis.call("XGROUP", "CREATE", queue.keys.stream, "default", "0", "MKSTREAM")
        await queue.redis.call(
            "XREADGROUP", "GROUP", "default", "anyq-dead", "STREAMS", queue.keys.stream, ">"
        )
        async with working(queue, lease=1):
            assert await child.result(timeout=SECONDS) == "CHILD"
    assert notes.made == ["parent", "child"]


# -- what is refused --------------------------------------------------------------------------------------------------


async def test_nothing_waits_for_what_nobody_knows_and_nothing_is_added(
    queue: Queue, step: Task[..., Any]
) -> None:
    async with queue:
        plain = await step.enqueue("plain")
        known = await step.options(tracked=True).enqueue("known")
        for stranger in (plain, "never was"):
            with pytest.raises(ValueError, match="nothing is known of job"):
                await step.options(after=[known, stranger]).enqueue("child")
        await drained(queue)
        assert await remains(queue) == []


async def test_a_job_has_a_bounded_number_of_children(queue: Queue, step: Task[..., Any]) -> None:
    async with queue:
        parent = await step.options(tracked=True).enqueue("parent")
        waiting = step.options(after=[parent])
        await waiting.enqueue_many([("child",)] * MOST_CHILDREN)
        with pytest.raises(ValueError, match=f"{MOST_CHILDREN} jobs wait for job '{parent.id}' already"):
            await waiting.enqueue("one more")
        assert await queue.redis.hlen(queue.keys.waiting) == MOST_CHILDREN


async def test_jobs_wait_for_those_of_their_own_queue(
    queue: Queue, step: Task[..., Any], redis_url: str
) -> None:
    other = Queue("other", redis_url)
    shared = Queue("work", redis_url, prefix="chasqui")
    async with queue, other, shared:
        with pytest.raises(ValueError, match="is of queue 'other'"):
            await step.options(after=[other.job("x")]).enqueue("child")
        for options in ({"tracked": True}, {"after": ["x"]}):
            with pytest.raises(ValueError, match="shared with chasquimq"):
                await shared.enqueue("act", **options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"after": "x"}, "after must be a list of jobs"),
        ({"after": 3}, "after must be a list of jobs"),
        ({"after": [3]}, "a job of after must be a string"),
        ({"after": ["x"], "delay": 1}, "excludes delay, at and debounce"),
        ({"after": ["x"], "unique": "x", "debounce": True, "window": 1}, "excludes delay, at and debounce"),
        ({"on_failure": "run"}, "set after="),
        ({"after": ["x"], "on_failure": "panic"}, "on_failure must be 'fail' or 'run', not 'panic'"),
    ],
)
async def test_wrong_combinations_are_refused(step: Task[..., Any], options: Any, says: str) -> None:
    with pytest.raises((TypeError, ValueError), match=says):
        step.options(**options)


@pytest.mark.parametrize("empty", [list, tuple])
async def test_a_job_that_waits_for_nobody_starts_at_once(
    queue: Queue, step: Task[..., Any], notes: Notes[Any], empty: Callable[[], Any]
) -> None:
    async with queue:
        await step.options(after=empty()).enqueue("alone")
        await drained(queue)
    assert notes.made == ["alone"]
