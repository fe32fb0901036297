"""AnyQ: a background job queue for structured-concurrency Python, native to Trio and asyncio alike.

Layers, each importing only from those above it:

    errors, settings      names for everyone
    _core                 pure rules
    metrics.sink          what can be observed
    _embedded, embedded   a server without set-up
    _redis                bytes: the transport
    _store                verbs: what a queue can do to Redis
    context, _services    duties: what the nursery runs
    tasks, queue, worker  what a user imports
    cli, testing          edges
"""

from ._core.job import Job as Job
from .context import current_job as current_job
from .errors import (
    AnyQError as AnyQError,
    ConfigurationError as ConfigurationError,
    ConnectionLost as ConnectionLost,
    JobFailed as JobFailed,
    NotOpen as NotOpen,
    PayloadRefused as PayloadRefused,
    QueueFull as QueueFull,
    RedisUnavailable as RedisUnavailable,
    ReplyTimeout as ReplyTimeout,
    ResultsDisabled as ResultsDisabled,
    RetryLater as RetryLater,
    ServerNotFound as ServerNotFound,
    Unrecoverable as Unrecoverable,
    WorkerCrashed as WorkerCrashed,
)
from .handles import JobHandle as JobHandle
from .queue import Queue as Queue
from .settings import (
    Backoff as Backoff,
    Limits as Limits,
    Retention as Retention,
)
from .tasks import Call as Call, Task as Task
from .worker import (
    Health as Health,
    Statistics as Statistics,
    Worker as Worker,
)
