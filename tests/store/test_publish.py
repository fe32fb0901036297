"""Adding ready jobs: a batch takes effect once, however often it is sent, and all of it or nothing."""

from __future__ import annotations

import random

import pytest
from tests.support.hands import Table, addition, envelope

from anyq._core.keys import Keys
from anyq._redis.client import Client
from anyq._store.publish import Addition, Full

pytestmark = pytest.mark.anyio


async def test_jobs_lie_in_the_stream_as_chasquimqs_do(table: Table, keys: Keys) -> None:
    await table.producer().publish(1, 1, [addition("a"), Addition("", envelope("b"))], 0)
    assert await table.fields(keys.stream) == [{b"d": envelope("a"), b"n": b"task"}, {b"d": envelope("b")}]


async def test_jobs_are_in_the_order_in_which_they_were_added(table: Table, keys: Keys) -> None:
    producer = table.producer()
    await producer.publish(1, 1, [addition(f"a{index}") for index in range(200)], 0)
    await producer.publish(2, 1, [addition("b")], 0)
    found = [fields[b"d"] for fields in await table.fields(keys.stream)]
    assert found == [*(envelope(f"a{index}") for index in range(200)), envelope("b")]


@pytest.mark.parametrize("names", ["", "a", "ab", "aabcca", ".", ".a", "a..b.", "..aa"])
async def test_jobs_of_several_tasks_in_one_batch_keep_their_order_and_names(
    table: Table, client: Client, keys: Keys, names: str
) -> None:
    jobs = [Addition(name.strip("."), envelope(str(number))) for number, name in enumerate(names)]
    await table.producer().publish(1, 1, jobs, 0)
    found = [(fields.get(b"n", b"").decode(), fields[b"d"]) for fields in await table.fields(keys.stream)]
    assert found == [(job.name, job.envelope) for job in jobs]
    assert int(await client.call("HGET", keys.counts, "added") or 0) == len(jobs)


async def test_a_batch_of_several_tasks_counts_all_of_them_against_the_limit(
    table: Table, keys: Keys
) -> None:
    producer, jobs = table.producer(), [Addition(name, envelope(name)) for name in "aab"]
    with pytest.raises(Full):
        await producer.publish(1, 1, jobs, 2)
    assert await table.fields(keys.stream) == []
    await producer.publish(1, 1, jobs, 3)
    assert len(await table.fields(keys.stream)) == 3


async def test_a_batch_sent_again_adds_nothing(table: Table, keys: Keys) -> None:
    producer = table.producer()
    for _ in range(3):
        await producer.publish(1, 1, [addition("a"), addition("b")], 0)
    assert len(await table.fields(keys.stream)) == 2


async def test_a_batch_sent_again_after_its_jobs_are_done_adds_nothing(table: Table, keys: Keys) -> None:
    producer, hands = table.producer(), await table.hands(b"anyq-1")
    await producer.publish(1, 1, [addition("a")], 0)
    (entry,) = await hands.take()
    assert await hands.settling.ack(keys.stream, [entry.id]) == [1]
    await producer.publish(1, 1, [addition("a")], 0)
    assert await hands.take() == []
    assert await table.fields(keys.stream) == []


async def test_batches_that_were_answered_out_of_order_are_each_remembered(table: Table, keys: Keys) -> None:
    producer = table.producer()
    for batch in (2, 1, 3, 2, 1, 3):
        await producer.publish(batch, 1, [addition(str(batch))], 0)
    assert len(await table.fields(keys.stream)) == 3


async def test_batches_below_the_lowest_unanswered_are_forgotten(
    table: Table, client: Client, keys: Keys
) -> None:
    producer = table.producer()
    for batch in (3, 2, *range(4, 11)):
        await producer.publish(batch, max(1, batch - 2), [addition("a")], 0)
    sent = keys.sent(b"producer-1")
    assert await client.call("ZRANGE", sent, 0, -1) == [b"8", b"floor", b"9", b"10"]
    assert 3590 < await client.call("TTL", sent) <= 3600


async def test_batches_that_come_in_order_are_remembered_by_one_number(
    table: Table, client: Client, keys: Keys
) -> None:
    producer = table.producer()
    for batch in range(1, 11):
        await producer.publish(batch, max(1, batch - 2), [addition("a")], 0)
    assert await client.call("GET", keys.next_batch(b"producer-1")) == b"11"
    assert 3590 < await client.call("TTL", keys.next_batch(b"producer-1")) <= 3600
    assert await client.call("EXISTS", keys.sent(b"producer-1")) == 0


async def test_after_a_gap_each_is_remembered_by_itself_until_one_comes_alone(
    table: Table, client: Client, keys: Keys
) -> None:
    producer, ordered = table.producer(), keys.next_batch(b"producer-1")
    came = [(1, 1, b"2"), (3, 2, None), (4, 2, None), (2, 2, None), (5, 5, b"6"), (6, 5, b"7"), (8, 8, b"9")]
    for batch, lowest, following in came:
        await producer.publish(batch, lowest, [addition(str(batch))], 0)
        assert await client.call("GET", ordered) == following, batch
    for batch, *_ in came:
        await producer.publish(batch, min(batch, 5), [addition(str(batch))], 0)
    assert len(await table.fields(keys.stream)) == len(came)


@pytest.mark.parametrize("seed", range(30))
async def test_a_batch_takes_effect_once_in_whatever_order_and_however_often_it_is_sent(
    table: Table, keys: Keys, seed: int
) -> None:
    """Several are under way at once, in two ways; some are answered, some given up, and come all the same, too late."""
    chance, producer = random.Random(seed), table.producer()
    made, under_way, effected, over = 0, list[int](), set[int](), list[tuple[int, int]]()

    async def send(batch: int, lowest: int) -> None:
        job = addition(str(batch), **({"delay_ms": 60_000} if batch % 4 == seed % 5 else {}))
        if job.delayed:
            await producer.schedule(batch, lowest, [job], 0)
        else:
            await producer.publish(batch, lowest, [job], 0)

    for _ in range(60):
        move = chance.choice(("make", "send", "send", "answer", "late"))
        if move == "make" or not under_way:
            made += 1
            under_way.append(made)
        elif move == "send":
            batch = under_way[0] if chance.random() < 0.5 else chance.choice(under_way)
            await send(batch, under_way[0])
            effected.add(batch)
        elif move == "answer":
            over.append((chance.choice(under_way), under_way[0]))
            under_way.remove(over[-1][0])
        elif over:
            batch, lowest = chance.choice(over)
            before = len(await table.fields(keys.stream)) + len(await table.delayed())
            await send(batch, lowest)
            after = len(await table.fields(keys.stream)) + len(await table.delayed())
            assert batch in effected or after <= before + 1
            if after > before:
                assert batch not in effected
                effected.add(batch)
        found = len(await table.fields(keys.stream)) + len(await table.delayed())
        assert found == len(effected)


async def test_a_batch_of_a_connection_that_was_given_up_adds_nothing_however_late_it_comes(
    table: Table, keys: Keys
) -> None:
    producer = table.producer()
    await producer.publish(1, 1, [addition("a")], 0)
    await producer.publish(2, 2, [addition("b")], 0)
    await producer.schedule(3, 3, [addition("c", delay_ms=60_000)], 0)
    await producer.publish(4, 4, [addition("d")], 0)
    await producer.publish(1, 1, [addition("a")], 0)
    await producer.schedule(3, 3, [addition("c", delay_ms=10)], 0)
    await producer.publish(2, 1, [addition("b")], 0)
    assert len(await table.fields(keys.stream)) == 3
    assert len(await table.delayed()) == 1


async def test_two_producers_do_not_mistake_each_others_batches(table: Table, keys: Keys) -> None:
    await table.producer().publish(1, 1, [addition("a")], 0)
    await table.producer().publish(1, 1, [addition("a")], 0)
    assert len(await table.fields(keys.stream)) == 2


async def test_a_producer_that_goes_leaves_no_memory(table: Table, client: Client, keys: Keys) -> None:
    producer = table.producer()
    await producer.publish(1, 1, [addition("a")], 0)
    await producer.publish(3, 2, [addition("b")], 0)
    await producer.publish(4, 4, [addition("c")], 0)
    places = keys.sent(b"producer-1"), keys.next_batch(b"producer-1")
    assert await client.call("EXISTS", *places) == 2
    await producer.forget()
    assert await client.call("EXISTS", *places) == 0


@pytest.mark.parametrize(
    ("there", "more", "fits"), [(0, 3, True), (1, 2, True), (1, 3, False), (3, 1, False)]
)
async def test_a_full_queue_takes_all_of_a_batch_or_none(
    table: Table, keys: Keys, there: int, more: int, fits: bool
) -> None:
    producer = table.producer()
    await table.add(*(f"there-{index}" for index in range(there)))
    batch = [addition(f"more-{index}") for index in range(more)]
    if fits:
        await producer.publish(1, 1, batch, 3)
    else:
        with pytest.raises(Full):
            await producer.publish(1, 1, batch, 3)
    assert len(await table.fields(keys.stream)) == there + (more if fits else 0)


async def test_a_batch_that_took_effect_is_answered_although_the_queue_is_full_by_now(
    table: Table, keys: Keys
) -> None:
    producer = table.producer()
    await producer.publish(1, 1, [addition("a")], 1)
    await producer.publish(1, 1, [addition("a")], 1)
    assert len(await table.fields(keys.stream)) == 1


async def test_a_batch_that_found_no_room_is_added_when_it_is_sent_again(table: Table, keys: Keys) -> None:
    producer, hands = table.producer(), await table.hands(b"anyq-1")
    await table.add("there")
    with pytest.raises(Full):
        await producer.publish(1, 1, [addition("a")], 1)
    (entry,) = await hands.take()
    await hands.settling.ack(keys.stream, [entry.id])
    await producer.publish(1, 1, [addition("a")], 1)
    assert [fields[b"d"] for fields in await table.fields(keys.stream)] == [envelope("a")]


async def test_a_batch_that_found_no_room_is_not_added_by_bytes_that_come_too_late(
    table: Table, keys: Keys
) -> None:
    producer, hands = table.producer(), await table.hands(b"anyq-1")
    await producer.publish(1, 1, [addition("there")], 1)
    with pytest.raises(Full):
        await producer.publish(2, 2, [addition("a")], 1)
    await producer.schedule(3, 3, [addition("later", delay_ms=60_000)], 1)
    (entry,) = await hands.take()
    await hands.settling.ack(keys.stream, [entry.id])
    await producer.publish(2, 2, [addition("a")], 1)
    assert await table.fields(keys.stream) == []


async def test_a_name_may_hold_anything_that_bytes_can(table: Table, keys: Keys) -> None:
    name = "größe \x00\n\r'\"{}🦉" + "x" * 200
    await table.producer().publish(1, 1, [Addition(name, b"\x00\xff\r\n")], 0)
    assert await table.fields(keys.stream) == [{b"d": b"\x00\xff\r\n", b"n": name.encode()}]


async def test_a_batch_may_hold_a_thousand_jobs(table: Table, client: Client, keys: Keys) -> None:
    await table.producer().publish(1, 1, [addition(str(index)) for index in range(1000)], 0)
    assert await client.call("XLEN", keys.stream) == 1000
