"""Observing the engine from within the process.

    >>> from anyq.metrics import MemorySink
    >>> sink = MemorySink()
    >>> # Worker(queue, metrics=sink)
"""

from .sink import (
    DeadLettered as DeadLettered,
    JobOutcome as JobOutcome,
    LockOutcome as LockOutcome,
    MemorySink as MemorySink,
    NoSink as NoSink,
    Observation as Observation,
    PromoterTick as PromoterTick,
    ReaderBatch as ReaderBatch,
    RetryScheduled as RetryScheduled,
    Sink as Sink,
)
