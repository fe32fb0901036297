"""`queue.dead_letters`, as an operator uses it: looking, replaying with a fresh budget of attempts, deleting."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest
from tests.support.limits import lasting_at_most
from tests.worker.conftest import AT_ONCE, Notes, drained, envelope, length, until, working

from anyq import DeadLetter, JobFailed, NotOpen, Queue, Retention, Unrecoverable, current_job
from anyq.errors import ConfigurationError

pytestmark = pytest.mark.anyio


async def write(queue: Queue, *, id: str = "*", **fields: Any) -> str:
    """Put one letter there, field by field; gives its id."""
    words = [word for field in fields.items() for word in field]
    written: bytes = await queue.redis.call("XADD", queue.keys.dead_letters, id, *words)
    return written.decode()


async def bury(queue: Queue, *ids: str, **fields: Any) -> list[str]:
    """Put letters there as a worker would; gives their ids."""
    letters: list[str] = []
    for id in ids:
        values = {"d": envelope({"id": id}, id=id), "n": "work", "reason": "stalled", **fields}
        letters.append(await write(queue, **values))
    return letters


def jobs(letters: list[DeadLetter]) -> list[str]:
    return [letter.job_id for letter in letters]


#: Letters that can never become jobs.
BAD: list[dict[str, Any]] = [
    {"d": "", "reason": "malformed"},
    {"d": b"\xc1"},
    {"d": envelope(), "n": b"\xff"},
]


# -- looking ----------------------------------------------------------------------------------------------------------


async def test_errors_tell_what_went_wrong_at_a_glance(queue: Queue) -> None:
    async with queue:
        assert await queue.dead_letters.errors() == []
        await bury(queue, "a", error="ValueError", message="first")
        await bury(queue, "b", "c", n="mail", error="ConnectionError", message="no way")
        [last] = await bury(queue, "d", error="ValueError", message="last")
        await bury(queue, "e", "f", error="ValueError", reason="unrecoverable")
        groups = await queue.dead_letters.errors()
        assert {(group.error, group.task, group.reason, group.count) for group in groups} == {
            ("ValueError", "work", "unrecoverable", 2),
            ("ValueError", "work", "stalled", 2),
            ("ConnectionError", "mail", "stalled", 2),
        }
        [work] = await queue.dead_letters.errors(task="work", reason="stalled")
        assert (work.last, work.message, work.count) == (last, "last", 2)
        assert work.first_at <= work.last_at
        assert len(await queue.dead_letters.errors(limit=1)) == 1
        assert (await queue.dead_letters.replay_all(error="ConnectionError")).count == 2
        assert await queue.dead_letters.errors(error="ConnectionError") == []
        with pytest.raises(TypeError, match="job"):
            await queue.dead_letters.errors(job="a")
        with pytest.raises(ValueError, match="limit"):
            await queue.dead_letters.errors(limit=0)


async def test_a_letter_tells_the_story_of_its_job(queue: Queue) -> None:
    @queue.task(attempts=2, backoff=AT_ONCE)
    async def welcome(to: str) -> None:
        raise ConnectionError(f"no way to {len(to)} letters")

    async with queue:
        second = timedelta(seconds=1)
        before = datetime.now(UTC) - second
        job = await welcome.enqueue("ada")
        worker = await drained(queue)
        [letter] = await queue.dead_letters.list()
        assert (letter.job_id, letter.task, letter.reason) == (job.id, "welcome", "retries_exhausted")
        assert (letter.error, letter.message) == ("ConnectionError", "no way to 3 letters")
        assert "raise ConnectionError" in letter.traceback
        assert (letter.attempts, letter.lost) == (2, 0)
        assert letter.created_at is not None
        assert (
            before - timedelta(seconds=1)
            < letter.created_at
            <= letter.died_at
            < datetime.now(UTC) + timedelta(seconds=1)
        )
        assert letter.worker == worker.name
        assert letter.payload is None, "arguments are secret"
        [shown] = await queue.dead_letters.list(payload=True)
        assert shown.payload == {"to": "ada"}
        assert await queue.dead_letters.get(letter.id) == letter
        assert await queue.dead_letters.get(letter.id, payload=True) == shown
        assert await queue.dead_letters.get("1-1") is None
        assert "ada" not in repr(letter)


async def test_pages_follow_each_other_in_either_direction(queue: Queue) -> None:
    async with queue:
        await bury(queue, *"abcde")
        for newest_first, expected in ((True, ["ed", "cb", "a"]), (False, ["ab", "cd", "e"])):
            pages: list[str] = []
            after: str | None = None
            while page := await queue.dead_letters.list(limit=2, after=after, newest_first=newest_first):
                pages.append("".join(jobs(page)))
                after = page[-1].id
            assert pages == expected
        assert [letter.job_id async for letter in queue.dead_letters.each()] == list("abcde")
        assert [letter.job_id async for letter in queue.dead_letters.each(newest_first=True)] == list("edcba")


async def test_conditions_choose_by_task_reason_error_job_and_time(queue: Queue) -> None:
    async with queue:
        [a] = await bury(queue, "a", error="KeyError")
        await bury(queue, "b", reason="bad_payload")
        letter = await queue.dead_letters.get(a)
        assert letter is not None
        died = letter.died_at
        await until_another_millisecond(queue, died)
        await bury(queue, "ab", n="other")
        await write(queue, d=envelope(id="c"))
        cases: list[tuple[dict[str, Any], str]] = [
            ({"task": "work"}, "a b"),
            ({"task": ""}, "c"),
            ({"reason": "stalled"}, "a ab"),
            ({"reason": "stalled", "task": "other"}, "ab"),
            ({"error": "KeyError"}, "a"),
            ({"job": "a"}, "a"),
            ({"until": died}, "a"),
            ({"since": died + timedelta(milliseconds=1), "task": "other"}, "ab"),
            ({"since": died + timedelta(hours=1)}, ""),
            ({}, "a b ab c"),
        ]
        for where, expected in cases:
            found = await queue.dead_letters.list(newest_first=False, **where)
            if where.get("until"):
                found = found[:1]  # one that died in the same millisecond matches too
            else:
                assert await queue.dead_letters.count(**where) == len(expected.split()), where
            assert jobs(found) == expected.split(), where


async def until_another_millisecond(queue: Queue, moment: datetime) -> None:
    while True:
        seconds, micros = await queue.redis.time()
        if datetime.fromtimestamp(seconds + micros / 1_000_000, UTC) > moment + timedelta(milliseconds=2):
            return


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda letters: letters.get("nonsense"), "a dead letter's id is like '1795355080786-0'"),
        (lambda letters: letters.replay("1-1", "1"), "a dead letter's id"),
        (lambda letters: letters.delete("1 -1"), "a dead letter's id"),
        (lambda letters: letters.list(after="x"), "a dead letter's id"),
        (lambda letters: letters.list(limit=0), "limit must be >= 1"),
        (lambda letters: letters.list(tsk="x"), "no condition tsk"),
        (lambda letters: letters.count(task=3), "task must be a string"),
        (lambda letters: letters.count(since=datetime(2026, 1, 1)), "naive"),
        (lambda letters: letters.replay_all(rate=0), "rate must be"),
        (lambda letters: letters.replay_all(limit=-1), "limit must be >= 0"),
    ],
)
async def test_what_makes_no_sense_is_refused(queue: Queue, ask: Any, message: str) -> None:
    async with queue:
        with pytest.raises((ValueError, TypeError), match=message):
            await ask(queue.dead_letters)


async def test_a_queue_must_be_open(queue: Queue) -> None:
    with pytest.raises(NotOpen):
        await queue.dead_letters.count()


async def test_a_key_of_another_type_is_said(queue: Queue) -> None:
    async with queue:
        await queue.redis.set(queue.keys.dead_letters, "x")
        with pytest.raises(ConfigurationError, match="holds something else"):
            await queue.dead_letters.list()


# -- mending ----------------------------------------------------------------------------------------------------------


async def test_a_replayed_job_has_all_its_runs_before_it_and_its_waiter_gets_the_new_result(
    queue: Queue, notes: Notes[int]
) -> None:
    broken = True

    @queue.task(attempts=2, backoff=AT_ONCE, result_ttl=60)
    async def work() -> str:
        notes.add(current_job().attempt)
        if broken:
            raise RuntimeError("not yet")
        return "mended"

    async with queue:
        job = await work.enqueue()
        async with working(queue):
            with pytest.raises(JobFailed):
                await job.result(timeout=10)
            [letter] = await queue.dead_letters.list()
            assert (await queue.dead_letters.replay(letter.id)).count == 1
            with pytest.raises(JobFailed):
                await job.result(timeout=10)
            [again] = await queue.dead_letters.list()
            assert notes.made == [1, 2, 1, 2]
            broken = False
            replayed = await queue.dead_letters.replay(again.id, again.id)
            assert (replayed.count, replayed.left) == (1, {})
            assert await job.result(timeout=10) == "mended"
        assert notes.made == [1, 2, 1, 2, 1]
        assert await queue.dead_letters.count() == 0


async def test_a_letter_that_cannot_be_replayed_stays_and_holds_up_nobody(queue: Queue) -> None:
    async with queue:
        bad = [await write(queue, **values) for values in BAD]
        await bury(queue, "a", "b")
        replayed = await queue.dead_letters.replay_all()
        assert replayed.count == 2
        assert list(replayed.left) == bad
        assert "no field 'd'" in replayed.left[bad[0]]
        assert [letter.id async for letter in queue.dead_letters.each()] == bad
        assert await length(queue) == 2
        named = await queue.dead_letters.replay(*bad, "1-1")
        assert named.count == 0
        assert named.left["1-1"] == "there is no such dead letter"


async def test_a_job_that_dies_again_is_not_replayed_in_a_circle(queue: Queue, notes: Notes[int]) -> None:
    @queue.task
    async def work(id: str) -> None:
        notes.add(1)
        raise Unrecoverable(id)

    async with queue, working(queue):
        await bury(queue, *map(str, range(30)))
        replayed = await queue.dead_letters.replay_all(rate=1000)
        assert replayed.count == 30
        await notes.first(30)


async def test_a_replay_takes_those_that_match_up_to_its_limit_and_tells_how_far_it_is(queue: Queue) -> None:
    told: list[tuple[int, int]] = []
    async with queue:
        await bury(queue, *"abc")
        await bury(queue, *"xyz", n="other")
        replayed = await queue.dead_letters.replay_all(
            task="other", limit=2, progress=lambda *how_far: told.append(how_far)
        )
        assert replayed.count == 2
        assert told == [(2, 2)]
        assert [letter.job_id async for letter in queue.dead_letters.each()] == list("abcz")


async def test_a_rate_spreads_a_replay_over_time(queue: Queue) -> None:
    async with queue:
        await bury(queue, *map(str, range(20)))
        began = anyio.current_time()
        assert (await queue.dead_letters.replay_all(rate=50)).count == 20
        assert anyio.current_time() - began >= 0.15


async def test_a_replay_waits_for_room(redis_url: str, notes: Notes[str]) -> None:
    queue = Queue("work", redis_url, max_length=3)

    @queue.task
    async def work(id: str) -> None:
        notes.add(id)

    async with queue:
        await bury(queue, *map(str, range(10)))
        with anyio.move_on_after(0.1) as scope:
            await queue.dead_letters.replay_all()
        assert scope.cancelled_caught
        assert await length(queue) == 3
        assert await queue.dead_letters.count() == 7, "cancelled, it has replayed some"
        async with working(queue):
            assert (await queue.dead_letters.replay_all()).count == 7
            assert sorted(await notes.first(10)) == sorted(map(str, range(10)))


async def test_letters_are_deleted_one_by_one_or_by_condition(queue: Queue) -> None:
    async with queue:
        a, b, c = await bury(queue, *"abc")
        await bury(queue, *"xyz", n="other")
        assert await queue.dead_letters.delete(a, c, "1-1") == 2
        assert await queue.dead_letters.get(b) is not None
        assert await queue.dead_letters.delete_all(task="other", limit=1) == 1
        assert await queue.dead_letters.delete_all(job="z") == 1
        assert [letter.job_id async for letter in queue.dead_letters.each()] == ["b", "y"]
        assert await queue.dead_letters.delete_all() == 2
        assert await queue.dead_letters.delete_all() == 0


async def test_a_job_whose_id_was_taken_meanwhile_is_not_there_twice(queue: Queue) -> None:
    @queue.task
    async def work() -> None:
        raise Unrecoverable

    async with queue:
        await work.options(id="mine").enqueue()
        await drained(queue)
        assert (await work.options(id="mine").enqueue()).new
        [letter] = await queue.dead_letters.list()
        assert (await queue.dead_letters.replay_all()).left == {letter.id: "another job has its id by now"}
        await drained(queue)
        assert (await queue.dead_letters.replay(letter.id)).count == 1
        assert not (await work.options(id="mine").enqueue()).new, "it is taken again"


async def test_nothing_is_left_in_redis_by_a_replay(queue: Queue) -> None:
    async with queue:
        await bury(queue, "a")
        await queue.dead_letters.replay_all()
        keys = queue.keys
        left = {keys.stream, keys.dead_letters, keys.counts, keys.history}
        assert set(await queue.redis.keys()) == left


# -- retention --------------------------------------------------------------------------------------------------------


async def test_letters_are_kept_for_their_age_and_no_longer(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    queue = Queue("work", redis_url, retention=Retention(dead_letter_age=timedelta(hours=1)))
    async with queue:
        await write(queue, id="1000-0", d="")
        await bury(queue, "a")
        with lasting_at_most(10), caplog.at_level(logging.WARNING):
            async with working(queue):
                await until(lambda: "1 dead letters were trimmed for their age" in caplog.text)
        assert jobs(await queue.dead_letters.list()) == ["a"]
        assert await queue.dead_letters.trimmed() == 1


async def test_without_an_age_letters_stay(queue: Queue) -> None:
    async with queue:
        await write(queue, id="1000-0", d="")
        await drained(queue)
        assert await queue.dead_letters.count() == 1
        assert await queue.dead_letters.trimmed() == 0


@pytest.mark.parametrize("age", [0, -1, "x"])
async def test_a_wrong_age_is_refused(age: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="dead_letter_age must be"):
        Retention(dead_letter_age=age)
