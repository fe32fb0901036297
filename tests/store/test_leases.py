"""Holding on: the living keep what they have, the silent lose it and each delivery counts, foreigners go by time."""

from __future__ import annotations

import pytest
from tests.support.hands import Table, envelope, member

from anyq._core.entry import admit
from anyq._core.job import Job
from anyq._core.keys import CHASQUI, GROUP, Keys
from anyq._redis.client import Client

pytestmark = pytest.mark.anyio


# -- renewing ---------------------------------------------------------------------------------------------------------


async def test_renewing_begins_the_lease_anew_and_counts_no_delivery(
    table: Table, client: Client, keys: Keys
) -> None:
    hands = await table.hands(b"anyq-1")
    await table.add("a")
    (entry,) = await hands.take()
    await client.call("XCLAIM", keys.stream, GROUP, hands.name, 0, entry.id, "IDLE", 100_000, "JUSTID")
    assert await hands.leasing.renew(keys.stream, [entry.id]) == []
    ((_, owner, idle, count),) = await client.call("XPENDING", keys.stream, GROUP, "-", "+", 10)
    assert (owner, count) == (hands.name, 1)
    assert idle < 50_000


async def test_renewing_names_what_is_not_ours_any_more_and_takes_nothing(
    table: Table, client: Client, keys: Keys
) -> None:
    hands, other = await table.hands(b"anyq-1"), await table.hands(b"anyq-2")
    await table.add("kept", "claimed", "done", "deleted")
    kept, claimed, done, deleted = [entry.id for entry in await hands.take()]
    await client.call("XCLAIM", keys.stream, GROUP, other.name, 0, claimed)
    await hands.settling.ack(keys.stream, [done])
    await client.call("XDEL", keys.stream, deleted)
    lost = await hands.leasing.renew(keys.stream, [claimed, kept, done, deleted, b"1-1"])
    assert lost == [claimed, done, deleted, b"1-1"]
    assert [(entry, owner) for _, entry, owner, _ in await table.pending()] == [
        (kept, hands.name),
        (claimed, other.name),
    ]


# -- taking over ------------------------------------------------------------------------------------------------------


async def test_a_live_worker_is_not_robbed(table: Table) -> None:
    owner, watcher = await table.hands(b"anyq-1"), await table.hands(b"anyq-2")
    await table.add("a")
    await owner.take()
    before = await table.everything()
    assert await watcher.leasing.silent() == []
    assert await watcher.leasing.take_over(owner.name) == -1
    assert await table.everything() == before


async def test_whose_own_heartbeat_is_gone_judges_nobody(table: Table) -> None:
    """The server's clock jumped, or everything was flushed: all who live look dead, for one beat."""
    owner, watcher = await table.hands(b"anyq-1"), await table.hands(b"anyq-2")
    await table.add("a")
    await owner.take()
    await owner.fall_silent()
    await watcher.fall_silent()
    assert await watcher.leasing.silent() == []
    await watcher.beat()
    assert await watcher.leasing.silent() == [owner.name]


async def test_a_silent_workers_jobs_come_back_with_their_delivery_counted(table: Table, keys: Keys) -> None:
    owner, watcher = await table.hands(b"anyq-1"), await table.hands(b"anyq-2")
    await table.add("a", "b")
    await owner.take()
    await owner.fall_silent()
    assert await watcher.leasing.silent() == [owner.name]
    assert await watcher.leasing.take_over(owner.name) == 2
    again = await watcher.take()
    assert [entry.fields for entry in again] == [
        {b"d": envelope(id), b"n": b"task", b"l": b"1"} for id in ("a", "b")
    ]
    assert {entry.lane for entry in again} == {keys.returned}
    assert await table.entries(keys.stream) == []


async def test_lost_deliveries_add_up_over_any_number_of_crashes(table: Table) -> None:
    await table.add("a")
    for lost in range(1, 6):
        victim, watcher = await table.hands(b"anyq-%d" % lost), await table.hands(b"anyq-watcher")
        (entry,) = await victim.take()
        await victim.fall_silent()
        await watcher.leasing.take_over(victim.name)
        (entry,) = await watcher.take()
        job = admit(
            "q", entry.lane, entry.id, [part for pair in entry.fields.items() for part in pair], 1000, None
        )
        assert isinstance(job, Job)
        assert (job.lost, job.attempt) == (lost, lost + 1)
        await watcher.settling.hand_back(entry.lane, [entry.id])


async def test_deliveries_that_a_foreign_worker_made_of_the_same_entry_count_too(
    table: Table, client: Client, keys: Keys
) -> None:
    owner, watcher = await table.hands(b"anyq-1", alive=False), await table.hands(b"anyq-2")
    await table.add("a")
    (entry,) = await owner.take()
    await client.call("XCLAIM", keys.stream, GROUP, "c-foreign", 0, entry.id)
    await client.call("XCLAIM", keys.stream, GROUP, owner.name, 0, entry.id)
    assert await watcher.leasing.take_over(owner.name) == 1
    (again,) = await watcher.take()
    assert again.fields[b"l"] == b"3"


async def test_a_worker_is_forgotten_only_when_nothing_of_it_is_left(table: Table) -> None:
    owner, watcher = await table.hands(b"anyq-1", alive=False), await table.hands(b"anyq-2")
    await table.add(*map(str, range(5)))
    (first,) = await owner.take(1)
    await owner.settling.hand_back(first.lane, [first.id])
    assert len(await owner.take()) == 5  # one in the lane of returned jobs, four in the stream
    for moved in (3, 2):
        assert await watcher.leasing.take_over(owner.name, count=2) == moved
        assert owner.name in await table.consumers()
    assert await watcher.leasing.take_over(owner.name, count=2) == 0
    assert owner.name not in await table.consumers()
    assert await watcher.leasing.silent() == []
    assert len(await watcher.take()) == 5


async def test_large_jobs_are_taken_over_and_swept_in_small_numbers(
    table: Table, client: Client, keys: Keys
) -> None:
    """The server serves nobody else meanwhile."""
    watcher = await table.hands(b"anyq-2")
    for owner in (await table.hands(b"anyq-1", alive=False), await table.hands(b"c-foreign")):
        for _ in range(10):
            await client.call("XADD", keys.stream, "*", "d", bytes(1024 * 1024), "n", "task")
        assert len(await owner.take(10)) == 10
        if owner.name.startswith(b"anyq"):
            found = [await watcher.leasing.take_over(owner.name) for _ in range(4)]
            assert found == [4, 4, 2, 0]
        else:
            found = [await watcher.leasing.sweep(0.0) for _ in range(2)]
            assert found == [10, 0], "in several scripts"
        await client.call("XTRIM", keys.returned, "MAXLEN", 0)


async def test_what_a_worker_reads_after_it_was_robbed_is_taken_over_too(table: Table) -> None:
    zombie, watcher = await table.hands(b"anyq-1", alive=False), await table.hands(b"anyq-2")
    await table.add("a")
    await zombie.take()
    assert await watcher.leasing.take_over(zombie.name) == 1
    assert await watcher.leasing.take_over(zombie.name) == 0
    assert len(await zombie.take()) == 1
    assert await watcher.leasing.silent() == [zombie.name]
    assert await watcher.leasing.take_over(zombie.name) == 1
    (entry,) = await watcher.take()
    assert entry.fields[b"l"] == b"2"


async def test_the_zombie_whose_jobs_were_taken_over_can_change_none_of_them(
    table: Table, keys: Keys
) -> None:
    zombie, watcher = await table.hands(b"anyq-1", alive=False), await table.hands(b"anyq-2")
    await table.add("a")
    (entry,) = await zombie.take()
    await watcher.leasing.take_over(zombie.name)
    await watcher.take()
    before = await table.everything()
    await zombie.beat()
    assert await zombie.leasing.renew(keys.stream, [entry.id]) == [entry.id]
    assert await zombie.settling.ack(keys.stream, [entry.id]) == [-1]
    assert await zombie.settling.retry(keys.stream, [(entry.id, 0, member("a", 1))]) == [0]
    assert await zombie.settling.hand_back(keys.stream, [entry.id]) == [0]
    assert await table.everything() == before


async def test_a_deleted_message_is_cleared_away_by_the_takeover(
    table: Table, client: Client, keys: Keys
) -> None:
    owner, watcher = await table.hands(b"anyq-1", alive=False), await table.hands(b"anyq-2")
    await table.add("a", "b")
    deleted, _ = await owner.take()
    await client.call("XDEL", keys.stream, deleted.id)
    while await watcher.leasing.take_over(owner.name):
        pass
    assert await table.pending() == []
    assert [fields[b"d"] for fields in await table.fields(keys.returned)] == [envelope("b")]


# -- foreign workers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["anyq", CHASQUI])
async def test_the_sweep_takes_from_foreign_workers_only(client: Client, prefix: str) -> None:
    table = Table(client, Keys(prefix, "q"))
    own, foreign = await table.hands(b"anyq-1", alive=False), await table.hands(b"c-foreign", alive=False)
    sweeper = await table.hands(b"anyq-2")
    await table.add("a", "b")
    (mine,) = await own.take(1)
    await foreign.take(1)
    assert await sweeper.leasing.sweep(0.0) == 1
    (entry,) = await sweeper.take()
    assert entry.fields == {b"d": envelope("b"), b"n": b"task", b"l": b"1"}
    assert (mine.lane, mine.id, own.name, 1) in await table.pending()


async def test_the_sweep_leaves_what_is_not_idle_for_long(table: Table, client: Client, keys: Keys) -> None:
    foreign, sweeper = await table.hands(b"c-foreign"), await table.hands(b"anyq-1")
    await table.add("busy", "idle")
    busy, idle = await foreign.take()
    await client.call("XCLAIM", keys.stream, GROUP, foreign.name, 0, idle.id, "IDLE", 61_000, "JUSTID")
    assert await sweeper.leasing.sweep(60.0) == 1
    assert [row[:3] for row in await table.pending()] == [(keys.stream, busy.id, foreign.name)]


async def test_the_sweep_takes_a_bounded_number_at_once(table: Table) -> None:
    foreign, sweeper = await table.hands(b"c-foreign"), await table.hands(b"anyq-1")
    await table.add(*map(str, range(5)))
    await foreign.take()
    assert [await sweeper.leasing.sweep(0.0, count=2) for _ in range(4)] == [2, 2, 1, 0]


async def test_a_foreign_worker_whose_job_was_swept_cannot_settle_it_any_more(
    table: Table, keys: Keys
) -> None:
    foreign, sweeper = await table.hands(b"c-foreign"), await table.hands(b"anyq-1")
    await table.add("a")
    (entry,) = await foreign.take()
    await sweeper.leasing.sweep(0.0)
    assert await foreign.settling.ack(keys.stream, [entry.id]) == [-1]
    assert len(await sweeper.take()) == 1


async def test_foreign_workers_have_no_heartbeat_and_are_not_called_silent(table: Table) -> None:
    foreign, watcher = await table.hands(b"c-foreign", alive=False), await table.hands(b"anyq-1")
    await table.add("a")
    await foreign.take()
    assert await watcher.leasing.silent() == []


# -- leaving ----------------------------------------------------------------------------------------------------------


async def test_who_leaves_is_gone_with_its_heartbeat(table: Table, client: Client, keys: Keys) -> None:
    hands = await table.hands(b"anyq-1")
    await table.add("a")
    (entry,) = await hands.take()
    await hands.settling.ack(keys.stream, [entry.id])
    assert await hands.leasing.depart()
    assert await table.consumers() == set()
    assert await client.call("EXISTS", keys.heartbeat(hands.name)) == 0
    assert await hands.leasing.depart()


async def test_who_still_holds_something_cannot_leave(table: Table, client: Client, keys: Keys) -> None:
    hands = await table.hands(b"anyq-1")
    await table.add("a")
    (entry,) = await hands.take()
    before = await table.everything()
    assert not await hands.leasing.depart()
    assert await table.everything() == before
    assert await client.call("EXISTS", keys.heartbeat(hands.name)) == 1
    await hands.settling.hand_back(keys.stream, [entry.id])
    (entry,) = await hands.take()
    assert entry.lane == keys.returned
    assert not await hands.leasing.depart()
    await hands.settling.ack(entry.lane, [entry.id])
    assert await hands.leasing.depart()
