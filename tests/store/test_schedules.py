"""Schedules verb by verb: whoever decides, the jobs are made and the next time is planned in one step, and once."""

from __future__ import annotations

import pytest
from redis.exceptions import ResponseError
from tests.support.hands import Hands, Table, claiming
from tests.support.servers import Server

from anyq._core.codec import decode
from anyq._core.job import Extras
from anyq._core.keys import CHASQUI, Keys
from anyq._core.schedules import Every, Firing, Spec
from anyq._redis.client import Client
from anyq._services.patience import reply_code
from anyq._store.belongings import belongings
from anyq._store.leading import COURTESY_MS
from anyq._store.schedules import LEFT_OUT, Known, Run
from anyq._store.settle import Kept
from anyq.settings import Retention

pytestmark = pytest.mark.anyio

HOUR = 3_600_000


def spec(**options: object) -> Spec:
    return Spec(**{"name": "tick", "task": "task", "when": Every(3600), "body": b"\x80", **options})  # type: ignore[arg-type]


async def planned(hands: Hands, by_ms: int = -1, *, one: Spec | None = None) -> Known:
    """A schedule that is due so many milliseconds from now."""
    now, _ = await hands.scheduling.read([])
    one = one or spec()
    assert await hands.scheduling.put(one, None, now + by_ms, keep=False, anew=True)
    return await known(hands, one.name)


async def known(hands: Hands, name: str = "tick") -> Known:
    _, [found] = await hands.scheduling.read([name])
    return found


def decision(found: Known, *ids: str, due_ms: int = 1, ends: bool = False) -> tuple[Known, Firing, list[Run]]:
    """To make these jobs, an hour after one another."""
    assert found.spec is not None
    times = tuple(found.planned_ms + HOUR * number for number, _ in enumerate(ids))
    runs = [
        Run(job_id, due_ms, found.spec.envelope(job_id, time, 1))
        for job_id, time in zip(ids, times, strict=True)
    ]
    following = found.planned_ms + HOUR * max(1, len(ids))
    return found, Firing(times, None if ends else following, following), runs


async def stored(table: Table) -> list[str]:
    """The ids of the jobs in the stream."""
    return [decode(fields[b"d"])[0] for fields in await table.fields(table.keys.stream)]


async def test_one_of_two_that_decide_makes_the_job(table: Table) -> None:
    one, two = await table.hands(b"anyq-1"), await table.hands(b"anyq-2")
    found = await planned(one)
    assert await two.scheduling.fire([decision(found, "by two")]) == [True]
    assert await one.scheduling.fire([decision(found, "by one")]) == [False]
    assert await stored(table) == ["by two"]
    assert (await known(one)).planned_ms == found.planned_ms + HOUR


async def test_who_dies_between_decision_and_step_loses_nothing_and_comes_too_late(table: Table) -> None:
    victim, rival = await table.hands(b"anyq-1"), await table.hands(b"anyq-2")
    found = await planned(victim, -COURTESY_MS - 1)
    assert (await victim.scheduling.due(10)).names == ["tick"]
    assert (await rival.scheduling.due(10)).names == ["tick"], (
        "the lock outlives its holder, and holds nobody up"
    )
    assert await rival.scheduling.fire([decision(found, "by the rival")]) == [True]
    assert await victim.scheduling.fire([decision(found, "by a zombie")]) == [False]
    assert await stored(table) == ["by the rival"]


async def test_a_lost_reply_makes_no_second_job(table: Table) -> None:
    hands = await table.hands(b"anyq-1")
    found = await planned(hands)
    for first in (True, False, False):
        assert await hands.scheduling.fire([decision(found, "a", "b")]) == [first]
    assert await stored(table) == ["a", "b"]
    after = await known(hands)
    assert (after.fired, after.last_ms) == (2, found.planned_ms + HOUR)


async def unique(hands: Hands, *, limit: int | None = None) -> Known:
    """A schedule whose jobs hold a unique key, and which is due."""
    return await planned(hands, one=spec(extras=Extras(unique="key"), limit=limit))


async def test_a_job_holds_the_unique_key_and_the_next_run_is_left_out(
    table: Table, client: Client, keys: Keys
) -> None:
    hands = await table.hands(b"anyq-1")
    found = await unique(hands)
    assert await hands.scheduling.fire([decision(found, "a")]) == [1]
    assert await client.call("GET", keys.unique("key")) == b"0:a"
    assert 29 * 24 * HOUR < await client.call("PTTL", keys.unique("key")) <= 30 * 24 * HOUR
    found = await known(hands)
    assert await hands.scheduling.fire([decision(found, "b")]) == [LEFT_OUT]
    assert await hands.scheduling.fire([decision(found, "b")]) == [0], "sent again"
    assert await stored(table) == ["a"]
    after = await known(hands)
    assert (after.fired, after.left_out, after.last_ms) == (1, 1, found.planned_ms - HOUR)
    assert after.planned_ms == found.planned_ms + HOUR


async def test_whoever_holds_the_key_a_run_is_left_out(table: Table) -> None:
    hands = await table.hands(b"anyq-1")
    await table.producer().schedule(1, 1, [claiming("mine", unique="key")], 0)
    assert await hands.scheduling.fire([decision(await unique(hands), "a")]) == [LEFT_OUT]
    [mine] = await hands.take()
    extras = decode(mine.fields[b"d"])[5]
    done = Kept(mine.id, "mine", b"", 0.0, belongings(table.keys, "mine", extras, Retention()))
    assert await hands.settling.complete(mine.lane, [done]) == [1]
    assert await hands.scheduling.fire([decision(await known(hands), "b")]) == [1]
    assert await stored(table) == ["b"]


async def test_a_run_that_is_left_out_uses_up_no_limit(table: Table, client: Client, keys: Keys) -> None:
    hands = await table.hands(b"anyq-1")
    found = await unique(hands, limit=1)
    await client.call("SET", keys.unique("key"), "0:somebody")
    assert await hands.scheduling.fire([decision(found, "a", ends=True)]) == [LEFT_OUT]
    assert (await known(hands)).place == "active"
    await client.call("DEL", keys.unique("key"))
    assert await hands.scheduling.fire([decision(await known(hands), "a", ends=True)]) == [1]
    assert (await known(hands)).place == "ended"


async def test_a_full_server_leaves_nothing_out_and_makes_nothing(
    table: Table, client: Client, keys: Keys
) -> None:
    hands = await table.hands(b"anyq-1")
    found = await unique(hands)
    for holder in (None, "0:somebody"):
        if holder:
            await client.call("SET", keys.unique("key"), holder)
        await client.call("CONFIG", "SET", "maxmemory", 1)
        with pytest.raises(ResponseError) as caught:
            await hands.scheduling.fire([decision(found, "a")])
        assert reply_code(caught.value) == "OOM"
        await client.call("CONFIG", "SET", "maxmemory", 0)
        assert await known(hands) == found
    assert await stored(table) == []


async def test_a_changed_definition_counts_what_is_left_out_from_nothing(
    table: Table, client: Client, keys: Keys
) -> None:
    hands = await table.hands(b"anyq-1")
    found = await unique(hands)
    await client.call("SET", keys.unique("key"), "0:somebody")
    await hands.scheduling.fire([decision(found, "a")])
    found = await known(hands)
    assert found.left_out == 1
    assert await hands.scheduling.put(spec(limit=3), found, 1, keep=True, anew=True)
    assert (await known(hands)).left_out == 0


async def test_a_decision_about_an_old_definition_does_nothing(table: Table) -> None:
    hands = await table.hands(b"anyq-1")
    found = await planned(hands)
    assert await hands.scheduling.put(spec(limit=3), found, 1, keep=True, anew=True)
    assert (await known(hands)).planned_ms == found.planned_ms, "the planned time alone does not tell"
    assert await hands.scheduling.fire([decision(found, "a")]) == [False]
    assert await stored(table) == []


async def test_a_definition_is_written_over_the_one_that_was_read_only(table: Table) -> None:
    hands = await table.hands(b"anyq-1")
    found = await planned(hands)
    assert await hands.scheduling.put(spec(limit=3), found, 1, keep=True, anew=True)
    assert not await hands.scheduling.put(spec(limit=4), found, 1, keep=True, anew=True)
    assert not await hands.scheduling.put(spec(limit=4), None, 1, keep=True, anew=True)
    after = await known(hands)
    assert after.spec == spec(limit=3)
    assert await hands.scheduling.remove("tick")
    assert not await hands.scheduling.put(spec(limit=4), after, 1, keep=True, anew=True)


async def test_the_end_is_in_the_same_step(table: Table, client: Client, keys: Keys) -> None:
    hands = await table.hands(b"anyq-1")
    found = await planned(hands)
    assert await hands.scheduling.fire([decision(found, "a", ends=True)]) == [True]
    after = await known(hands)
    assert (after.place, after.fired) == ("ended", 1)
    assert (await hands.scheduling.due(10)).names == []
    assert 29 * 24 * HOUR < await client.call("PTTL", keys.schedule("tick")) <= 30 * 24 * HOUR
    assert await hands.scheduling.put(spec(limit=3), after, after.planned_ms, keep=True, anew=True)
    assert await client.call("PTTL", keys.schedule("tick")) == -1
    assert (await known(hands)).place == "active"


async def test_a_paused_one_is_not_due_and_no_old_decision_starts_it(table: Table) -> None:
    hands = await table.hands(b"anyq-1")
    found = await planned(hands)
    assert await hands.scheduling.pause("tick")
    assert (await hands.scheduling.due(10)).names == []
    assert await hands.scheduling.fire([decision(found, "a")]) == [False]
    paused = await known(hands)
    assert (paused.place, paused.score) == ("paused", found.score)
    assert await hands.scheduling.resume(paused, found.planned_ms)
    assert not await hands.scheduling.resume(paused, found.planned_ms + 1)
    assert (await known(hands)).score == found.score


async def test_a_job_that_is_to_wait_lies_with_the_delayed_ones(
    table: Table, client: Client, keys: Keys
) -> None:
    hands = await table.hands(b"anyq-1")
    found = await planned(hands)
    due = await table.now_ms() + 60_000
    assert await hands.scheduling.fire([decision(found, "a", due_ms=due)]) == [True]
    [(member, score)] = (await table.delayed()).items()
    assert score == due
    assert await client.call("GET", keys.delayed_member("a")) == member
    assert await stored(table) == []


async def test_the_holder_of_the_lock_is_on_time_and_the_others_a_moment_later(
    table: Table, client: Client, keys: Keys
) -> None:
    one, two = await table.hands(b"anyq-1"), await table.hands(b"anyq-2")
    assert (await one.scheduling.due(10)).next_due is None
    assert await client.call("EXISTS", keys.scheduler_lock) == 0, "nothing is due, and nothing is written"
    found = await planned(one, 60_000)
    look = await one.scheduling.due(10)
    assert look.next_due is not None
    assert 59 < look.next_due <= 60
    await client.call("ZADD", keys.schedules, "XX", await table.now_ms(), found.name)
    mine, theirs = await one.scheduling.due(10), await two.scheduling.due(10)
    assert (mine.names, mine.leads) == (["tick"], True)
    assert not theirs.leads
    assert theirs.names == [] or theirs.now_ms - mine.now_ms >= COURTESY_MS - 1
    assert theirs.names or theirs.next_due == COURTESY_MS / 1000
    await two.scheduling.resign()
    assert await client.call("GET", keys.scheduler_lock) == one.name
    await one.scheduling.resign()
    assert await client.call("EXISTS", keys.scheduler_lock) == 0


async def test_on_a_shared_queue_only_the_holder_of_the_lock_makes_jobs(client: Client) -> None:
    """The scheduler of a chasquimq program reads and writes in two steps; only the lock keeps others away from it."""
    table = Table(client, Keys(CHASQUI, "q"))
    hands = await table.hands(b"anyq-1")
    found = await planned(hands, -60_000)
    await client.call("SET", table.keys.scheduler_lock, "s-theirs", "PX", 60_000)
    assert (await hands.scheduling.due(10)).names == []
    assert await hands.scheduling.fire([decision(found, "a")]) == [False]
    await client.call("DEL", table.keys.scheduler_lock)
    assert (await hands.scheduling.due(10)).names == ["tick"]
    assert await hands.scheduling.fire([decision(found, "a")]) == [True]


async def test_a_full_server_refuses_the_step_as_a_whole(table: Table, server: Server) -> None:
    hands = await table.hands(b"anyq-1")
    found = await planned(hands)
    later = await table.now_ms() + 60_000
    with server.configured(maxmemory=1):
        for one in (
            decision(found, "a"),
            decision(found, "a", "b", ends=True),
            decision(found, "a", due_ms=later),
            decision(found),
        ):
            with pytest.raises(ResponseError) as caught:
                await hands.scheduling.fire([one])
            assert reply_code(caught.value) == "OOM"
        assert await hands.scheduling.pause("nobody") is False
    assert await known(hands) == found
    assert await stored(table) == []
    assert await table.delayed() == {}
    assert await hands.scheduling.fire([decision(found, "a")]) == [True]


@pytest.mark.parametrize("what", ["stream", "delayed", "ended_schedules"])
async def test_a_key_of_another_type_stops_the_step_before_it_begins(
    table: Table, client: Client, what: str
) -> None:
    hands = await table.hands(b"anyq-1")
    found = await planned(hands)
    key = getattr(table.keys, what)
    await client.call("DEL", key)
    await client.call("SET", key, "of another type")
    with pytest.raises(ResponseError) as caught:
        await hands.scheduling.fire([decision(found, "a", ends=True)])
    assert reply_code(caught.value) == "WRONGTYPE"
    if what != "stream":
        assert await stored(table) == []
    await client.call("DEL", key)
    assert await known(hands) == found


async def test_a_counter_that_is_no_number_does_not_split_the_step(
    table: Table, client: Client, keys: Keys
) -> None:
    hands = await table.hands(b"anyq-1")
    found = await planned(hands)
    await client.call("HSET", keys.schedule("tick"), "fired", "many", "last", "x")
    assert await hands.scheduling.fire([decision(found, "a")]) == [True]
    assert (await known(hands)).fired == 1


async def test_large_definitions_are_read_in_parts(table: Table) -> None:
    hands = await table.hands(b"anyq-1")
    names = [f"s{number}" for number in range(7)]
    for name in names:
        await planned(hands, one=spec(name=name, body=b"\xc6" + (1 << 20).to_bytes(4) + bytes(1 << 20)))
    _, found = await hands.scheduling.read(names)
    assert [one.name for one in found] == names
