"""Putting items into groups: an open one is a delayed job that grows; it is let go once, and then takes no more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from redis.exceptions import ResponseError
from tests.support.gathering import group, items_of, rule
from tests.support.hands import Table, addition
from tests.support.servers import SECONDS, Server

from anyq._core.codec import decode, envelope_id, split_member
from anyq._core.groups import LARGEST
from anyq._core.keys import CHASQUI, Keys
from anyq._redis.client import Client
from anyq._redis.subscriber import Subscriber
from anyq._services.patience import reply_code
from anyq._store.control import Batch, Delayed
from anyq._store.gather import Gathered, Group, gather
from anyq._store.tally import Tally

pytestmark = pytest.mark.anyio

Add = Callable[..., Awaitable[list[Gathered]]]

LATER = rule(delay_ms=60_000, maximum_ms=600_000)


@pytest.fixture
def add(client: Client, keys: Keys) -> Add:
    """Put items in, each call a batch of its own."""
    last = 0

    async def add(*groups: Group, number: int = 0, limit: int = 0) -> list[Gathered]:
        nonlocal last
        last = number or last + 1
        return await gather(Tally(client, keys), keys, b"p", last, last, groups, limit)

    return add


def later(job_id: str, *items: Any, expected: str = "", **changed: Any) -> Group:
    """Items for a group that waits for long."""
    settings = {"delay_ms": 60_000, "maximum_ms": 600_000, **changed}
    return group(job_id, *items, expected=expected, gathering=rule(**settings))


async def waiting(table: Table) -> dict[str, list[Any]]:
    """The items of the groups that wait; each is found by its index."""
    found: dict[str, list[Any]] = {}
    for member in await table.delayed():
        job_id, body, *_ = decode(split_member(member)[1])
        assert await table.client.call("GET", table.keys.delayed_member(job_id)) == member
        found[job_id] = items_of(body)
    return found


async def ready(table: Table, lane: bytes | None = None) -> list[tuple[str, list[Any]]]:
    """The groups that were let go."""
    jobs = [decode(fields[b"d"]) for fields in await table.fields(lane or table.keys.stream)]
    return [(job_id, items_of(body)) for job_id, body, *_ in jobs]


async def test_items_gather_in_the_job_that_the_first_one_began(table: Table, add: Add) -> None:
    assert await add(later("a", "x")) == [Gathered("a", True, 1)]
    assert await add(later("b", {"y": [1.5]}, expected="a")) == [Gathered("a", False, 1)]
    assert await add(later("c", b"z" * 300, None, expected="a", size=10)) == [Gathered("a", False, 2)]
    assert await waiting(table) == {"a": ["x", {"y": [1.5]}, b"z" * 300, None]}
    assert await ready(table) == []


async def test_who_expects_another_job_is_told_which_is_open_and_nothing_is_done(
    table: Table, add: Add
) -> None:
    await add(later("a", 1))
    for expected in ("", "nobody"):
        assert await add(later("b", 2, expected=expected)) == [Gathered("a", False, 0)]
    assert await waiting(table) == {"a": [1]}


async def test_groups_are_apart_by_task_and_key_and_priority(table: Table, add: Add) -> None:
    other = rule(task="task:b", delay_ms=60_000, maximum_ms=600_000)
    high = rule(priority=9, delay_ms=60_000, maximum_ms=600_000)
    groups = [
        group("d", 4, key="c", gathering=high),
        group("a", 1, key="b:c", gathering=LATER),
        group("b", 2, key="c", gathering=other),
        group("c", 3, key="c", gathering=LATER),
    ]
    assert [answer.job_id for answer in await add(*groups)] == ["d", "a", "b", "c"]
    assert await waiting(table) == {"a": [1], "b": [2], "c": [3], "d": [4]}


async def test_a_group_waits_for_the_next_item_and_not_longer_than_its_maximum(
    table: Table, add: Add
) -> None:
    begun = await table.now_ms()
    await add(later("a", 1))
    [first] = (await table.delayed()).values()
    assert 0 <= first - begun - 60_000 < 1000 * SECONDS
    await add(later("b", 2, expected="a", delay_ms=300_000))
    [second] = (await table.delayed()).values()
    assert second > first + 200_000
    await add(later("c", 3, expected="a", delay_ms=900_000))
    [last] = (await table.delayed()).values()
    assert 0 <= last - begun - 600_000 < 1000 * SECONDS


async def test_a_group_that_is_full_is_let_go_at_once(
    table: Table, add: Add, keys: Keys, client: Client
) -> None:
    assert await add(later("a", 1, 2, 3, size=5)) == [Gathered("a", True, 3)]
    assert await add(later("b", 4, 5, 6, 7, expected="a", size=5)) == [Gathered("a", False, 2)]
    assert await ready(table) == [("a", [1, 2, 3, 4, 5])]
    assert await add(later("b", 6, 7, expected="a", size=5)) == [Gathered("b", True, 2)]
    assert await add(later("c", *range(9), expected="", size=9)) == [Gathered("b", False, 0)]
    assert await waiting(table) == {"b": [6, 7]}
    assert not await client.call("EXISTS", keys.delayed_member("a"))


async def test_a_group_that_begins_full_never_waits(
    table: Table, add: Add, keys: Keys, client: Client
) -> None:
    assert await add(later("a", 1, 2, size=2)) == [Gathered("a", True, 2)]
    assert await ready(table) == [("a", [1, 2])]
    assert not await client.call("EXISTS", keys.gather("task", ""), keys.delayed_member("a"))


async def test_a_group_goes_to_the_lane_of_its_priority(
    client: Client, table: Table, add: Add, keys: Keys
) -> None:
    heard: list[bytes] = []
    async with Subscriber(client.address) as subscriber:
        with subscriber.subscribe(keys.widened, lambda _, lane: heard.append(lane)) as subscription:
            await subscription.ready()
            await add(later("a", 1, 2, size=2, priority=9))
            await add(later("b", 1, 2, size=2, priority=9))
            assert await ready(table, keys.lane(9)) == [("a", [1, 2]), ("b", [1, 2])]
            await client.call("PUBLISH", keys.widened, "the end")
            while b"the end" not in heard:
                await client.call("PING")
    assert heard == [keys.lane(9), b"the end"]
    await add(later("c", 1, priority=0))
    hands = await table.hands(b"anyq-1")
    await client.call("ZADD", keys.delayed, 1, *await table.delayed())
    assert [job for _, job in (await hands.promoting.promote(10)).jobs] == ["c"]
    assert await ready(table, keys.lane(0)) == [("c", [1])]


async def test_a_group_takes_no_more_bytes_than_a_job_may_have(table: Table, add: Add) -> None:
    small = rule(delay_ms=60_000, maximum_ms=600_000, limit=100, size=100)
    items = ["x" * 20] * 8
    took = await add(group("a", *items, gathering=small))
    assert 0 < took[0].taken < 8
    [(_, body)] = (await waiting(table)).items()
    assert len(body) == took[0].taken
    rest = items[took[0].taken :]
    assert (await add(group("b", *rest, expected="a", gathering=small)))[0].job_id == "b"
    assert [job_id for job_id, _ in await ready(table)] == ["a"]
    assert [len(fields[b"d"]) <= 100 for fields in await table.fields(table.keys.stream)] == [True]


async def test_a_group_is_let_go_above_256_kib(table: Table, add: Add) -> None:
    large = rule(delay_ms=60_000, maximum_ms=600_000, limit=10**7, size=100)
    await add(group("a", b"x" * (LARGEST - 1000), gathering=large))
    assert [*await waiting(table)] == ["a"]
    assert await add(group("b", b"x" * 2000, expected="a", gathering=large)) == [Gathered("b", True, 1)]
    assert [job_id for job_id, _ in await ready(table)] == ["a"]
    # An item that is larger all by itself is a group of its own.
    assert await add(group("c", b"x" * (LARGEST + 1), 1, expected="b", gathering=large)) == [
        Gathered("c", True, 1)
    ]
    assert [job_id for job_id, _ in await ready(table)] == ["a", "b", "c"]


@pytest.mark.parametrize("over", ["cancelled", "moved", "let run", "promoted"])
async def test_a_group_that_is_over_is_not_joined(
    client: Client, table: Table, add: Add, keys: Keys, over: str
) -> None:
    await add(later("a", 1))
    control, hands = table.controlling(), await table.hands(b"anyq-1")
    found, _ = await control.look("a")
    assert isinstance(found, Delayed)
    match over:
        case "cancelled":
            assert await control.withdraw(Batch(1, 1), "a", found)
        case "moved":
            assert await control.reschedule(Batch(1, 1), "a", found, delay_ms=50_000, due_ms=None)
        case _:
            assert await control.reschedule(Batch(1, 1), "a", found, delay_ms=0, due_ms=None)
    if over == "promoted":
        assert (await hands.promoting.promote(10)).jobs == [("task", "a")]
    assert await add(later("b", 2, expected="a")) == [Gathered("b", True, 1)]
    assert (await waiting(table))["b"] == [2]


async def test_a_group_that_ran_early_and_waits_for_its_retry_is_not_joined(
    client: Client, table: Table, add: Add, keys: Keys
) -> None:
    await add(later("a", b"x" * 70_000))
    hands = await table.hands(b"anyq-1")
    [member] = await table.delayed()
    await client.call("ZADD", keys.delayed, 1, member)
    await hands.promoting.promote(10)
    [entry] = await hands.take()
    await hands.settling.retry(entry.lane, [(entry.id, 1000, member[:4] + b"task" + entry.fields[b"d"])])
    assert await add(later("b", 2, expected="a")) == [Gathered("b", True, 1)]
    assert sorted(await waiting(table)) == ["a", "b"]


async def test_the_same_batch_has_the_same_answer_also_when_its_jobs_are_done(
    client: Client, table: Table, add: Add, keys: Keys
) -> None:
    batch = [
        later("a", 1, 2, 3, size=2),
        group("b", 1, key="k:1", gathering=LATER),
        later("c", 1, priority=9),
    ]
    answers = await add(*batch, number=1)
    assert answers == [Gathered("a", True, 2), Gathered("b", True, 1), Gathered("c", True, 1)]
    hands = await table.hands(b"anyq-1")
    for _ in range(2):
        assert await add(*batch, number=1) == answers
        for entry in await hands.take():
            await hands.settling.ack(entry.lane, [entry.id])
        await client.call("DEL", keys.delayed)
    assert await ready(table) == []


async def test_a_queue_that_is_full_lets_groups_grow_but_not_go(table: Table, add: Add) -> None:
    await table.add("x", "y")
    full = await add(later("a", 1, size=2), later("b", 1, 2, size=2, task="other"), limit=2)
    assert full == [Gathered("a", True, 1), Gathered("", False, 0)]
    assert await add(later("c", 2, expected="a", size=2), limit=2) == [Gathered("", False, 0)]
    assert await waiting(table) == {"a": [1]}
    assert await add(later("c", 2, expected="a", size=2), limit=3) == [Gathered("a", False, 1)]


async def test_a_full_server_takes_no_items(table: Table, server: Server, add: Add) -> None:
    await add(later("a", 1))
    before: Sequence[Any] = [await waiting(table), await table.everything()]
    for refused in (
        later("b", 2, expected="a"),
        group("c", 3, key="other", gathering=LATER),
        later("d", *"xyz", size=1),
    ):
        with server.configured(maxmemory=1), pytest.raises(ResponseError) as caught:
            await add(
                Group(refused.gathering, refused.key, refused.items, refused.job_id, refused.mould, "a")
            )
        assert reply_code(caught.value) == "OOM"
        assert [await waiting(table), await table.everything()] == before


async def test_on_a_shared_queue_a_group_is_a_job_as_any(client: Client) -> None:
    keys = Keys(CHASQUI, "q")
    await gather(Tally(client, keys), keys, b"p", 1, 1, [later("a", 1)], 0)
    await gather(Tally(client, keys), keys, b"p", 2, 2, [later("b", *"xyz", expected="a")], 0)
    [fields] = await Table(client, keys).fields(keys.stream)
    assert (envelope_id(fields[b"d"]), fields[b"n"]) == ("a", b"task")


async def test_a_promoter_is_woken_by_a_group_that_is_due_first(
    client: Client, table: Table, keys: Keys, add: Add
) -> None:
    heard: list[bytes] = []
    await table.producer().schedule(1, 1, [addition("x", delay_ms=300_000)], 0)
    async with Subscriber(client.address) as subscriber:
        with subscriber.subscribe(keys.due, lambda _, due: heard.append(due)) as subscription:
            await subscription.ready()
            await add(later("a", 1, delay_ms=500_000))  # later than another job
            await add(later("b", 2, expected="a", delay_ms=100_000))  # sooner
            await add(later("c", 3, expected="a", delay_ms=200_000))  # later again: nobody need hurry
            due = (await table.delayed()).values()
            await client.call("PUBLISH", keys.due, "the end")
            while b"the end" not in heard:
                await client.call("PING")
    assert len(heard) == 2
    assert int(heard[0]) <= min(due)
