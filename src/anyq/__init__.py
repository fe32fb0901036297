"""AnyQ: a background job queue for structured-concurrency Python, native to Trio and asyncio alike.

Layers, each importing only from those above it:

    errors, settings      names for everyone
    _core                 pure rules
    metrics.sink          what can be observed
    _embedded, embedded   a server without set-up
    _redis                bytes: the transport
    _store                verbs: what a queue can do to Redis
    context, _services    duties: what the nursery runs
    tasks, queue, worker  what a user holds
    cli, testing          edges
"""

from ._core.dead_letters import DeadLetter, DeadLetterGroup
from ._core.depends import Depends
from ._core.events import Event
from ._core.explain import Explanation, Reason, ReasonKind
from ._core.job import Job
from ._core.jobs import JobInfo
from ._core.middleware import CallNext, Middleware
from ._core.notes import LogLine, Progress
from ._core.schedules import Cron, Every, Missed
from ._core.status import Cancellation, JobStatus
from .aggregates import AggregateDecorator, AggregateTask
from .context import current_job
from .dead_letters import DeadLetterFilter, DeadLetters, Replayed
from .errors import (
    AnyQError,
    ConfigurationError,
    ConnectionLost,
    JobCancelled,
    JobFailed,
    NotOpen,
    PayloadRefused,
    ProcessDied,
    QueueFull,
    RedisUnavailable,
    ReplyTimeout,
    ResultsDisabled,
    RetryLater,
    ServerNotFound,
    UnknownSchedule,
    Unrecoverable,
    WorkerCrashed,
)
from .events import Events
from .handles import JobHandle
from .options import JobOptions, RunOptions, ScheduleOptions, TaskOptions
from .queue import Queue
from .schedules import PlannedRun, Schedule, ScheduleDecorator, Schedules
from .serve import serve
from .settings import Backoff, Limits, Retention
from .tasks import AsyncTask, Call, PlainTask, Task
from .vitals import Health, Minute, QueueStats, Rates, RunningJob, Statistics, WorkerInfo
from .worker import Worker

__all__ = [
    "AggregateDecorator",
    "AggregateTask",
    "AnyQError",
    "AsyncTask",
    "Backoff",
    "Call",
    "CallNext",
    "Cancellation",
    "ConfigurationError",
    "ConnectionLost",
    "Cron",
    "DeadLetter",
    "DeadLetterFilter",
    "DeadLetterGroup",
    "DeadLetters",
    "Depends",
    "Event",
    "Events",
    "Every",
    "Explanation",
    "Health",
    "Job",
    "JobCancelled",
    "JobFailed",
    "JobHandle",
    "JobInfo",
    "JobOptions",
    "JobStatus",
    "Limits",
    "LogLine",
    "Middleware",
    "Minute",
    "Missed",
    "NotOpen",
    "PayloadRefused",
    "PlainTask",
    "PlannedRun",
    "ProcessDied",
    "Progress",
    "Queue",
    "QueueFull",
    "QueueStats",
    "Rates",
    "Reason",
    "ReasonKind",
    "RedisUnavailable",
    "Replayed",
    "ReplyTimeout",
    "ResultsDisabled",
    "Retention",
    "RetryLater",
    "RunOptions",
    "RunningJob",
    "Schedule",
    "ScheduleDecorator",
    "ScheduleOptions",
    "Schedules",
    "ServerNotFound",
    "Statistics",
    "Task",
    "TaskOptions",
    "UnknownSchedule",
    "Unrecoverable",
    "Worker",
    "WorkerCrashed",
    "WorkerInfo",
    "current_job",
    "serve",
]


def _introduce() -> None:
    """Make public names the package's, in tracebacks, docs and reprs: where a file lies is nobody's business."""
    for name in __all__:
        globals()[name].__module__ = __name__


_introduce()
del _introduce
