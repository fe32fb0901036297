"""How much a queue holds, and what it tells about itself."""

from __future__ import annotations

import pytest
from tests.support.hands import Table

from anyq._core import notices
from anyq._core.keys import CHASQUI, Keys
from anyq._redis.client import Client
from anyq._services.channels import Bulletin
from anyq._store import events, pauses
from anyq._store.inspect import Depths, depths

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("prefix", ["anyq", CHASQUI])
async def test_everything_is_counted_in_its_place(client: Client, prefix: str) -> None:
    table = Table(client, Keys(prefix, "q"))
    assert await depths(client, table.keys) == Depths(0, 0, 0, 0)
    hands = await table.hands(b"anyq-1")
    await table.add("a", "b", "c")
    await table.delay("due", by_ms=-1)
    await table.delay("later", by_ms=60_000)
    await client.call("XADD", table.keys.dead_letters, "*", "d", "x")
    entry, _, _ = await hands.take()
    await hands.settling.hand_back(entry.lane, [entry.id])
    assert await depths(client, table.keys) == Depths(ready=3, delayed=2, due=1, dead_letters=1, held=2)


@pytest.mark.parametrize("prefix", ["anyq", CHASQUI])
async def test_what_is_set_aside_counts_as_ready_once_its_task_is_resumed(
    client: Client, prefix: str
) -> None:
    table = Table(client, Keys(prefix, "q"))
    hands = await table.hands(b"anyq-1")
    await pauses.pause(client, table.keys, "task", 0)
    await table.add("a", "b", "c")
    first, second, _ = await hands.take()
    assert await hands.settling.set_aside(first.lane, "task", [(first.id, 5), (second.id, 5)]) == [1, 1]
    assert await depths(client, table.keys) == Depths(1, 0, 0, 0, held=1, aside=2, paused_tasks={"task": 0})
    await pauses.pause(client, table.keys, None, 2**45)
    await pauses.pause(client, table.keys, "other", 2**44)
    found = await depths(client, table.keys)
    assert (found.paused, found.paused_until) == (True, 2**45)
    assert found.paused_tasks == {"task": 0, "other": 2**44}
    await pauses.resume(client, table.keys, "other")
    await pauses.resume(client, table.keys, "task")
    await pauses.pause(client, table.keys, None, 1)
    assert await depths(client, table.keys) == Depths(3, 0, 0, 0, held=1)
    assert await pauses.readmit(client, table.keys, "task") == 2
    assert await pauses.readmit(client, table.keys, "task") == 0
    assert await depths(client, table.keys) == Depths(3, 0, 0, 0, held=1)


async def test_events_are_written_in_order_and_the_oldest_trimmed(client: Client, keys: Keys) -> None:
    bulletin = Bulletin(events=keys.events, metrics=False)
    for number in range(1000):
        bulletin.notice(notices.waiting(str(number), "", number))
    told = bulletin.notices.take_nowait()
    bulletin.close()
    replies = await events.append(client, keys, told, 100)
    assert len(replies) == 1000 == len(set(replies)), "the id of each entry"
    kept = await Table(client, keys).fields(keys.events)
    assert 100 <= len(kept) < 1000
    assert [fields[b"id"] for fields in kept] == [
        str(number).encode() for number in range(1000 - len(kept), 1000)
    ]
    assert kept[-1] == {b"e": b"waiting", b"id": b"999", b"ts": b"999"}
