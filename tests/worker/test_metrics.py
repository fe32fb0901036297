"""The metrics sink: sees everything that the engine does, and whatever it does itself harms nobody."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest
from tests.support.servers import SECONDS
from tests.support.working import obedient
from tests.worker.conftest import Notes, closing, drained, put, until, working

from anyq import Queue, Task, Worker
from anyq._services import channels
from anyq.metrics import (
    DeadLettered,
    JobOutcome,
    LockOutcome,
    MemorySink,
    NoSink,
    Observation,
    PromoterTick,
    ReaderBatch,
    RetryScheduled,
    Sink,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def act(queue: Queue) -> Task[..., Any]:
    return obedient(queue)


def of(sink: MemorySink, kind: type[Any]) -> list[Any]:
    return [one for one in sink.observations if isinstance(one, kind)]


async def test_a_sink_sees_every_kind_of_thing(queue: Queue, act: Task[..., Any]) -> None:
    sink = MemorySink()
    async with queue, working(queue, metrics=sink) as worker:
        await act.enqueue_many([(), ("fail once",), ("unrecoverable",), ("later",)])
        await put(queue, "d", b"\xc1", "n", "strange")
        await until(lambda: worker.statistics().done == 2 and worker.statistics().dead == 2)
    runs = [(run.outcome, run.attempt) for run in of(sink, JobOutcome)]
    assert sorted(runs) == [("done", 1), ("done", 2), ("failed", 1), ("failed", 1)]
    assert all(
        run.queue == "work" and run.task == "act" and 0 <= run.duration_us < 5e6
        for run in of(sink, JobOutcome)
    )
    retries = sorted((retry.task, retry.attempt, retry.delay) for retry in of(sink, RetryScheduled))
    assert retries == [("act", 1, 60.0), ("act", 2, 0.0)]
    dead = sorted((letter.task, letter.reason) for letter in of(sink, DeadLettered))
    assert dead == [("act", "unrecoverable"), ("strange", "decode_failed")]
    assert sum(batch.size for batch in of(sink, ReaderBatch)) == 6
    assert LockOutcome(queue="work", held=True) in sink.observations
    ticks = of(sink, PromoterTick)
    assert sum(tick.promoted for tick in ticks) == 1
    assert ticks[-1].waiting in (0, 1)
    assert all(tick.late >= 0 for tick in ticks)


async def test_a_run_that_is_cut_by_the_stop_is_observed_as_released(queue: Queue, notes: Notes[Any]) -> None:
    sink = MemorySink()

    @queue.task
    async def wait() -> None:
        import anyio

        notes.add(1)
        await anyio.sleep_forever()

    async with working(queue, metrics=sink, drain_timeout=0):
        await wait.enqueue()
        await notes.first(1)
    assert [run.outcome for run in of(sink, JobOutcome)] == ["released"]


def test_the_sinks_that_come_along_are_sinks() -> None:
    assert isinstance(MemorySink(), Sink)
    assert isinstance(NoSink(), Sink)
    NoSink().observe([])
    Worker(Queue("work"), metrics=NoSink())


class Observing:
    """What a sink of a user's might do."""

    def __init__(self) -> None:
        self.calls = 0
        self.threads: set[int] = set()

    def observe(self, observations: Sequence[Observation], /) -> None:
        assert observations
        self.calls += 1
        self.threads.add(threading.get_ident())


class Raising(Observing):
    def observe(self, observations: Sequence[Observation], /) -> None:
        super().observe(observations)
        raise ZeroDivisionError("in the sink")


class Blocking(Observing):
    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()

    def observe(self, observations: Sequence[Observation], /) -> None:
        super().observe(observations)
        self.go.wait(SECONDS)


async def test_a_sink_runs_in_a_thread_and_not_in_the_loop(queue: Queue, act: Task[..., Any]) -> None:
    sink = Observing()
    async with queue:
        await act.enqueue()
        await drained(queue, metrics=sink)
    assert sink.calls
    assert threading.get_ident() not in sink.threads


async def test_a_sink_that_raises_harms_nobody_and_is_logged_once(
    queue: Queue, act: Task[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    sink = Raising()
    async with queue, working(queue, metrics=sink) as worker:
        for _ in range(3):
            calls = sink.calls
            await act.enqueue_many([()] * 10)
            await worker.wait_idle()
            await until(lambda: sink.calls > calls)  # noqa: B023
    assert worker.statistics().done == 30
    assert worker.statistics().dropped >= 30
    assert caplog.text.count("the metrics sink raised") == 1


async def test_a_sink_that_blocks_harms_nobody_and_does_not_hold_the_stop(
    queue: Queue, act: Task[..., Any]
) -> None:
    sink = Blocking()
    async with queue, closing(sink.go):
        async with working(queue, metrics=sink) as worker:
            await act.enqueue_many([()] * 100)
            await until(lambda: sink.calls)
            await worker.wait_idle()
            assert worker.statistics().done == 100
            began = time.monotonic()
        assert time.monotonic() - began < 3
    assert sink.calls == 1


async def test_what_a_slow_sink_has_no_time_for_is_dropped_and_counted(
    queue: Queue, act: Task[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels, "_NOTICES", 5)
    sink = Blocking()
    async with queue, closing(sink.go):
        async with working(queue, metrics=sink, events=False) as worker:
            await until(lambda: sink.calls)
            await act.enqueue_many([()] * 100)
            await worker.wait_idle()
            assert worker.statistics().dropped >= 90
            sink.go.set()
        assert worker.statistics().done == 100
