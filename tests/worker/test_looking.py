"""Looking costs as much in a deep queue as in a shallow one: as many commands, and none goes through everything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from anyq import Queue
from anyq.cli.watch.looks import look

pytestmark = pytest.mark.anyio

#: What no look may ask for: their time grows with the database, or with a collection.
ENDLESS = {
    "scan", "keys", "sort", "sort_ro", "smembers", "hvals", "zrangebylex", "randomkey", "dbsize", "xautoclaim",
}  # fmt: skip

#: What only lists may be asked by, and only in parts.
IN_PARTS = {"xrange", "xrevrange", "zrange", "lrange"}


async def first_page(queue: Queue, *states: str, newest_first: bool = False) -> None:
    async for _ in queue.jobs(states or None, limit=50, newest_first=newest_first, payload=True):
        pass


def listing(state: str) -> Callable[[Queue], Awaitable[None]]:
    return lambda queue: first_page(queue, state)


async def events(queue: Queue) -> None:
    async for _ in queue.events(after="0", follow=False):
        break


LOOKS: dict[str, Callable[[Queue], Awaitable[object]]] = {
    "stats": lambda queue: queue.stats(),
    "history": lambda queue: queue.history(60),
    "workers": lambda queue: queue.workers(),
    "paused": lambda queue: queue.paused(),
    "jobs": first_page,
    "the newest jobs": lambda queue: first_page(queue, newest_first=True),
    **{f"{state} jobs": listing(state) for state in ("queued", "delayed", "waiting", "failed", "running")},
    "a ready job": lambda queue: queue.job("ready").info(),
    "why a ready job does not run": lambda queue: queue.explain("ready"),
    "why a delayed job does not run": lambda queue: queue.explain("later"),
    "dead letters": lambda queue: queue.dead_letters.list(limit=20),
    "watch": lambda queue: look(queue, None),
    "events": events,
}


async def asked_by(queue: Queue, what: Callable[[Queue], Awaitable[object]]) -> Counter[str]:
    """Count the commands that one look brings the server to run, those in scripts too."""
    await what(queue)  # the server knows the scripts now
    before = await commands(queue)
    await what(queue)
    return await commands(queue) - before


async def commands(queue: Queue) -> Counter[str]:
    told: Any = await queue.redis.info("commandstats")
    found: Counter[str] = Counter()
    for name, stats in told.items():
        found[name.removeprefix("cmdstat_").partition("|")[0]] += stats["calls"]
    del found["info"]
    return found


async def fill(queue: Queue, size: int) -> None:
    """Jobs of all kinds, and dead letters, as many of each."""
    await queue.enqueue_many("job", [{"n": n} for n in range(size)])
    await queue.enqueue_many("job", [{"n": n} for n in range(size)], delay=3600)
    parent = await queue.enqueue("parent", delay=3600, tracked=True)
    await queue.enqueue_many("child", [{"n": n} for n in range(size)], after=[parent])
    pipe = [
        (b"XADD", queue.keys.dead_letters, b"*", b"d", b"x", b"n", b"job", b"reason", b"decode_failed")
        for _ in range(size)
    ]
    await queue.session.client.call_many(pipe)
    writing = [(b"XADD", queue.keys.events, b"*", b"e", b"added", b"id", b"1") for _ in range(size)]
    await queue.session.client.call_many(writing)


async def test_a_deep_queue_costs_no_more_commands_than_a_shallow_one(queue: Queue) -> None:
    async with queue:
        await queue.enqueue("job", id="ready")
        await queue.enqueue("job", id="later", delay=60)
        await fill(queue, 300)
        shallow = {name: await asked_by(queue, what) for name, what in LOOKS.items()}
        for _ in range(4):
            await fill(queue, 1000)
        deep = {name: await asked_by(queue, what) for name, what in LOOKS.items()}
    for name, asked in deep.items():
        assert not asked.keys() & ENDLESS, name
        # A part of a hash is as large as its buckets happen to be.
        assert asked.pop("hscan", 0) <= 10, name
        shallow[name].pop("hscan", None)
        assert sum(asked[word] for word in IN_PARTS) < 120, name
    assert deep == shallow
    assert deep["stats"]["evalsha"] == 3, "in one write"


async def test_no_look_keeps_the_server_for_long(queue: Queue) -> None:
    """A tenth of a second would be noticed by everybody, and all parts of a look together do not take it.

    By the server's own processor time, which goes on only while it works: a busy machine cannot be seen in it.
    """
    async with queue:
        await queue.enqueue("job", id="ready")
        for _ in range(5):
            await fill(queue, 1000)
        for name, what in LOOKS.items():
            before = await processor_seconds(queue)
            await what(queue)
            assert await processor_seconds(queue) - before < 0.1, name


async def processor_seconds(queue: Queue) -> float:
    """What the server has worked so far, its main thread alone."""
    cpu = await queue.redis.info("cpu")
    return float(cpu["used_cpu_user_main_thread"] + cpu["used_cpu_sys_main_thread"])
