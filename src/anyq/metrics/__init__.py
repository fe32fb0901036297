"""Observing the engine from within the process.

>>> from anyq.metrics import MemorySink
>>> sink = MemorySink()
>>> # Worker(queue, metrics=sink)
"""

from .sink import DeadLettered as DeadLettered
from .sink import JobOutcome as JobOutcome
from .sink import LockOutcome as LockOutcome
from .sink import MemorySink as MemorySink
from .sink import NoSink as NoSink
from .sink import Observation as Observation
from .sink import PromoterTick as PromoterTick
from .sink import ReaderBatch as ReaderBatch
from .sink import RetryScheduled as RetryScheduled
from .sink import ScheduleFired as ScheduleFired
from .sink import Sink as Sink
from .sink import TakenOver as TakenOver
