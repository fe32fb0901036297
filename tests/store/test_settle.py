"""Ending deliveries: only the owner changes a job, once, however often it is sent; a late success is a success."""

from __future__ import annotations

import pytest
from tests.support.hands import Hands, Table, addition, envelope, member

from anyq._core.keys import GROUP, Keys
from anyq._redis.client import Client
from anyq._redis.subscriber import Subscriber
from anyq._store import results
from anyq._store.settle import Kept, Letter

pytestmark = pytest.mark.anyio


def letter(entry: bytes, job_id: str = "a", **options: object) -> Letter:
    return Letter(entry, ["d", envelope(job_id), "reason", "unrecoverable"], job_id, **options)  # type: ignore[arg-type]


# -- acknowledging ----------------------------------------------------------------------------------------------------


async def test_an_acknowledged_entry_is_gone(table: Table, keys: Keys) -> None:
    hands = await table.hands(b"anyq-1")
    await table.add(*map(str, range(5)))
    entries = [entry.id for entry in await hands.take()]
    assert await hands.settling.ack(keys.stream, entries[:3]) == [1, 1, 1]
    assert await hands.settling.ack(keys.stream, entries) == [-1, -1, -1, 1, 1]
    assert await table.entries(keys.stream) == []
    assert await table.pending() == []


async def test_an_entry_that_is_not_there_is_not_acknowledged(table: Table, keys: Keys) -> None:
    hands = await table.hands(b"anyq-1")
    assert await hands.settling.ack(keys.stream, [b"1-1", b"2-2"]) == [-1, -1]


async def test_thousands_are_acknowledged_at_once(table: Table, keys: Keys) -> None:
    hands = await table.hands(b"anyq-1")
    await table.producer().publish(1, 1, [addition(str(index)) for index in range(1000)], 0)
    await table.producer().publish(1, 1, [addition(str(index)) for index in range(1000)], 0)
    entries = [entry.id for entry in await hands.take(5000)]
    assert await hands.settling.ack(keys.stream, entries) == [1] * 2000
    assert await table.entries(keys.stream) == []


async def test_a_late_success_counts_if_nobody_else_has_settled_the_job(
    table: Table, client: Client, keys: Keys
) -> None:
    """A foreign worker claimed the entry itself: the plain ack has no owner check, and one of the two gets the 1."""
    late = await table.hands(b"anyq-1")
    await table.add("a")
    (entry,) = await late.take()
    await client.call("XCLAIM", keys.stream, GROUP, "c-foreign", 0, entry.id)
    assert await late.settling.ack(keys.stream, [entry.id]) == [1]
    other = Hands(client, keys, b"c-foreign")
    assert await other.settling.ack(keys.stream, [entry.id]) == [-1]


async def test_a_success_counts_too_if_the_group_was_lost_meanwhile(
    table: Table, client: Client, keys: Keys
) -> None:
    """A failover may bring an entry back as one that nobody has read: it must not run again."""
    hands = await table.hands(b"anyq-1")
    await table.add("a", "b")
    first, _ = await hands.take()
    await client.call("XGROUP", "DESTROY", keys.stream, GROUP)
    await hands.consuming.ensure_group()
    assert await hands.settling.ack(keys.stream, [first.id, b"1-1"]) == [1, -1]
    assert [entry.fields[b"d"] for entry in await hands.take()] == [envelope("b")]


# -- results ----------------------------------------------------------------------------------------------------------


async def test_a_result_is_kept_and_its_waiter_woken(
    table: Table, redis_url: str, client: Client, keys: Keys
) -> None:
    hands = await table.hands(b"anyq-1")
    await table.add("a", "b")
    first, second = await hands.take()
    heard: list[bytes] = []
    async with Subscriber(redis_url) as subscriber:
        with subscriber.subscribe(
            keys.finished("a"), lambda _c, message: heard.append(message)
        ) as subscription:
            await subscription.ready()
            done = [Kept(first.id, "a", b"\x01", 60.0), Kept(second.id, "b", b"\xc0", 0.0001)]
            assert await hands.settling.complete(keys.stream, done) == [1, 1]
            while not heard:
                await client.call("PING")
    assert heard == [b"done"]
    assert await results.fetch(client, keys, "a") == (b"\x01", None)
    assert 59_000 < await client.call("PTTL", keys.result("a")) <= 60_000
    assert await table.entries(keys.stream) == []
    assert await table.pending() == []


async def test_a_completion_sent_again_changes_nothing(table: Table, client: Client, keys: Keys) -> None:
    hands = await table.hands(b"anyq-1")
    await table.add("a")
    (entry,) = await hands.take()
    assert await hands.settling.complete(keys.stream, [Kept(entry.id, "a", b"\x01", 60.0)]) == [1]
    assert await hands.settling.complete(keys.stream, [Kept(entry.id, "a", b"\x02", 60.0)]) == [-1]
    assert await results.fetch(client, keys, "a") == (b"\x01", None)


async def test_a_zombie_does_not_write_a_result_over_that_of_the_new_owner(
    table: Table, client: Client, keys: Keys
) -> None:
    zombie, other = await table.hands(b"anyq-1"), await table.hands(b"anyq-2")
    await table.add("a", "b")
    lost, kept = await zombie.take()
    await zombie.settling.hand_back(keys.stream, [lost.id])
    (again,) = await other.take()
    assert await other.settling.complete(again.lane, [Kept(again.id, "a", b"new", 60.0)]) == [1]
    done = [Kept(lost.id, "a", b"old", 60.0), Kept(kept.id, "b", b"mine", 60.0)]
    assert await zombie.settling.complete(keys.stream, done) == [-1, 1]
    assert await results.fetch(client, keys, "a") == (b"new", None)
    assert await results.fetch(client, keys, "b") == (b"mine", None)


# -- coming back later ------------------------------------------------------------------------------------------------


async def test_a_retry_moves_the_job_to_the_delayed_by_the_servers_clock(
    table: Table, client: Client, keys: Keys
) -> None:
    hands = await table.hands(b"anyq-1")
    await table.add("a")
    (entry,) = await hands.take()
    before = await table.now_ms()
    assert await hands.settling.retry(keys.stream, [(entry.id, 1500, member("a", 1))]) == [1]
    after = await table.now_ms()
    ((moved, due),) = (await table.delayed()).items()
    assert moved == member("a", 1)
    assert before + 1500 <= due <= after + 1500
    assert await table.entries(keys.stream) == []
    assert await table.pending() == []
    assert await client.call("GET", keys.delayed_member("a")) == moved, "it can be found by its id"


async def test_a_retry_sent_again_changes_nothing(table: Table, keys: Keys) -> None:
    hands = await table.hands(b"anyq-1")
    await table.add("a")
    (entry,) = await hands.take()
    move = (entry.id, 50_000, member("a", 1))
    assert await hands.settling.retry(keys.stream, [move]) == [1]
    after = await table.everything()
    assert await hands.settling.retry(keys.stream, [move, move]) == [0, 0]
    assert await table.everything() == after


async def test_a_retry_sent_again_after_the_job_came_back_changes_nothing(table: Table, keys: Keys) -> None:
    hands = await table.hands(b"anyq-1")
    await table.add("a")
    (entry,) = await hands.take()
    move = (entry.id, 0, member("a", 1))
    await hands.settling.retry(keys.stream, [move])
    await hands.promoting.promote(10)
    (again,) = await hands.take()
    after = await table.everything()
    assert await hands.settling.retry(keys.stream, [move]) == [0]
    assert await table.everything() == after
    assert await hands.settling.ack(keys.stream, [again.id]) == [1]


async def test_retries_that_are_not_ours_do_not_hold_up_the_others(table: Table, keys: Keys) -> None:
    hands, other = await table.hands(b"anyq-1"), await table.hands(b"anyq-2")
    await table.add("a", "b", "c")
    a, b = await hands.take(2)
    (c,) = await other.take()
    moves = [(entry.id, 60_000, member(id, 1)) for entry, id in ((a, "a"), (c, "c"), (b, "b"))]
    assert await hands.settling.retry(keys.stream, moves) == [1, 0, 1]
    assert set(await table.delayed()) == {member("a", 1), member("b", 1)}


async def test_promoters_are_called_when_a_retry_is_the_next_due(
    table: Table, redis_url: str, client: Client, keys: Keys
) -> None:
    hands = await table.hands(b"anyq-1")
    await table.delay("far", by_ms=3_600_000)
    await table.add("a", "b")
    a, b = await hands.take()
    heard: list[bytes] = []
    async with Subscriber(redis_url) as subscriber:
        with subscriber.subscribe(keys.due, lambda _channel, message: heard.append(message)) as subscription:
            await subscription.ready()
            await hands.settling.retry(keys.stream, [(b.id, 7_200_000, member("b", 1))])
            await hands.settling.retry(keys.stream, [(a.id, 1000, member("a", 1))])
            while not heard:
                await client.call("PING")
    assert heard == [str((await table.delayed())[member("a", 1)]).encode()]


# -- giving up --------------------------------------------------------------------------------------------------------


async def test_a_dead_letter_has_the_fields_that_it_was_given(table: Table, keys: Keys) -> None:
    hands = await table.hands(b"anyq-1")
    await table.add("a")
    (entry,) = await hands.take()
    fields: list[bytes | str] = [
        "d",
        envelope("a"),
        "n",
        "task",
        "source_id",
        entry.id,
        "reason",
        "stalled",
        "message",
        "größe\0",
    ]
    assert await hands.settling.bury(keys.stream, [Letter(entry.id, fields)]) == ([1], 0)
    (found,) = await table.fields(keys.dead_letters)
    assert [word for pair in found.items() for word in pair] == [
        field.encode() if isinstance(field, str) else field for field in fields
    ]
    assert await table.entries(keys.stream) == []
    assert await table.pending() == []


async def test_a_burial_sent_again_changes_nothing(table: Table, keys: Keys) -> None:
    hands = await table.hands(b"anyq-1")
    await table.add("a")
    (entry,) = await hands.take()
    assert await hands.settling.bury(keys.stream, [letter(entry.id)]) == ([1], 0)
    after = await table.everything()
    assert await hands.settling.bury(keys.stream, [letter(entry.id)]) == ([0], 0)
    assert await table.everything() == after


async def test_who_waits_for_a_result_is_told_that_there_will_be_none(
    table: Table, redis_url: str, client: Client, keys: Keys
) -> None:
    hands, other = await table.hands(b"anyq-1"), await table.hands(b"anyq-2")
    await table.add("a", "b", "c")
    a, b = await hands.take(2)
    (c,) = await other.take()
    heard: list[bytes] = []
    async with Subscriber(redis_url) as subscriber:
        with subscriber.subscribe(
            keys.finished("b"), lambda _c, message: heard.append(message)
        ) as subscription:
            await subscription.ready()
            letters = [
                letter(a.id, "a"),
                letter(c.id, "c", failure=b"not mine", ttl=9.0),
                letter(b.id, "b", failure=b"why", ttl=60.0),
            ]
            assert await hands.settling.bury(keys.stream, letters) == ([1, 0, 1], 0)
            while not heard:
                await client.call("PING")
    assert heard == [b"dead"]
    assert await results.fetch(client, keys, "b") == (None, b"why")
    assert await results.fetch(client, keys, "a") == (None, None)
    assert await results.fetch(client, keys, "c") == (None, None)
    assert 59_000 < await client.call("PTTL", keys.failure("b")) <= 60_000


async def test_old_dead_letters_are_trimmed_and_counted(table: Table, client: Client, keys: Keys) -> None:
    hands = await table.hands(b"anyq-1", dead_letters=10)
    await table.add(*map(str, range(1000)))
    entries = await hands.take(1000)
    trimmed = 0
    for start in range(0, 1000, 100):
        batch = [letter(entry.id) for entry in entries[start : start + 100]]
        moved, now = await hands.settling.bury(keys.stream, batch)
        assert moved == [1] * 100
        trimmed += now
    assert trimmed > 0
    assert trimmed + await client.call("XLEN", keys.dead_letters) == 1000


# -- handing back -----------------------------------------------------------------------------------------------------


async def test_a_job_handed_back_is_as_it_was_and_wakes_the_next(table: Table, keys: Keys) -> None:
    first, second = await table.hands(b"anyq-1"), await table.hands(b"anyq-2")
    await table.client.call(
        "XADD", keys.stream, "*", "d", envelope("a"), "x", "foreign", "l", "2", "n", "task"
    )
    (entry,) = await first.take()
    assert await first.settling.hand_back(keys.stream, [entry.id]) == [1]
    (again,) = await second.take()
    assert again.fields == {b"d": envelope("a"), b"x": b"foreign", b"n": b"task", b"l": b"2"}
    assert again.lane == keys.returned
    assert [row[2] for row in await table.pending()] == [b"anyq-2"]


async def test_no_delivery_is_counted_for_a_job_that_was_handed_back(table: Table, keys: Keys) -> None:
    hands = await table.hands(b"anyq-1")
    await table.add("a")
    for _ in range(5):
        (entry,) = await hands.take()
        assert b"l" not in entry.fields
        assert await hands.settling.hand_back(entry.lane, [entry.id]) == [1]


async def test_a_hand_back_sent_again_changes_nothing(table: Table, keys: Keys) -> None:
    hands = await table.hands(b"anyq-1")
    await table.add("a")
    (entry,) = await hands.take()
    assert await hands.settling.hand_back(keys.stream, [entry.id]) == [1]
    after = await table.everything()
    assert await hands.settling.hand_back(keys.stream, [entry.id, entry.id]) == [0, 0]
    assert await table.everything() == after


async def test_an_entry_with_thousands_of_fields_can_be_handed_back(table: Table, keys: Keys) -> None:
    hands = await table.hands(b"anyq-1")
    await table.client.call(
        "XADD", keys.stream, "*", *(word for index in range(9000) for word in (f"f{index}", "v"))
    )
    (entry,) = await hands.take()
    assert await hands.settling.hand_back(keys.stream, [entry.id]) == [1]
    (again,) = await hands.take()
    assert len(again.fields) == 3500
    assert await hands.settling.ack(again.lane, [again.id]) == [1]


# -- zombies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["retry", "bury", "hand_back"])
@pytest.mark.parametrize("taken_by", ["claim", "nobody"])
async def test_a_zombie_gets_0_and_changes_nothing(
    table: Table, client: Client, keys: Keys, verb: str, taken_by: str
) -> None:
    zombie, other = await table.hands(b"anyq-1"), await table.hands(b"anyq-2")
    await table.add("a")
    (entry,) = await zombie.take()
    if taken_by == "claim":
        await client.call("XCLAIM", keys.stream, GROUP, other.name, 0, entry.id)
    else:
        await zombie.settling.ack(keys.stream, [entry.id])
    before = await table.everything()
    if verb == "retry":
        assert await zombie.settling.retry(keys.stream, [(entry.id, 0, member("a", 1))]) == [0]
    elif verb == "bury":
        assert await zombie.settling.bury(keys.stream, [letter(entry.id, failure=b"x", ttl=5.0)]) == ([0], 0)
    else:
        assert await zombie.settling.hand_back(keys.stream, [entry.id]) == [0]
    assert await table.everything() == before
    assert await results.fetch(client, keys, "a") == (None, None)


# -- a message that was deleted under its pending entry ---------------------------------------------------------------


async def test_a_job_whose_message_was_trimmed_away_is_saved_by_its_retry(
    table: Table, client: Client, keys: Keys
) -> None:
    """A foreign program trims the stream; who runs the job still has all of it."""
    hands = await table.hands(b"anyq-1")
    await table.add("a")
    (entry,) = await hands.take()
    await client.call("XDEL", keys.stream, entry.id)
    assert await hands.settling.retry(keys.stream, [(entry.id, 60_000, member("a", 1))]) == [1]
    assert set(await table.delayed()) == {member("a", 1)}
    assert await table.pending() == []


async def test_a_job_whose_message_was_deleted_can_be_buried_and_acknowledged(
    table: Table, client: Client, keys: Keys
) -> None:
    hands = await table.hands(b"anyq-1")
    await table.add("a", "b")
    a, b = await hands.take()
    await client.call("XDEL", keys.stream, a.id, b.id)
    assert await hands.settling.bury(keys.stream, [letter(a.id)]) == ([1], 0)
    await hands.settling.ack(keys.stream, [b.id])
    assert len(await table.fields(keys.dead_letters)) == 1
    assert await table.pending() == []


async def test_a_deleted_message_cannot_be_handed_back_and_leaves_nothing(
    table: Table, client: Client, keys: Keys
) -> None:
    hands = await table.hands(b"anyq-1")
    await table.add("a", "b")
    a, b = await hands.take()
    await client.call("XDEL", keys.stream, a.id)
    assert await hands.settling.hand_back(keys.stream, [a.id, b.id]) == [0, 1]
    assert await table.pending() == []
    assert len(await table.entries(keys.returned)) == 1


# -- a target that refuses: add first, delete last --------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["retry", "bury", "hand_back"])
async def test_a_job_stays_in_hand_if_its_target_refuses_it(
    table: Table, client: Client, keys: Keys, verb: str
) -> None:
    hands = await table.hands(b"anyq-1")
    await table.add("a")
    (entry,) = await hands.take()
    target = {"retry": keys.delayed, "bury": keys.dead_letters, "hand_back": keys.returned}[verb]
    await client.call("DEL", target)
    await client.call("SET", target, "of another kind")
    with pytest.raises(Exception, match="WRONGTYPE"):
        if verb == "retry":
            await hands.settling.retry(keys.stream, [(entry.id, 0, member("a", 1))])
        elif verb == "bury":
            await hands.settling.bury(keys.stream, [letter(entry.id)])
        else:
            await hands.settling.hand_back(keys.stream, [entry.id])
    await client.call("DEL", target)
    await hands.consuming.ensure_group()
    assert [row[:3] for row in await table.pending()] == [(keys.stream, entry.id, b"anyq-1")]
    assert await hands.settling.ack(keys.stream, [entry.id]) == [1]


# -- a server that forgot its scripts ---------------------------------------------------------------------------------


async def test_forgotten_scripts_are_told_again(table: Table, client: Client, keys: Keys) -> None:
    hands = await table.hands(b"anyq-1")
    await table.add("a", "b", "c", "d")
    a, b, c, d = await hands.take()

    async def forget() -> None:
        await client.call("SCRIPT", "FLUSH")

    await forget()
    assert await hands.settling.retry(keys.stream, [(a.id, 60_000, member("a", 1))]) == [1]
    await forget()
    assert await hands.settling.bury(keys.stream, [letter(b.id, "b")]) == ([1], 0)
    await forget()
    assert await hands.settling.hand_back(keys.stream, [c.id]) == [1]
    await forget()
    assert await hands.settling.complete(keys.stream, [Kept(d.id, "d", b"", 60.0)]) == [1]
    await forget()
    assert await hands.leasing.renew(keys.stream, [d.id]) == [d.id]
