"""Looking at dead letters and mending, verb by verb: bounded stretches, and a batch sent again has the same answer."""

from __future__ import annotations

import pytest
from redis.exceptions import ResponseError
from tests.support.hands import Table, envelope

from anyq._core.codec import encode
from anyq._core.dead_letters import Grouping, Raw, Revived, revive
from anyq._core.job import Extras
from anyq._core.keys import Keys
from anyq._redis.client import Client
from anyq._services.patience import reply_code
from anyq._store import dead_letters
from anyq._store.dead_letters import WHOLE, Mending, Range
from anyq._store.publish import Full

pytestmark = pytest.mark.anyio


async def bury(client: Client, keys: Keys, *ids: str, size: int = 0, **fields: str) -> list[bytes]:
    """Write letters as a worker does; gives their ids."""
    more = [word for field in {"n": "task", "reason": "stalled", **fields}.items() for word in field]
    return [
        await client.call(
            "XADD",
            keys.dead_letters,
            "*",
            "d",
            encode(id, bytes(size), 1, 4) if size else envelope(id, 4),
            *more,
        )
        for id in ids
    ]


async def everything(client: Client, keys: Keys, where: Range, wanted: int = 100) -> list[Raw]:
    found: list[Raw] = []
    rest: Range | None = where
    while rest is not None:
        part, rest = await dead_letters.look(client, keys, rest, wanted)
        found += part
    return found


async def revived(client: Client, keys: Keys) -> list[Revived]:
    found, _ = await dead_letters.look(client, keys, Range(), 1000, given=WHOLE)
    letters = [revive(raw, 10_000) for raw in found]
    return [letter for letter in letters if isinstance(letter, Revived)]


async def test_a_look_goes_on_where_the_last_one_ended(client: Client, keys: Keys) -> None:
    ids = await bury(client, keys, *(f"job-{number}" for number in range(25)))
    found, rest = await dead_letters.look(client, keys, Range(), 10)
    assert [raw.id for raw in found] == ids[:10]
    assert rest is not None
    found, rest = await dead_letters.look(client, keys, rest, 10)
    assert [raw.id for raw in found] == ids[10:20]
    assert rest is not None
    found, rest = await dead_letters.look(client, keys, rest, 10)
    assert [raw.id for raw in found] == ids[20:]
    assert rest is None


async def test_a_look_from_the_newest_goes_back(client: Client, keys: Keys) -> None:
    ids = await bury(client, keys, "a", "b", "c")
    found, rest = await dead_letters.look(client, keys, Range(), 2, newest_first=True)
    assert [raw.id for raw in found] == [ids[2], ids[1]]
    assert rest is not None
    found, _ = await dead_letters.look(client, keys, rest, 2, newest_first=True)
    assert [raw.id for raw in found] == [ids[0]]
    assert await dead_letters.newest(client, keys) == ids[2]


async def test_one_script_looks_at_a_bounded_number_and_at_bounded_bytes(client: Client, keys: Keys) -> None:
    await bury(client, keys, *(f"small-{number}" for number in range(1100)), reason="other")
    found, rest = await dead_letters.look(client, keys, Range(conditions={"reason": "stalled"}), 10)
    assert found == []
    assert rest is not None, "it looked at a thousand, and found none"
    large = await bury(client, keys, *(f"large-{number}" for number in range(20)), size=500_000)
    found, rest = await dead_letters.look(client, keys, Range(large[0]), 100, given=WHOLE)
    assert 8 <= len(found) < 20
    assert rest is not None
    assert len(await everything(client, keys, Range())) == 1120


async def test_conditions_are_met_by_fields(client: Client, keys: Keys) -> None:
    await bury(client, keys, "a", error="KeyError")
    await bury(client, keys, "b", reason="unrecoverable")
    await client.call("XADD", keys.dead_letters, "*", "d", envelope("c"), "reason", "stalled")
    for conditions, ids in (
        ({"reason": "stalled"}, "ac"),
        ({"reason": "stalled", "n": "task"}, "a"),
        ({"n": ""}, "c"),
        ({"error": "KeyError"}, "a"),
        ({"job": "b"}, "b"),
        ({"reason": "no such"}, ""),
    ):
        found = await everything(client, keys, Range(conditions=conditions))
        assert "".join(raw.job_id for raw in found) == ids
        number, rest = await dead_letters.matches(client, keys, Range(conditions=conditions))
        assert (number, rest) == (len(ids), None)


async def test_heads_are_given_of_large_envelopes(client: Client, keys: Keys) -> None:
    await bury(client, keys, "j", size=5000)
    ([raw], _) = await dead_letters.look(client, keys, Range(), 1)
    assert raw.size > 5000
    assert len(raw.envelope) == 1024
    assert raw.job_id == "j"


async def test_a_replay_sent_again_adds_nothing_and_answers_the_same(
    client: Client, keys: Keys, table: Table
) -> None:
    await bury(client, keys, "a", "b")
    letters = await revived(client, keys)
    gone = Revived(b"1-1", b"task", envelope("gone"), "gone", Extras())
    mending = Mending(client, keys, b"t")
    assert await mending.replay(1, [*letters, gone], 0) == [1, 1, 0]
    assert await mending.replay(1, [*letters, gone], 0) == [1, 1, 0]
    assert [fields[b"d"] for fields in await table.fields(keys.stream)] == [envelope("a"), envelope("b")]
    assert await dead_letters.count(client, keys) == 0
    assert await Mending(client, keys, b"another").replay(1, letters, 0) == [0, 0]


async def test_a_replay_drops_what_was_kept_of_the_failure(client: Client, keys: Keys) -> None:
    await bury(client, keys, "a")
    await client.call("SET", keys.failure("a"), "why")
    assert await Mending(client, keys, b"t").replay(1, await revived(client, keys), 0) == [1]
    assert await client.call("EXISTS", keys.failure("a")) == 0


async def test_claims_are_taken_again_and_those_of_others_are_respected(client: Client, keys: Keys) -> None:
    for id, extras in (("a", Extras(claim="mine")), ("b", Extras(unique="key"))):
        data = encode(id, b"\x80", 1, 0, extras=extras)
        await client.call("XADD", keys.dead_letters, "*", "d", data)
    letters = await revived(client, keys)
    await client.call("SET", keys.taken_id("a"), "0:other")
    await client.call("SET", keys.unique("key"), "0:other")
    assert await Mending(client, keys, b"1").replay(1, letters, 0) == [b"id", b"unique"]
    assert await dead_letters.count(client, keys) == 2
    await client.call("SET", keys.taken_id("a"), "9:mine", "PX", 50)
    await client.call("DEL", keys.unique("key"))
    assert await Mending(client, keys, b"2").replay(1, letters, 0) == [1, 1]
    assert await client.call("GET", keys.taken_id("a")) == b"0:mine"
    assert await client.call("PTTL", keys.taken_id("a")) > 50
    assert await client.call("GET", keys.unique("key")) == b"0:b"


async def test_a_full_queue_and_a_full_server_take_no_replay(
    client: Client, keys: Keys, table: Table
) -> None:
    await bury(client, keys, "a", "b")
    letters = await revived(client, keys)
    await table.hands(b"anyq-1")
    await table.add("c")
    mending = Mending(client, keys, b"t")
    with pytest.raises(Full):
        await mending.replay(1, letters, 2)
    before = await table.everything()
    await client.call("CONFIG", "SET", "maxmemory", 1)
    try:
        with pytest.raises(ResponseError) as caught:
            await mending.replay(1, letters, 0)
        assert reply_code(caught.value) == "OOM"
        assert await table.everything() == before
    finally:
        await client.call("CONFIG", "SET", "maxmemory", 0)
    assert await mending.replay(1, letters, 3) == [1, 1]


async def test_a_deletion_sent_again_answers_the_same_also_on_a_full_server(
    client: Client, keys: Keys
) -> None:
    ids = await bury(client, keys, "a", "b", "c")
    mending = Mending(client, keys, b"t")
    await client.call("CONFIG", "SET", "maxmemory", 1)
    try:
        assert await mending.delete(1, [*ids[:2], b"1-1"]) == 2
        assert await mending.delete(1, [*ids[:2], b"1-1"]) == 2
    finally:
        await client.call("CONFIG", "SET", "maxmemory", 0)
    assert await mending.delete(2, ids) == 1


async def test_the_trimmed_ones_are_counted(client: Client, keys: Keys, table: Table) -> None:
    now = await table.now_ms()
    for age in (*range(50_000, 25_000, -100), 10):
        await client.call("XADD", keys.dead_letters, f"{now - 1000 * age}-0", "d", "")
    dropped, more = await dead_letters.trim(client, keys, 26_050.0)
    while more:
        part, more = await dead_letters.trim(client, keys, 26_050.0)
        dropped += part
    assert dropped == 240
    assert await dead_letters.count(client, keys) == 251 - dropped
    assert await dead_letters.trimmed(client, keys) == dropped


async def test_a_burial_counts_what_it_trims(client: Client, keys: Keys, table: Table) -> None:
    await bury(client, keys, *map(str, range(250)))
    hands = await table.hands(b"anyq-1", dead_letters=100)
    _, trimmed = await hands.settling.bury(keys.stream, [])
    assert trimmed > 0
    assert await dead_letters.trimmed(client, keys) == trimmed


async def test_errors_are_grouped_in_bounded_stretches(client: Client, keys: Keys) -> None:
    a = await bury(client, keys, "a", "b", error="ValueError", message="one")
    many = [
        ("XADD", keys.dead_letters, "*", "d", "", "error", f"E{n}", "reason", "x" * 500) for n in range(1200)
    ]
    await client.call_many(many)
    b = await bury(client, keys, "c", error="ValueError", message="two")
    grouping, stretches = Grouping(10_000), 0
    rest: Range | None = Range()
    while rest is not None:
        groups, rest = await dead_letters.errors(client, keys, rest)
        assert len(groups) <= 500
        grouping.add(groups)
        stretches += 1
    assert stretches >= 3
    first, *others = grouping.groups()
    assert (first.error, first.task, first.reason, first.count) == ("ValueError", "task", "stalled", 3)
    assert (first.last, first.message) == (b[0].decode(), "two")
    assert int(first.first_at.timestamp() * 1000) == int(a[0].split(b"-")[0])
    assert len(others) == 1200
    assert {(group.count, len(group.reason)) for group in others} == {(1, 200)}, "long texts are cut"
    few = Grouping(2)
    few.add([(b"%d" % n, b"", b"", 1, b"1-0", b"2-0", b"") for n in range(5)])
    assert len(few.groups()) == 2


async def test_errors_of_chosen_letters_are_grouped(client: Client, keys: Keys) -> None:
    await bury(client, keys, "a", error="ValueError")
    await bury(client, keys, "b", "c", n="other")
    groups, rest = await dead_letters.errors(client, keys, Range(conditions={"n": "other", "error": ""}))
    assert rest is None
    assert [(group[:4], group[6]) for group in groups] == [([b"", b"other", b"stalled", 2], b"")]
    assert await dead_letters.errors(client, keys, Range(first=b"9999999999999")) == ([], None)
