"""Lanes of priorities: what goes where, and in which order it is taken."""

from __future__ import annotations

import pytest
from tests.support.hands import Hands, Table, addition, claiming, member

from anyq._core.codec import decode, delayed_member, member_id, split_member
from anyq._core.job import Extras
from anyq._core.keys import CHASQUI, Keys
from anyq._redis.client import Client
from anyq._redis.subscriber import Subscriber
from anyq._store import pauses
from anyq._store.belongings import belongings
from anyq._store.inspect import depths
from anyq._store.publish import Full
from anyq._store.settle import Kept
from anyq.settings import Retention

pytestmark = pytest.mark.anyio


async def put(table: Table, priority: int, *ids: str) -> None:
    producer = table.producer()
    await producer.schedule(1, 1, [addition(id, priority=priority) for id in ids], 0)


async def taken(hands: Hands, count: int) -> list[str]:
    return [decode(entry.fields[b"d"])[0] for entry in await hands.pick(count)]


async def test_jobs_are_taken_from_the_highest_lane_on_up_to_the_count_in_all(table: Table) -> None:
    for priority in (0, 9, 5, 7):
        await put(table, priority, f"{priority}a", f"{priority}b")
    hands = await table.hands(b"anyq-1")
    await hands.learn()
    assert await taken(hands, 3) == ["9a", "9b", "7a"]
    assert await taken(hands, 2) == ["7b", "5a"]
    assert await taken(hands, 100) == ["5b", "0a", "0b"]
    assert await taken(hands, 100) == []


async def test_a_worker_learns_of_the_lanes_that_exist(client: Client, keys: Keys, table: Table) -> None:
    hands = await table.hands(b"anyq-1")
    assert list((await pauses.look(client, keys)).priorities) == [5]
    await put(table, 8, "a")
    assert list((await pauses.look(client, keys)).priorities) == [5, 8]
    await hands.learn()
    assert hands.lanes.priorities == (5, 8)
    await client.call("FLUSHALL")
    await hands.consuming.ensure_group()
    assert await client.call("EXISTS", keys.lane(8)), "whoever reads it makes it again"


async def test_the_first_job_of_a_lane_is_announced(client: Client, keys: Keys, table: Table) -> None:
    heard: list[bytes] = []
    async with Subscriber(client.address) as subscriber:
        subscription = subscriber.subscribe(keys.widened, lambda _, lane: heard.append(lane))
        await subscription.ready()
        await put(table, 8, "a")
        await put(table, 8, "b")
        await table.producer().schedule(1, 1, [addition("c", priority=3, delay_ms=0)], 0)
        assert heard == [keys.lane(8)]
        hands = await table.hands(b"anyq-1")
        await hands.promoting.promote(10)
        last = subscriber.subscribe("last", lambda *_: heard.append(b"last"))
        await last.ready()
        await client.call("PUBLISH", "last", "")
        while heard[-1] != b"last":
            await client.call("PING")
    assert heard[:-1] == [keys.lane(8), keys.lane(3)]


async def test_a_delayed_job_is_promoted_into_its_lane(client: Client, keys: Keys, table: Table) -> None:
    producer = table.producer()
    for number, priority in enumerate((0, 4, 5, 9), 1):
        jobs = [addition(f"{priority}", delay_ms=0, priority=priority)]
        await producer.schedule(number, 1, jobs, 0)
    assert set(await table.delayed()) == {
        member(str(priority), extras=Extras(priority=priority)) for priority in (0, 4, 5, 9)
    }
    hands = await table.hands(b"anyq-1")
    assert len((await hands.promoting.promote(100)).jobs) == 4
    for priority in (0, 4, 5, 9):
        [fields] = await table.fields(keys.lane(priority))
        assert decode(fields[b"d"])[0] == f"{priority}"
        assert fields[b"n"] == b"task"


async def test_a_retry_keeps_the_lane(client: Client, keys: Keys, table: Table) -> None:
    await put(table, 2, "a")
    hands = await table.hands(b"anyq-1")
    await hands.learn()
    [entry] = await hands.pick()
    again = member("a", 1, Extras(priority=2))
    assert await hands.settling.retry(entry.lane, [(entry.id, 0, again)]) == [1]
    await hands.promoting.promote(10)
    [fields] = await table.fields(keys.lane(2))
    assert decode(fields[b"d"])[3] == 1


@pytest.mark.parametrize("priority", range(10))
@pytest.mark.parametrize("name", ["", "task", "n" * 256])
def test_a_member_says_its_priority_beside_its_name(name: str, priority: int) -> None:
    envelope = member("an id")[8:]
    one = delayed_member(name, envelope, priority)
    assert split_member(one) == (name.encode(), envelope)
    assert member_id(one) == "an id"


async def test_a_member_with_a_priority_that_there_is_not_is_a_dead_letter(
    client: Client, keys: Keys, table: Table
) -> None:
    await client.call("ZADD", keys.delayed, 1, b"\x04\x00\x00\x0btask" + member("x")[8:])
    hands = await table.hands(b"anyq-1")
    assert (await hands.promoting.promote(10)).spoiled == 1


async def test_a_shared_queue_has_no_lanes(client: Client) -> None:
    table = Table(client, Keys(CHASQUI, "q"))
    hands = await table.hands(b"anyq-1")
    await client.call("ZADD", table.keys.delayed, 1, member("x", extras=Extras(priority=3)))
    assert (await hands.promoting.promote(10)).spoiled == 1
    assert await client.call("KEYS", "*stream:*") == []


@pytest.mark.parametrize("verb", ["publish", "schedule"])
async def test_max_length_counts_all_lanes_and_what_is_set_aside(
    client: Client, keys: Keys, table: Table, verb: str
) -> None:
    hands = await table.hands(b"anyq-1")
    await put(table, 9, "a", "b")
    await table.add("c", "d")
    await pauses.pause(client, keys, "task", 0)
    first, second = await hands.take()
    assert await hands.settling.set_aside(keys.stream, "task", [(first.id, 5)]) == [1]
    assert await hands.settling.hand_back(keys.stream, [second.id]) == [1]
    add = getattr(table.producer(), verb)
    with pytest.raises(Full):
        await add(1, 1, [addition("e")], 4)
    await add(2, 2, [addition("e")], 5)
    assert (await depths(client, keys)).ready + (await depths(client, keys)).aside == 5


async def test_what_was_set_aside_comes_back_to_its_own_lane(
    client: Client, keys: Keys, table: Table
) -> None:
    hands = await table.hands(b"anyq-1")
    await put(table, 0, "low")
    await put(table, 5, "middle")
    await hands.learn()
    await pauses.pause(client, keys, "task", 0)
    for entry in await hands.pick():
        priority = 0 if entry.lane == keys.lane(0) else 5
        assert await hands.settling.set_aside(entry.lane, "task", [(entry.id, priority)]) == [1]
    await pauses.resume(client, keys, "task")
    assert await pauses.readmit(client, keys, "task") == 2
    for priority in (0, 5):
        [(_, fields)] = await table.entries(keys.lane(priority))
        assert fields.keys() == {b"d", b"n"}
    assert await table.entries(keys.returned) == []


async def test_a_worker_that_is_gone_is_robbed_in_every_lane(
    client: Client, keys: Keys, table: Table
) -> None:
    await put(table, 9, "a")
    await put(table, 0, "b")
    victim, heir = await table.hands(b"anyq-1"), await table.hands(b"anyq-2")
    await victim.learn()
    assert len(await victim.pick()) == 2
    await victim.fall_silent()
    assert await heir.leasing.take_over(victim.name) == 0, "it has not heard of these lanes"
    await heir.learn()
    assert await heir.leasing.silent() == [victim.name]
    assert await heir.leasing.take_over(victim.name) == 2
    assert await heir.leasing.take_over(victim.name) == 0
    assert await table.consumers() == {heir.name}
    for entry in await heir.pick():
        assert entry.lane == keys.returned
        assert entry.fields[b"l"] == b"1"


async def test_nobody_leaves_with_something_in_hand_whatever_its_lane(
    client: Client, keys: Keys, table: Table
) -> None:
    await put(table, 9, "a")
    hands = await table.hands(b"anyq-1")
    await hands.learn()
    [entry] = await hands.pick()
    assert not await hands.leasing.depart()
    assert await hands.settling.ack(entry.lane, [entry.id]) == [1]
    assert await hands.leasing.depart()
    assert await table.consumers() == set()


async def test_who_waited_for_another_job_is_let_go_into_the_lane_of_its_priority(
    table: Table, client: Client, keys: Keys
) -> None:
    hands, producer = await table.hands(b"anyq-1"), table.producer()
    await producer.schedule(1, 1, [claiming("parent", tracked=True)], 0)
    children = [
        claiming(f"child-{priority}", tracked=True, after=("parent",), priority=priority)
        for priority in (0, 5, 9)
    ]
    assert await producer.await_(2, 2, children, 0) == [True] * 3
    (entry,) = await hands.take()
    owned = belongings(keys, "parent", Extras(tracked=True), Retention())
    await hands.settling.complete(entry.lane, [Kept(entry.id, "parent", b"", 0.0, owned)])
    late = claiming("late", tracked=True, after=("parent",), priority=3)  # that one has ended
    assert await producer.await_(3, 3, [late], 0) == [True]
    found = {
        priority: [decode(fields[b"d"])[0] for fields in await table.fields(keys.lane(priority))]
        for priority in (0, 3, 5, 9)
    }
    assert found == {0: ["child-0"], 3: ["late"], 5: ["child-5"], 9: ["child-9"]}


async def test_jobs_that_wait_for_others_count_all_lanes_towards_the_limit(table: Table) -> None:
    producer = table.producer()
    await producer.schedule(1, 1, [addition("high", priority=9), addition("higher", priority=9)], 0)
    await producer.schedule(2, 2, [claiming("parent", tracked=True)], 0)
    with pytest.raises(Full):
        await producer.await_(3, 3, [claiming("child", tracked=True, after=("parent",))], 3)
    assert await producer.await_(4, 4, [claiming("child", tracked=True, after=("parent",))], 4) == [True]
