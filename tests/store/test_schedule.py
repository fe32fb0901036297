"""Adding delayed jobs and jobs with a chosen id: once, by the server's clock; the same batch has the same answer."""

from __future__ import annotations

import pytest
from tests.support.hands import Table, addition, envelope, member

from anyq._core.codec import delayed_member
from anyq._core.keys import CHASQUI, Keys
from anyq._redis.client import Client
from anyq._redis.subscriber import Subscriber
from anyq._store.publish import Addition, Full

pytestmark = pytest.mark.anyio


# -- chosen ids -------------------------------------------------------------------------------------------------------


async def test_a_chosen_id_is_new_once(table: Table, keys: Keys) -> None:
    producer = table.producer()
    assert await producer.schedule(1, 1, [addition("a", job_id="a")], 0) == [True]
    assert await producer.schedule(2, 2, [addition("a", job_id="a")], 0) == [False]
    assert await table.producer().schedule(1, 1, [addition("a", job_id="a")], 0) == [False]
    assert len(await table.fields(keys.stream)) == 1


async def test_a_chosen_id_twice_in_one_batch_is_new_once(table: Table, keys: Keys) -> None:
    producer = table.producer()
    batch = [addition("a", job_id="a"), addition("b", job_id="b"), addition("a", job_id="a")]
    for _ in range(2):
        assert await producer.schedule(1, 1, batch, 0) == [True, True, False]
    assert len(await table.fields(keys.stream)) == 2


async def test_a_batch_sent_again_has_the_same_answers(table: Table, keys: Keys) -> None:
    producer = table.producer()
    await producer.schedule(1, 1, [addition("b", job_id="b", claim="c")], 0)
    batch = [
        addition("a", job_id="a"),
        addition("b", job_id="b"),
        addition("c"),
        addition("d", delay_ms=60_000),
        addition("e", job_id="e", delay_ms=60_000),
        addition("b", job_id="b", delay_ms=60_000),
    ]
    for _ in range(3):
        assert await producer.schedule(2, 1, batch, 0) == [True, False, True, True, True, False]
    assert len(await table.fields(keys.stream)) == 3
    assert set(await table.delayed()) == {member("d"), member("e")}


async def test_a_batch_sent_again_after_its_jobs_are_done_adds_nothing_and_answers_the_same(
    table: Table, keys: Keys
) -> None:
    producer, hands = table.producer(), await table.hands(b"anyq-1")
    batch = [
        addition("a", job_id="a"),
        addition("b"),
        addition("c", job_id="c", delay_ms=0),
        addition("d", delay_ms=0),
    ]
    assert await producer.schedule(1, 1, batch, 0) == [True] * 4
    await hands.promoting.promote(10)
    entries = await hands.take()
    assert len(entries) == 4
    assert await hands.settling.ack(keys.stream, [entry.id for entry in entries]) == [1] * 4
    assert await producer.schedule(1, 1, batch, 0) == [True] * 4
    assert await table.fields(keys.stream) == []
    assert await table.delayed() == {}


async def test_a_batch_sent_again_answers_as_it_did_though_the_ids_are_free_by_now(
    table: Table, keys: Keys, client: Client
) -> None:
    producer, other = table.producer(), table.producer()
    batch = [addition("a", job_id="a"), addition("b", job_id="b")]
    await other.schedule(1, 1, [addition("b", job_id="b")], 0)
    assert await producer.schedule(1, 1, batch, 0) == [True, False]
    await client.call("DEL", keys.taken_id("a"), keys.taken_id("b"))
    assert await producer.schedule(1, 1, batch, 0) == [True, False], (
        "nothing is said to be added that was not"
    )
    assert len(await table.fields(keys.stream)) == 2


async def test_an_id_stays_taken_until_its_job_has_ended_however_long_that_takes(
    table: Table, client: Client
) -> None:
    day = 24 * 3600 * 1000
    for keys, lasts in (table.keys, 30 * day), (Keys(CHASQUI, "q"), day // 24):
        jobs = [addition("now", job_id="now"), addition("later", job_id="later", delay_ms=50_000)]
        await Table(client, keys).producer().schedule(1, 1, jobs, 0)
        assert lasts - 1000 < await client.call("PTTL", keys.taken_id("now")) <= lasts
        assert lasts + 49_000 < await client.call("PTTL", keys.taken_id("later")) <= lasts + 50_000


async def test_an_id_that_chasquimq_took_is_taken(table: Table, client: Client, keys: Keys) -> None:
    await client.call("SET", keys.taken_id("a"), "1", "EX", 3600)
    assert await table.producer().schedule(1, 1, [addition("a", job_id="a", delay_ms=1000)], 0) == [False]
    assert await table.delayed() == {}


# -- the index --------------------------------------------------------------------------------------------------------


async def test_every_delayed_job_is_found_by_its_id_until_long_after_its_time(
    table: Table, client: Client, keys: Keys
) -> None:
    week = 7 * 24 * 3600 * 1000
    jobs = [addition("made", delay_ms=50_000), addition("chosen", job_id="chosen", delay_ms=50_000)]
    jobs += [addition("past", due_ms=1), addition("far", due_ms=253_402_300_799_999)]
    await table.producer().schedule(1, 1, [*jobs, addition("now", job_id="now")], 0)
    for id in ("made", "chosen", "past", "far"):
        assert await client.call("GET", keys.delayed_member(id)) == member(id)
    assert week + 49_000 < await client.call("PTTL", keys.delayed_member("made")) <= week + 50_000
    assert week - 1000 < await client.call("PTTL", keys.delayed_member("past")) <= week
    assert await client.call("EXISTS", keys.delayed_member("now")) == 0


# -- times ------------------------------------------------------------------------------------------------------------


async def test_a_delay_is_counted_by_the_servers_clock(table: Table) -> None:
    before = await table.now_ms()
    await table.producer().schedule(1, 1, [addition("a", delay_ms=5000)], 0)
    after = await table.now_ms()
    assert before + 5000 <= (await table.delayed())[member("a")] <= after + 5000


async def test_a_moment_is_kept_to_the_millisecond(table: Table) -> None:
    moments = {"past": 5, "soon": 1_795_355_030_957, "far": 253_402_300_799_999}
    await table.producer().schedule(1, 1, [addition(id, due_ms=due) for id, due in moments.items()], 0)
    assert await table.delayed() == {member(id): due for id, due in moments.items()}


async def test_a_delayed_job_lies_as_chasquimqs_do(table: Table, client: Client, keys: Keys) -> None:
    jobs = [
        Addition("", envelope("a"), due_ms=1),
        Addition("ü" * 128, envelope("b"), job_id="b", claim="c", due_ms=2),
    ]
    await table.producer().schedule(1, 1, jobs, 0)
    first, second = sorted(await table.delayed())
    assert (first, second) == (b"\0\0\0\0" + envelope("a"), delayed_member("ü" * 128, envelope("b")))
    assert await client.call("GET", keys.delayed_member("b")) == second


async def test_jobs_that_are_ready_now_go_to_the_stream(table: Table, keys: Keys) -> None:
    await table.producer().schedule(
        1, 1, [addition("a", job_id="a"), Addition("", envelope("b"), job_id="b")], 0
    )
    assert await table.fields(keys.stream) == [{b"d": envelope("a"), b"n": b"task"}, {b"d": envelope("b")}]


async def test_batches_of_both_kinds_are_counted_together(table: Table, client: Client, keys: Keys) -> None:
    producer = table.producer()
    await producer.publish(1, 1, [addition("a")], 0)
    await producer.schedule(2, 1, [addition("b", delay_ms=60_000)], 0)
    await producer.publish(3, 2, [addition("c")], 0)
    await producer.schedule(2, 2, [addition("b", delay_ms=60_000)], 0)
    assert await client.call("ZRANGE", keys.sent(b"producer-1"), 0, -1) == [b"2", b"floor", b"3"]
    assert len(await table.delayed()) == 1


# -- room -------------------------------------------------------------------------------------------------------------


async def test_only_jobs_that_are_ready_now_need_room(table: Table, keys: Keys) -> None:
    producer = table.producer()
    await table.add("there")
    assert await producer.schedule(1, 1, [addition("a", delay_ms=60_000)], 1) == [True]
    with pytest.raises(Full):
        await producer.schedule(2, 1, [addition("b", delay_ms=60_000), addition("c", job_id="c")], 1)
    assert len(await table.fields(keys.stream)) == 1
    assert set(await table.delayed()) == {member("a")}


async def test_a_batch_that_found_no_room_took_no_id(table: Table, client: Client, keys: Keys) -> None:
    producer = table.producer()
    with pytest.raises(Full):
        await producer.schedule(1, 1, [addition("a", job_id="a"), addition("b", job_id="b")], 1)
    assert await client.call("EXISTS", keys.taken_id("a"), keys.sent(b"producer-1")) == 0
    assert await producer.schedule(1, 1, [addition("a", job_id="a")], 1) == [True]


# -- waking -----------------------------------------------------------------------------------------------------------


async def calls_of_publish(client: Client) -> int:
    """How often the promoters were called."""
    calls = 0
    for line in (await client.call("INFO", "commandstats")).decode().splitlines():
        if line.startswith("cmdstat_publish:"):
            calls = int(line.split("calls=")[1].split(",")[0])
    return calls


async def test_promoters_are_called_only_when_the_next_due_time_moved(table: Table, client: Client) -> None:
    producer = table.producer()
    now = await table.now_ms()
    steps = [
        (addition("first", due_ms=now + 50_000), 1),
        (addition("later", due_ms=now + 60_000), 0),
        (addition("sooner", due_ms=now + 40_000), 1),
        (addition("same", due_ms=now + 40_000), 0),
        (addition("ready", job_id="ready"), 0),
    ]
    for number, (job, calls) in enumerate(steps, 1):
        before = await calls_of_publish(client)
        await producer.schedule(number, number, [job], 0)
        assert await calls_of_publish(client) - before == calls, job.envelope
    before = await calls_of_publish(client)
    await producer.schedule(len(steps), 1, [steps[-1][0]], 0)
    assert await calls_of_publish(client) == before


async def test_the_call_tells_the_next_due_time(
    table: Table, redis_url: str, client: Client, keys: Keys
) -> None:
    heard: list[bytes] = []
    async with Subscriber(redis_url) as subscriber:
        with subscriber.subscribe(keys.due, lambda _channel, message: heard.append(message)) as subscription:
            await subscription.ready()
            await table.producer().schedule(1, 1, [addition("a", due_ms=1_795_355_030_957)], 0)
            while not heard:
                await client.call("PING")
    assert heard == [b"1795355030957"]
