"""What running jobs tell: their progress and their logs, from coroutines and threads, written by the worker."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest
from tests.support.servers import SECONDS
from tests.worker.conftest import AT_ONCE, Notes, drained, rows, until, working

from anyq import JobHandle, Limits, Progress, Queue, Retention, Unrecoverable, current_job
from anyq._redis.client import Client
from anyq._store import scripts

pytestmark = pytest.mark.anyio


async def shown(handle: JobHandle[Any], current: float) -> Progress:
    """The progress, once it has come that far."""
    with anyio.fail_after(SECONDS):
        while True:
            progress = await handle.progress()
            if progress is not None and progress.current == current:
                return progress


async def texts(handle: JobHandle[Any]) -> list[str]:
    return [line.text for line in await handle.log()]


# -- while it runs ----------------------------------------------------------------------------------------------------


async def test_a_running_job_shows_how_far_it_is_and_what_it_logged(queue: Queue) -> None:
    go_on = anyio.Event()

    @queue.task
    async def work() -> None:
        current_job().progress(3, 10, "three of ten")
        current_job().log("began")
        await go_on.wait()

    async with queue:
        handle = await work.enqueue()
        assert await handle.progress() is None
        assert await handle.log() == []
        before = datetime.now(UTC)
        async with working(queue):
            progress = await shown(handle, 3)
            assert (progress.total, progress.message, progress.attempt) == (10, "three of ten", 1)
            assert progress.fraction == 0.3
            assert abs((progress.at - before).total_seconds()) < SECONDS
            with anyio.fail_after(SECONDS):
                while await texts(handle) != ["began"]:
                    pass
            assert await queue.job(handle.id).progress() == progress, "and for who knows its id"
            go_on.set()


async def test_a_plain_function_tells_from_its_thread_and_from_one_of_its_own(queue: Queue) -> None:
    go_on = threading.Event()

    @queue.task
    def work() -> None:
        job = current_job()
        job.progress(1)
        job.log("from the handler's thread")
        helper = threading.Thread(target=job.log, args=["from a thread of its own"])
        helper.start()
        helper.join()
        go_on.wait(SECONDS)
        job.progress(3)

    async with queue:
        handle = await work.enqueue()
        async with working(queue) as worker:
            with anyio.fail_after(SECONDS):
                while await handle.progress() is None:
                    pass
            go_on.set()
            await worker.wait_idle()
        assert (await shown(handle, 3)).total is None
        assert await texts(handle) == ["from the handler's thread", "from a thread of its own"]


async def test_a_thousand_values_are_few_writings_and_the_last_one_is_among_them(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    writings: list[Any] = []
    run = Client.run

    async def counted(self: Client, script: Any, *args: Any, **more: Any) -> Any:
        if script is scripts.NOTE:
            writings.append(args)
        return await run(self, script, *args, **more)

    monkeypatch.setattr(Client, "run", counted)

    @queue.task
    async def work() -> None:
        for number in range(1000):
            current_job().progress(number, 1000)
            current_job().log(f"line {number}")
            if number % 100 == 0:
                await anyio.lowlevel.checkpoint()

    async with queue:
        handle = await work.enqueue()
        await drained(queue)
        assert (await shown(handle, 999)).fraction == 0.999
        assert await texts(handle) == [f"line {number}" for number in range(1000)]
    assert 1 <= len(writings) <= 5


async def test_progress_is_an_event_and_a_job_that_tells_nothing_makes_none(queue: Queue) -> None:
    @queue.task
    async def work(tell: bool) -> None:
        if tell:
            current_job().progress(1.5, 4, "m")

    async with queue:
        handle = await work.enqueue(True)
        await work.enqueue(False)
        await drained(queue)
        [event] = [row for row in await rows(queue, queue.keys.events) if row["e"] == b"progress"]
    told = {key: event[key] for key in ("id", "n", "attempt", "current", "total", "message")}
    assert told == {
        "id": handle.id.encode(), "n": b"work", "attempt": b"1", "current": b"1.5", "total": b"4", "message": b"m",
    }  # fmt: skip


# -- the end ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["done", "dead", "retried"])
async def test_the_last_word_is_written_whatever_the_run_comes_to_and_kept_for_a_while(
    redis_url: str, how: str
) -> None:
    queue = Queue("work", redis_url, retention=Retention(logs=100))

    @queue.task(attempts=2, backoff=AT_ONCE)
    async def work() -> None:
        job = current_job()
        if how == "retried" and job.attempt == 2:
            return  # it tells nothing any more: what the first run told ends with the job all the same
        job.progress(job.attempt, 2)
        job.log(f"run {job.attempt}")
        if how == "dead":
            raise Unrecoverable
        if how == "retried":
            raise ValueError

    async with queue:
        handle = await work.enqueue()
        await drained(queue)
        assert (await shown(handle, 1)).attempt == 1
        [line] = await handle.log()
        assert (line.text, line.attempt) == ("run 1", 1)
        for key in (queue.keys.progress(handle.id), queue.keys.log(handle.id)):
            assert 90_000 < await queue.redis.call("PTTL", key) <= 100_000


async def test_nothing_is_kept_past_the_end_if_that_is_what_the_queue_wants(redis_url: str) -> None:
    queue = Queue("work", redis_url, retention=Retention(logs=0))

    @queue.task
    async def work() -> None:
        current_job().progress(1)
        current_job().log("a line")

    async with queue:
        handle = await work.enqueue()
        await drained(queue)
        assert await handle.progress() is None
        assert await handle.log() == []
        assert await queue.redis.call("KEYS", "*" + handle.id) == []


async def test_a_job_of_a_used_id_does_not_inherit_what_its_predecessor_told(queue: Queue) -> None:
    @queue.task
    async def work() -> None:
        current_job().progress(1)
        current_job().log("a line")

    async with queue:
        handle = await work.options(id="mine").enqueue()
        await drained(queue)
        assert await texts(handle) == ["a line"]
        await work.options(id="mine").enqueue()
        assert await handle.progress() is None
        assert await handle.log() == []


async def test_a_job_that_is_handed_back_has_written_what_it_told(queue: Queue) -> None:
    begun = anyio.Event()

    @queue.task
    async def work() -> None:
        current_job().progress(1)
        current_job().log("a line")
        begun.set()
        await anyio.sleep_forever()

    async with queue:
        handle = await work.enqueue()
        async with working(queue, drain_timeout=0):
            await begun.wait()
        assert (await shown(handle, 1)).attempt == 1
        assert await texts(handle) == ["a line"]


async def test_a_worker_that_lost_a_job_writes_nothing_into_the_run_of_the_other(queue: Queue) -> None:
    begun, go_on = anyio.Event(), anyio.Event()

    @queue.task
    async def work() -> None:
        begun.set()
        with anyio.CancelScope(shield=True):
            await go_on.wait()
            current_job().progress(1)
            current_job().log("a line")

    async with queue:
        handle = await work.enqueue()
        async with working(queue) as worker:
            await begun.wait()
            [(entry, _)] = await queue.redis.call("XRANGE", queue.keys.stream, "-", "+")
            await queue.redis.call("XCLAIM", queue.keys.stream, "default", "another", 0, entry)
            go_on.set()
            await until(lambda: worker.statistics().done)
        assert await handle.progress() is None
        assert await handle.log() == []


# -- bounds -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limits", [Limits(log_lines=3), Limits(log_bytes=256)])
async def test_of_a_log_the_last_lines_are_kept(redis_url: str, limits: Limits) -> None:
    queue = Queue("work", redis_url, limits=limits)

    @queue.task(attempts=2, backoff=AT_ONCE)
    async def work() -> None:
        for number in range(50):
            current_job().log(f"{number} {'x' * 50}")
        if current_job().attempt == 1:
            raise ValueError

    async with queue:
        handle = await work.enqueue()
        await drained(queue)
        kept = await handle.log()
    assert 2 <= len(kept) <= 4
    assert [int(line.text.split()[0]) for line in kept] == list(range(50 - len(kept), 50))
    assert {line.attempt for line in kept} == {2}


async def test_a_line_and_a_message_of_any_length_and_kind_fit(redis_url: str) -> None:
    queue = Queue("work", redis_url, limits=Limits(log_bytes=300))

    @queue.task
    async def work() -> None:
        current_job().log("ü" * 10_000)
        current_job().log("half \ud800 a character\x1b[2J")
        current_job().progress(1, message="ü" * 10_000)

    async with queue:
        handle = await work.enqueue()
        await drained(queue)
        assert (await texts(handle))[-1] == "half ? a character\x1b[2J"
        assert len((await shown(handle, 1)).message) == 1000


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("3",), "current must be a number, not '3'"),
        ((True,), "current must be a number, not True"),
        ((1, float("nan")), "total must be a finite number"),
        ((1, 2, 3), "message must be a string, not 3"),
    ],
)
async def test_what_is_no_progress_is_refused_in_the_handler(
    queue: Queue, notes: Notes[str], arguments: Any, says: str
) -> None:
    @queue.task
    async def work() -> None:
        with pytest.raises((TypeError, ValueError), match=says):
            current_job().progress(*arguments)
        with pytest.raises(TypeError, match="a log line must be a string"):
            current_job().log(3)  # type: ignore[arg-type]
        notes.add("refused")

    async with queue:
        await work.enqueue()
        await drained(queue)
    assert notes.made == ["refused"]


async def test_a_log_that_cannot_be_written_does_not_hold_up_its_job(queue: Queue) -> None:
    @queue.task(result_ttl=60)
    async def work() -> int:
        current_job().log("a line")
        current_job().progress(1)
        return 1

    async with queue:
        handle = await work.options(id="mine").enqueue()
        await queue.redis.set(queue.keys.log("mine"), "a string")
        async with working(queue):
            assert await handle.result(timeout=SECONDS) == 1


def test_a_fraction_needs_a_total_and_stays_between_nothing_and_all() -> None:
    def fraction(current: float, total: float | None) -> float | None:
        return Progress(current, total, "", datetime.now(UTC), 1).fraction

    assert [fraction(1, None), fraction(1, 0), fraction(1, 4), fraction(9, 4), fraction(-1, 4)] == [
        None, None, 0.25, 1.0, 0.0,
    ]  # fmt: skip
