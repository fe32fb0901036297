"""Every error that AnyQ raises, in one leaf: it imports nobody, anybody may import it.

An error composes its own message from its fields and says whose move it is: the caller's (a wrong call),
the job's (a failure that came back), or Redis's (an outage that outlived the patience it was given).
"""

from __future__ import annotations

import signal
from typing import TypeVar

E = TypeVar("E", bound=Exception)


class AnyQError(Exception):
    """The root of all errors that AnyQ defines."""

    def __reduce__(self) -> tuple[object, ...]:
        # An error composes its text from its arguments: made again from its text alone, as is usual, it would fail.
        return _again, (type(self), self.args, self.__dict__)


def _again(kind: type[E], args: tuple[object, ...], state: dict[str, object]) -> E:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


def another(error: E) -> E:
    """Make the same error for one more caller, for where several are told of one.

    An exception is raised once, or its traceback grows with each caller, and a note of one of them is everybody's. The
    copy has the kind, the text, the attributes and the cause, and begins with the traceback that there was. What would
    not say the same without its constructor is given as it is.
    """
    try:
        copy = _again(type(error), error.args, error.__dict__)
        same = str(copy) == str(error)
    except Exception:  # noqa: BLE001 - a class may do anything in its constructor, and when it is asked for its text
        return error
    if not same:
        return error
    notes: list[str] | None = getattr(error, "__notes__", None)
    if notes is not None:
        copy.__notes__ = list(notes)
    copy.__context__, copy.__cause__ = error.__context__, error.__cause__
    copy.__suppress_context__ = error.__suppress_context__
    return copy.with_traceback(error.__traceback__)


# -- the caller's move ------------------------------------------------------------------------------------------------


class NotOpen(AnyQError, RuntimeError):
    """A queue was used outside of its ``async with`` block."""

    def __init__(self, queue: str) -> None:
        super().__init__(
            f"queue {queue!r} is not open here: use it inside 'async with queue:' (or a Worker that has it)"
        )
        self.queue = queue


class PayloadRefused(AnyQError, ValueError):
    """An argument cannot be carried by MessagePack, or the payload is too large or too deep."""


class QueueFull(AnyQError):
    """The queue holds ``max_length`` jobs, and the caller asked not to wait."""

    def __init__(self, queue: str, max_length: int) -> None:
        super().__init__(
            f"queue {queue!r} holds its max_length of {max_length} jobs: enqueue with wait=True to wait for room, "
            "or run more workers"
        )
        self.queue = queue
        self.max_length = max_length


class UnknownSchedule(AnyQError, LookupError):
    """A schedule was asked to do something, and there is none of that name."""

    def __init__(self, queue: str, name: str, why: str = "") -> None:
        super().__init__(
            f"queue {queue!r} has no schedule {name!r}{f' that AnyQ understands: {why}' if why else ''}"
        )
        self.queue = queue
        self.name = name


class ResultsDisabled(AnyQError):
    """The result of a job was asked for that nobody asked to keep, or not for so long.

    Attributes:
        job_id: The job.
    """

    def __init__(self, job_id: str, *, ended: bool = False) -> None:
        how = "has ended, and its result is not kept" if ended else "keeps no result"
        super().__init__(
            f"job {job_id!r} {how}: set result_ttl on its task (@queue.task(result_ttl=60)) "
            "or on the call (task.options(result_ttl=60).enqueue(...)), or use task.call(...)"
        )
        self.job_id = job_id


# -- the job's answer -------------------------------------------------------------------------------------------------


class JobFailed(AnyQError):
    """A job was given up; raised by whoever waits for its result.

    Attributes:
        job_id: The job.
        reason: Why it was given up: ``retries_exhausted``, ``unrecoverable``, ``bad_payload``, ``expired``, ...
        type: The name of the exception's type in the worker, or ``""``.
        message: The exception's text, cut to a limit.
        traceback: The formatted traceback from the worker, cut to a limit.
    """

    def __init__(self, job_id: str, *, reason: str, type: str, message: str, traceback: str) -> None:
        said = f"{type}: {message}" if type else message or "no error was recorded"
        super().__init__(f"job {job_id!r} failed ({reason}): {said}")
        self.job_id = job_id
        self.reason = reason
        self.type = type
        self.message = message
        self.traceback = traceback


class JobCancelled(JobFailed):
    """A job was cancelled; raised by whoever waits for its result, with ``reason`` ``cancelled``."""


class Unrecoverable(AnyQError):
    """Raise it in a handler: the job is dead-lettered at once, whatever attempts it has left."""


class RetryLater(AnyQError):
    """Raise it in a handler: not now, come back in ``delay`` seconds; no attempt is used up.

    Args:
        delay: Seconds (or a ``timedelta``) until the job is due again.
        message: For the log.
    """

    def __init__(self, delay: object, message: str = "") -> None:
        from .settings import seconds  # a leaf's only need of a sibling, and only when raised

        self.delay: float = seconds("delay", delay)
        super().__init__(message or f"again in {self.delay:g} s")


class ProcessDied(AnyQError):
    """The process in which a plain function ran ended in the middle of it; the run has failed.

    Attributes:
        job_id: The job.
        returncode: The exit code, a negative one for a signal; ``None`` if it is not known.
    """

    def __init__(self, job_id: str, task: str, returncode: int | None) -> None:
        super().__init__(f"the process of job {job_id!r} of task {task!r} died: {_ending(returncode)}")
        self.job_id = job_id
        self.returncode = returncode


def _ending(returncode: int | None) -> str:
    if returncode is None:
        return "its exit code is not known"
    if returncode >= 0:
        return f"it ended by itself, with exit code {returncode}"
    try:
        name = signal.Signals(-returncode).name
    except ValueError:
        name = f"signal {-returncode}"
    return f"killed by {name}" + (", perhaps for want of memory" if name == "SIGKILL" else "")


# -- Redis's move -----------------------------------------------------------------------------------------------------


class RedisUnavailable(AnyQError, ConnectionError):
    """Redis could not be reached, or did not answer, for as long as the caller was willing to wait."""


class ConnectionLost(RedisUnavailable):
    """The connection broke (or was closed as frozen) before the reply; whether the command ran is unknown.

    Attributes:
        sent: ``False`` when nothing of the command can have reached the server.
    """

    def __init__(self, message: str, *, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent


class ReplyTimeout(ConnectionLost):
    """The server did not answer within the reply deadline; the connection was closed as frozen."""


class ConfigurationError(AnyQError):
    """The server refuses what AnyQ needs, and waiting will not help: wrong password, missing right, foreign key."""


class ServerNotFound(ConfigurationError):
    """``embedded://`` found no server program."""


class WorkerCrashed(AnyQError):
    """A service of the worker gave up; the cause is chained.

    Attributes:
        service: The loop that failed, such as ``reader``.
    """

    def __init__(self, service: str, message: str) -> None:
        super().__init__(f"the worker's {service} gave up: {message}")
        self.service = service
