"""Metrics for Prometheus: a sink that counts what the engine observes, and a collector to mount (``anyq[prometheus]``).

Names, units and labels are Prometheus's own conventions: base units, ``_total`` behind what only grows, and no label
that a job could fill. What the queues hold in Redis is asked for when somebody scrapes, never in between.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from functools import partial
from typing import Any, Final, cast

from .._extras import needed_for
from ..queue import Queue
from ..vitals import QueueStats
from ..worker import Worker
from .labels import Labels
from .numbers import COUNTED, DURATIONS, ask, held
from .sink import (
    DeadLettered,
    JobOutcome,
    LockOutcome,
    Observation,
    PromoterTick,
    ReaderBatch,
    RetryScheduled,
    ScheduleFired,
    TakenOver,
)

with needed_for("anyq.metrics.prometheus", extra="prometheus"):
    import prometheus_client
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector

_DELAYS: Final = (0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 21600.0, 86400.0)
_BATCHES: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class PrometheusSink(Collector):
    """Counts what workers of these queues observe, for Prometheus.

    It is three things: the sink that a `anyq.Worker` takes as ``metrics=``; a collector for a registry of yours
    (``REGISTRY.register(sink)``); and, as `app`, an endpoint to mount. One sink may serve several workers.

    Args:
        queues: A `anyq.Queue`, or several. Names of tasks that they do not have are counted as ``(other)``.
        durations: The upper bounds, in seconds, of the buckets of runs' durations.

    Raises:
        TypeError: These are no queues.

    Example:
        >>> from anyq.metrics.prometheus import PrometheusSink
        >>> sink = PrometheusSink(queue)
        >>> # Worker(queue, metrics=sink)
    """

    def __init__(self, queues: Queue | Sequence[Queue], *, durations: Sequence[float] = DURATIONS) -> None:
        self._labels = Labels(queues)
        self._workers: list[Worker] = []
        self._stats: dict[str, QueueStats] = {}
        self._own = own = CollectorRegistry(auto_describe=True)
        count, gauge = partial(Counter, registry=own), partial(Gauge, registry=own)
        spread = partial(Histogram, registry=own)
        queue, job = ("queue",), ("queue", "task")
        self._jobs = count(
            "anyq_jobs", "Runs that ended: done, failed, or released (handed back).", (*job, "outcome")
        )
        self._duration = spread("anyq_job_duration_seconds", "How long runs took.", job, buckets=durations)
        self._retries = count("anyq_job_retries", "Jobs that come back after a failure.", job)
        self._backoff = spread(
            "anyq_job_retry_delay_seconds", "How long retries wait.", queue, buckets=_DELAYS
        )
        self._dead = count("anyq_jobs_dead", "Jobs that were given up, and why.", (*job, "reason"))
        self._batches = spread(
            "anyq_reader_batch_jobs", "Jobs taken from Redis at once.", queue, buckets=_BATCHES
        )
        self._promoted = count("anyq_promoted_jobs", "Delayed jobs moved to the ready ones.", queue)
        self._late = gauge("anyq_promoter_lag_seconds", "By how much the last delayed job was late.", queue)
        self._leads = gauge("anyq_promoter_leads", "Whether this worker promotes on time.", queue)
        self._changes = count(
            "anyq_promoter_lock_changes", "How often it began and ceased to.", (*queue, "change")
        )
        self._taken_over = count("anyq_taken_over_jobs", "Jobs that a worker that is gone had left.", queue)
        self._scheduled = count("anyq_scheduled_jobs", "Jobs that schedules made.", job)
        self._left_out = count(
            "anyq_left_out_runs", "Runs of schedules that found their unique key taken.", job
        )
        self._overdue = gauge("anyq_schedule_lag_seconds", "By how much the last schedule fired late.", queue)
        by_queue = (
            self._backoff, self._batches, self._promoted, self._late, self._leads, self._taken_over, self._overdue,
        )  # fmt: skip
        for one in self._labels.queues:  # there from the first scrape on: a rate needs its zero
            for series in by_queue:
                series.labels(one.name)

    # -- the sink -------------------------------------------------------------------------------------------------

    def observe(self, observations: Sequence[Observation], /) -> None:
        """Count a batch of observations."""
        queue, task = self._labels.queue, self._labels.task
        ended: Tally[tuple[str, str, str]] = Tally()
        for seen in observations:
            name = queue(seen.queue)
            match seen:
                case JobOutcome():
                    label = task(name, seen.task)
                    ended[name, label, seen.outcome] += 1
                    if seen.outcome != "released":
                        self._duration.labels(name, label).observe(seen.duration_us / 1e6)
                case RetryScheduled():
                    self._retries.labels(name, task(name, seen.task)).inc()
                    self._backoff.labels(name).observe(seen.delay)
                case DeadLettered():
                    self._dead.labels(name, task(name, seen.task), seen.reason).inc()
                case ReaderBatch():
                    self._batches.labels(name).observe(seen.size)
                case PromoterTick():
                    if seen.promoted:
                        self._promoted.labels(name).inc(seen.promoted)
                        self._late.labels(name).set(seen.late)
                    else:
                        self._late.labels(name).set(0)
                case LockOutcome():
                    self._leads.labels(name).set(seen.held)
                    self._changes.labels(name, "acquired" if seen.held else "lost").inc()
                case TakenOver():
                    self._taken_over.labels(name).inc(seen.jobs)
                case ScheduleFired():
                    self._scheduled.labels(name, task(name, seen.task)).inc(seen.jobs)
                    self._left_out.labels(name, task(name, seen.task)).inc(seen.left_out)
                    self._overdue.labels(name).set(seen.late)
        for labels, count in ended.items():
            self._jobs.labels(*labels).inc(count)

    # -- the collector --------------------------------------------------------------------------------------------

    def watch(self, worker: Worker) -> None:
        """Show what this worker holds and whether it is well, too.

        Args:
            worker: A worker of this process. It is forgotten once it has stopped.
        """
        self._workers.append(worker)

    async def refresh(self) -> None:
        """Ask Redis how many jobs the queues hold, for the next `collect`; `app` does so at each scrape.

        Only queues that are open in this event loop are asked. What cannot be had within two seconds is left out of the
        next scrape: no number is better than an old one. Safe to cancel.
        """
        self._stats = {}
        self._stats = await ask(self._labels.queues)

    def collect(self) -> Iterator[Metric]:
        """Give all metrics of this moment, as registries ask for them."""
        yield from self._own.collect()
        yield from self._of_queues()
        yield from self._of_workers()

    def describe(self) -> Iterator[Metric]:
        """Give the metrics' names, by which registries notice what is registered twice."""
        return self.collect()

    def _of_queues(self) -> Iterator[Metric]:
        jobs = GaugeMetricFamily(
            "anyq_queue_jobs", "Jobs in the queue, in all programs together.", labels=("queue", "state")
        )
        paused = GaugeMetricFamily(
            "anyq_queue_paused", "Whether the whole queue is paused.", labels=("queue",)
        )
        parked = GaugeMetricFamily(
            "anyq_queue_parked_jobs", "Delayed jobs whose task no worker knew.", labels=("queue",)
        )
        oldest = GaugeMetricFamily(
            "anyq_queue_oldest_job_age_seconds",
            "For how long the oldest ready job has waited.",
            labels=("queue",),
        )
        counted = {
            what: CounterMetricFamily(f"anyq_queue_{name}", words, labels=("queue",))
            for what, (name, _, words) in COUNTED.items()
        }
        for name, found in self._stats.items():
            for state, count in held(found).items():
                jobs.add_metric((name, state), count)
            paused.add_metric((name,), found.paused)
            parked.add_metric((name,), found.parked)
            oldest.add_metric((name,), found.oldest or 0)
            for what, family in counted.items():
                family.add_metric((name,), getattr(found, what))
        yield from (parked, oldest, *counted.values())
        yield from (jobs, paused)

    def _of_workers(self) -> Iterator[Metric]:
        self._workers = [worker for worker in self._workers if worker.health().state != "stopped"]
        jobs = GaugeMetricFamily("anyq_worker_jobs", "Jobs in this program's hands.", labels=("state",))
        slots = GaugeMetricFamily("anyq_worker_concurrency", "Jobs that may run here at the same time.")
        well = GaugeMetricFamily("anyq_worker_healthy", "Whether each worker here is well and takes jobs.")
        age = GaugeMetricFamily("anyq_worker_heartbeat_age_seconds", "Since Redis last took a heartbeat.")
        dropped = CounterMetricFamily("anyq_worker_observations_dropped", "What nobody had time to count.")
        if self._workers:
            numbers = [worker.statistics() for worker in self._workers]
            health = [worker.health() for worker in self._workers]
            jobs.add_metric(("running",), sum(one.running for one in numbers))
            jobs.add_metric(("buffered",), sum(one.buffered for one in numbers))
            jobs.add_metric(("held",), sum(one.held for one in numbers))
            slots.add_metric((), sum(worker.concurrency for worker in self._workers))
            well.add_metric((), all(one.ok for one in health))
            age.add_metric((), max(one.heartbeat_age for one in health))
            dropped.add_metric((), sum(one.dropped for one in numbers))
        yield from (jobs, slots, well, age, dropped)

    # -- the endpoint ---------------------------------------------------------------------------------------------

    @property
    def app(self) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
        """An ASGI application that answers scrapes, on asyncio and on Trio: ``Mount("/metrics", sink.app)``."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        # Its type says nothing of its arguments.
        answer = cast("Any", prometheus_client).make_asgi_app(registry)

        async def metrics(scope: Scope, receive: Receive, send: Send) -> None:
            await self.refresh()
            await answer(scope, receive, send)

        return metrics
