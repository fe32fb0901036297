"""Connections that freeze, break, lose replies or carry rubbish: the worker works again by itself, and says so once."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Awaitable, Callable

import anyio
import pytest
from tests.faults.conftest import AT_ONCE, Transitions, View, until, working
from tests.support.proxy import FaultProxy, flip_bits
from tests.support.servers import SECONDS

import anyq.worker as worker_module
from anyq import Queue
from anyq.errors import RedisUnavailable

pytestmark = pytest.mark.anyio

JOBS, FAILING = 40, 5


async def freeze_links(proxy: FaultProxy) -> None:
    """The connections that are there say nothing any more; new ones work."""
    proxy.freeze()
    await proxy.until(lambda proxy: proxy.up.held + proxy.down.held > 0)
    for direction in (proxy.up, proxy.down):
        direction.passable = anyio.Event()  # what is held waits for the old event, for ever
        direction.passable.set()


async def freeze_all(proxy: FaultProxy) -> None:
    """Nobody says anything, until a connection was given up."""
    links, accepted = set(proxy.links), proxy.accepted
    proxy.freeze()
    await proxy.until(lambda proxy: not links <= proxy.links or proxy.accepted > accepted)
    proxy.heal()


async def reset(proxy: FaultProxy) -> None:
    proxy.reset()


async def reset_and_refuse(proxy: FaultProxy) -> None:
    proxy.refuse()
    proxy.reset()
    await proxy.until(lambda proxy: proxy.refused >= 4)
    proxy.heal()


async def drop_replies(proxy: FaultProxy) -> None:
    """The server does what it is told, and nobody hears of it."""
    proxy.drop("down")
    await proxy.until(lambda proxy: proxy.down.dropped > 0)
    proxy.reset()
    proxy.heal()


async def split(proxy: FaultProxy) -> None:
    """Byte by byte; not all of them, for each is several turns of the loop that the worker shares with the proxy."""
    proxy.split(1)
    await proxy.until(lambda proxy: min(proxy.up.pieces, proxy.down.pieces) >= 2000)
    proxy.heal()


async def garbage(proxy: FaultProxy) -> None:
    proxy.mangle(flip_bits)
    await proxy.until(lambda proxy: proxy.down.mangled >= 3)
    proxy.heal()


@pytest.mark.parametrize(
    "fault", [freeze_links, freeze_all, reset, reset_and_refuse, drop_replies, split, garbage]
)
async def test_the_worker_works_again_by_itself(
    proxy: FaultProxy,
    queue: Queue,
    view: View,
    transitions: Transitions,
    fault: Callable[[FaultProxy], Awaitable[None]],
) -> None:
    """Jobs run once: a lost reply is answered again, not run again."""
    behind = Queue("work", proxy.url)
    ran: Counter[int] = Counter()

    @behind.task
    async def job(number: int) -> None:
        ran[number] += 1
        with anyio.move_on_after(0.02):
            await anyio.sleep_forever()

    @behind.task(attempts=3, backoff=AT_ONCE)
    async def fail(number: int) -> None:
        ran[number] += 1
        if ran[number] < 2:
            raise ValueError(number)

    async with queue, working(behind, events=False) as worker:
        await queue.enqueue_many("job", [{"number": number} for number in range(JOBS)])
        await queue.enqueue_many("fail", [{"number": number} for number in range(JOBS, JOBS + FAILING)])
        await until(lambda: len(ran) >= 5)
        await fault(proxy)
        await until(lambda: view.stored == view.delayed == 0)
        await until(lambda: worker.health().ok)
    numbers = worker.statistics()
    assert ran == dict.fromkeys(range(JOBS), 1) | dict.fromkeys(range(JOBS, JOBS + FAILING), 2)
    assert numbers.done + numbers.late >= JOBS + FAILING
    assert numbers.dead == numbers.lost == 0
    # Each connection that was frozen may be found out at a time of its own.
    assert transitions.lost == transitions.back <= (2 if fault is freeze_links else 1)
    view.assert_nobody_is_left()


async def test_what_is_enqueued_into_a_lost_reply_is_stored_once(
    proxy: FaultProxy, queue: Queue, view: View
) -> None:
    behind = Queue("work", proxy.url)
    async with queue, behind:
        await behind.enqueue("job", {"number": 0})
        proxy.drop("down")
        async with anyio.create_task_group() as tasks:
            for number in range(1, 20):
                tasks.start_soon(behind.enqueue, "job", {"number": number})
            await until(lambda: view.stored > 1)
            proxy.reset()
            proxy.heal()
    assert view.stored == 20


async def test_giving_up_during_an_outage_does_not_make_it_last_for_ever(
    proxy: FaultProxy, transitions: Transitions
) -> None:
    """Who waited for the queue to be empty, and left, is not waited for."""
    behind = Queue("work", proxy.url)

    @behind.task
    async def job() -> None: ...

    async with behind, working(behind) as worker:
        for outage in (1, 2):
            proxy.refuse()
            proxy.reset()
            await until(lambda outage=outage: transitions.lost == outage)  # type: ignore[misc]
            with anyio.move_on_after(0.05):
                await worker.wait_idle()
            assert not worker.health().ok
            proxy.heal()
            await until(lambda: worker.health().ok)
            assert transitions.back == outage


async def test_a_way_to_redis_that_is_too_slow_for_the_lease_is_logged_once(
    proxy: FaultProxy, queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    """All but the heartbeat goes on, slowly: nobody else would say why no jobs are taken."""
    caplog.set_level(logging.INFO, logger="anyq")
    behind = Queue("work", proxy.url)
    ran = anyio.Event()

    @behind.task
    async def job() -> None:
        ran.set()

    def said() -> list[tuple[int, str]]:
        return [
            (record.levelno, record.getMessage())
            for record in caplog.records
            if record.name == "anyq.heartbeat"
        ]

    async with queue, working(behind, lease=1, events=False) as worker:
        proxy.slow(0.6)
        await until(said)
        await queue.enqueue("job")
        links = proxy.accepted
        await until(lambda: proxy.accepted >= links + 2)  # it tries again, and says nothing
        assert not worker.health().ok
        assert not ran.is_set()
        [(level, words)] = said()
        assert level == logging.WARNING
        assert words == (
            "Redis did not answer a heartbeat within 0.5 s: with a lease of 1 s a worker takes no jobs meanwhile, "
            "and others may take it for dead; if the way to Redis is always as slow as that, and it is no outage nor "
            "code that holds the interpreter's lock, a longer lease= is right, more than four round trips"
        )
        proxy.heal()
        await until(lambda: len(said()) == 2)
        with anyio.fail_after(SECONDS):
            await ran.wait()
        await until(lambda: worker.health().ok)
    assert said()[1:] == [(logging.INFO, "Redis answers heartbeats in time again: this worker takes jobs")]


async def test_beats_that_are_answered_too_late_for_the_lease_are_logged_too(
    proxy: FaultProxy, caplog: pytest.LogCaptureFixture
) -> None:
    """They are not late enough to be given up: a short lease has fewer than four of them."""
    async with working(Queue("work", proxy.url), lease=1, events=False):
        proxy.slow(0.4)
        await until(lambda: bool(re.search(r"a heartbeat took [\d.]+ s: with a lease of 1 s", caplog.text)))
    assert caplog.text.count("a longer lease= is right") == 1


async def test_a_worker_that_cannot_begin_on_a_slow_way_says_what_would_be_right(
    proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "_START_PATIENCE", 3.0)
    proxy.slow(0.6)
    with pytest.raises(
        RedisUnavailable, match=r"first heartbeat failed: no answer within 0\.5 s .*a longer lease= is right"
    ):
        async with working(Queue("work", proxy.url), lease=1):
            raise AssertionError("it began")
