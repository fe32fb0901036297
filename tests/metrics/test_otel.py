"""Metrics and traces through OpenTelemetry, read with its SDK's in-memory exporters, on both event loops."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anyio
import attrs
import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from tests.worker.conftest import AT_ONCE, Notes, put, rows, until, working

from anyq import Queue, RetryLater, Task, Unrecoverable, current_job
from anyq._core.codec import decode, encode
from anyq._core.job import Extras
from anyq.metrics import TakenOver
from anyq.metrics.labels import OTHER
from anyq.metrics.opentelemetry import OpenTelemetrySink
from anyq.tracing import instrument

pytestmark = pytest.mark.anyio


@attrs.define
class Spans:
    """What was exported."""

    provider: TracerProvider
    exporter: InMemorySpanExporter

    @property
    def all(self) -> tuple[ReadableSpan, ...]:
        return self.exporter.get_finished_spans()

    def of(self, kind: SpanKind) -> list[ReadableSpan]:
        return [span for span in self.all if span.kind is kind]

    @property
    def sent(self) -> list[ReadableSpan]:
        return self.of(SpanKind.PRODUCER)

    @property
    def runs(self) -> list[ReadableSpan]:
        return self.of(SpanKind.CONSUMER)

    async def some_runs(self, count: int) -> list[ReadableSpan]:
        await until(lambda: len(self.runs) >= count)
        return self.runs


@pytest.fixture
def spans() -> Iterator[Spans]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield Spans(provider, exporter)
    provider.shutdown()


@pytest.fixture
def notes() -> Notes[Any]:
    return Notes[Any]()


@pytest.fixture
def reader() -> InMemoryMetricReader:
    return InMemoryMetricReader()


@pytest.fixture
def meters(reader: InMemoryMetricReader) -> Iterator[MeterProvider]:
    provider = MeterProvider(metric_readers=[reader])
    yield provider
    provider.shutdown()


@pytest.fixture
def queue(redis_url: str, spans: Spans, meters: MeterProvider) -> Queue:
    queue = Queue("work", redis_url)
    instrument(queue, tracer_provider=spans.provider, meter_provider=meters)
    return queue


@pytest.fixture
def act(queue: Queue) -> Task[..., Any]:
    """A task that does as it is told."""

    @queue.task(attempts=2, backoff=AT_ONCE)
    async def act(how: str = "") -> None:
        if how == "fail once" and current_job().attempt == 1:
            raise ValueError(how)
        if how == "unrecoverable":
            raise Unrecoverable
        if how == "later":
            raise RetryLater(60)

    return act


def points(data: Any, name: str) -> dict[frozenset[tuple[str, Any]], Any]:
    """The points of a metric by their attributes, those left out that all have."""
    found: dict[frozenset[tuple[str, Any]], Any] = {}
    for resource in data.resource_metrics if data else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                if metric.name == name:
                    for point in metric.data.data_points:
                        attributes = dict(point.attributes or {})
                        assert attributes.pop("messaging.system") == "anyq"
                        assert attributes.pop("messaging.destination.name") == "work"
                        found[frozenset(attributes.items())] = point
    return found


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def parent(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent else None


def number(span: ReadableSpan) -> int:
    assert span.context
    found: int = span.context.span_id
    return found


# -- traces -----------------------------------------------------------------------------------------------------------


async def test_a_trace_goes_from_a_request_through_its_job_to_the_jobs_of_that_job(
    queue: Queue, spans: Spans
) -> None:
    @queue.task
    async def inner() -> None: ...

    @queue.task
    async def outer() -> None:
        await inner.enqueue()

    async with queue, working(queue):
        with spans.provider.get_tracer("a web service").start_as_current_span("POST /orders") as request:
            handle = await outer.enqueue()
        await spans.some_runs(2)
    [sent, sent_inside], [run, run_inside] = spans.sent, spans.runs
    assert (sent.name, run.name) == ("enqueue work", "process work")
    assert parent(sent) == request.get_span_context().span_id
    assert parent(run) == number(sent)
    assert parent(sent_inside) == number(run)
    assert parent(run_inside) == number(sent_inside)
    assert len({span.context.trace_id for span in spans.all if span.context}) == 1
    assert attributes(sent) == {
        "messaging.system": "anyq",
        "messaging.operation.name": "enqueue",
        "messaging.operation.type": "send",
        "messaging.destination.name": "work",
        "messaging.message.id": handle.id,
        "anyq.task": "outer",
        "anyq.job.new": True,
    }
    assert attributes(run) == {
        "messaging.system": "anyq",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "work",
        "messaging.message.id": handle.id,
        "anyq.task": "outer",
        "anyq.job.attempt": 1,
        "anyq.job.attempts": 5,
    }
    assert run.status.status_code is StatusCode.UNSET


async def test_each_run_of_a_job_is_a_span_of_the_same_trace(
    queue: Queue, act: Task[..., Any], spans: Spans
) -> None:
    async with queue, working(queue):
        await act.options(delay=0.01).enqueue("fail once")
        first, second = await spans.some_runs(2)
    [sent] = spans.sent
    assert parent(first) == parent(second) == number(sent)
    assert [attributes(run)["anyq.job.attempt"] for run in (first, second)] == [1, 2]
    assert first.status.status_code is StatusCode.ERROR
    assert attributes(first)["error.type"] == "ValueError"
    assert [event.name for event in first.events] == ["exception"]
    assert second.status.status_code is StatusCode.UNSET


async def test_many_jobs_at_once_have_one_span_and_carry_it_all(
    queue: Queue, act: Task[..., Any], spans: Spans, reader: InMemoryMetricReader
) -> None:
    async with queue, working(queue):
        await act.enqueue_many([(), (), ()])
        await spans.some_runs(3)
    [sent] = spans.sent
    assert attributes(sent)["messaging.batch.message_count"] == 3
    assert {parent(run) for run in spans.runs} == {number(sent)}
    data = reader.get_metrics_data()
    [(key, point)] = points(data, "messaging.client.sent.messages").items()
    assert point.value == 3
    assert ("anyq.task", "act") in key


async def test_a_job_that_was_there_already_is_told(queue: Queue, act: Task[..., Any], spans: Spans) -> None:
    async with queue:
        await act.options(id="one").enqueue()
        await act.options(id="one").enqueue()
    assert [attributes(sent)["anyq.job.new"] for sent in spans.sent] == [True, False]
    assert spans.runs == []


async def test_with_links_a_run_begins_a_trace_of_its_own(
    queue: Queue, act: Task[..., Any], spans: Spans, meters: MeterProvider
) -> None:
    instrument(queue, tracer_provider=spans.provider, meter_provider=meters, links=True)
    async with queue, working(queue):
        await act.enqueue()
        [run] = await spans.some_runs(1)
    [sent] = spans.sent
    assert run.parent is None
    assert run.context
    assert sent.context
    assert run.context.trace_id != sent.context.trace_id
    assert [link.context.span_id for link in run.links] == [number(sent)]


async def test_baggage_travels_too_and_ends_with_the_run(
    queue: Queue, spans: Spans, notes: Notes[Any]
) -> None:
    @queue.task
    async def look() -> None:
        notes.add(baggage.get_baggage("tenant"))

    @queue.task
    def look_in_a_thread() -> None:
        notes.add((baggage.get_baggage("tenant"), trace.get_current_span().is_recording()))

    async with queue, working(queue, concurrency=1):
        token = context.attach(baggage.set_baggage("tenant", "ada"))
        try:
            await look.enqueue()
            await look_in_a_thread.enqueue()
        finally:
            context.detach(token)
        await look.enqueue()
        assert await notes.first(3) == ["ada", ("ada", True), None]


async def test_what_is_too_much_for_a_job_stays_behind_and_the_trace_goes_on(
    queue: Queue, act: Task[..., Any], spans: Spans
) -> None:
    async with queue:
        token = context.attach(baggage.set_baggage("everything", "x" * 5000))
        try:
            await act.enqueue()
        finally:
            context.detach(token)
        [entry] = await rows(queue, queue.keys.stream)
        assert len(entry["d"]) < 300
        async with working(queue):
            [run] = await spans.some_runs(1)
    assert parent(run) == number(spans.sent[0])


async def test_to_be_put_off_is_no_error(queue: Queue, act: Task[..., Any], spans: Spans) -> None:
    async with queue, working(queue):
        await act.enqueue("later")
        [run] = await spans.some_runs(1)
    assert run.status.status_code is StatusCode.UNSET
    assert [event.name for event in run.events] == ["put off"]


async def test_a_run_that_is_cut_says_by_whom(queue: Queue, spans: Spans, notes: Notes[Any]) -> None:
    @queue.task(attempts=1)
    async def wait() -> None:
        notes.add(1)
        await anyio.sleep_forever()

    async with queue, working(queue, drain_timeout=0):
        await wait.options(timeout=0.01).enqueue()
        [late] = await spans.some_runs(1)
        await wait.enqueue()
        await notes.first(2)
    cut = spans.runs[1]
    assert (attributes(late)["anyq.job.cut"], late.status.status_code) == ("timeout", StatusCode.ERROR)
    assert (attributes(cut)["anyq.job.cut"], cut.status.status_code) == ("shutdown", StatusCode.UNSET)


async def test_a_job_from_a_program_that_does_not_trace_begins_a_trace(
    redis_url: str, queue: Queue, act: Task[..., Any], spans: Spans
) -> None:
    async with Queue("work", redis_url) as plain:
        await plain.enqueue("act")
        [entry] = await rows(plain, plain.keys.stream)
        assert decode(entry["d"])[5].trace == {}
    hostile: list[Any] = [
        7,
        {"traceparent": 7},
        {"traceparent": "no such thing"},
        {"x": "y" * 9000},
        {b"x": b"y"},
    ]
    async with queue, working(queue):
        for place, header in enumerate(hostile):
            job = encode(f"job {place}", b"\x80", 1, 0, extras=Extras(others={"w": header}))
            await put(queue, "d", job, "n", "act")
        runs = await spans.some_runs(1 + len(hostile))
    assert all(run.parent is None for run in runs)


async def test_a_queue_without_tracing_carries_nothing(redis_url: str) -> None:
    async with Queue("work", redis_url) as plain:
        await plain.enqueue("act")
        [entry] = await rows(plain, plain.keys.stream)
        assert b"traceparent" not in entry["d"]


async def test_without_the_sdk_nothing_is_carried_either(redis_url: str) -> None:
    queue = Queue("work", redis_url)
    instrument(queue)  # the global providers, which nobody has set: they do nothing
    async with queue:
        await queue.enqueue("act")
        [entry] = await rows(queue, queue.keys.stream)
    assert b"traceparent" not in entry["d"]


# -- metrics ----------------------------------------------------------------------------------------------------------


async def test_what_the_engine_does_is_recorded(
    queue: Queue, act: Task[..., Any], reader: InMemoryMetricReader, meters: MeterProvider
) -> None:
    sink = OpenTelemetrySink(queue, meter_provider=meters)
    sink.observe([TakenOver(queue="work", jobs=3)])
    async with queue, working(queue, metrics=sink) as worker:
        await act.enqueue_many([(), ("fail once",), ("unrecoverable",)])
        await put(queue, "d", b"\xc1", "n", "strange")
        await until(lambda: worker.statistics().done == 2 and worker.statistics().dead == 2)
    task = ("anyq.task", "act")
    process = ("messaging.operation.name", "process")
    data = reader.get_metrics_data()
    durations = points(data, "messaging.process.duration")
    assert durations[frozenset({task, process})].count == 2
    assert durations[frozenset({task, process, ("error.type", "_OTHER")})].count == 2
    assert all(0 < point.sum < 10 for point in durations.values())
    assert points(data, "anyq.jobs")[frozenset({task, ("anyq.outcome", "done")})].value == 2
    assert points(data, "anyq.job.retries")[frozenset({task})].value == 1
    assert points(data, "anyq.job.retry_delay")[frozenset()].count == 1
    dead = points(data, "anyq.jobs.dead")
    assert {key for key, point in dead.items() if point.value == 1} == {
        frozenset({task, ("anyq.reason", "unrecoverable")}),
        frozenset({("anyq.task", OTHER), ("anyq.reason", "decode_failed")}),
    }
    [consumed] = points(data, "messaging.client.consumed.messages").values()
    assert consumed.value == 5
    assert points(data, "anyq.reader.batch")[frozenset()].sum == 5
    assert points(data, "anyq.taken_over_jobs")[frozenset()].value == 3
    assert points(data, "anyq.promoted_jobs")[frozenset()].value == 1
    assert points(data, "anyq.promoter.leads")[frozenset()].value == 1
    assert points(data, "anyq.promoter.lock_changes")[frozenset({("anyq.change", "acquired")})].value == 1


async def test_what_the_queues_hold_is_measured_while_somebody_looks(queue: Queue) -> None:
    reader = InMemoryMetricReader()
    sink = OpenTelemetrySink(queue, meter_provider=MeterProvider([reader]))

    def measured() -> dict[str, dict[str, float]]:
        data = reader.get_metrics_data()
        return {
            metric.name: {
                str((point.attributes or {}).get("anyq.state", "")): point.value  # type: ignore[union-attr]
                for point in metric.data.data_points
            }
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    async with queue:
        await queue.enqueue("job")
        await queue.enqueue("job", delay=60)
        assert not measured()
        async with anyio.create_task_group() as nursery:
            nursery.start_soon(sink.watch_queues)
            await until(lambda: bool(measured()))
            found = measured()
            nursery.cancel_scope.cancel()
        assert found["anyq.queue.jobs"] == {
            "ready": 1, "held": 0, "delayed": 1, "waiting": 0, "aside": 0, "dead": 0,
        }  # fmt: skip
        assert found["anyq.queue.added_jobs"] == {"": 2}
        assert found["anyq.queue.done_jobs"] == {"": 0}
        assert found["anyq.queue.parked_jobs"] == {"": 0}
        assert found["anyq.queue.paused"] == {"": 0}
        assert found["anyq.queue.oldest_job.age"][""] > 0
        assert "anyq.queue.jobs" not in measured(), "no number is better than an old one"
        with pytest.raises(ValueError, match="every"):
            await sink.watch_queues(every=0)
