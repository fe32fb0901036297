"""Producing: what a call puts into Redis, what its options do, and what is refused before anything is sent."""

from __future__ import annotations

import itertools
import random
from collections import UserDict
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import anyio
import attrs
import msgpack
import pytest
from tests.support.servers import Server
from tests.worker.conftest import Notes, drained, length, payloads, rows, working

from anyq import Backoff, Limits, NotOpen, PayloadRefused, Queue, QueueFull, Retention, Task, current_job
from anyq._core.codec import decode
from anyq._core.ids import IdMaker, made_at
from anyq._core.values import pack
from anyq._services.clock import wall_ms

pytestmark = pytest.mark.anyio


@pytest.fixture
def note(queue: Queue, notes: Notes[Any]) -> Task[..., Any]:
    """A task that notes its arguments."""

    @queue.task
    async def note(a: Any = None, b: Any = None) -> None:
        notes.add((a, b))

    return note


# -- one --------------------------------------------------------------------------------------------------------------


async def test_a_job_is_an_entry_with_an_envelope_and_the_task_s_name(
    queue: Queue, note: Task[..., Any]
) -> None:
    async with queue:
        handle = await note.enqueue(1, b="two")
        [row] = await rows(queue, queue.keys.stream)
    assert list(row) == ["d", "n"]
    assert row["n"] == b"note"
    job_id, body, created_ms, failed = msgpack.unpackb(row["d"])
    assert job_id == handle.id
    assert len(job_id) == 26
    assert msgpack.unpackb(body) == {"a": 1, "b": "two"}
    assert abs(datetime.now(UTC).timestamp() * 1000 - created_ms) < 10_000
    assert failed == 0
    assert handle.new
    assert handle.name == "note"
    assert repr(handle) == f"<JobHandle {job_id} of 'note'>"


@pytest.mark.parametrize("prefix", ["anyq", "chasqui"])
async def test_what_was_enqueued_is_run(redis_url: str, notes: Notes[Any], prefix: str) -> None:
    queue = Queue("work", redis_url, prefix=prefix)

    @queue.task
    async def note(a: Any) -> None:
        notes.add(a)

    async with queue:
        await note.enqueue([1, 2.5, None, True, "ü", b"\x00", {"deep": {"er": []}}])
        await drained(queue)
    assert notes.made == [[1, 2.5, None, True, "ü", b"\x00", {"deep": {"er": []}}]]


async def test_jobs_of_one_producer_run_in_the_order_of_their_enqueuing(
    queue: Queue, note: Task[..., Any], notes: Notes[Any]
) -> None:
    async with queue:
        for number in range(5):
            await note.enqueue(number)
        await note.enqueue_many([(number,) for number in range(5, 30)])
        await drained(queue, concurrency=1)
    assert [a for a, _ in notes.made] == list(range(30))


async def test_a_program_without_the_function_enqueues_by_name(
    redis_url: str, queue: Queue, note: Task[..., Any], notes: Notes[Any]
) -> None:
    async with Queue("work", redis_url) as elsewhere:
        handle = await elsewhere.enqueue("note", {"b": 2})
        many = await elsewhere.enqueue_many("note", ({"a": n} for n in range(3)))
        await elsewhere.enqueue("note")
    assert handle.name == "note"
    assert len({handle.id, *(one.id for one in many)}) == 4
    await drained(queue, concurrency=1)
    assert notes.made == [(None, 2), (0, None), (1, None), (2, None), (None, None)]


async def test_a_hundred_concurrent_callers_lose_nothing(
    queue: Queue, note: Task[..., Any], notes: Notes[Any]
) -> None:
    async with queue:
        async with anyio.create_task_group() as callers:
            for number in range(100):
                callers.start_soon(note.enqueue, number)
        await drained(queue)
    assert sorted(a for a, _ in notes.made) == list(range(100))


# -- many -------------------------------------------------------------------------------------------------------------


async def test_many_calls_are_tuples_maps_and_bound_arguments(
    queue: Queue, note: Task[..., Any], notes: Notes[Any]
) -> None:
    async with queue:
        handles = await note.enqueue_many([(1,), (), {"b": 2}, note.bind(3, b=4)])
        await drained(queue, concurrency=1)
    assert notes.made == [(1, None), (None, None), (None, 2), (3, 4)]
    assert len({handle.id for handle in handles}) == 4


async def test_ten_thousand_from_a_generator_arrive_in_order(queue: Queue, note: Task[..., Any]) -> None:
    async with queue:
        handles = await note.enqueue_many((number,) for number in range(10_000))
        assert await length(queue) == 10_000
        assert [payload["a"] for payload in await payloads(queue)] == list(range(10_000))
    ids = [handle.id for handle in handles]
    assert ids == sorted(set(ids)), "made ids sort by the order of their making"


async def test_an_id_tells_when_its_job_was_sent_also_late_in_a_long_call(
    queue: Queue, note: Task[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By that time a job is looked for, in a window of seconds; the last of a call may be sent long after the first."""
    monkeypatch.setattr("anyq.queue.wall_ms", itertools.count(1_800_000_000_000, 10_000).__next__)
    maker = IdMaker(wall_ms, random.getrandbits)  # of its own: the process's would stay ahead of the clock
    monkeypatch.setattr("anyq.queue.id_maker", lambda: maker)
    async with queue:
        handles = await note.enqueue_many((number,) for number in range(1000))
    moments = [made_at(handle.id) or 0 for handle in handles]
    assert moments == sorted(moments)
    assert moments[-1] - moments[0] == 40_000


async def test_no_call_at_all_is_no_round_trip(queue: Queue, note: Task[..., Any]) -> None:
    async with queue:
        assert await note.enqueue_many([]) == []
        assert not queue.redis.connected


@pytest.mark.parametrize("wrong", [3, "ab", [1, 2], None])
async def test_a_call_of_another_kind_is_refused_and_nothing_is_sent(
    queue: Queue, note: Task[..., Any], wrong: Any
) -> None:
    async with queue:
        with pytest.raises(TypeError, match=f"tuples of positional .* not {type(wrong).__name__}"):
            await note.enqueue_many([(1,), wrong])
        with pytest.raises(TypeError, match="task 'note': too many"):
            await note.enqueue_many([(1,), (1, 2, 3)])
        other = queue.task(lambda a: a, name="other")
        with pytest.raises(TypeError, match="arguments bound for task 'other' were given to task 'note'"):
            await note.enqueue_many([note.bind(1), other.bind(1)])
        with pytest.raises(
            TypeError, match=r"takes a task's name; <Task 'note' of .*> has an enqueue of its own"
        ):
            await queue.enqueue(note, {"a": 1})  # type: ignore[arg-type]
        assert await length(queue) == 0


async def test_a_call_without_arguments_is_checked_too(queue: Queue) -> None:
    async def named(*, to: str) -> None: ...
    async def nothing() -> None: ...

    async with queue:
        with pytest.raises(TypeError, match=r"task 'named': missing a required .*'to'"):
            await queue.task(named).enqueue_many([()])
        assert len(await queue.task(nothing).enqueue_many([(), ()])) == 2
        assert await payloads(queue) == [{}, {}]


async def test_an_id_belongs_to_one_job(queue: Queue, note: Task[..., Any]) -> None:
    async with queue:
        with pytest.raises(ValueError, match="id 'mine' belongs to one job, and 2 were given"):
            await note.options(id="mine").enqueue_many([(1,), (2,)])


# -- options ----------------------------------------------------------------------------------------------------------


async def test_options_travel_with_the_job(queue: Queue, note: Task[..., Any]) -> None:
    backoff = Backoff.exponential(0.25, maximum=8, multiplier=3)
    async with queue:
        await note.options(
            attempts=7, backoff=backoff, timeout=1.5, result_ttl=timedelta(minutes=1)
        ).enqueue()
        [row] = await rows(queue, queue.keys.stream)
    *_, override, extras = decode(row["d"])
    assert override.attempts == 7
    assert override.backoff is not None
    assert repr(override.backoff) == repr(backoff)
    assert (extras.timeout, extras.result_ttl) == (1.5, 60.0)


async def test_options_by_name_are_the_same(queue: Queue, note: Task[..., Any]) -> None:
    settings: dict[str, Any] = {"attempts": 2, "backoff": Backoff.fixed(1), "timeout": 3, "result_ttl": 4}
    async with queue:
        await note.options(**settings).enqueue(1)
        await queue.enqueue("note", {"a": 1}, **settings)
        await queue.enqueue_many("note", [{"a": 1}], **settings)
        found = [decode(row["d"]) for row in await rows(queue, queue.keys.stream)]
    assert found[0][1] == found[1][1] == found[2][1]
    assert found[0][4:] == found[1][4:] == found[2][4:]


def test_options_make_another_task_and_leave_this_one_alone(queue: Queue, note: Task[..., Any]) -> None:
    assert note.options(delay=60) is not note
    assert note.options(delay=60).function is note.function


async def test_options_add_to_those_before_and_none_takes_one_back(
    queue: Queue, note: Task[..., Any]
) -> None:
    soon = note.options(attempts=7, delay=60)
    async with queue:
        await soon.options(timeout=3).enqueue(1)
        assert await queue.redis.zcard(queue.keys.delayed) == 1
        await soon.options(delay=None).enqueue(2)
        [row] = await rows(queue, queue.keys.stream)
    assert decode(row["d"])[4].attempts == 7
    with pytest.raises(ValueError, match="delay and at exclude each other"):
        soon.options(at=datetime.now(UTC))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"delay": 1, "at": datetime.now(UTC)}, ValueError, "delay and at exclude each other, and both were given: 1"),
        ({"at": datetime(2030, 1, 1)}, ValueError, "at must be an aware datetime, and .* is naive: give it a timezone"),
        ({"at": 1_900_000_000}, TypeError, "at must be an aware datetime, not 1900000000"),
        ({"delay": -1}, ValueError, "delay must be a finite number of seconds >= 0, not -1"),
        ({"delay": 1e200}, ValueError, r"delay must be at most \d+ seconds, not 1e\+200"),
        ({"delay": 1e13}, ValueError, "delay must be at most 9007199254740 seconds, not 1"),
        ({"delay": "1"}, TypeError, "delay must be a number of seconds or a timedelta, not '1'"),
        ({"backoff": Backoff.of(lambda _: 1.0)}, ValueError, "Backoff.of function cannot travel with a job"),
        ({"tracked": "no"}, TypeError, "tracked must be True or False, not 'no'"),
        ({"wait": 0}, TypeError, "wait must be True or False, not 0"),
    ],
)  # fmt: skip
async def test_options_that_make_no_sense_are_refused(
    queue: Queue, note: Task[..., Any], options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        note.options(**options)
    async with queue:
        with pytest.raises(error, match=message):
            await queue.enqueue("note", **options)
        assert not queue.redis.connected


@pytest.mark.parametrize(
    "when",
    [
        {"delay": 60},
        {"delay": timedelta(minutes=1)},
        {"at": UTC},
        {"at": timezone(timedelta(hours=5))},
    ],
)
async def test_a_delayed_job_waits_with_its_due_time(
    queue: Queue, note: Task[..., Any], when: dict[str, Any]
) -> None:
    if "at" in when:
        when = {"at": datetime.now(when["at"]) + timedelta(minutes=1)}
    async with queue:
        await note.options(**when).enqueue(1)
        rows: list[Any] = list(await queue.redis.zrange(queue.keys.delayed, 0, -1, withscores=True))
        assert await length(queue) == 0
    [(member, score)] = rows
    assert member[:8] == b"\x04\x00\x00\x00note"
    assert abs(float(score) / 1000 - datetime.now(UTC).timestamp() - 60) < 30


@pytest.mark.parametrize(
    "when",
    [{"delay": 0}, {"at": datetime(1999, 12, 31, tzinfo=UTC)}, {"at": datetime.min.replace(tzinfo=UTC)}],
)
async def test_a_job_that_is_due_already_runs(
    queue: Queue, note: Task[..., Any], notes: Notes[Any], when: dict[str, Any]
) -> None:
    async with queue:
        await note.options(**when).enqueue(1)
        await drained(queue)
    assert notes.made == [(1, None)]


# -- ids of one's own -------------------------------------------------------------------------------------------------


async def test_an_id_that_is_taken_makes_no_second_job(
    queue: Queue, note: Task[..., Any], notes: Notes[Any]
) -> None:
    mine = note.options(id="welcome:ada")
    async with queue:
        first, second = await mine.enqueue(1), await mine.enqueue(2)
        by_name = await queue.enqueue("note", {"a": 3}, id="welcome:ada")
        later = await mine.options(id="welcome:ada", delay=0.001).enqueue(4)
        assert [first.new, second.new, by_name.new, later.new] == [True, False, False, False]
        assert first.id == second.id == "welcome:ada"
        assert repr(second) == "<JobHandle welcome:ada of 'note', taken before>"
        await drained(queue)
        after = await mine.enqueue(5)
        assert after.new, "its job has ended"
        await drained(queue)
    assert notes.made == [(1, None), (5, None)]


@pytest.mark.parametrize("ids", [0, 60])
async def test_an_id_stays_taken_past_the_end_of_its_job_for_as_long_as_the_queue_says(
    redis_url: str, notes: Notes[Any], ids: float
) -> None:
    queue = Queue("work", redis_url, retention=Retention(ids=ids))

    @queue.task
    async def note(a: int) -> None:
        notes.add(a)

    async with queue:
        assert (await note.options(id="mine").enqueue(1)).new
        await drained(queue)
        assert (await note.options(id="mine").enqueue(2)).new == (ids == 0)
        await drained(queue)
        left = await queue.redis.call("PTTL", queue.keys.taken_id("mine"))
    assert notes.made == ([1, 2] if ids == 0 else [1])
    assert (left == -2) if ids == 0 else (50_000 < left <= 60_000)


@pytest.mark.parametrize("delay", [None, 0.01])
async def test_one_id_from_fifty_tasks_is_one_job_and_one_of_them_hears_that_it_is_new(
    queue: Queue, note: Task[..., Any], notes: Notes[Any], delay: float | None
) -> None:
    handles: list[Any] = []

    async def enqueue(number: int) -> None:
        handles.append(await note.options(id="mine", delay=delay).enqueue(number))

    async with working(queue) as worker:
        async with anyio.create_task_group() as callers:
            callers.start_soon(note.enqueue, "something else")
            for number in range(50):
                callers.start_soon(enqueue, number)
        await notes.first(2)
        await worker.wait_idle()
    assert sum(handle.new for handle in handles) == 1
    assert len(notes.made) == 2


async def test_a_made_id_is_never_made_twice_by_threads_of_one_program(redis_url: str) -> None:
    queue = Queue("work", redis_url)
    ids: list[str] = []

    def produce() -> None:
        async def main() -> None:
            async with queue:
                ids.extend(h.id for h in await queue.enqueue_many("note", itertools.repeat({}, 5000)))

        anyio.run(main)

    async with anyio.create_task_group() as threads:
        for _ in range(3):
            threads.start_soon(anyio.to_thread.run_sync, produce)
    assert len(set(ids)) == 15_000
    async with queue:
        assert await length(queue) == 15_000


# -- a bounded queue --------------------------------------------------------------------------------------------------


@pytest.fixture
def short(redis_url: str) -> Queue:
    """A queue that holds three jobs."""
    queue = Queue("short", redis_url, max_length=3)

    @queue.task
    async def note(a: int) -> None: ...

    return queue


async def test_a_full_queue_refuses_who_does_not_wait(short: Queue) -> None:
    async with short:
        await short.enqueue_many("note", [{"a": n} for n in range(3)], wait=False)
        with pytest.raises(
            QueueFull, match="'short' holds its max_length of 3 jobs: enqueue with wait=True"
        ) as caught:
            await short.enqueue("note", {"a": 4}, wait=False)
        with pytest.raises(QueueFull):
            await short.enqueue("note", {"a": 4}, wait=False, id="mine")
        assert caught.value.max_length == 3
        assert await length(short) == 3
        delayed = await short.enqueue("note", {"a": 4}, wait=False, delay=60)
        assert delayed.new, "a delayed job takes no room yet"


async def test_whoever_waits_for_room_is_let_in_when_there_is_some(short: Queue) -> None:
    async with short, anyio.create_task_group() as producers:
        await short.enqueue_many("note", [{"a": n} for n in range(3)])
        for number in range(20):
            producers.start_soon(short.enqueue, "note", {"a": number})
        producers.start_soon(short.enqueue_many, "note", [{"a": number} for number in range(20)])
        async with working(short) as worker:
            while worker.statistics().done < 43:
                assert await length(short) <= 3
        assert worker.statistics().done == 43


async def test_waiting_for_room_can_be_cancelled_and_adds_nothing(short: Queue) -> None:
    async with short:
        await short.enqueue_many("note", [{"a": n} for n in range(3)])
        with anyio.move_on_after(0.05) as scope:
            await short.enqueue("note", {"a": 4})
        assert scope.cancelled_caught
        assert await length(short) == 3
        assert (await drained(short)).statistics().done == 3


# -- what is refused --------------------------------------------------------------------------------------------------


class Strange: ...


class Colour(Enum):
    RED = 1


@dataclass
class Point:
    x: int


@attrs.define
class AttrsPoint:
    x: int


class Model:
    """What pydantic's look like."""

    def model_dump(self, mode: str = "python") -> Any: ...


circle: list[Any] = []
circle.append(circle)


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        (Strange(), r"note: payload\.a is a Strange, which MessagePack cannot carry: pass plain values"),
        ({1, 2}, r"note: payload\.a is a set,"),
        (datetime.now(UTC), r"payload\.a is a datetime, .*: pass its \.isoformat\(\)"),
        (timedelta(1), r"payload\.a is a timedelta, .*: pass its \.total_seconds\(\)"),
        (Decimal(1), r"payload\.a is a Decimal, .*: pass str\(\) of it"),
        (UUID(int=1), r"payload\.a is an? UUID, .*: pass str\(\) of it"),
        (Colour.RED, r"payload\.a is a Colour, .*: pass its \.value"),
        (range(3), r"payload\.a is a range, .*: pass a list of it"),
        (UserDict(a=1), r"payload\.a is an? UserDict, .*: pass a dict of it"),
        (Point(1), r"payload\.a is a Point, .*: pass dataclasses\.asdict\(\) of it"),
        (AttrsPoint(1), r"payload\.a is an AttrsPoint, .*: pass attrs\.asdict\(\) of it"),
        (Model(), r"payload\.a is a Model, .*: pass its \.model_dump\(mode='json'\)"),
        (1 + 2j, r"payload\.a is a complex"),
        ([1, {"deep": [0, Strange()]}], r"note: payload\.a\[1\]\['deep'\]\[1\] is a Strange"),
        ({1: 2}, r"payload\.a has the key 1 \(int\): keys of maps must be strings"),
        ({"k": {b"x": 2}}, r"payload\.a\['k'\] has the key b'x' \(bytes\)"),
        (2**64, r"payload\.a is an integer of 65 bits: MessagePack carries 64; pass a str"),
        ([-(2**63) - 1], r"payload\.a\[0\] is an integer of 64 bits"),
        ("half a \ud83d", r"payload\.a is not valid Unicode"),
        (circle, "nested more than 64 levels deep"),
        (nested(64), "nested more than 64 levels deep"),
    ],
)
async def test_an_argument_that_cannot_travel_is_refused_with_its_path(
    queue: Queue, note: Task[..., Any], argument: Any, message: str
) -> None:
    async with queue:
        with pytest.raises(PayloadRefused, match=message):
            await note.enqueue(argument)
        with pytest.raises(PayloadRefused, match=message):
            await note.enqueue_many([(1,), (argument,)])
        assert await length(queue) == 0, "nothing was sent, not even what comes before it"


async def test_what_is_just_within_the_limits_travels(
    queue: Queue, note: Task[..., Any], notes: Notes[Any]
) -> None:
    async with queue:
        for value in (nested(63), 2**64 - 1, -(2**63)):
            await note.enqueue(value)
        await drained(queue, concurrency=1)
    assert [a for a, _ in notes.made] == [nested(63), 2**64 - 1, -(2**63)]


async def test_a_job_that_is_too_large_is_refused_with_its_size_and_the_limit(redis_url: str) -> None:
    queue = Queue("work", redis_url, limits=Limits(payload=1000))
    async with queue:
        with pytest.raises(
            PayloadRefused, match=r"a job of 'note' has 10\d\d bytes, and the limit is 1000: .* Limits"
        ):
            await queue.enqueue("note", {"a": "x" * 1000})
        await queue.enqueue("note", {"a": "x" * 900})


@pytest.mark.parametrize("size", [200, 1000, 70_000])
async def test_the_limit_is_met_to_the_byte(redis_url: str, size: int) -> None:
    async with Queue("work", redis_url) as queue:
        await queue.enqueue("note", {"a": "x" * size})
        [entry] = await rows(queue, queue.keys.stream)
    for limit in (len(entry["d"]), len(entry["d"]) - 1):
        tight = Queue("tight", redis_url, limits=Limits(payload=limit))
        async with tight:
            with pytest.raises(PayloadRefused) if limit < len(entry["d"]) else nullcontext():
                await tight.enqueue_many("note", [{"a": "x" * size}] * 2)


async def test_the_limit_is_a_mebibyte_unless_the_queue_says_otherwise(queue: Queue) -> None:
    async with queue:
        with pytest.raises(PayloadRefused, match="and the limit is 1048576"):
            await queue.enqueue("note", {"a": bytes(1024 * 1024)})
        await queue.enqueue("note", {"a": bytes(1024 * 1024 - 100)})


async def test_a_map_that_is_encoded_while_another_is_does_not_mix_with_it(
    queue: Queue, note: Task[..., Any]
) -> None:
    class Lazy(dict[str, Any]):
        def items(self) -> Any:
            pack("a thread that has its turn here packs something else", what="other")
            return super().items()

    async with queue:
        await note.enqueue({"lazy": Lazy(inner=2), "after": 3})
        assert await payloads(queue) == [{"a": {"lazy": {"inner": 2}, "after": 3}}]


# -- where it can be used ---------------------------------------------------------------------------------------------


async def test_a_queue_that_is_not_open_says_so(queue: Queue, note: Task[..., Any]) -> None:
    for use in (
        lambda: note.enqueue(1),
        lambda: note.enqueue_many([(1,)]),
        lambda: note.call(1),
        lambda: queue.enqueue("note"),
        lambda: queue.enqueue_many("note", [{}]),
        lambda: queue.job("mine").result(),
    ):
        with pytest.raises(NotOpen, match="queue 'work' is not open here: use it inside 'async with queue:'"):
            await use()
    with pytest.raises(NotOpen):
        _ = queue.redis


async def test_the_whole_command_surface_of_redis_is_there(
    queue: Queue, note: Task[..., Any], server: Server
) -> None:
    async with queue:
        await note.enqueue(1)
        assert await queue.redis.xlen(queue.keys.stream) == 1
        assert await queue.redis.set("mine", "value", ex=60)
        assert await queue.redis.get("mine") == b"value"
        assert len(server.clients()) == 1, "it shares the queue's connection"


async def test_a_handler_enqueues_through_the_worker_s_queue(queue: Queue, notes: Notes[Any]) -> None:
    @queue.task
    async def parent(levels: int) -> None:
        notes.add((current_job().name, levels))
        if levels:
            await parent.enqueue(levels - 1)

    async with queue:
        await parent.enqueue(3)
        await drained(queue)
    assert [levels for _, levels in notes.made] == [3, 2, 1, 0]
