"""Listing what lies in Redis: stretch by stretch, whatever the bytes are, and whatever moves meanwhile."""

from __future__ import annotations

import msgpack
import pytest
from tests.support.hands import Table, member

from anyq._core.codec import delayed_member, encode
from anyq._core.job import Extras, Override
from anyq._core.jobs import read
from anyq._core.keys import Keys
from anyq._core.status import JobStatus
from anyq._redis.client import Client
from anyq._store import jobs
from anyq._store.jobs import Asked, Page

pytestmark = pytest.mark.anyio


async def every(client: Client, keys: Keys, asked: Asked) -> list[str]:
    """All delayed jobs, by pages."""
    ids: list[str] = []
    place = ""
    while True:
        page = await jobs.delayed(client, keys, asked, place)
        ids += ids_of(page)
        place = page.rest
        if not place:
            return ids


def ids_of(page: Page) -> list[str]:
    return [read(seen, JobStatus.QUEUED).id for seen in page.jobs]


@pytest.mark.parametrize("size", [0, 200, 300, 70_000])
@pytest.mark.parametrize("job_id", ["short", "x" * 31, "y" * 32, "z" * 200])
async def test_an_outline_tells_all_but_the_payload(
    client: Client, keys: Keys, size: int, job_id: str
) -> None:
    rest = 1000, 2, Override(attempts=7), Extras(unique="key", after=("a", "b"), lost=1)
    envelope = encode(job_id, b"\xc4" * size, *rest)
    await client.call("XADD", keys.stream, "*", "d", envelope, "n", "task", "l", "3")
    [seen] = (await jobs.in_lane(client, keys.stream, Asked(9), "", held=False)).jobs
    assert seen.envelope == encode(job_id, b"", *rest)
    info = read(seen, JobStatus.QUEUED)
    assert (info.id, info.task, info.attempt, info.attempts, info.lost) == (job_id, "task", 6, 7, 4)
    assert (info.unique, info.after, info.size, info.payload) == ("key", ("a", "b"), len(envelope), None)
    [seen] = (await jobs.in_lane(client, keys.stream, Asked(9, payload=True), "", held=False)).jobs
    assert seen.envelope == envelope


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x94",
        b"\x94\xa5ab",
        b"\x94\xd9\xff",
        b"\x93\xa1a\xc6\xff\xff\xff\xff",
        b"\xff" * 100_000,
        msgpack.packb({"id": "map", "payload": b"p" * 5000, "created_at_ms": 1}),
        b"\xdc\x00\x04\xa1x\xc4\x01p",
    ],
)
async def test_what_is_no_usual_envelope_is_listed_too(client: Client, keys: Keys, data: bytes) -> None:
    await client.call("XADD", keys.stream, "*", "d", data, "n", b"\xff" * 5000, "priority", "x", "l", "-1")
    await client.call("XADD", keys.stream, "*", "strange", "")
    await client.call("ZADD", keys.delayed, "+inf", data, 5, member("a")[:4] + data)
    await client.call("HSET", keys.waiting, "a", data, "b", b"2f" + data)
    lying = (await jobs.in_lane(client, keys.stream, Asked(9), "", held=False)).jobs
    delayed = (await jobs.delayed(client, keys, Asked(9), "")).jobs
    waiting = (await jobs.waiting(client, keys, Asked(9), "")).jobs
    assert (len(lying), len(delayed), len(waiting)) == (2, 2, 2)
    for seen in (*lying, *delayed, *waiting):
        assert len(seen.envelope) <= 1024
        info = read(seen, JobStatus.DELAYED, payload=True)
        assert info.attempt is None or info.id
        assert "secret" not in repr(info)


async def test_jobs_with_the_same_due_time_are_each_listed_once(client: Client, keys: Keys) -> None:
    names = [f"job-{number:04}" for number in range(300)]
    for name in names:
        await client.call("ZADD", keys.delayed, 1000 if name < "job-0150" else 2000, member(name))
    assert await every(client, keys, Asked(7)) == names
    assert await every(client, keys, Asked(7, newest_first=True)) == names[::-1]
    assert await every(client, keys, Asked(7, task="task")) == names
    assert await every(client, keys, Asked(7, task="another")) == []


async def test_parked_jobs_are_found_among_the_delayed_by_their_mark(client: Client, keys: Keys) -> None:
    for number in range(40):
        parked = number % 10 == 3
        job = delayed_member("task", encode(f"{number:02}", b"", 1000), priority=9, parked=parked)
        await client.call("ZADD", keys.delayed, number, job)
    for newest in (True, False):
        found = await every(client, keys, Asked(3, newest, parked=True))
        assert sorted(found) == ["03", "13", "23", "33"]
        assert len(await every(client, keys, Asked(7, newest, parked=False))) == 36
    [seen, *_] = (await jobs.delayed(client, keys, Asked(1, parked=True), "")).jobs
    assert (seen.priority, seen.name) == (9, b"task")


async def test_what_became_due_meanwhile_makes_a_list_skip_nothing_behind_it(
    client: Client, keys: Keys
) -> None:
    for number in range(10):
        await client.call("ZADD", keys.delayed, number, member(f"{number}"))
    page = await jobs.delayed(client, keys, Asked(5), "")
    assert ids_of(page) == list("01234")
    await client.call("ZREMRANGEBYSCORE", keys.delayed, "-inf", 6)
    assert ids_of(await jobs.delayed(client, keys, Asked(5), page.rest)) == list("789")


async def test_held_and_free_jobs_of_a_lane_are_told_apart_in_both_directions(
    client: Client, table: Table, keys: Keys
) -> None:
    hands = await table.hands(b"anyq-1")
    await table.add(*"abcdefgh")
    taken = await hands.take(4)
    await hands.settling.ack(keys.stream, [taken[1].id])
    for newest, held, free in ((False, "acd", "efgh"), (True, "dca", "hgfe")):
        for wanted, wants in ((True, held), (False, free)):
            found, place = "", ""
            while True:
                page = await jobs.in_lane(client, keys.stream, Asked(2, newest), place, held=wants is held)
                found += "".join(ids_of(page))
                assert {seen.owner for seen in page.jobs} <= {b"anyq-1" if wanted else b""}
                if not (place := page.rest):
                    break
            assert found == wants


async def test_a_place_among_the_free_that_were_taken_meanwhile_is_behind_those(
    client: Client, table: Table, keys: Keys
) -> None:
    hands = await table.hands(b"anyq-1")
    await table.add(*"abcd")
    page = await jobs.in_lane(client, keys.stream, Asked(1), "", held=False)
    await hands.take(3)
    assert ids_of(await jobs.in_lane(client, keys.stream, Asked(9), page.rest, held=False)) == ["d"]


@pytest.mark.parametrize("count", [5, 1000])
async def test_those_that_wait_are_listed_in_parts_too(client: Client, keys: Keys, count: int) -> None:
    names = {f"job-{number}" for number in range(count)}
    fields = [word for name in names for word in (name, b"12f" + member(name))]
    await client.call("HSET", keys.waiting, *fields)
    found: list[str] = []
    place = ""
    while True:
        page = await jobs.waiting(client, keys, Asked(7), place)
        assert len(page.jobs) <= 7
        found += ids_of(page)
        if not (place := page.rest):
            break
    assert sorted(found) == sorted(names)


async def test_large_jobs_are_looked_at_in_small_numbers(client: Client, keys: Keys) -> None:
    large = encode("x", b"p" * 1_000_000, 1000)
    for _ in range(30):
        await client.call("XADD", keys.stream, "*", "d", large, "n", "task")
    page = await jobs.in_lane(client, keys.stream, Asked(200), "", held=False)
    assert 2 <= len(page.jobs) < 20
    assert page.rest


@pytest.mark.parametrize("bytes_", [b"", b"x", b"\x03\x00\x00"])
async def test_a_member_that_is_too_short_for_a_job_is_read_all_the_same(bytes_: bytes) -> None:
    info = read(jobs.member(bytes_, 5.0), JobStatus.DELAYED)
    assert (info.id, info.task, info.priority, info.size) == ("", "", 5, 0)
