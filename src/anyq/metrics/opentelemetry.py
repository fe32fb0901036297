"""Metrics for OpenTelemetry: a sink that records what the engine observes (``anyq[otel]``).

Names and units follow the semantic conventions for messaging where they have one, and begin with ``anyq.`` where not.
Traces are `anyq.tracing`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final

import anyio

from .._extras import needed_for
from ..queue import Queue
from ..settings import seconds
from ..vitals import QueueStats
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

with needed_for("anyq.metrics.opentelemetry", extra="otel"):
    from opentelemetry import metrics
    from opentelemetry.metrics import CallbackOptions, MeterProvider
    from opentelemetry.metrics import Observation as OtelObservation

_SYSTEM: Final = {"messaging.system": "anyq"}


class OpenTelemetrySink:
    """Records what workers of these queues observe; a `anyq.Worker` takes it as ``metrics=``.

    Args:
        queues: A `anyq.Queue`, or several. Names of tasks that they do not have are recorded as ``(other)``.
        meter_provider: Where measurements go; the global provider if left out.

    Raises:
        TypeError: These are no queues.

    Example:
        >>> from anyq.metrics.opentelemetry import OpenTelemetrySink
        >>> # Worker(queue, metrics=OpenTelemetrySink(queue))
    """

    def __init__(
        self, queues: Queue | Sequence[Queue], *, meter_provider: MeterProvider | None = None
    ) -> None:
        self._labels = Labels(queues)
        meter = metrics.get_meter("anyq", meter_provider=meter_provider)
        counter, histogram, gauge = meter.create_counter, meter.create_histogram, meter.create_gauge
        self._duration = histogram(
            "messaging.process.duration", "s", "How long runs took.",
            explicit_bucket_boundaries_advisory=DURATIONS,
        )  # fmt: skip
        self._consumed = counter("messaging.client.consumed.messages", "{message}", "Jobs taken from Redis.")
        self._jobs = counter(
            "anyq.jobs", "{job}", "Runs that ended: done, failed, or released (handed back)."
        )
        self._retries = counter("anyq.job.retries", "{job}", "Jobs that come back after a failure.")
        self._backoff = histogram("anyq.job.retry_delay", "s", "How long retries wait.")
        self._dead = counter("anyq.jobs.dead", "{job}", "Jobs that were given up, and why.")
        self._batches = histogram("anyq.reader.batch", "{job}", "Jobs taken from Redis at once.")
        self._promoted = counter("anyq.promoted_jobs", "{job}", "Delayed jobs moved to the ready ones.")
        self._late = gauge("anyq.promoter.lag", "s", "By how much the last delayed job was late.")
        self._leads = gauge("anyq.promoter.leads", "1", "Whether this worker promotes on time.")
        self._changes = counter("anyq.promoter.lock_changes", "{change}", "How often it began and ceased to.")
        self._taken_over = counter(
            "anyq.taken_over_jobs", "{job}", "Jobs that a worker that is gone had left."
        )
        self._scheduled = counter("anyq.scheduled_jobs", "{job}", "Jobs that schedules made.")
        self._left_out = counter(
            "anyq.left_out_runs", "{run}", "Runs of schedules that found their unique key taken."
        )
        self._overdue = gauge("anyq.schedule.lag", "s", "By how much the last schedule fired late.")
        self._stats: dict[str, QueueStats] = {}
        meter.create_observable_gauge(
            "anyq.queue.jobs", [self._depths], "{job}", "Jobs in the queue, in all programs together."
        )
        meter.create_observable_gauge(
            "anyq.queue.parked_jobs", [self._parked], "{job}", "Delayed jobs whose task no worker knew."
        )
        meter.create_observable_gauge(
            "anyq.queue.paused", [self._paused], "1", "Whether the whole queue is paused."
        )
        meter.create_observable_gauge(
            "anyq.queue.oldest_job.age", [self._oldest], "s", "For how long the oldest ready job has waited."
        )
        for what, (name, unit, words) in COUNTED.items():
            meter.create_observable_counter(
                f"anyq.queue.{name}", [partial(self._counted, what)], f"{{{unit}}}", words
            )

    def observe(self, observations: Sequence[Observation], /) -> None:
        """Record a batch of observations."""
        for seen in observations:
            queue = _queue(self._labels.queue(seen.queue))
            match seen:
                case JobOutcome():
                    task = self._task(queue, seen.task)
                    self._jobs.add(1, {**task, "anyq.outcome": seen.outcome})
                    if seen.outcome != "released":
                        named = {**task, "messaging.operation.name": "process"}
                        if seen.outcome == "failed":
                            named["error.type"] = "_OTHER"  # the conventions' word: the type is not known
                        self._duration.record(seen.duration_us / 1e6, named)
                case RetryScheduled():
                    self._retries.add(1, self._task(queue, seen.task))
                    self._backoff.record(seen.delay, queue)
                case DeadLettered():
                    self._dead.add(1, {**self._task(queue, seen.task), "anyq.reason": seen.reason})
                case ReaderBatch():
                    self._consumed.add(seen.size, {**queue, "messaging.operation.name": "receive"})
                    self._batches.record(seen.size, queue)
                case PromoterTick():
                    if seen.promoted:
                        self._promoted.add(seen.promoted, queue)
                    self._late.set(seen.late if seen.promoted else 0.0, queue)
                case LockOutcome():
                    self._leads.set(int(seen.held), queue)
                    self._changes.add(1, {**queue, "anyq.change": "acquired" if seen.held else "lost"})
                case TakenOver():
                    self._taken_over.add(seen.jobs, queue)
                case ScheduleFired():
                    self._scheduled.add(seen.jobs, self._task(queue, seen.task))
                    self._left_out.add(int(seen.left_out), self._task(queue, seen.task))
                    self._overdue.set(seen.late, queue)

    # -- what the queues hold -----------------------------------------------------------------------------------------

    async def watch_queues(self, every: float = 15.0) -> None:
        """Ask Redis what the queues hold, again and again, and record it: how many jobs, how old, and more.

        Args:
            every: Seconds between two looks.

        Start it in a task group of one program that has the queues open: ``nursery.start_soon(sink.watch_queues)``. A
        queue that is not open here, or cannot be asked within two seconds, is left out of what is measured: no number
        is better than an old one. It runs until it is cancelled, and then nothing of the queues is measured any more.
        """
        pause = seconds("every", every, zero=False)
        try:
            while True:
                await self.refresh()
                await anyio.sleep(pause)
        finally:
            self._stats = {}

    async def refresh(self) -> None:
        """Ask Redis once what the queues hold. Safe to cancel."""
        self._stats = await ask(self._labels.queues)

    def _depths(self, _: CallbackOptions) -> Iterable[OtelObservation]:
        for name, stats in self._stats.items():
            for state, count in held(stats).items():
                yield OtelObservation(count, {**_queue(name), "anyq.state": state})

    def _parked(self, _: CallbackOptions) -> Iterable[OtelObservation]:
        for name, stats in self._stats.items():
            yield OtelObservation(stats.parked, _queue(name))

    def _paused(self, _: CallbackOptions) -> Iterable[OtelObservation]:
        for name, stats in self._stats.items():
            yield OtelObservation(int(stats.paused), _queue(name))

    def _oldest(self, _: CallbackOptions) -> Iterable[OtelObservation]:
        for name, stats in self._stats.items():
            yield OtelObservation(stats.oldest or 0.0, _queue(name))

    def _counted(self, what: str, _: CallbackOptions) -> Iterable[OtelObservation]:
        for name, stats in self._stats.items():
            yield OtelObservation(getattr(stats, what), _queue(name))

    def _task(self, queue: dict[str, str], name: str) -> dict[str, str]:
        return {**queue, "anyq.task": self._labels.task(queue["messaging.destination.name"], name)}


def _queue(name: str) -> dict[str, str]:
    return {**_SYSTEM, "messaging.destination.name": name}
