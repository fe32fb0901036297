"""A server at maxmemory: adds are refused before anything is written, and all work in hand goes on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from redis.exceptions import ResponseError
from tests.support.hands import Entry, Hands, Table, addition, envelope, member
from tests.support.servers import Server

from anyq._core.keys import Keys
from anyq._redis.client import Client
from anyq._services.patience import passes, reply_code
from anyq._store import results
from anyq._store.publish import Addition
from anyq._store.settle import Kept, Letter

pytestmark = pytest.mark.anyio

Verb = Callable[[Hands, Entry], Awaitable[object]]

IN_HAND: dict[str, Verb] = {
    "ack": lambda hands, entry: hands.settling.ack(entry.lane, [entry.id]),
    "complete": lambda hands, entry: hands.settling.complete(entry.lane, [Kept(entry.id, "a", b"x", 60.0)]),
    "retry": lambda hands, entry: hands.settling.retry(entry.lane, [(entry.id, 60_000, member("a", 1))]),
    "bury": lambda hands, entry: hands.settling.bury(
        entry.lane, [Letter(entry.id, ["d", envelope("a")], "a", b"why", 60.0)]
    ),
    "hand back": lambda hands, entry: hands.settling.hand_back(entry.lane, [entry.id]),
}


@pytest.mark.parametrize("verb", IN_HAND)
async def test_a_job_in_hand_can_be_settled(table: Table, server: Server, verb: str) -> None:
    hands = await table.hands(b"anyq-1")
    await table.add("a")
    (entry,) = await hands.take()
    with server.configured(maxmemory=1):
        await IN_HAND[verb](hands, entry)
        assert await table.pending() == []
        assert await table.entries(entry.lane) == []
    places = [
        await table.delayed(),
        await table.entries(table.keys.dead_letters),
        await table.entries(table.keys.returned),
    ]
    assert sum(map(len, places)) == (0 if verb in {"ack", "complete"} else 1)


async def test_results_and_failures_are_kept(
    table: Table, server: Server, client: Client, keys: Keys
) -> None:
    hands = await table.hands(b"anyq-1")
    await table.add("a", "b")
    a, b = await hands.take()
    with server.configured(maxmemory=1):
        await IN_HAND["complete"](hands, a)
        await hands.settling.bury(b.lane, [Letter(b.id, ["d", b""], "b", b"why", 60.0)])
        assert await results.fetch(client, keys, "a") == (b"x", None)
        assert await results.fetch(client, keys, "b") == (None, b"why")


async def test_leases_are_kept_and_taken_over(table: Table, server: Server, keys: Keys) -> None:
    hands, watcher = await table.hands(b"anyq-1", alive=False), await table.hands(b"anyq-2")
    foreign = await table.hands(b"c-foreign")
    await table.add("a", "b")
    (entry,) = await hands.take(1)
    await foreign.take(1)
    with server.configured(maxmemory=1):
        assert await hands.leasing.renew(keys.stream, [entry.id]) == []
        assert await watcher.leasing.take_over(hands.name) == 1
        assert await watcher.leasing.take_over(hands.name) == 0
        assert await watcher.leasing.sweep(0.0) == 1
        assert len(await table.entries(keys.returned)) == 2
        assert await table.pending() == []
        assert await watcher.leasing.depart()
        assert await table.consumers() == {foreign.name}


@pytest.mark.parametrize("led", [True, False])
async def test_due_jobs_are_promoted_and_spoiled_ones_put_aside(
    table: Table, server: Server, client: Client, keys: Keys, led: bool
) -> None:
    hands = await table.hands(b"anyq-1")
    await client.call("ZADD", keys.delayed, 1, member("a"), 2, "junk")
    if not led:
        await client.call("SET", keys.promoter_lock, "other")
    with server.configured(maxmemory=1):
        promotion = await hands.promoting.promote(10)
        assert (promotion.jobs, promotion.spoiled, promotion.leads) == ([("task", "a")], 1, led)
    assert len(await table.entries(keys.stream)) == 1
    assert len(await table.entries(keys.dead_letters)) == 1


@pytest.mark.parametrize(
    "jobs",
    [
        [addition("a"), addition("b")],
        [addition("a", delay_ms=60_000)],
        [addition("a", job_id="a")],
        [addition("a", job_id="a", delay_ms=60_000), addition("b")],
    ],
)
async def test_an_add_is_refused_whole_and_taken_when_there_is_room_again(
    table: Table, server: Server, client: Client, jobs: list[Addition]
) -> None:
    producer = table.producer()
    verb = producer.publish if all(job.plain for job in jobs) else producer.schedule
    with server.configured(maxmemory=1):
        with pytest.raises(ResponseError) as caught:
            await verb(1, 1, jobs, 0)
        assert reply_code(caught.value) == "OOM"
        assert passes(caught.value)
        assert await client.call("DBSIZE") == 0
    await verb(1, 1, jobs, 0)
    assert len(await table.entries(table.keys.stream)) + len(await table.delayed()) == len(jobs)
