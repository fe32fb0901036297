"""What a worker tells about itself comes across, is bounded, and whatever stands there harms no reader."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyq._core.workers import Consumer, Portrait, RunningJob, WorkerInfo, describe, pack_record
from anyq.settings import from_milliseconds

NOW = 1_795_000_000_000.0
CONSUMER = Consumer(held=3, idle=0.5)
PORTRAIT = Portrait(
    name="anyq-1", host="here", pid=7, version="1.0", python="3.11.7", backend="trio", concurrency=10
)

Run = tuple[str, str, int, float, bool]


def record(runs: Sequence[Run] = (), **changes: Any) -> bytes:
    facts: dict[str, Any] = {
        "state": "running", "started_ms": NOW - 60_000, "now_ms": NOW - 2000, "busy": 5, "running": len(runs),
        "tasks": {"b", "a"}, "fallback": False, "paused": False, "paused_tasks": {"a"}, "loop_lag": 0.25,
    }  # fmt: skip
    return pack_record(PORTRAIT, runs=runs, **{**facts, **changes})


def read(data: bytes | None, name: bytes = b"anyq-1") -> WorkerInfo:
    return describe(name, CONSUMER, data, NOW)


def test_what_a_worker_tells_comes_across() -> None:
    found = read(record([("j", "a", 2, NOW - 10_000, False), ("k", "b", 1, NOW - 500, True)]))
    since = from_milliseconds(int(NOW) - 10_000), from_milliseconds(int(NOW) - 500)
    assert found == WorkerInfo(
        name="anyq-1", state="running", held=3, idle=0.5, host="here", pid=7, version="1.0", python="3.11.7",
        backend="trio", started_at=from_milliseconds(int(NOW) - 60_000), concurrency=10, busy=5, running=2,
        runs=(RunningJob("j", "a", 2, since[0], 10.0), RunningJob("k", "b", 1, since[1], 0.5, waits=True)),
        tasks=frozenset({"a", "b"}), paused_tasks=frozenset({"a"}), loop_lag=0.25,
        seen_at=from_milliseconds(int(NOW) - 2000), age=2.0, all_tasks=True,
    )  # fmt: skip
    assert found.lives
    assert found.oldest == 10.0


def test_whether_a_worker_knows_a_task_is_said_only_if_it_told() -> None:
    told, all_takers = read(record()), read(record(fallback=True))
    assert (told.knows("a"), told.knows("c"), all_takers.knows("c")) == (True, False, True)
    assert read(None).knows("a") is None
    crowded = read(record(tasks=[f"{number:0100}" for number in range(1000)]))
    assert crowded.knows(f"{0:0100}") is True
    assert crowded.knows(f"{999:0100}") is None, "the list was cut"


def test_a_record_is_bounded_whatever_the_worker_runs() -> None:
    many: list[Run] = [(f"id-{number}", "task", 1, NOW, False) for number in range(100_000)]
    found = read(record(many, tasks=[f"task-{number}" for number in range(100_000)]))
    assert (len(found.runs), found.running) == (1000, 100_000)
    assert found.runs[-1].id == "id-999"
    long: list[Run] = [("😀" * 20_000, "😀" * 256, 1, NOW, False) for _ in range(1000)]
    assert len(record(long, tasks=["😀" * 256] * 10_000)) < 600_000


def test_halves_of_characters_do_not_keep_a_worker_from_telling() -> None:
    assert read(record([("\ud800", "a", 1, NOW, False)])).runs[0].id == "?"


def test_without_a_heartbeat_ours_are_silent_and_others_foreign() -> None:
    assert read(None) == WorkerInfo(name="anyq-1", state="silent", held=3, idle=0.5)
    assert read(None, b"c-1\xff") == WorkerInfo(name="c-1\\xff", state="foreign", held=3, idle=0.5)
    assert not read(None).lives


STRANGE = [
    b"1", b"", b"\xc1", b"\x80", b"\x90",
    msgpack.packb({"state": "thinking"}),
    msgpack.packb({"state": ["running"]}),
]  # fmt: skip


@pytest.mark.parametrize("data", STRANGE)
def test_a_record_that_makes_no_sense_is_that_of_a_worker_that_lives(data: bytes) -> None:
    assert read(data) == WorkerInfo(name="anyq-1", state="unknown", held=3, idle=0.5)


def test_of_a_record_from_another_version_what_makes_sense_is_taken() -> None:
    fields = {
        "state": "running", "pid": "7", "host": 7, "concurrency": -1, "started": float("nan"), "at": float("inf"),
        "tasks": ["a", 1], "paused_tasks": 3, "loop_lag": True, "new": {"x": 1}, "busy": 2,
        "runs": [1, [], ["j"], ["j", "a", 1, 1e300, False], ["j", "a", 1, NOW, False, "new"]],
    }  # fmt: skip
    found = read(msgpack.packb(fields))
    assert found == WorkerInfo(
        name="anyq-1", state="running", held=3, idle=0.5, busy=2, tasks=frozenset({"a"}), loop_lag=1.0,
        runs=(RunningJob("j", "a", 1, from_milliseconds(int(NOW)), 0.0),),
    )  # fmt: skip


scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary()
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5
)
FIELDS = ("pid", "host", "started", "at", "runs", "tasks", "loop_lag", "busy", "paused_tasks")


@given(st.dictionaries(st.sampled_from(FIELDS), values) | values, st.booleans())
def test_no_record_breaks_its_reader(fields: Any, running: bool) -> None:
    if running and isinstance(fields, dict):
        fields["state"] = "running"
    read(msgpack.packb(fields))


@given(st.binary(max_size=200))
def test_no_bytes_break_their_reader(data: bytes) -> None:
    read(data)
