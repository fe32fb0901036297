"""Writing down what running jobs tell: once, however often it is sent, by the owner, and the last lines only."""

from __future__ import annotations

import pytest
from tests.support.hands import Table

from anyq._core.keys import Keys
from anyq._redis.client import Client
from anyq._store.notes import Note, Noting, log, progress

pytestmark = pytest.mark.anyio

WEEK = 7 * 24 * 3600 * 1000


async def test_what_is_sent_again_is_written_once(table: Table, client: Client, keys: Keys) -> None:
    hands = await table.hands(b"anyq-1")
    await table.add("a", "b")
    first, second = await hands.take()
    noting = Noting(client, keys, hands.name, 10, 1000)
    notes = [Note(first.id, "a", 1, b"p", [b"one", b"two"]), Note(second.id, "b", 1, b"", [b"other"])]
    for _ in range(2):
        assert await noting.note(keys.stream, notes) == [1, 1]
    assert await noting.note(keys.stream, [Note(first.id, "a", 2, b"", [b"three"])]) == [1]
    assert await log(client, keys, "a") == [b"one", b"two", b"three"]
    assert await log(client, keys, "b") == [b"other"]
    assert [await progress(client, keys, id) for id in "ab"] == [b"p", None]
    for key in (keys.progress("a"), keys.log("a")):
        assert WEEK - 10_000 < await client.call("PTTL", key) <= WEEK


async def test_only_the_owner_writes(table: Table, client: Client, keys: Keys) -> None:
    hands, other = await table.hands(b"anyq-1"), await table.hands(b"anyq-2")
    await table.add("a")
    [entry] = await hands.take()
    note = Note(entry.id, "a", 1, b"p", [b"line"])
    assert await Noting(client, keys, other.name, 10, 1000).note(keys.stream, [note]) == [0]
    await hands.settling.ack(keys.stream, [entry.id])
    assert await Noting(client, keys, hands.name, 10, 1000).note(keys.stream, [note]) == [0]
    assert await client.call("EXISTS", keys.progress("a"), keys.log("a")) == 0


@pytest.mark.parametrize(("lines", "size", "kept"), [(2, 1000, 2), (100, 25, 2), (100, 5, 1)])
async def test_the_last_lines_are_kept(
    table: Table, client: Client, keys: Keys, lines: int, size: int, kept: int
) -> None:
    hands = await table.hands(b"anyq-1")
    await table.add("a")
    [entry] = await hands.take()
    noting = Noting(client, keys, hands.name, lines, size)
    written = [b"line %05d" % number for number in range(20)]
    for number in range(1, 11):
        part = written[2 * number - 2 : 2 * number]
        assert await noting.note(keys.stream, [Note(entry.id, "a", number, b"", part)]) == [1]
    assert await log(client, keys, "a") == written[-kept:]


async def test_a_full_server_takes_them(table: Table, client: Client, keys: Keys) -> None:
    hands = await table.hands(b"anyq-1")
    await table.add("a")
    [entry] = await hands.take()
    await client.call("CONFIG", "SET", "maxmemory", 1)
    noting = Noting(client, keys, hands.name, 10, 1000)
    assert await noting.note(keys.stream, [Note(entry.id, "a", 1, b"p", [b"line"])]) == [1]
    await client.call("CONFIG", "SET", "maxmemory", 0)
    assert await progress(client, keys, "a") == b"p"
