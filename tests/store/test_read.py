"""Reading: new entries in order, returned ones first, the same on either protocol; and what the server says is ours."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import anyio
import pytest
from tests.support.hands import Table, envelope

from anyq._core.entry import admit
from anyq._core.job import Job
from anyq._core.keys import CHASQUI, Keys
from anyq._redis.client import Client

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[2, 3])
async def client(
    request: pytest.FixtureRequest, anyio_backend: object, redis_url: str
) -> AsyncGenerator[Client]:
    async with Client(f"{redis_url}?protocol={request.param}") as client:
        await client.connect()
        assert client.greeting is not None
        assert client.greeting.protocol == request.param
        yield client


async def test_entries_come_in_order_with_their_lane(table: Table, keys: Keys) -> None:
    hands = await table.hands(b"anyq-1")
    await table.add("a", "b", "c")
    entries = await hands.take()
    assert [entry.fields for entry in entries] == [
        {b"d": envelope(id), b"n": b"task"} for id in ("a", "b", "c")
    ]
    assert {entry.lane for entry in entries} == {keys.stream}
    assert [entry.id for entry in entries] == [id for id, _ in await table.entries(keys.stream)]


async def test_what_is_read_can_be_admitted(table: Table, keys: Keys) -> None:
    hands = await table.hands(b"anyq-1")
    await table.add("a")
    ((lane, ((entry, fields),)),) = await hands.consuming.read(10, 1)
    job = admit("q", lane, entry, fields, 1000, None)
    assert isinstance(job, Job)
    assert (job.id, job.name, job.attempt, job.lane) == ("a", "task", 1, keys.stream)


async def test_returned_entries_come_before_the_backlog(table: Table, keys: Keys) -> None:
    first, second = await table.hands(b"anyq-1"), await table.hands(b"anyq-2")
    await table.add("a", "b", "c")
    (entry,) = await first.take(1)
    await first.settling.hand_back(entry.lane, [entry.id])
    entries = await second.take()
    assert [(entry.lane, entry.fields[b"d"]) for entry in entries] == [
        (keys.returned, envelope("a")),
        (keys.stream, envelope("b")),
        (keys.stream, envelope("c")),
    ]


async def test_no_more_than_asked_for_is_read_per_lane(table: Table) -> None:
    hands = await table.hands(b"anyq-1")
    await table.add("a", "b", "c")
    assert len(await hands.take(2)) == 2
    assert len(await hands.take(2)) == 1
    assert await hands.take(2) == []


async def test_a_waiting_read_ends_with_the_first_entry(table: Table, redis_url: str, keys: Keys) -> None:
    hands = await table.hands(b"anyq-1")
    async with Client(redis_url) as other, anyio.create_task_group() as tasks:

        async def add_when_it_waits() -> None:
            while b"cmd=xreadgroup" not in await other.call("CLIENT", "LIST"):
                pass
            await Table(other, keys).add("a")

        tasks.start_soon(add_when_it_waits)
        with anyio.fail_after(5):
            assert len(await hands.take(block_ms=4000)) == 1


async def test_two_consumers_never_get_the_same_entry(table: Table) -> None:
    first, second = await table.hands(b"anyq-1"), await table.hands(b"anyq-2")
    await table.add(*map(str, range(20)))
    taken = [entry.id for _ in range(10) for hands in (first, second) for entry in await hands.take(1)]
    assert len(taken) == len(set(taken)) == 20


async def test_the_group_begins_at_the_first_entry_and_is_made_once(table: Table) -> None:
    await table.add("before")
    hands = await table.hands(b"anyq-1")
    await hands.consuming.ensure_group()
    assert len(await hands.take()) == 1
    await hands.consuming.ensure_group()
    assert await hands.take() == []


async def test_the_server_says_what_is_ours(table: Table, keys: Keys) -> None:
    first, second = await table.hands(b"anyq-1"), await table.hands(b"anyq-2")
    await table.add("a", "b", "c", "d")
    mine = [entry.id for entry in await first.take(3)]
    await second.take()
    assert await first.consuming.pending(keys.stream) == mine
    assert await first.consuming.pending(keys.stream, count=1) == mine[:1]
    assert await first.consuming.pending(keys.stream, b"(" + mine[0]) == mine[1:]
    assert await first.consuming.pending(keys.returned) == []


async def test_a_shared_queue_is_read_from_its_one_stream(client: Client) -> None:
    shared = Table(client, Keys(CHASQUI, "q"))
    hands = await shared.hands(b"anyq-1")
    await shared.add("a", "b")
    (first, _) = await hands.take()
    await hands.settling.hand_back(first.lane, [first.id])
    (again,) = await hands.take()
    assert (again.lane, again.fields) == (shared.keys.stream, first.fields)


async def test_silent_workers_are_found_on_either_protocol(table: Table) -> None:
    watcher = await table.hands(b"anyq-1")
    for name in (b"anyq-2", b"anyq-3", b"c-foreign"):
        await table.add("held")
        await (await table.hands(name, alive=name == b"anyq-2")).take()
    assert await watcher.leasing.silent() == [b"anyq-3"]
