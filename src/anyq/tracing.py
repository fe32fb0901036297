"""Traces whose context travels with the job (``anyq[otel]``): who enqueued it, and each of its runs, in one picture.

Rule: a job carries what OpenTelemetry's propagators write (a ``traceparent``, by default), and only on a queue that was
instrumented. Names and attributes follow the semantic conventions for messaging.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import anyio
import attrs

from ._core.codec import headers
from ._core.job import Job
from ._core.middleware import CallNext
from ._extras import needed_for
from .errors import RetryLater
from .handles import JobHandle
from .queue import Queue

with needed_for("anyq.tracing", extra="otel"):
    from opentelemetry import context as contexts
    from opentelemetry import metrics, propagate, trace
    from opentelemetry.metrics import Meter, MeterProvider
    from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, Tracer, TracerProvider

SYSTEM: Final = "anyq"

#: What every program that takes part in a trace writes; the rest (baggage) is left out when it is too long.
_ESSENTIAL = ("traceparent", "tracestate")


def instrument(
    queue: Queue,
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    links: bool = False,
) -> None:
    """Trace the jobs of a queue: a span for each call that enqueues, and one for each run.

    The spans of the runs belong to the trace of the program that enqueued; spans that a handler makes, and jobs that it
    enqueues, belong to its run. Both sides call this, each in its program, before workers start. A second call replaces
    the first one.

    Args:
        queue: The queue.
        tracer_provider: Where spans go; the global provider if left out.
        meter_provider: Where enqueued jobs are counted; the global provider if left out.
        links: Let each run begin a trace of its own, with a link to the call that enqueued it, rather than belong to
            that call's trace: for jobs that wait for days.

    Example:
        >>> from anyq.tracing import instrument
        >>> instrument(queue)
    """
    tracing = _Tracing(
        queue.name,
        trace.get_tracer("anyq", tracer_provider=tracer_provider),
        metrics.get_meter("anyq", meter_provider=meter_provider),
        links=links,
    )
    queue.around[:] = (tracing, *(one for one in queue.around if not isinstance(one, _Tracing)))
    queue.tracing = tracing.enqueuing


class _Tracing:
    """Makes the spans of one queue: of calls that enqueue, and, as middleware, of runs."""

    def __init__(self, queue: str, tracer: Tracer, meter: Meter, *, links: bool) -> None:
        self._queue = queue
        self._tracer = tracer
        self._links = links
        self._sent = meter.create_counter(
            "messaging.client.sent.messages", "{message}", "Jobs that were enqueued."
        )

    @contextmanager
    def enqueuing(self, task: str, count: int) -> Generator[_Enqueuing]:
        """Make the span of a call that enqueues."""
        common = _attributes("enqueue", "send", self._queue, task)
        batch: dict[str, str | int] = {} if count == 1 else {"messaging.batch.message_count": count}
        with self._tracer.start_as_current_span(
            f"enqueue {self._queue}", kind=SpanKind.PRODUCER, attributes=common | batch
        ) as span:
            carrier: dict[str, str] = {}
            propagate.inject(carrier)
            small = headers(carrier) or {name: carrier[name] for name in _ESSENTIAL if name in carrier}
            jobs = _Enqueuing(span, headers(small))
            yield jobs
            self._sent.add(jobs.new, common)

    async def __call__(self, job: Job, call_next: CallNext) -> Any:
        """Make the span of a run, around it."""
        origin = propagate.extract(job.extras.trace)
        creation = trace.get_current_span(origin).get_span_context()
        span = self._tracer.start_span(
            f"process {job.queue}",
            context=trace.set_span_in_context(trace.INVALID_SPAN, origin) if self._links else origin,
            kind=SpanKind.CONSUMER,
            attributes={
                **_attributes("process", "process", job.queue, job.name),
                "messaging.message.id": job.id,
                "anyq.job.attempt": job.attempt,
                "anyq.job.attempts": job.attempts,
            },
            links=[Link(creation)] if self._links and creation.is_valid else None,
        )
        # The whole origin, for its baggage.
        token = contexts.attach(trace.set_span_in_context(span, origin))
        try:
            return await call_next()
        except BaseException as error:
            _tell(span, job, error)
            raise
        finally:
            contexts.detach(token)
            span.end()


@attrs.define
class _Enqueuing:
    """One call that enqueues: its span, and what travels with the jobs."""

    span: Span
    carried: Mapping[str, str]
    new: int = 0

    def added(self, handles: Sequence[JobHandle[Any]], /) -> None:
        """Say which jobs they are."""
        self.new = sum(handle.new for handle in handles)
        if len(handles) == 1:
            self.span.set_attribute("messaging.message.id", handles[0].id)
            self.span.set_attribute("anyq.job.new", handles[0].new)


def _attributes(name: str, kind: str, queue: str, task: str) -> dict[str, str | int]:
    return {
        "messaging.system": SYSTEM,
        "messaging.operation.name": name,
        "messaging.operation.type": kind,
        "messaging.destination.name": queue,
        "anyq.task": task,
    }


def _tell(span: Span, job: Job, error: BaseException) -> None:
    """Say why a run did not return. To be put off, handed back or taken over is no error of the job's."""
    if isinstance(error, RetryLater):
        span.add_event("put off")
    elif isinstance(error, anyio.get_cancelled_exc_class()):
        span.set_attribute("anyq.job.cut", job.cut or "timeout")
        if job.cut is None:
            span.set_attribute("error.type", "timeout")
            span.set_status(Status(StatusCode.ERROR, "timeout"))
    else:
        span.record_exception(error)
        span.set_attribute("error.type", type(error).__qualname__)
        span.set_status(Status(StatusCode.ERROR, type(error).__qualname__))
