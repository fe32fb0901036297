"""Who works on a queue: who is in the group, and who of them tells about itself."""

from __future__ import annotations

import pytest
from redis.exceptions import ResponseError
from tests.support.hands import Table

from anyq._core.keys import CHASQUI, Keys
from anyq._core.workers import Portrait, pack_record
from anyq._redis.client import Client
from anyq._store import workers as module
from anyq._store.workers import workers

pytestmark = pytest.mark.anyio


async def tell(client: Client, keys: Keys, name: bytes) -> None:
    portrait = Portrait(
        name=name.decode(), host="here", pid=7, version="", python="", backend="", concurrency=1
    )
    record = pack_record(
        portrait, state="draining", started_ms=1, now_ms=2, busy=0, running=0, runs=(), tasks=(), fallback=False,
        paused=False, paused_tasks=(), loop_lag=0,
    )  # fmt: skip
    await client.call("SET", keys.heartbeat(name), record, "PX", 60_000)


async def test_a_queue_that_nobody_ever_worked_on_has_no_workers(client: Client, keys: Keys) -> None:
    assert await workers(client, keys) == []
    await client.call("XADD", keys.stream, "*", "d", "x")
    assert await workers(client, keys) == []


@pytest.mark.parametrize("prefix", ["anyq", CHASQUI])
async def test_those_that_tell_are_silent_or_foreign_are_listed_with_what_they_hold(
    client: Client, prefix: str
) -> None:
    table = Table(client, Keys(prefix, "q"))
    tells, old = await table.hands(b"anyq-1"), await table.hands(b"anyq-2")
    silent, foreign = (
        await table.hands(b"anyq-3", alive=False),
        await table.hands(b"c-foreign", alive=False),
    )
    await tell(client, table.keys, tells.name)
    await table.add(*map(str, range(10)))
    for count, hands in enumerate((foreign, silent, tells, old), 1):
        await hands.take(count)
    (entry, *_) = [row for row in await table.pending() if row[2] == tells.name]
    await tells.settling.hand_back(entry[0], [entry[1]])
    await tells.take()  # in another lane, unless they have but one
    found = await workers(client, table.keys)
    assert [(one.name, one.state, one.held) for one in found] == [
        ("anyq-2", "unknown", 4),
        ("anyq-1", "draining", 3),
        ("anyq-3", "silent", 2),
        ("c-foreign", "foreign", 1),
    ]
    assert [one.pid for one in found] == [None, 7, None, None]
    assert all(one.idle is not None and 0 <= one.idle < 60 for one in found)


async def test_who_leaves_while_we_look_is_not_called_silent(
    table: Table, client: Client, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaves, stays = await table.hands(b"anyq-1"), await table.hands(b"anyq-2", alive=False)
    records = module._records

    async def late(*args: object) -> object:
        assert await leaves.leasing.depart()
        return await records(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_records", late)
    assert [(one.name, one.state) for one in await workers(client, keys)] == [(stays.name.decode(), "silent")]


async def test_any_number_of_workers_is_asked_in_bounded_stretches(
    table: Table, client: Client, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BATCH", 3)
    for number in range(10):
        await table.hands(b"anyq-%d" % number, alive=number % 2 == 0)
    found = await workers(client, keys)
    assert {one.name: one.lives for one in found} == {
        f"anyq-{number}": number % 2 == 0 for number in range(10)
    }


async def test_a_key_that_is_no_stream_is_said(client: Client, keys: Keys) -> None:
    await client.call("SET", keys.stream, "x")
    with pytest.raises(ResponseError, match="wrong kind"):
        await workers(client, keys)
