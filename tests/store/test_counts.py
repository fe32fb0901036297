"""What happens is counted by the scripts that do it: once, whatever else is wrong, and never in the way of a job."""

from __future__ import annotations

import pytest
from redis.exceptions import ResponseError
from tests.support.hands import Table, addition, claiming, member

from anyq._core.codec import delayed_member
from anyq._core.job import NO_EXTRAS, Extras
from anyq._core.keys import Keys
from anyq._core.totals import MINUTE, Totals
from anyq._redis.client import Client
from anyq._store import totals
from anyq._store.control import Batch, Delayed
from anyq._store.publish import Holder

pytestmark = pytest.mark.anyio


@pytest.fixture
async def table(client: Client, keys: Keys) -> Table:
    return Table(client, keys)


async def counted(client: Client, keys: Keys) -> Totals:
    return (await totals.read(client, keys, 1)).totals


async def test_nothing_is_counted_where_nothing_happened(client: Client, table: Table) -> None:
    hands = await table.hands(b"anyq-1")
    await hands.promoting.promote(10)
    await hands.settling.ack(table.keys.stream, [b"1-1"])
    assert await client.call("EXISTS", table.keys.counts, table.keys.history) == 0
    found = await totals.read(client, table.keys, 60)
    assert (found.totals, found.rows) == (Totals(), [])


async def test_the_first_in_a_minute_writes_down_what_was_before(client: Client, table: Table) -> None:
    keys, producer = table.keys, table.producer()
    await producer.publish(1, 1, [addition("a"), addition("b")], 0)
    minute = int(await client.call("HGET", keys.counts, "minute"))
    await producer.publish(2, 2, [addition("c")], 0)
    assert await client.call("XLEN", keys.history) <= 2, "one a minute"
    await client.call("HSET", keys.counts, "minute", minute - 5)
    await client.call("DEL", keys.history)
    await producer.publish(3, 3, [addition("d")], 0)
    found = await totals.read(client, keys, 60)
    assert found.totals == Totals(added=4)
    assert found.rows == [(int(await client.call("HGET", keys.counts, "minute")) * MINUTE, Totals(added=3))]


async def test_a_clock_that_was_set_back_writes_nothing_until_it_has_caught_up(
    client: Client, table: Table
) -> None:
    keys, producer = table.keys, table.producer()
    await producer.publish(1, 1, [addition("a")], 0)
    await client.call("HSET", keys.counts, "minute", 10**9)
    rows = await client.call("XLEN", keys.history)
    await producer.publish(2, 2, [addition("b")], 0)
    assert await client.call("XLEN", keys.history) == rows
    assert await counted(client, keys) == Totals(added=2)


async def test_an_entry_that_is_there_already_is_no_error(client: Client, table: Table) -> None:
    keys, producer = table.keys, table.producer()
    await client.call("XADD", keys.history, f"{2**60}-0", "added", 1)
    await producer.publish(1, 1, [addition("a")], 0)
    await producer.publish(2, 2, [addition("b")], 0)
    assert await counted(client, keys) == Totals(added=2)


@pytest.mark.parametrize("wrong", ["counts", "history", "a total"])
async def test_no_job_is_held_up_by_a_number(client: Client, table: Table, wrong: str) -> None:
    keys, producer = table.keys, table.producer()
    if wrong == "a total":
        await client.call("HSET", keys.counts, "added", "x", "done", 2**63 - 1)
    else:
        await client.call("SET", getattr(keys, wrong), "of another type")
    hands = await table.hands(b"anyq-1")
    await producer.publish(1, 1, [addition("a")], 0)
    assert await producer.schedule(2, 2, [addition("b", delay_ms=0)], 0) == [True]
    assert (await hands.promoting.promote(10)).jobs
    entries = [entry.id for entry in await hands.take()]
    assert await hands.settling.ack(keys.stream, entries) == [1, 1]


async def test_what_is_parked_is_counted_until_it_is_parked_no_more(client: Client, table: Table) -> None:
    keys, control = table.keys, table.controlling()

    async def parked() -> tuple[int, dict[str, int]]:
        found = await totals.read(client, keys, 1)
        return found.parked, found.parked_tasks

    await table.add("a", "b", "c", "d")
    hands = await table.hands(b"anyq-1")
    entries = await hands.take()
    priority = Extras(priority=8)
    members = [member(id, 0, priority if id == "a" else NO_EXTRAS, parked=id != "d") for id in "abcd"]
    moves = [(entry.id, 1000, one) for entry, one in zip(entries, members, strict=True)]
    for reply in ([1] * 4, [0] * 4):
        assert await hands.settling.retry(keys.stream, moves) == reply
        assert await parked() == (3, {"task": 3})
    found, _ = await control.look("b")
    assert isinstance(found, Delayed)
    assert found.name == b"task"
    assert await control.reschedule(Batch(1, 1), "b", found, delay_ms=5, due_ms=None)
    assert await parked() == (3, {"task": 3})
    for _ in range(2):
        assert await control.withdraw(Batch(2, 2), "b", found)
        assert await parked() == (2, {"task": 2})
    for one in members:
        await client.call("ZADD", keys.delayed, "XX", 1, one)
    assert sorted(str(id) for _, id in (await hands.promoting.promote(10)).jobs) == ["a", "c", "d"]
    assert await parked() == (0, {})
    assert await client.call("EXISTS", keys.parked) == 0
    assert await client.call("XLEN", keys.lane(8)) == 1


async def test_a_parked_job_that_is_replaced_is_parked_no_more(client: Client, table: Table) -> None:
    producer, hands = table.producer(), await table.hands(b"anyq-1")
    first = claiming("d", unique="d", replaces="")
    assert await producer.schedule(1, 1, [first], 0) == [True]
    [entry] = await hands.take()
    again = delayed_member("task", first.envelope, parked=True)
    assert await hands.settling.retry(entry.lane, [(entry.id, 1000, again)]) == [1]
    assert (await totals.read(client, table.keys, 1)).parked == 1
    second = claiming("d", unique="d", delay_ms=1000, replaces="d")
    assert await producer.schedule(2, 2, [second], 0) == [Holder("d")]
    assert (await totals.read(client, table.keys, 1)).parked == 0


async def test_only_the_tasks_with_the_most_parked_jobs_are_named(client: Client, keys: Keys) -> None:
    await client.call("ZADD", keys.parked, 5150, "all", *(x for n in range(1, 131) for x in (n, f"task:{n}")))
    found = await totals.read(client, keys, 1)
    assert found.parked == 5150
    assert found.parked_tasks == {str(n): n for n in range(130, 30, -1)}


async def test_a_full_server_counts_what_it_settles(client: Client, table: Table) -> None:
    await table.add("a", "b")
    hands = await table.hands(b"anyq-1")
    entries = [entry.id for entry in await hands.take()]
    await client.call("CONFIG", "SET", "maxmemory", 1)
    try:
        assert await hands.settling.ack(table.keys.stream, entries) == [1, 1]
        assert await counted(client, table.keys) == Totals(done=2)
    finally:
        await client.call("CONFIG", "SET", "maxmemory", 0)


async def test_a_long_history_is_read_in_parts(
    client: Client, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds, _ = await client.call("TIME")
    present = int(seconds) // 60
    for ago in range(50, -1, -1):
        await client.call("XADD", keys.history, f"{(present - ago) * MINUTE}-0", "added", 50 - ago)
    monkeypatch.setattr(totals, "_PAGE", 7)
    for minutes in (1, 6, 7, 8, 14, 30, 49):
        found = await totals.read(client, keys, minutes)
        later = found.now_ms // MINUTE - present  # should the minute have turned meanwhile
        assert [row[1].added for row in found.rows] == list(range(50, 50 - minutes + later, -1))
    assert len((await totals.read(client, keys, 1000)).rows) == 51


async def test_thousands_are_acknowledged_in_one_call(client: Client, table: Table) -> None:
    hands = await table.hands(b"anyq-1")
    await table.add(*map(str, range(2100)))
    entries = [entry.id for entry in await hands.take(3000)]
    reply = await hands.settling.ack(table.keys.stream, [b"1-1", *entries, b"1-2"])
    assert reply == [-1, *[1] * 2100, -1]
    assert await counted(client, table.keys) == Totals(done=2100)


async def test_what_is_wrong_with_the_stream_is_said(client: Client, table: Table) -> None:
    hands = await table.hands(b"anyq-1")
    await client.call("DEL", table.keys.stream)
    await client.call("SET", table.keys.stream, "of another type")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await hands.settling.ack(table.keys.stream, [b"1-1"])
