"""What bad input gets: the exact reason and all of its bytes as a dead letter, while the worker goes on."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import msgpack
import pytest
from tests.support.servers import SECONDS
from tests.worker.conftest import (
    Notes,
    dead_letter,
    dead_letters,
    drained,
    envelope,
    put,
    rows,
    until,
    working,
)

from anyq import Job, JobFailed, Limits, Queue

pytestmark = pytest.mark.anyio


@pytest.fixture
def queue(redis_url: str, notes: Notes[Any]) -> Queue:
    """A queue whose job ``good`` shows that the worker is well."""
    queue = Queue("work", redis_url)

    @queue.task
    async def good() -> None:
        notes.add("good")

    @queue.task(result_ttl=60)
    async def pick(a: int, b: int = 2) -> Any:
        notes.add(("pick", a, b))

    @queue.task
    async def nothing() -> None:
        notes.add("nothing")

    @queue.task
    async def positional(a: int, b: int = 2, /) -> None:
        notes.add(("positional", a, b))

    @queue.task
    async def anything(**more: int) -> None:
        notes.add(("anything", more))

    async def inner(a: int) -> None:
        notes.add(("wrapped", a))

    @functools.wraps(inner)
    async def wrapper(*args: Any, **kwargs: Any) -> None:
        await inner(*args, **kwargs)

    queue.task(wrapper, name="wrapped")
    return queue


def nested(levels: int, innermost: bytes = b"\xc0") -> bytes:
    return b"\x91" * levels + innermost


HUGE = 2**32 - 1

NO_ENVELOPE: Mapping[str, bytes] = {
    "no bytes at all": b"",
    "text": b"hello",
    "a number": b"\x07",
    "nil": b"\xc0",
    "a cut envelope": envelope({"a": 1})[:-3],
    "too few fields": msgpack.packb(["id", b"\x80"]),
    "too many fields": msgpack.packb(["id", b"\x80", 1, 0, None, 7]),
    "an id that is a number": msgpack.packb([7, b"\x80", 1, 0]),
    "an id that is no text": msgpack.packb([b"\xff\xfe", b"\x80", 1, 0]),
    "a string of bad UTF-8": b"\x94\xa2\xff\xfe\xc4\x01\x80\x01\x00",
    "a payload that is a string": msgpack.packb(["id", "text", 1, 0]),
    "a payload that is a map": msgpack.packb(["id", {"a": 1}, 1, 0]),
    "a time before all times": msgpack.packb(["id", b"\x80", -1, 0]),
    "a time that is a float": msgpack.packb(["id", b"\x80", 1.5, 0]),
    "a negative attempt": msgpack.packb(["id", b"\x80", 1, -1]),
    "an attempt that is text": msgpack.packb(["id", b"\x80", 1, "0"]),
    "a retry override of one": msgpack.packb(["id", b"\x80", 1, 0, [1]]),
    "a retry override of nonsense": msgpack.packb(["id", b"\x80", 1, 0, ["many", None]]),
    "a backoff that is endless": msgpack.packb(
        ["id", b"\x80", 1, 0, [1, ["fixed", float("inf"), None, None, None]]]
    ),
    "a map with a number for a key": msgpack.packb({1: 2}),
    "an extension type": b"\x94\xd4\x01\x00\xc4\x01\x80\x01\x00",
    "a timestamp": msgpack.packb([msgpack.Timestamp(1), b"\x80", 1, 0]),
    "a length that is a lie": b"\xdd" + HUGE.to_bytes(4, "big"),
    "a map's length that is a lie": b"\xdf" + HUGE.to_bytes(4, "big") + b"\xa1a",
    "a string's length that is a lie": b"\x94\xdb" + HUGE.to_bytes(4, "big") + b"abc",
    "very deep nesting": nested(100_000),
    "nesting just too deep": b"\x94\xa2id" + nested(70) + b"\x01\x00",
    "a reserved byte": b"\xc1",
}


@pytest.mark.parametrize("data", NO_ENVELOPE.values(), ids=NO_ENVELOPE.keys())
async def test_bytes_that_are_no_envelope_are_kept_as_a_dead_letter(
    queue: Queue, notes: Notes[Any], data: bytes
) -> None:
    async with queue:
        entry = await put(queue, "d", data, "n", "pick")
        await queue.enqueue("good")
        worker = await drained(queue)
        letter = await dead_letter(queue)
    assert notes.made == ["good"]
    assert letter["reason"] == b"decode_failed"
    assert letter["d"] == data
    assert letter["n"] == b"pick"
    assert letter["source_id"] == entry
    assert letter["worker"] == worker.name.encode()
    assert letter["died_at"].isdigit()
    assert 0 < len(letter["detail"]) < 300
    assert set(letter) == {"d", "n", "reason", "source_id", "worker", "died_at", "detail"}


async def test_a_name_that_is_no_text_is_kept_with_its_bytes(queue: Queue, notes: Notes[Any]) -> None:
    async with queue:
        await put(queue, "d", envelope(), "n", b"\xff\xfe")
        await queue.enqueue("good")
        await drained(queue)
        letter = await dead_letter(queue)
    assert notes.made == ["good"]
    assert (letter["reason"], letter["n"], letter["d"]) == (b"decode_failed", b"\xff\xfe", envelope())
    assert letter["detail"] == b"the name is not valid UTF-8"


@pytest.mark.parametrize("fields", [["x", "y"], [b"\xff", b"\x00", "D", "d"], ["n", "pick", "payload", "{}"]])
async def test_an_entry_without_a_job_is_kept_with_all_its_fields(
    queue: Queue, notes: Notes[Any], fields: list[Any]
) -> None:
    async with queue:
        await put(queue, *fields)
        await queue.enqueue("good")
        await drained(queue)
        letter = await dead_letter(queue)
    assert notes.made == ["good"]
    assert (letter["reason"], letter["detail"], letter["d"]) == (b"malformed", b"no field 'd'", b"")
    kept = msgpack.unpackb(letter["fields"])
    assert kept == [field.encode() if isinstance(field, str) else field for field in fields]


@pytest.mark.parametrize("size", [1001, 100_000])
async def test_what_a_foreign_producer_made_too_large_is_a_dead_letter(
    redis_url: str, notes: Notes[Any], size: int
) -> None:
    queue = Queue("work", redis_url, limits=Limits(payload=1000))

    @queue.task
    async def good() -> None:
        notes.add("good")

    data = bytes(size)
    async with queue:
        await put(queue, "d", data, "n", "good")
        await good.enqueue()
        await drained(queue)
        letter = await dead_letter(queue)
    assert notes.made == ["good"]
    assert (letter["reason"], letter["n"], letter["d"]) == (b"oversize_payload", b"good", data)
    assert letter["detail"] == f"{size} bytes, and the limit is 1000".encode()


BAD_BODIES: Mapping[str, bytes] = {
    "nothing": b"",
    "text": b"hello",
    "bad UTF-8": b"\x81\xa1a\xa1\xff",
    "an extension type": b"\x81\xa1a\xd4\x05\x00",
    "a number for a key": b"\x81\x01\x02",
    "bytes for a key": b"\x81\xc4\x01a\x02",
    "bytes for a key, inside": b"\x81\xa1a\x81\xc4\x01b\x02",
    "too deep": b"\x81\xa1a" + nested(65),
    "very deep": b"\x81\xa1a" + nested(50_000),
    "a lie": b"\x81\xa1a\xdd\xff\xff\xff\xff",
    "more than one value": b"\x80\x80",
}


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES.keys())
async def test_a_payload_that_cannot_be_decoded_is_given_up_at_once(
    queue: Queue, notes: Notes[Any], body: bytes
) -> None:
    async with queue:
        await put(queue, "d", envelope(body=body), "n", "pick")
        await queue.enqueue("good")
        worker = await drained(queue)
        letter = await dead_letter(queue)
    assert notes.made == ["good"]
    assert letter["reason"] == b"decode_failed"
    assert letter["d"] == envelope(body=body)
    assert letter["n"] == b"pick"
    assert worker.statistics().started == 1
    assert (letter["attempts"], letter["lost"], letter["created_at"]) == (b"1", b"0", b"1795000000000")


MISFITS: Mapping[str, tuple[str, Any, str]] = {
    "a list": ("pick", [1], "the payload is a list, not a map of parameters by name"),
    "nothing": ("pick", None, "the payload is a NoneType, not a map"),
    "no argument": ("pick", {}, "missing: a"),
    "another name": ("pick", {"c": 1}, "missing: a"),
    "one too many": ("pick", {"a": 1, "c": 2}, "no such parameter: 'c'"),
    "one for a task that takes none": ("nothing", {"a": 1}, "no such parameter: 'a'"),
    "an empty name": ("nothing", {"": 1}, "no such parameter: ''"),
    "a very long name": ("nothing", {"x" * 5000: 1}, "no such parameter: 'xxx"),
    "another name, for a task that shows another's parameters": ("wrapped", {"c": 1}, "missing: a"),
    "a second positional argument without the first": ("positional", {"b": 1}, "missing: a"),
}  # fmt: skip


@pytest.mark.parametrize(("task", "payload", "reason"), MISFITS.values(), ids=MISFITS.keys())
async def test_a_payload_that_does_not_fit_the_task_is_given_up_at_once(
    queue: Queue, notes: Notes[Any], task: str, payload: Any, reason: str
) -> None:
    async with queue:
        await put(queue, "d", envelope(payload), "n", task)
        await queue.enqueue("good")
        worker = await drained(queue)
        letter = await dead_letter(queue)
    assert notes.made == ["good"]
    assert letter["reason"] == b"bad_payload"
    assert letter["error"] == b"BadPayload"
    assert reason in letter["message"].decode()
    assert len(letter["message"]) < 1000
    assert letter["d"] == envelope(payload)
    assert worker.statistics().started == 1
    assert worker.statistics().retried == 0


async def test_a_payload_that_fits_may_leave_out_what_has_a_default(queue: Queue, notes: Notes[Any]) -> None:
    payloads: dict[str, Any] = {"pick": {"a": 1}, "anything": {"c": 3}, "wrapped": {"a": 2}, "nothing": {}}
    async with queue:
        for task, payload in payloads.items():
            await put(queue, "d", envelope(payload), "n", task)
        worker = await drained(queue)
    assert sorted(notes.made, key=str) == [
        ("anything", {"c": 3}), ("pick", 1, 2), ("wrapped", 2), "nothing",
    ]  # fmt: skip
    assert worker.statistics().failed == 0


async def test_a_type_error_of_the_handlers_own_is_its_failure(queue: Queue) -> None:
    @queue.task(attempts=1)
    async def careless(a: int) -> None:
        a("b")  # type: ignore[operator]

    async with queue:
        await careless.enqueue(1)
        worker = await drained(queue)
        letter = await dead_letter(queue)
    assert (letter["reason"], letter["error"]) == (b"retries_exhausted", b"TypeError")
    assert letter["message"] == b"'int' object is not callable"
    assert worker.statistics().failed == 1


async def test_a_positional_default_is_not_taken_for_its_neighbour(queue: Queue, notes: Notes[Any]) -> None:
    @queue.task
    async def pair(a: int = 1, b: int = 2, /) -> None:
        notes.add((a, b))

    async with queue:
        await queue.enqueue("pair", {"a": 5})
        await queue.enqueue("pair", {"b": 7})
        await drained(queue, concurrency=1)
        letters = await dead_letters(queue)
    assert notes.made == [(5, 2)]
    assert [letter["message"] for letter in letters] == [
        b"'b' is given by position, and 'a' before it is missing"
    ]


async def test_wide_and_long_values_are_no_harm(queue: Queue, notes: Notes[Any]) -> None:
    async with queue:
        await queue.enqueue("pick", {"a": list(range(100_000)), "b": {str(n): n for n in range(10_000)}})
        await drained(queue)
    [(_, a, b)] = notes.made
    assert (len(a), len(b)) == (100_000, 10_000)


async def test_a_fallback_gets_no_maps_with_other_keys_than_strings_either(
    queue: Queue, notes: Notes[Any]
) -> None:
    queue.fallback(lambda job: notes.add(job.payload))
    async with queue:
        for payload in ({b"a": 1, "b": 2}, {"rows": [{b"a": 1}]}, {"rows": [{"a": b"1"}]}):
            await put(queue, "d", envelope(payload))
        await drained(queue)
        assert [letter["reason"] for letter in await dead_letters(queue)] == [b"decode_failed"] * 2
    assert notes.made == [{"rows": [{"a": b"1"}]}]


# -- results ----------------------------------------------------------------------------------------------------------


class Strange: ...


def deep(levels: int) -> Any:
    return [deep(levels - 1)] if levels else []


RESULTS: Mapping[str, tuple[Any, str]] = {
    "an object": (Strange(), "the result is a Strange, which MessagePack cannot carry"),
    "an object inside": ({"rows": [1, Strange()]}, "the result.rows[1] is a Strange"),
    "a set": ({1, 2}, "the result is a set"),
    "a number for a key": ({1: 2}, "keys of maps must be strings"),
    "too deep": (deep(70), "nested more than 64 levels deep"),
    "too large": (bytes(2000), "the result has 2003 bytes, and the limit is 1000"),
    "a huge number": (2**70, "integer of 71 bits"),
}


@pytest.mark.parametrize(("value", "message"), RESULTS.values(), ids=RESULTS.keys())
async def test_a_result_that_cannot_travel_ends_the_job_and_it_is_not_run_again(
    redis_url: str, notes: Notes[Any], value: Any, message: str
) -> None:
    queue = Queue("work", redis_url, limits=Limits(result=1000))

    @queue.task
    async def make() -> Any:
        notes.add("made")
        return value

    async with queue:
        async with working(queue) as worker:
            with pytest.raises(JobFailed, match=r"\(bad_result\): PayloadRefused") as caught:
                await make.call(timeout=SECONDS)
            assert message in caught.value.message
            letter = await dead_letter(queue)
            assert letter["reason"] == b"bad_result"
            assert message.encode() in letter["message"]
            await make.enqueue()
            await worker.wait_idle()
            assert worker.statistics().failed == 1, "a result that nobody wants need not travel"
            assert worker.statistics().done == 1
        events = [(event["e"], event.get("reason")) for event in await rows(queue, queue.keys.events)]
    assert notes.made == ["made", "made"]
    assert events[1][0] == b"failed"
    assert events[2] == (b"dlq", b"bad_result")


# -- keys and members -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "member", [b"", b"\x01", b"\xff\xff\xff\xff", b"\x04\x00\x00\x00abc", b"\x00\x00\x00\x00"]
)
async def test_a_delayed_member_that_is_no_job_is_a_dead_letter(
    queue: Queue, notes: Notes[Any], member: bytes
) -> None:
    async with queue:
        await queue.redis.call("ZADD", queue.keys.delayed, 1, member)
        await queue.enqueue("good", delay=0.001)
        async with working(queue):
            await notes.first(1)
        letter = await dead_letter(queue)
    assert (letter["reason"], letter["d"], letter["source_id"]) == (b"malformed", member, b"0-0")
    assert letter["detail"] == b"a delayed job without a name and an envelope"


async def test_a_delayed_member_with_a_bad_envelope_is_a_dead_letter_when_it_is_due(
    queue: Queue, notes: Notes[Any]
) -> None:
    async with queue:
        await queue.redis.call("ZADD", queue.keys.delayed, 1, b"\x04\x00\x00\x00good" + b"\xc1\xff")
        async with working(queue) as worker:
            await until(lambda: worker.statistics().dead)
        letter = await dead_letter(queue)
    assert (letter["reason"], letter["n"], letter["d"]) == (b"decode_failed", b"good", b"\xc1\xff")


async def test_one_bad_letter_never_blocks_the_others(queue: Queue, notes: Notes[Any]) -> None:
    async with queue:
        for number, data in enumerate(NO_ENVELOPE.values()):
            await put(queue, "d", data)
            await queue.enqueue("pick", {"a": number})
        await put(queue, "no", "job")
        await queue.enqueue("good")
        worker = await drained(queue)
        assert len(await dead_letters(queue)) == len(NO_ENVELOPE) + 1
    assert len(notes.made) == len(NO_ENVELOPE) + 1
    assert worker.statistics().held == 0


async def test_a_foreign_name_that_breaks_terminals_is_written_without_its_controls(
    queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    async with queue:
        await put(queue, "d", envelope(), "n", "evil\x1b[2J\nname")
        await put(queue, "d", b"\xc1", "n", "evil\x1b[2J\nname")
        await put(queue, "d", envelope(id="evil\x1b[2J\nid"), "n", "nothing")
        await put(queue, "d", envelope([], id="evil\x1b[2J\nid"), "n", "nothing")
        await drained(queue, unknown_task_grace=0)
    assert caplog.records
    for record in caplog.records:
        message = record.getMessage()
        assert message.isprintable(), repr(message)


async def test_a_dead_letter_keeps_the_whole_story_of_its_job(queue: Queue) -> None:
    @queue.task(attempts=1)
    async def fail(secret: str) -> None:
        raise LookupError("customer 7")

    async with queue:
        handle = await fail.enqueue("the argument")
        [row] = await rows(queue, queue.keys.stream)
        worker = await drained(queue)
        letter = await dead_letter(queue)
    assert letter["d"] == row["d"]
    assert letter["n"] == b"fail"
    assert handle.id.encode() in letter["d"]
    assert (letter["reason"], letter["detail"]) == (b"retries_exhausted", b"customer 7")
    assert (letter["error"], letter["message"]) == (b"LookupError", b"customer 7")
    trace = letter["traceback"].decode()
    assert trace.startswith("Traceback (most recent call last):\n")
    assert "test_bad_input.py" in trace
    assert trace.endswith("LookupError: customer 7\n")
    assert "anyq/_services" not in trace, "it begins in the handler"
    assert (letter["attempts"], letter["lost"]) == (b"1", b"0")
    assert letter["worker"] == worker.name.encode()
    assert int(letter["died_at"]) >= int(letter["created_at"]) > 1_700_000_000_000
    assert set(letter) == {
        "d", "n", "source_id", "reason", "detail", "error", "message", "traceback", "attempts", "lost", "created_at",
        "died_at", "worker",
    }  # fmt: skip


def test_a_job_never_shows_its_payload() -> None:
    fields: dict[str, Any] = dict.fromkeys(
        ("queue", "id", "name", "attempt", "created_ms", "override", "extras")
    )
    job = Job(**fields, body=b"secret", lane=b"", entry=b"", lost=0, payload={"secret": 1})
    assert "secret" not in repr(job)
