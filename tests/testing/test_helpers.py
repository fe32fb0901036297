"""`anyq.testing`, as a user's tests meet it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest

from anyq import Backoff, Queue, RetryLater, Unrecoverable
from anyq.testing import Drained, dead_letters, drain, run_worker
from pytest_anyq import anyq_queue, anyq_redirect, anyq_url

__all__ = ["anyq_queue", "anyq_redirect", "anyq_url"]

pytestmark = pytest.mark.anyio

mine = Queue("mine", "redis://nowhere.invalid:1", prefix="production")


@mine.task(attempts=4, backoff=Backoff.fixed(3600))
async def welcome(to: str) -> str:
    if "@" not in to:
        raise ValueError(f"{to} is no address")
    return f"welcome, {to}"


@pytest.fixture
def redirected(anyq_redirect: Callable[..., None]) -> None:
    anyq_redirect(mine)


async def test_a_worker_runs_the_jobs_of_a_queue_inside_the_block(anyq_queue: Queue) -> None:
    @anyq_queue.task
    async def double(number: int) -> int:
        return 2 * number

    async with run_worker(anyq_queue):
        assert await double.call(21, timeout=5) == 42


async def test_a_worker_takes_the_settings_of_workers(anyq_queue: Queue) -> None:
    async with run_worker(anyq_queue, concurrency=3) as worker:
        assert worker.concurrency == 3


async def test_leaving_the_block_cuts_what_still_runs(anyq_queue: Queue) -> None:
    begun = anyio.Event()

    @anyq_queue.task
    async def for_ever() -> None:
        begun.set()
        await anyio.sleep_forever()

    with anyio.fail_after(5):
        async with run_worker(anyq_queue) as worker:
            await for_ever.enqueue()
            await begun.wait()
        assert worker.left_nothing


@pytest.mark.usefixtures("redirected")
async def test_a_program_s_own_queue_is_drained_on_the_private_server() -> None:
    async with mine:
        await welcome.enqueue("ada@example.com")
        await welcome.options(delay=60).enqueue("alan@example.com")
    assert await drain(mine) == Drained(done=1, failed=0, retried=0, delayed=1, dead_letters=[])


@pytest.mark.usefixtures("redirected")
async def test_hours_of_delay_and_backoff_can_be_skipped() -> None:
    async with mine:
        await welcome.options(delay=7200).enqueue("ada@example.com")
        await welcome.enqueue("nobody")
    with anyio.fail_after(5):
        drained = await drain(mine, skip_delays=True)
    assert (drained.done, drained.failed, drained.retried, drained.delayed) == (1, 4, 3, 0)
    [letter] = drained.dead_letters
    assert (letter.task, letter.arguments) == ("welcome", {"to": "nobody"})
    assert (letter.reason, letter.error, letter.attempts) == ("retries_exhausted", "ValueError", 4)
    assert letter.message == "nobody is no address"
    assert 'raise ValueError(f"{to} is no address")' in letter.traceback
    assert await dead_letters(mine) == [letter]


@pytest.mark.usefixtures("redirected")
async def test_arguments_are_not_shown_by_a_dead_letter() -> None:
    async with mine:
        await mine.enqueue("welcome", {"to": "secret", "password": "hunter2"})
    [letter] = (await drain(mine)).dead_letters
    assert letter.reason == "bad_payload"
    assert "hunter2" not in repr(letter)


async def test_a_drain_that_does_not_end_says_what_runs(anyq_queue: Queue) -> None:
    @anyq_queue.task
    async def for_ever() -> None:
        await anyio.sleep_forever()

    async with anyq_queue:
        await for_ever.enqueue()
    with pytest.raises(TimeoutError, match=r"not empty after 0\.2 s; jobs in hand: <Job .* 'for_ever'"):
        await drain(anyq_queue, timeout=0.2)


async def test_a_drain_of_a_job_that_always_comes_back_ends_too(anyq_queue: Queue) -> None:
    @anyq_queue.task
    async def not_now() -> None:
        raise RetryLater(60)

    async with anyq_queue:
        await not_now.enqueue()
    with pytest.raises(TimeoutError, match=r"not empty after 0\.3 s"):
        await drain(anyq_queue, skip_delays=True, timeout=0.3)


async def test_several_queues_are_drained_together(anyq_queue: Queue) -> None:
    second = Queue("second", anyq_queue.url, prefix=anyq_queue.prefix)

    @anyq_queue.task
    async def first_step() -> None:
        await second_step.enqueue()

    @second.task
    def second_step() -> None:
        raise Unrecoverable("the end")

    async with anyq_queue:
        await first_step.enqueue()
    drained = await drain(anyq_queue, second)
    assert drained.done == 1
    assert [letter.reason for letter in drained.dead_letters] == ["unrecoverable"]


@pytest.mark.usefixtures("redirected")
async def test_a_private_server_is_not_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    await drain(mine)
    ours = [record for record in caplog.records if record.name.startswith("anyq")]
    assert [record.message for record in ours if record.levelname != "INFO"] == []


@pytest.mark.parametrize("_", ["first", "second"])
async def test_no_test_sees_the_jobs_of_another(anyq_queue: Queue, _: str) -> None:
    async with anyq_queue:
        assert await anyq_queue.redis.call(b"XLEN", anyq_queue.keys.stream) == 0
        await anyq_queue.enqueue("anything")


def test_a_queue_is_elsewhere_for_one_test(anyq_redirect: Callable[..., None], anyq_url: str) -> None:
    anyq_redirect(mine)
    anyq_redirect(mine)  # once more is no harm: it goes back all the way
    assert mine.url == anyq_url
    assert mine.prefix.startswith("test-")


def test_and_back_for_the_next() -> None:
    assert (mine.url, mine.prefix) == ("redis://nowhere.invalid:1/0", "production")


async def test_a_queue_that_is_open_cannot_be_sent_elsewhere(anyq_queue: Queue, anyq_redirect: Any) -> None:
    async with anyq_queue:
        with pytest.raises(RuntimeError, match="is open: redirect it before"):
            anyq_redirect(anyq_queue)
