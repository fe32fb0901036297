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
from .errors import AnyQError as AnyQError
from .errors import ConfigurationError as ConfigurationError
from .errors import ConnectionLost as ConnectionLost
from .errors import JobFailed as JobFailed
from .errors import NotOpen as NotOpen
from .errors import PayloadRefused as PayloadRefused
from .errors import QueueFull as QueueFull
from .errors import RedisUnavailable as RedisUnavailable
from .errors import ReplyTimeout as ReplyTimeout
from .errors import ResultsDisabled as ResultsDisabled
from .errors import RetryLater as RetryLater
from .errors import ServerNotFound as ServerNotFound
from .errors import Unrecoverable as Unrecoverable
from .errors import WorkerCrashed as WorkerCrashed
from .handles import JobHandle as JobHandle
from .queue import Queue as Queue
from .serve import serve as serve
from .settings import Backoff as Backoff
from .settings import Limits as Limits
from .settings import Retention as Retention
from .tasks import Call as Call
from .tasks import Task as Task
from .vitals import Health as Health
from .vitals import Statistics as Statistics
from .worker import Worker as Worker
