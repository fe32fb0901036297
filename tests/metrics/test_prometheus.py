"""Metrics as Prometheus reads them: with its own parser, from real runs, on both event loops."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from tests.metrics.scrapes import Scrape, scrape
from tests.support.servers import SECONDS, Server
from tests.support.working import obedient
from tests.worker.conftest import put, until, working

from anyq import Queue, Task, Unrecoverable, Worker
from anyq._core.job import Job
from anyq.metrics import JobOutcome, LockOutcome, PromoterTick
from anyq.metrics.labels import OTHER
from anyq.metrics.prometheus import PrometheusSink
from anyq.metrics.sink import ScheduleFired

pytestmark = pytest.mark.anyio

WORK = {"queue": "work"}
ACT = {"queue": "work", "task": "act"}


@pytest.fixture
def queue(redis_url: str) -> Queue:
    return Queue("work", redis_url)


@pytest.fixture
def act(queue: Queue) -> Task[..., Any]:
    return obedient(queue)


def read(sink: PrometheusSink) -> Scrape:
    """What a registry of somebody else's shows that the sink was registered in."""
    registry = CollectorRegistry()
    registry.register(sink)
    return Scrape(200, "", generate_latest(registry).decode())


async def test_what_the_engine_does_is_counted(queue: Queue, act: Task[..., Any]) -> None:
    sink = PrometheusSink(queue)
    async with queue, working(queue, metrics=sink) as worker:
        await act.enqueue_many([(), ("fail once",), ("unrecoverable",), ("later",)])
        await until(lambda: worker.statistics().done == 2 and worker.statistics().dead == 1)
    seen = read(sink)
    assert seen.value("anyq_jobs_total", **ACT, outcome="done") == 2
    assert seen.value("anyq_jobs_total", **ACT, outcome="failed") == 2
    assert seen.value("anyq_job_duration_seconds_count", **ACT) == 4
    assert 0 < (seen.value("anyq_job_duration_seconds_sum", **ACT) or 0) < SECONDS
    assert seen.value("anyq_job_retries_total", **ACT) == 2
    assert seen.value("anyq_job_retry_delay_seconds_bucket", **WORK, le="0.1") == 1
    assert seen.value("anyq_job_retry_delay_seconds_bucket", **WORK, le="60.0") == 2
    assert seen.value("anyq_jobs_dead_total", **ACT, reason="unrecoverable") == 1
    assert seen.value("anyq_reader_batch_jobs_sum", **WORK) == 5
    assert seen.value("anyq_promoted_jobs_total", **WORK) == 1
    assert seen.value("anyq_promoter_leads", **WORK) == 1


async def test_what_a_worker_takes_over_is_counted(queue: Queue, act: Task[..., Any]) -> None:
    sink = PrometheusSink(queue)
    async with queue:
        await act.enqueue_many([()] * 3)
        group = ("GROUP", "default", "anyq-gone")
        await queue.redis.call("XGROUP", "CREATE", queue.keys.stream, "default", "0", "MKSTREAM")
        await queue.redis.call("XREADGROUP", *group, "COUNT", 2, "STREAMS", queue.keys.stream, ">")
        async with working(queue, metrics=sink, lease=1) as worker:
            await until(lambda: worker.statistics().done == 3)
    assert read(sink).value("anyq_taken_over_jobs_total", **WORK) == 2


async def test_names_that_jobs_bring_make_no_series(queue: Queue, act: Task[..., Any]) -> None:
    @queue.fallback
    async def anything(job: Job) -> None:
        if job.name.endswith("7"):
            raise Unrecoverable

    sink = PrometheusSink(queue)
    async with queue, working(queue, metrics=sink) as worker:
        for number in range(50):
            await queue.enqueue(f"nobody knows {number}")
        await put(queue, "d", b"\xc1", "n", 'hostile"} 1\n# EOF')
        await act.enqueue()
        await worker.wait_idle()
        await until(lambda: worker.statistics().dead == 6)
    seen = read(sink)
    for sample in ("anyq_jobs_total", "anyq_job_duration_seconds_count", "anyq_jobs_dead_total"):
        assert seen.labels(sample, "task") <= {"act", OTHER}
    assert seen.value("anyq_jobs_total", **WORK, task=OTHER, outcome="done") == 45
    assert seen.value("anyq_jobs_dead_total", **WORK, task=OTHER, reason="unrecoverable") == 5
    assert seen.value("anyq_jobs_dead_total", **WORK, task=OTHER, reason="decode_failed") == 1


async def test_the_endpoint_says_what_queues_and_workers_hold(queue: Queue, act: Task[..., Any]) -> None:
    idle = Queue("idle", queue.url)
    sink = PrometheusSink([queue, idle])
    async with idle, working(queue, metrics=sink) as worker:
        sink.watch(worker)
        await act.options(delay=60).enqueue()
        await act.enqueue("unrecoverable")
        await idle.enqueue("nobody runs this")
        await until(lambda: worker.statistics().dead == 1)
        seen = await scrape(sink.app)
        assert seen.status == 200
        assert seen.content_type.startswith("text/plain; version=")
        assert seen.value("anyq_queue_jobs", **WORK, state="delayed") == 1
        assert seen.value("anyq_queue_jobs", **WORK, state="dead") == 1
        assert seen.value("anyq_queue_jobs", **WORK, state="ready") == 0
        assert seen.value("anyq_queue_jobs", queue="idle", state="ready") == 1
        assert seen.value("anyq_queue_paused", **WORK) == 0
        assert seen.value("anyq_queue_jobs", **WORK, state="waiting") == 0
        assert seen.value("anyq_queue_parked_jobs", **WORK) == 0
        assert seen.value("anyq_queue_added_jobs_total", **WORK) == 2
        assert seen.value("anyq_queue_dead_jobs_total", **WORK) == 1
        assert seen.value("anyq_queue_done_jobs_total", **WORK) == 0
        assert (seen.value("anyq_queue_oldest_job_age_seconds", queue="idle") or 0) > 0
        assert seen.value("anyq_worker_jobs", state="running") == 0
        assert seen.value("anyq_worker_concurrency") == worker.concurrency
        assert seen.value("anyq_worker_healthy") == 1
        assert 0 <= (seen.value("anyq_worker_heartbeat_age_seconds") or 0) < SECONDS
    stopped = read(sink)
    assert stopped.value("anyq_worker_healthy") is None, "a worker that has stopped is forgotten"


async def test_whoever_asks_for_open_metrics_gets_them(queue: Queue, act: Task[..., Any]) -> None:
    sink = PrometheusSink(queue)
    async with queue, working(queue, metrics=sink) as worker:
        await act.enqueue()
        await until(lambda: worker.statistics().done == 1)
        seen = await scrape(sink.app, accept="application/openmetrics-text; version=1.0.0")
    assert seen.content_type.startswith("application/openmetrics-text")
    families: Any = open_metrics(seen.text)  # type: ignore[no-untyped-call]
    assert {family.name for family in families} > {"anyq_jobs", "anyq_queue_jobs"}


async def test_a_scrape_does_not_wait_for_a_server_that_is_gone(start_server: Callable[..., Server]) -> None:
    server = start_server()
    queue = Queue("work", server.url)
    sink = PrometheusSink(queue)
    async with queue:
        await queue.enqueue("job")
        assert (await scrape(sink.app)).value("anyq_queue_jobs", **WORK, state="ready") == 1
        server.kill()
        seen = await scrape(sink.app)
    assert seen.status == 200
    assert seen.value("anyq_queue_jobs", **WORK, state="ready") is None, "no number is better than an old one"
    assert seen.value("anyq_promoted_jobs_total", **WORK) == 0


async def test_a_queue_that_is_not_open_here_is_left_out(queue: Queue) -> None:
    assert "anyq_queue_jobs{" not in (await scrape(PrometheusSink(queue).app)).text


def test_names_and_units_follow_the_conventions(queue: Queue) -> None:
    @queue.task
    async def act() -> None: ...

    sink = PrometheusSink(queue, durations=(1, 2))
    sink.watch(Worker(queue))
    sink.observe(
        [
            JobOutcome(queue="work", task="act", outcome="done", attempt=1, duration_us=1_500_000),
            JobOutcome(queue="not ours", task="act", outcome="released", attempt=1, duration_us=1),
            PromoterTick(queue="work", promoted=3, waiting=7, late=0.25),
            LockOutcome(queue="work", held=True),
            LockOutcome(queue="work", held=False),
            ScheduleFired(queue="work", schedule="nightly", task="act", jobs=0, late=0.25, left_out=True),
            ScheduleFired(queue="work", schedule="nightly", task="act", jobs=2, late=0.5),
        ]
    )
    seen = read(sink)
    assert seen.value("anyq_job_duration_seconds_bucket", **ACT, le="1.0") == 0
    assert seen.value("anyq_job_duration_seconds_bucket", **ACT, le="2.0") == 1
    assert seen.value("anyq_jobs_total", queue=OTHER, task=OTHER, outcome="released") == 1
    assert seen.value("anyq_promoter_lag_seconds", **WORK) == 0.25
    assert seen.value("anyq_promoter_lock_changes_total", **WORK, change="lost") == 1
    assert seen.value("anyq_promoter_leads", **WORK) == 0
    assert seen.value("anyq_scheduled_jobs_total", **ACT) == 2
    assert seen.value("anyq_left_out_runs_total", **ACT) == 1
    assert seen.value("anyq_schedule_lag_seconds", **WORK) == 0.5
    for name, family in seen.families.items():
        assert name.startswith("anyq_"), name
        assert family.documentation, name
        assert family.type in {"counter", "gauge", "histogram"}, name
        used = {label for sample in family.samples for label in sample.labels}
        assert used <= {"queue", "task", "outcome", "reason", "state", "change", "le"}, name


def test_it_lives_in_a_registry_beside_other_metrics(queue: Queue) -> None:
    registry = CollectorRegistry()
    Counter("requests", "of a web service", registry=registry).inc()
    registry.register(PrometheusSink(queue))
    text = generate_latest(registry).decode()
    assert "requests_total 1.0" in text
    assert 'anyq_promoted_jobs_total{queue="work"} 0.0' in text
    with pytest.raises(ValueError, match="Duplicated"):
        registry.register(PrometheusSink(queue))


def test_what_is_no_queue_is_refused() -> None:
    for wrong in ("work", [], ["work"], None):
        with pytest.raises(TypeError, match="queues must be"):
            PrometheusSink(wrong)  # type: ignore[arg-type]


def test_nobody_pays_for_metrics_that_he_did_not_import() -> None:
    code = "import sys, anyq, anyq.metrics; print(*sys.modules)"  # redis-py has metrics of its own
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    ours = {name for name in said.split() if name.startswith("anyq.metrics")}
    assert ours == {"anyq.metrics", "anyq.metrics.sink"}
