"""What is paused stands in Redis, and only an owner sets jobs aside."""

from __future__ import annotations

import pytest
from tests.support.hands import Table

from anyq._core.keys import CHASQUI, Keys
from anyq._redis.client import Client
from anyq._store import pauses

pytestmark = pytest.mark.anyio

FOR_EVER = 0
LATER = 2**45


async def test_what_is_paused_is_told_until_its_time_is_over(
    client: Client, keys: Keys, table: Table
) -> None:
    assert not (await pauses.look(client, keys)).covers(None)
    soon = await table.now_ms() + 60_000
    await pauses.pause(client, keys, None, soon)
    await pauses.pause(client, keys, "a", FOR_EVER)
    await pauses.pause(client, keys, "b:c", LATER)
    found = await pauses.look(client, keys)
    assert (found.queue, found.tasks) == (soon, {"a": 0, "b:c": LATER})
    assert found.next_end is not None
    assert 59 < found.next_end <= 60
    await pauses.pause(client, keys, None, 1)
    found = await pauses.look(client, keys)
    assert found.queue is None
    assert found.covers("a")
    assert not found.covers("b")
    await pauses.pause(client, keys, "b:c", 1)
    assert await pauses.resume(client, keys, "a")
    assert not await pauses.resume(client, keys, "a")
    await pauses.look(client, keys)
    assert not await client.call("EXISTS", keys.pauses), "nothing is left of it"


async def test_each_pause_has_a_higher_number_also_after_a_flush(client: Client, keys: Keys) -> None:
    numbers = [await pauses.pause(client, keys, task, FOR_EVER) for task in (None, "a", "a", None)]
    await client.call("FLUSHALL")
    numbers.append(await pauses.pause(client, keys, None, FOR_EVER))
    assert numbers == sorted(set(numbers))
    assert (await pauses.look(client, keys)).number == numbers[-1]


async def test_workers_that_live_are_waited_for_until_they_confirm(
    client: Client, keys: Keys, table: Table
) -> None:
    assert await pauses.unconfirmed(client, keys, 1) == [], "no worker ever was here"
    one, two = await table.hands(b"anyq-1"), await table.hands(b"anyq-2")
    await table.hands(b"anyq-dead", alive=False)
    await table.hands(b"c-foreign")
    number = await pauses.pause(client, keys, None, FOR_EVER)
    assert await pauses.unconfirmed(client, keys, number) == [one.name, two.name]
    await pauses.confirm(client, keys, one.name, number)
    await pauses.confirm(client, keys, two.name, number - 1)
    assert await pauses.unconfirmed(client, keys, number) == [two.name]
    await pauses.confirm(client, keys, two.name, number + 1)
    assert await pauses.unconfirmed(client, keys, number) == []
    later = await pauses.pause(client, keys, None, FOR_EVER)
    assert await pauses.unconfirmed(client, keys, later) == [one.name, two.name]
    await one.fall_silent()
    assert await pauses.unconfirmed(client, keys, later) == [two.name]


async def test_a_worker_that_was_put_out_of_the_group_enters_it_by_looking(
    client: Client, keys: Keys, table: Table
) -> None:
    worker = await table.hands(b"anyq-1")
    await client.call("XGROUP", "DELCONSUMER", keys.stream, "default", worker.name)
    number = await pauses.pause(client, keys, None, FOR_EVER)
    assert await pauses.unconfirmed(client, keys, number) == []
    await pauses.look(client, keys, worker.name)
    assert await pauses.unconfirmed(client, keys, number) == [worker.name]


async def test_only_an_owner_sets_aside_and_only_once(client: Client, keys: Keys, table: Table) -> None:
    owner, other = await table.hands(b"anyq-1"), await table.hands(b"anyq-2")
    await pauses.pause(client, keys, "task", FOR_EVER)
    await client.call("XADD", keys.stream, "*", "d", "x", "n", "task", "l", 2)
    await table.add("b")
    one, two = (entry.id for entry in await owner.take())
    assert await other.settling.set_aside(keys.stream, "task", [(one, 5)]) == [0]
    assert await owner.settling.set_aside(keys.stream, "task", [(one, 5), (two, 5)]) == [1, 1]
    assert await owner.settling.set_aside(keys.stream, "task", [(one, 5), (two, 5)]) == [0, 0]
    assert await table.pending() == []
    first, second = await table.fields(keys.aside("task"))
    assert first == {b"d": b"x", b"n": b"task", b"l": b"2"}, "fields and lost deliveries are kept"
    assert second[b"n"] == b"task"
    assert await pauses.readmit(client, keys, "task") == -1
    await pauses.resume(client, keys, "task")
    assert await pauses.readmit(client, keys, "task", 1) == 1
    assert (await pauses.look(client, keys)).aside == {"task": 1}
    assert await pauses.readmit(client, keys, "task", 1) == 1
    assert await table.fields(keys.returned) == [first, second], "in their order"
    assert not await client.call("EXISTS", keys.pauses, keys.aside("task"))


@pytest.mark.parametrize("ended", ["resumed", "over"])
async def test_what_comes_too_late_to_be_set_aside_is_handed_back(
    client: Client, keys: Keys, table: Table, ended: str
) -> None:
    owner = await table.hands(b"anyq-1")
    await pauses.pause(client, keys, "task", FOR_EVER)
    await table.add("a")
    [entry] = await owner.take()
    if ended == "resumed":
        await pauses.resume(client, keys, "task")
    else:
        await pauses.pause(client, keys, "task", 1)
    assert await owner.settling.set_aside(keys.stream, "task", [(entry.id, 5)]) == [2]
    assert len(await table.entries(keys.returned)) == 1
    assert not await client.call("EXISTS", keys.aside("task"))


async def test_large_jobs_come_back_in_small_numbers(client: Client, keys: Keys) -> None:
    """The server serves nobody else meanwhile."""
    for _ in range(10):
        await client.call("XADD", keys.aside("task"), "*", "d", bytes(1024 * 1024), "n", "task")
    assert [await pauses.readmit(client, keys, "task") for _ in range(3)] == [8, 2, 0]


async def test_a_shared_queue_is_paused_by_chasquimqs_flag_and_sets_it(client: Client) -> None:
    keys = Keys(CHASQUI, "q")
    await pauses.pause(client, keys, "task", FOR_EVER)
    assert not await client.call("EXISTS", keys.paused), "its programs do not know of paused tasks"
    await pauses.pause(client, keys, None, LATER)
    assert await client.call("EXISTS", keys.paused)
    assert 0 < await client.call("PTTL", keys.paused) <= LATER
    await pauses.pause(client, keys, None, FOR_EVER)
    assert await client.call("PTTL", keys.paused) == -1
    assert await pauses.resume(client, keys, None)
    assert not await client.call("EXISTS", keys.paused)
    await client.call("SET", keys.paused, "1")
    assert (await pauses.look(client, keys)).queue == 0
    assert await pauses.resume(client, keys, None)
    assert (await pauses.look(client, keys)).queue is None


async def test_a_full_server_lets_everything_about_pauses_through(
    client: Client, keys: Keys, table: Table
) -> None:
    owner = await table.hands(b"anyq-1")
    await table.add("a", "b")
    one, two = (entry.id for entry in await owner.take())
    await client.call("CONFIG", "SET", "maxmemory", 1)
    try:
        number = await pauses.pause(client, keys, "task", FOR_EVER)
        await pauses.look(client, keys, owner.name)
        await pauses.confirm(client, keys, owner.name, number)
        assert await pauses.unconfirmed(client, keys, number) == []
        assert await owner.settling.set_aside(keys.stream, "task", [(one, 5)]) == [1]
        await pauses.resume(client, keys, "task")
        assert await pauses.readmit(client, keys, "task") == 1
        assert await owner.settling.set_aside(keys.stream, "task", [(two, 5)]) == [2]
    finally:
        await client.call("CONFIG", "SET", "maxmemory", 0)
    assert len(await table.entries(keys.returned)) == 2


async def test_what_somebody_else_wrote_among_the_pauses_pauses_nothing(client: Client, keys: Keys) -> None:
    await pauses.pause(client, keys, "a", FOR_EVER)
    await client.call("HSET", keys.pauses, "queue", "x", b"task:\xff", "-1", "number ", "", b"task:\xfe", "0")
    found = await pauses.look(client, keys)
    assert (found.queue, found.tasks) == (None, {"a": 0, "\ufffd": 0})
