"""Promoting: due jobs go into the stream in order, by the server's clock, whoever does it; junk is put aside."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.hands import Table, addition, envelope, member

from anyq._core.codec import delayed_member
from anyq._core.keys import Keys
from anyq._redis.client import Client
from anyq._store import scripts
from anyq._store.leading import COURTESY_MS

pytestmark = pytest.mark.anyio


async def test_due_jobs_move_in_the_order_of_their_time(table: Table, client: Client, keys: Keys) -> None:
    hands = await table.hands(b"anyq-1")
    for id, score in (("c", 3), ("a", 1), ("b", 2)):
        await client.call("ZADD", keys.delayed, score, member(id))
    promotion = await hands.promoting.promote(10)
    assert promotion.jobs == [("task", "a"), ("task", "b"), ("task", "c")]
    assert (promotion.leads, promotion.spoiled, promotion.waiting, promotion.next_due) == (True, 0, 0, None)
    assert await table.fields(keys.stream) == [{b"d": envelope(id), b"n": b"task"} for id in ("a", "b", "c")]
    assert await table.delayed() == {}


async def test_a_job_without_a_name_is_promoted_without_one(table: Table, client: Client, keys: Keys) -> None:
    hands = await table.hands(b"anyq-1")
    await client.call("ZADD", keys.delayed, 1, delayed_member("", envelope("a")))
    assert (await hands.promoting.promote(10)).jobs == [("", "a")]
    assert await table.fields(keys.stream) == [{b"d": envelope("a")}]


async def test_jobs_that_are_not_due_stay_and_the_next_time_is_told(table: Table, keys: Keys) -> None:
    hands = await table.hands(b"anyq-1")
    await table.delay("a", by_ms=5000)
    await table.delay("b", by_ms=9000)
    promotion = await hands.promoting.promote(10)
    assert (promotion.jobs, promotion.waiting, promotion.late) == ([], 2, 0.0)
    assert promotion.next_due is not None
    assert 4.0 < promotion.next_due <= 5.0
    assert await table.fields(keys.stream) == []


async def test_a_bounded_number_moves_at_once_and_the_rest_is_due_now(table: Table) -> None:
    hands = await table.hands(b"anyq-1")
    await table.delay(*map(str, range(5)))
    found = [await hands.promoting.promote(2) for _ in range(4)]
    assert [len(promotion.jobs) for promotion in found] == [2, 2, 1, 0]
    assert [promotion.waiting for promotion in found] == [3, 1, 0, 0]
    assert found[0].next_due == 0.0


async def test_large_jobs_move_in_small_numbers(table: Table, client: Client, keys: Keys) -> None:
    """The server serves nobody else meanwhile."""
    hands = await table.hands(b"anyq-1")
    for index in range(20):
        await client.call(
            "ZADD", keys.delayed, index, delayed_member("task", envelope(str(index)) + bytes(1024 * 1024))
        )
    found = [await hands.promoting.promote(256) for _ in range(3)]
    assert [len(promotion.jobs) for promotion in found] == [8, 8, 4]
    assert [promotion.waiting for promotion in found] == [12, 4, 0]
    assert [id for promotion in found for _, id in promotion.jobs] == [str(index) for index in range(20)]


async def test_the_lateness_of_the_first_is_told(table: Table) -> None:
    hands = await table.hands(b"anyq-1")
    await table.delay("a", by_ms=-3000)
    assert 3.0 <= (await hands.promoting.promote(10)).late < 10.0


async def test_who_holds_the_lock_leads_and_renews_it(table: Table, client: Client, keys: Keys) -> None:
    leader, other = await table.hands(b"anyq-1"), await table.hands(b"anyq-2")
    assert (await leader.promoting.promote(10)).leads
    assert await client.call("GET", keys.promoter_lock) == leader.name
    await client.call("PEXPIRE", keys.promoter_lock, 100_000)
    assert not (await other.promoting.promote(10)).leads
    assert (await leader.promoting.promote(10)).leads
    assert 4000 < await client.call("PTTL", keys.promoter_lock) <= 5000


async def test_who_does_not_lead_promotes_after_a_moment_of_courtesy(
    table: Table, client: Client, keys: Keys
) -> None:
    other = await table.hands(b"anyq-2")
    await client.call("SET", keys.promoter_lock, "c-foreign", "PX", 60_000)
    await table.delay("old", by_ms=-COURTESY_MS - 1)
    await table.delay("new", by_ms=60_000)
    assert (await other.promoting.promote(10)).jobs == [("task", "old")]
    await table.delay("now", by_ms=20)
    promotion = await other.promoting.promote(10)
    assert promotion.jobs == []
    while not promotion.jobs:  # nobody holds a dead leader's lock for more than the courtesy
        promotion = await other.promoting.promote(10)
    assert promotion.jobs == [("task", "now")]
    assert promotion.late >= COURTESY_MS / 1000
    assert await client.call("GET", keys.promoter_lock) == b"c-foreign"


async def test_who_resigns_lets_the_next_lead_at_once_and_takes_nobody_elses_lock(
    table: Table, client: Client, keys: Keys
) -> None:
    leader, other = await table.hands(b"anyq-1"), await table.hands(b"anyq-2")
    await leader.promoting.promote(10)
    await other.promoting.resign()
    assert await client.call("GET", keys.promoter_lock) == leader.name
    await leader.promoting.resign()
    assert (await other.promoting.promote(10)).leads


@pytest.mark.parametrize(
    "spoiled",
    [
        b"",
        b"abc",
        b"\x04\x00\x00\x00",
        b"\x04\x00\x00\x00name",
        b"\xff\xff\xff\xffname-and-envelope",
        b"\x00\x00\x00\x00",
        b"\x94\xa1a\xc4\x00\x01\x00",
    ],
)
async def test_what_is_no_job_becomes_a_dead_letter_and_holds_up_nobody(
    table: Table, client: Client, keys: Keys, spoiled: bytes
) -> None:
    hands = await table.hands(b"anyq-1")
    await client.call("ZADD", keys.delayed, 1, spoiled, 2, member("a"))
    promotion = await hands.promoting.promote(10)
    assert (promotion.jobs, promotion.spoiled, promotion.waiting) == ([("task", "a")], 1, 0)
    (letter,) = await table.fields(keys.dead_letters)
    assert (letter[b"d"], letter[b"reason"]) == (spoiled, b"malformed")
    assert (await hands.promoting.promote(10)).spoiled == 0


@pytest.mark.parametrize(
    "envelope", [b"\xc1", b"x" * 1000, b"\x94\xc4\x02id\xc4\x00\x05\x00", b"\x81\xa2id\xa1x"]
)
async def test_a_job_whose_id_cannot_be_read_is_promoted_all_the_same(
    table: Table, client: Client, keys: Keys, envelope: bytes
) -> None:
    hands = await table.hands(b"anyq-1")
    await client.call("ZADD", keys.delayed, 1, b"\x01\0\0\0\xff" + envelope)
    assert (await hands.promoting.promote(10)).jobs == [("\ufffd", None)]
    assert await table.fields(keys.stream) == [{b"d": envelope, b"n": b"\xff"}]


@pytest.mark.parametrize("score", ["-inf", "-1", "0", "1.5"])
async def test_any_time_in_the_past_is_due(table: Table, client: Client, keys: Keys, score: str) -> None:
    hands = await table.hands(b"anyq-1")
    await client.call("ZADD", keys.delayed, score, member("a"))
    promotion = await hands.promoting.promote(10)
    assert promotion.jobs == [("task", "a")]
    assert promotion.late >= 0


@pytest.mark.parametrize("score", ["+inf", "1e300"])
async def test_a_job_that_is_never_due_stays(table: Table, client: Client, keys: Keys, score: str) -> None:
    hands = await table.hands(b"anyq-1")
    await client.call("ZADD", keys.delayed, score, member("a"))
    promotion = await hands.promoting.promote(10)
    assert (promotion.jobs, promotion.waiting) == ([], 1)
    assert promotion.next_due is not None
    assert promotion.next_due > 1000


async def test_a_promoted_job_can_be_cancelled_by_its_id_no_longer_but_its_id_stays_taken(
    table: Table, client: Client, keys: Keys
) -> None:
    hands = await table.hands(b"anyq-1")
    producer = table.producer()
    await producer.schedule(1, 1, [addition("a", job_id="a", delay_ms=0)], 0)
    assert await client.call("EXISTS", keys.delayed_member("a")) == 1
    assert (await hands.promoting.promote(10)).jobs == [("task", "a")]
    assert await client.call("EXISTS", keys.delayed_member("a")) == 0
    assert await producer.schedule(2, 2, [addition("a", job_id="a")], 0) == [False]


async def test_a_job_that_is_delayed_anew_before_its_promoter_tidies_up_keeps_its_index(
    table: Table, client: Client, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    hands = await table.hands(b"anyq-1")
    await table.producer().schedule(1, 1, [addition("a", delay_ms=0), addition("b", delay_ms=0)], 0)
    run = client.run

    async def fail_in_between(script: Any, *args: Any) -> Any:
        if script is scripts.UNINDEX:
            [a] = [entry for entry in await hands.take() if envelope("a") in entry.fields.values()]
            assert await hands.settling.retry(a.lane, [(a.id, 60_000, member("a", 1))]) == [1]
        return await run(script, *args)

    monkeypatch.setattr(client, "run", fail_in_between)
    assert len((await hands.promoting.promote(10)).jobs) == 2
    assert await client.call("GET", keys.delayed_member("a")) == member("a", 1)
    assert await client.call("EXISTS", keys.delayed_member("b")) == 0


async def test_two_promoters_move_each_job_once(table: Table, keys: Keys) -> None:
    first, second = await table.hands(b"anyq-1"), await table.hands(b"anyq-2")
    await table.delay(*map(str, range(50)), by_ms=-1000)
    moved: list[tuple[str, str | None]] = []
    while True:
        batch = [*(await first.promoting.promote(3)).jobs, *(await second.promoting.promote(3)).jobs]
        if not batch:
            break
        moved += batch
    assert len(moved) == len(set(moved)) == 50
    assert len(await table.fields(keys.stream)) == 50
