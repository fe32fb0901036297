"""Looking for one job and changing it: what was cancelled is never delivered, and what a lost reply says stays true."""

from __future__ import annotations

import msgpack
import pytest
from tests.support.hands import Hands, Table, addition, envelope, member
from tests.support.servers import Server

from anyq._core.codec import delayed_member, encode
from anyq._core.job import Extras
from anyq._core.keys import GROUP, Keys
from anyq._redis.client import Client
from anyq._redis.subscriber import Subscriber
from anyq._store import cancels
from anyq._store.control import Batch, Controlling, Delayed, Ended, Lying, Reached
from anyq._store.settle import CANCELLED, NOT_ASKED, Cut, Letter

pytestmark = pytest.mark.anyio

ONE, TWO, THREE = Batch(1, 1), Batch(2, 2), Batch(3, 3)

WHY = cancels.STOPPED


@pytest.fixture
def control(table: Table) -> Controlling:
    return table.controlling()


@pytest.fixture
async def hands(table: Table) -> Hands:
    return await table.hands(b"anyq-1")


async def lying(control: Controlling, job_id: str, lane: bytes) -> Lying:
    found = await control.seek(job_id, lane, b"-", b"+")
    assert isinstance(found, Lying)
    return found


# -- looking ----------------------------------------------------------------------------------------------------------


async def test_a_delayed_job_is_found_at_once(table: Table, control: Controlling) -> None:
    await table.producer().schedule(1, 1, [addition("a", delay_ms=60_000)], 0)
    found, asked = await control.look("a")
    assert isinstance(found, Delayed)
    assert (found.member, found.name, asked) == (member("a"), b"task", False)
    assert await control.look("b") == (None, False)


async def test_an_index_that_was_left_over_finds_nothing(
    table: Table, client: Client, keys: Keys, control: Controlling
) -> None:
    await table.producer().schedule(1, 1, [addition("a", delay_ms=0)], 0)
    await client.call("ZREM", keys.delayed, member("a"))
    assert await control.look("a") == (None, False)
    assert not await control.withdraw(ONE, "a", Delayed(member("a")))
    assert await client.call("EXISTS", keys.failure("a")) == 0


async def test_what_is_kept_of_an_ended_job_is_found(
    client: Client, keys: Keys, control: Controlling
) -> None:
    await client.call("SET", keys.result("a"), b"x")
    await client.call("SET", keys.failure("b"), msgpack.packb({"reason": "stalled"}))
    await client.call("SET", keys.failure("c"), cancels.WITHDRAWN)
    await client.call("SET", keys.failure("d"), cancels.STOPPED)
    assert [(await control.look(id))[0] for id in "abcd"] == [
        Ended(how) for how in ("done", "failed", "cancelled", "stopped")
    ]


@pytest.mark.parametrize("id", ["a", "x" * 32, "ü" * 128, "\N{SNOWMAN}"])
async def test_a_job_in_a_lane_is_found_by_its_id(
    table: Table, keys: Keys, control: Controlling, hands: Hands, id: str
) -> None:
    await table.add("first", id, "last")
    found = await lying(control, id, keys.stream)
    assert (found.envelope, found.owner) == (envelope(id), b"")
    await hands.take(2)
    assert (await lying(control, id, keys.stream)).owner == b"anyq-1"
    reached = await control.seek("nobody", keys.stream, b"-", b"+")
    assert isinstance(reached, Reached)
    assert reached.end
    await table.add("nobody")
    assert isinstance(await control.seek("nobody", keys.stream, reached.place, b"+"), Lying)


async def test_a_lane_without_stream_or_group_is_searched_in_vain(control: Controlling, keys: Keys) -> None:
    assert await control.seek("a", keys.stream, b"-", b"+") == Reached(b"-", end=True)


async def test_a_long_lane_is_searched_in_stretches(
    table: Table, client: Client, keys: Keys, control: Controlling
) -> None:
    await client.call_many([("XADD", keys.stream, "*", "d", envelope(str(number))) for number in range(2500)])
    place, stretches = b"-", 0
    while isinstance(found := await control.seek("2499", keys.stream, place, b"+"), Reached):
        assert not found.end
        place, stretches = found.place, stretches + 1
    assert stretches == 2


async def test_large_jobs_are_searched_in_small_numbers(
    table: Table, client: Client, keys: Keys, control: Controlling
) -> None:
    """The server serves nobody else meanwhile."""
    for number in range(40):
        await client.call("XADD", keys.stream, "*", "d", encode(str(number), bytes(500_000), 1))
    found = await control.seek("39", keys.stream, b"-", b"+")
    assert isinstance(found, Reached)
    assert not found.end
    assert len(await client.call("XRANGE", keys.stream, "-", b"(" + found.place[1:])) < 20


async def test_a_foreign_retry_without_an_index_is_found_by_a_scan(
    table: Table, client: Client, keys: Keys, control: Controlling
) -> None:
    await table.delay(*map(str, range(600)), by_ms=60_000)
    await client.call("ZADD", keys.delayed, 1, "", 2, "junk")
    cursor, scans = b"0", 0
    while not isinstance(found := await control.scan("517", cursor), Delayed):
        assert found is not None
        cursor, scans = found, scans + 1
    assert found.member == member("517")
    cursor = b"0"
    while (found := await control.scan("nobody", cursor)) is not None:
        assert isinstance(found, bytes)
        cursor = found


# -- cancelling what waits --------------------------------------------------------------------------------------------


async def test_a_withdrawn_job_is_gone_and_that_is_told_and_kept(
    table: Table, redis_url: str, client: Client, keys: Keys, control: Controlling, hands: Hands
) -> None:
    heard: list[bytes] = []
    await table.producer().schedule(1, 1, [addition("a", delay_ms=0)], 0)
    async with Subscriber(redis_url) as subscriber:
        with subscriber.subscribe(
            keys.finished("a"), lambda _channel, said: heard.append(said)
        ) as subscription:
            await subscription.ready()
            assert await control.withdraw(ONE, "a", Delayed(member("a")))
            while not heard:
                await client.call("PING")
    assert heard == [b"cancelled"]
    assert (await hands.promoting.promote(10)).jobs == []
    assert await table.delayed() == {}
    assert await control.look("a") == (Ended("cancelled"), False)
    assert 299_000 < await client.call("PTTL", keys.failure("a")) <= 300_000
    assert await client.call("EXISTS", keys.delayed_member("a")) == 0


async def test_it_is_kept_for_as_long_as_the_result_would_have_been(
    client: Client, keys: Keys, control: Controlling
) -> None:
    found = Delayed(delayed_member("task", encode("a", b"\x80", 1, extras=Extras(result_ttl=1000.0))))
    await client.call("ZADD", keys.delayed, 1, found.member)
    assert await control.withdraw(ONE, "a", found)
    assert 999_000 < await client.call("PTTL", keys.failure("a")) <= 1_000_000


async def test_promoting_and_withdrawing_have_one_winner(
    table: Table, keys: Keys, control: Controlling, hands: Hands
) -> None:
    await table.producer().schedule(1, 1, [addition("a", delay_ms=0), addition("b", delay_ms=0)], 0)
    found = {id: (await control.look(id))[0] for id in "ab"}
    assert isinstance(found["a"], Delayed)
    assert isinstance(found["b"], Delayed)
    assert await control.withdraw(ONE, "a", found["a"])
    assert (await hands.promoting.promote(10)).jobs == [("task", "b")]
    assert not await control.withdraw(TWO, "b", found["b"])
    assert [fields[b"d"] for fields in await table.fields(keys.stream)] == [envelope("b")]


async def test_a_job_that_was_delayed_anew_is_not_withdrawn_by_what_was_seen_before(
    table: Table, keys: Keys, control: Controlling, hands: Hands
) -> None:
    await table.producer().schedule(1, 1, [addition("a", delay_ms=0)], 0)
    seen, _ = await control.look("a")
    assert isinstance(seen, Delayed)
    await hands.promoting.promote(10)
    (entry,) = await hands.take()
    await hands.settling.retry(entry.lane, [(entry.id, 60_000, member("a", 1))])
    assert not await control.withdraw(ONE, "a", seen)
    now, _ = await control.look("a")
    assert now == Delayed(member("a", 1))
    assert await control.withdraw(ONE, "a", now)
    assert await table.delayed() == {}


async def test_a_queued_job_is_deleted_and_never_delivered(
    table: Table, keys: Keys, control: Controlling, hands: Hands
) -> None:
    await table.add("a", "b")
    found = await lying(control, "a", keys.stream)
    assert await control.cancel(ONE, "a", found) == 1
    assert [entry.fields[b"d"] for entry in await hands.take()] == [envelope("b")]
    assert await control.look("a") == (Ended("cancelled"), False)
    assert await control.cancel(TWO, "a", found) == 0


async def test_a_queue_that_no_worker_has_seen_yet_is_no_obstacle(
    table: Table, client: Client, keys: Keys, control: Controlling
) -> None:
    await table.add("a")
    assert await control.cancel(ONE, "a", await lying(control, "a", keys.stream)) == 1
    assert await client.call("XLEN", keys.stream) == 0


async def test_starting_and_cancelling_have_one_winner(
    table: Table, keys: Keys, control: Controlling, hands: Hands
) -> None:
    await table.add("a")
    found = await lying(control, "a", keys.stream)
    (entry,) = await hands.take()
    assert await control.cancel(ONE, "a", found) == 2, "its worker must stop it"
    assert len(await table.entries(keys.stream)) == 1
    assert await hands.settling.end_cancelled(entry.lane, [Cut(entry.id, "a", WHY)]) == [1]
    assert await table.entries(keys.stream) == []


# -- cancelling what a worker has -------------------------------------------------------------------------------------


async def in_hand(table: Table, control: Controlling, hands: Hands, *ids: str) -> list[bytes]:
    """Jobs that a worker has and that somebody cancelled."""
    await table.add(*ids)
    entries = await hands.take()
    for number, id in enumerate(ids, 1):
        assert await control.cancel(Batch(number, 1), id, await lying(control, id, table.keys.stream)) == 2
    return [entry.id for entry in entries]


async def test_workers_are_told_and_can_read_it_later(
    table: Table, redis_url: str, client: Client, keys: Keys, control: Controlling, hands: Hands
) -> None:
    heard: list[bytes] = []
    async with Subscriber(redis_url) as subscriber:
        with subscriber.subscribe(keys.cancelling, lambda _channel, said: heard.append(said)) as subscription:
            await subscription.ready()
            await in_hand(table, control, hands, "a", "b")
            while len(heard) < 2:
                await client.call("PING")
    assert heard == [b"a", b"b"]
    assert await cancels.read(client, keys, ()) == {"a", "b"}
    assert await control.look("a") == (None, True)


async def test_a_request_ends_with_its_job(
    table: Table, client: Client, keys: Keys, control: Controlling, hands: Hands
) -> None:
    entries = await in_hand(table, control, hands, "a", "b")
    cuts = [Cut(entry, id, WHY) for entry, id in zip(entries, "ab", strict=True)]
    assert await hands.settling.end_cancelled(keys.stream, cuts) == [1, 1]
    assert await hands.settling.end_cancelled(keys.stream, cuts) == [0, 0], "a reply was lost"
    assert await client.call("EXISTS", keys.cancels) == 0
    assert await table.entries(keys.stream) == []
    assert await table.pending() == []
    assert await control.look("a") == (Ended("stopped"), False)


async def test_a_request_lasts_for_as_long_as_a_worker_renews_it(
    table: Table, client: Client, keys: Keys, control: Controlling, hands: Hands
) -> None:
    await in_hand(table, control, hands, "a", "b")
    await client.call("ZADD", keys.cancels, "XX", 1, "a", await table.now_ms() + 60_000, "b")
    assert await cancels.read(client, keys, ["b", "nobody"]) == {"b"}
    assert float(await client.call("ZSCORE", keys.cancels, "b")) > await table.now_ms() + 3600_000
    assert await client.call("ZCARD", keys.cancels) == 1


async def test_many_requests_are_read_in_parts(
    client: Client, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cancels, "_PAGE", 10)
    far = 2**52
    await client.call("ZADD", keys.cancels, *(word for number in range(35) for word in (far, str(number))))
    assert await cancels.read(client, keys, ["3"]) == set(map(str, range(35)))


async def test_a_job_that_nobody_asks_for_any_more_is_left_alone(
    table: Table, client: Client, keys: Keys, control: Controlling, hands: Hands
) -> None:
    (entry,) = await in_hand(table, control, hands, "a")
    await client.call("DEL", keys.cancels)
    assert await hands.settling.end_cancelled(keys.stream, [Cut(entry, "a", WHY)]) == [NOT_ASKED]
    assert len(await table.pending()) == 1
    assert await control.look("a") == (None, False)


async def test_only_the_owner_ends_a_cancelled_job(
    table: Table, keys: Keys, control: Controlling, hands: Hands
) -> None:
    (entry,) = await in_hand(table, control, hands, "a")
    other = await table.hands(b"anyq-2")
    assert await other.settling.end_cancelled(keys.stream, [Cut(entry, "a", WHY)]) == [0]
    await hands.fall_silent()
    assert await other.leasing.take_over(hands.name) == 1
    assert await hands.settling.end_cancelled(keys.stream, [Cut(entry, "a", WHY)]) == [0]
    (again,) = await other.take()
    assert await other.settling.end_cancelled(again.lane, [Cut(again.id, "a", WHY)]) == [1], (
        "it is still asked for"
    )
    assert await table.pending() == []


async def test_a_cancelled_job_does_not_come_back_as_a_retry(
    table: Table, keys: Keys, control: Controlling, hands: Hands
) -> None:
    entries = await in_hand(table, control, hands, "a", "b")
    await table.add("c")
    (third,) = await hands.take()
    moves = [(entry, 0, member(id, 1)) for entry, id in zip([*entries, third.id], "abc", strict=True)]
    assert await hands.settling.retry(keys.stream, moves) == [CANCELLED, CANCELLED, 1]
    assert set(await table.delayed()) == {member("c", 1)}
    cuts = [Cut(entry, id, WHY) for entry, id in zip(entries, "ab", strict=True)]
    assert await hands.settling.end_cancelled(keys.stream, cuts) == [1, 1]


async def test_who_waits_for_a_job_that_ended_by_itself_is_woken_and_the_request_is_gone(
    table: Table, redis_url: str, client: Client, keys: Keys, control: Controlling, hands: Hands
) -> None:
    heard: list[bytes] = []
    (entry,) = await in_hand(table, control, hands, "a")
    async with Subscriber(redis_url) as subscriber:
        with subscriber.subscribe(
            keys.finished("a"), lambda _channel, said: heard.append(said)
        ) as subscription:
            await subscription.ready()
            await hands.settling.ack(keys.stream, [entry])
            await cancels.overtaken(client, keys, ["a"])
            while not heard:
                await client.call("PING")
    assert await client.call("EXISTS", keys.cancels, keys.failure("a")) == 0


async def test_a_job_that_was_given_up_stays_a_dead_letter(
    table: Table, keys: Keys, control: Controlling, hands: Hands
) -> None:
    (entry,) = await in_hand(table, control, hands, "a")
    letter = Letter(entry, ["d", envelope("a")], "a", b"\x81\xa6reason\xa3why", 60.0)
    assert (await hands.settling.bury(keys.stream, [letter]))[0] == [1]
    assert await hands.settling.end_cancelled(keys.stream, [Cut(entry, "a", WHY)]) == [0]
    assert (await control.look("a"))[0] == Ended("failed")


# -- another time -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "low", "high"),
    [({"delay_ms": 5000, "due_ms": None}, 5000, 6000), ({"delay_ms": 0, "due_ms": None}, 0, 1000)],
)
async def test_a_delayed_job_gets_another_time_by_the_servers_clock(
    table: Table,
    client: Client,
    keys: Keys,
    control: Controlling,
    when: dict[str, int | None],
    low: int,
    high: int,
) -> None:
    await table.producer().schedule(1, 1, [addition("a", delay_ms=60_000)], 0)
    before = await table.now_ms()
    assert await control.reschedule(ONE, "a", Delayed(member("a")), **when)
    ((_, due),) = (await table.delayed()).items()
    assert before + low <= due < before + high
    assert await client.call("PTTL", keys.delayed_member("a")) > 7 * 24 * 3600 * 1000 - 1000


async def test_a_moment_is_kept_to_the_millisecond_and_the_index_lasts(
    table: Table, client: Client, keys: Keys, control: Controlling
) -> None:
    await table.producer().schedule(1, 1, [addition("a", delay_ms=1)], 0)
    assert await control.reschedule(ONE, "a", Delayed(member("a")), delay_ms=None, due_ms=253_402_300_799_999)
    assert await table.delayed() == {member("a"): 253_402_300_799_999}
    assert await client.call("PTTL", keys.delayed_member("a")) > 10**14


async def test_an_id_of_chasquimqs_stays_taken_for_long_enough(
    table: Table, client: Client, keys: Keys, control: Controlling
) -> None:
    await table.delay("a", by_ms=1000)
    await client.call("SET", keys.taken_id("a"), "1", "EX", 3601)
    await control.reschedule(ONE, "a", Delayed(member("a")), delay_ms=100_000, due_ms=None)
    assert 3_699_000 < await client.call("PTTL", keys.taken_id("a")) <= 3_700_000
    await control.reschedule(TWO, "a", Delayed(member("a")), delay_ms=0, due_ms=None)
    assert 3_699_000 < await client.call("PTTL", keys.taken_id("a")) <= 3_700_000
    assert await control.withdraw(THREE, "a", Delayed(member("a")))
    assert await client.call("EXISTS", keys.taken_id("a")) == 0


async def test_promoters_are_called_when_the_next_due_time_moves(
    table: Table, redis_url: str, client: Client, keys: Keys, control: Controlling
) -> None:
    await table.producer().schedule(
        1, 1, [addition("a", due_ms=8_000_000_000_000), addition("b", due_ms=9_000_000_000_000)], 0
    )
    heard: list[bytes] = []
    async with Subscriber(redis_url) as subscriber:
        with subscriber.subscribe(keys.due, lambda _channel, said: heard.append(said)) as subscription:
            await subscription.ready()
            for number, due in enumerate((8_500_000_000_000, 7_000_000_000_000), 1):
                await control.reschedule(
                    Batch(number, number), "b", Delayed(member("b")), delay_ms=None, due_ms=due
                )
            while not heard:
                await client.call("PING")
    assert heard == [b"7000000000000"]


async def test_a_job_that_is_not_delayed_is_not_moved(
    table: Table, keys: Keys, control: Controlling, hands: Hands
) -> None:
    await table.producer().schedule(1, 1, [addition("a", delay_ms=0)], 0)
    await hands.promoting.promote(10)
    assert not await control.reschedule(ONE, "a", Delayed(member("a")), delay_ms=1, due_ms=None)
    assert await table.delayed() == {}


# -- lost replies, full servers, declared state -----------------------------------------------------------------------


async def test_what_is_sent_again_after_a_lost_reply_has_the_same_answer_and_no_effect(
    table: Table, client: Client, keys: Keys, control: Controlling, hands: Hands
) -> None:
    delayed = Delayed(member("a"))
    await table.producer().schedule(1, 1, [addition("a", delay_ms=0)], 0)
    for _ in range(2):
        assert await control.reschedule(ONE, "a", delayed, delay_ms=0, due_ms=None)
        await hands.promoting.promote(10)
    (entry,) = await hands.take()
    await hands.settling.retry(entry.lane, [(entry.id, 60_000, member("a"))])
    assert await control.reschedule(ONE, "a", delayed, delay_ms=0, due_ms=None)
    assert (await hands.promoting.promote(10)).jobs == [], "it waits for its retry, whatever was lost before"
    for _ in range(2):
        assert await control.withdraw(TWO, "a", delayed)
    await table.add("b")
    found = await lying(control, "b", keys.stream)
    for _ in range(2):
        assert await control.cancel(THREE, "b", found) == 1
    for _ in range(2):  # below the floor: bytes of a connection that was given up
        assert await control.withdraw(ONE, "c", Delayed(member("c")))
    assert await client.call("EXISTS", keys.failure("c")) == 0


async def test_a_full_server_cancels_and_moves_all_the_same(
    table: Table, server: Server, keys: Keys, control: Controlling, hands: Hands
) -> None:
    await table.producer().schedule(1, 1, [addition("a", delay_ms=60_000), addition("b", delay_ms=60_000)], 0)
    await table.add("c", "d")
    (third,) = await hands.take(1)
    with server.configured(maxmemory=1):
        assert await control.reschedule(ONE, "b", Delayed(member("b")), delay_ms=50_000, due_ms=None)
        assert await control.withdraw(TWO, "a", Delayed(member("a")))
        assert await control.cancel(THREE, "d", await lying(control, "d", keys.stream)) == 1
        assert await control.cancel(Batch(4, 4), "c", await lying(control, "c", keys.stream)) == 2
        assert await cancels.read(table.client, keys, ["c"]) == {"c"}
        assert await hands.settling.end_cancelled(third.lane, [Cut(third.id, "c", WHY)]) == [1]
    assert set(await table.delayed()) == {member("b")}
    assert await table.entries(keys.stream) == []


async def test_it_is_an_event_where_events_are_kept(
    table: Table, client: Client, keys: Keys, control: Controlling
) -> None:
    await table.producer().schedule(1, 1, [addition("a", delay_ms=0), addition("b", delay_ms=0)], 0)
    assert await control.withdraw(ONE, "a", Delayed(member("a")))
    assert await client.call("EXISTS", keys.events) == 0
    await client.call("XADD", keys.events, "*", "e", "drained")
    assert await control.withdraw(TWO, "b", Delayed(member("b")))
    await client.call("XADD", keys.stream, "*", "d", envelope("c"))
    assert await control.cancel(THREE, "c", await lying(control, "c", keys.stream)) == 1
    _, first, second = await table.fields(keys.events)
    assert (first[b"e"], first[b"id"], first[b"n"]) == (b"cancelled", b"b", b"task")
    assert (second[b"e"], second[b"id"], second.get(b"n")) == (b"cancelled", b"c", None)
    assert int(first[b"ts"]) <= await table.now_ms()


async def test_the_group_is_that_of_the_workers(
    table: Table, keys: Keys, control: Controlling, hands: Hands
) -> None:
    """What another group has read is not in a worker's hands."""
    await table.add("a")
    await table.client.call("XGROUP", "CREATE", keys.stream, "other", "0")
    await table.client.call("XREADGROUP", "GROUP", "other", "somebody", "STREAMS", keys.stream, ">")
    assert GROUP != b"other"
    assert (await lying(control, "a", keys.stream)).owner == b""
