"""Finished jobs are cut off a stream's head, which is quick; what else lies there is never cut off with them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import pytest
from redis.exceptions import ResponseError
from tests.support.hands import Entry, Hands, Table
from tests.support.servers import Server

from anyq._core.keys import GROUP
from anyq._redis.client import Client
from anyq._services.patience import reply_code
from anyq._store.belongings import Belonging
from anyq._store.settle import Kept

pytestmark = pytest.mark.anyio


@pytest.fixture
async def hands(table: Table) -> Hands:
    return await table.hands(b"anyq-1")


async def left(table: Table) -> list[str]:
    """The jobs in the stream."""
    return [fields[b"d"][2:3].decode() for fields in await table.fields(table.keys.stream)]


async def commands(client: Client) -> dict[str, int]:
    """What the server ran since it was last asked."""
    stats = await client.info("commandstats")
    await client.config_resetstat()
    return {name.removeprefix("cmdstat_"): row["calls"] for name, row in stats.items()}


def tells_lag(server: Server) -> bool:
    return server.version[0] != "redis" or server.version[1:] >= (7, 0)


@pytest.mark.parametrize("finished", ["abc", "cab", "abcdef", "abe", "bc", "f"])
async def test_the_head_is_cut_off_and_the_rest_deleted_one_by_one(
    table: Table, client: Client, server: Server, hands: Hands, finished: str
) -> None:
    await table.add(*"abcdefgh")
    taken = dict(zip("abcdef", await hands.take(6), strict=True))
    await commands(client)
    entries = [taken[job].id for job in finished]
    assert await hands.settling.ack(table.keys.stream, entries) == [1] * len(entries)
    ran = await commands(client)
    others = [job for job in "abcdefgh" if job not in finished]
    assert await left(table) == others
    if tells_lag(server):
        assert ("xdel" in ran) == (finished in ("abe", "bc", "f"))
    assert [entry.fields[b"d"][2:3] for entry in await hands.take()] == [b"g", b"h"]


Meddle = Callable[[Table, Client, Sequence[Entry]], Awaitable[str]]


async def acknowledge_by_hand(table: Table, client: Client, taken: Sequence[Entry]) -> str:
    """Somebody acknowledged entries, and did not delete them."""
    assert await client.call("XACK", table.keys.stream, GROUP, taken[0].id, taken[2].id) == 2
    return "ac"


async def drop_a_consumer(table: Table, client: Client, taken: Sequence[Entry]) -> str:
    """Somebody took a worker out of the group that had jobs."""
    await client.call("XCLAIM", table.keys.stream, GROUP, "anyq-2", 0, taken[0].id, taken[1].id)
    assert await client.call("XGROUP", "DELCONSUMER", table.keys.stream, GROUP, "anyq-2") == 2
    return "ab"


async def skip(table: Table, client: Client, taken: Sequence[Entry]) -> str:
    """Somebody set the group past entries that nobody has read."""
    await client.call("XGROUP", "SETID", table.keys.stream, GROUP, "$")
    return ""


async def read_along(table: Table, client: Client, taken: Sequence[Entry]) -> str:
    """Another group reads the stream too, and has read nothing."""
    await client.call("XGROUP", "CREATE", table.keys.stream, "other", "0")
    return ""


async def read_beside(table: Table, client: Client, taken: Sequence[Entry]) -> str:
    """The same, by a group that is told of first, and whose numbers come out for a job that is not finished here."""
    await client.call("XGROUP", "CREATE", table.keys.stream, "another", "0")
    await client.call("XREADGROUP", "GROUP", "another", "who", "COUNT", 1, "STREAMS", table.keys.stream, ">")
    assert await client.call("XACK", table.keys.stream, "another", taken[0].id) == 1
    return ""


async def cancel_a_waiting_one(table: Table, client: Client, taken: Sequence[Entry]) -> str:
    """An entry was deleted that nobody has read: the server cannot tell how many are left to be read."""
    [(entry, _)] = await client.call("XREVRANGE", table.keys.stream, "+", "-", "COUNT", 1)
    assert await client.call("XDEL", table.keys.stream, entry) == 1
    return ""


@pytest.mark.parametrize(
    "meddle", [acknowledge_by_hand, drop_a_consumer, skip, read_along, read_beside, cancel_a_waiting_one]
)
async def test_what_somebody_left_in_the_stream_stays_there(
    table: Table, client: Client, hands: Hands, meddle: Meddle
) -> None:
    await table.add(*"abcdefgh")
    taken = await hands.take(6)
    orphans = await meddle(table, client, taken)
    there = await left(table)
    for finished in ("d", "e", "f", "abc"):
        ended = [job for job in finished if job not in orphans]
        entries = [entry.id for job, entry in zip("abcdef", taken, strict=True) if job in ended]
        assert await hands.settling.ack(table.keys.stream, entries) == [1] * len(entries)
        there = [job for job in there if job not in ended]
        assert await left(table) == there


async def test_what_was_deleted_by_hand_while_it_ran_hides_nothing(
    table: Table, client: Client, hands: Hands
) -> None:
    await table.add(*"abcd")
    a, b, _ = await hands.take(3)
    assert await client.call("XDEL", table.keys.stream, a.id) == 1
    assert await hands.settling.ack(table.keys.stream, [a.id, b.id]) == [1, 1]
    assert await left(table) == ["c", "d"]


async def test_jobs_with_results_are_cut_off_too_and_each_ends_once(
    table: Table, client: Client, server: Server, hands: Hands
) -> None:
    await table.add(*"abcd")
    a, b, c = [Kept(entry.id, "abc"[place], b"x", 60.0) for place, entry in enumerate(await hands.take(3))]
    await commands(client)
    assert await hands.settling.complete(table.keys.stream, [a, b, a]) == [1, 1, -1]
    assert ("xtrim" in await commands(client)) == tells_lag(server)
    assert await left(table) == ["c", "d"]
    assert await hands.settling.complete(table.keys.stream, [b, c]) == [-1, 1]
    assert await left(table) == ["d"]


async def test_what_was_ended_before_one_that_cannot_be_stays_ended(
    table: Table, client: Client, hands: Hands
) -> None:
    """Or it would run again, its unique key given away already."""
    await table.add(*"abc")
    claim = table.keys.unique("key")
    await client.call("RPUSH", claim, "of another type")
    a, b, c = [entry.id for entry in await hands.take()]
    batch = [
        Kept(a, "a", b"x", 60.0),
        Kept(b, "b", b"y", 60.0, (Belonging(claim, "b"),)),
        Kept(c, "c", b"z", 60.0),
    ]
    for _ in range(2):
        with pytest.raises(ResponseError) as caught:
            await hands.settling.complete(table.keys.stream, batch)
        assert reply_code(caught.value) == "WRONGTYPE"
        assert await left(table) == ["b", "c"]
    await client.call("DEL", claim)
    assert await hands.settling.complete(table.keys.stream, batch) == [-1, 1, 1]
    assert await left(table) == []
