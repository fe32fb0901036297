"""What a run comes to: the heart of the queue, and a table of cases tests it.

`judge` decides about a run that failed; one that returned is done, and one that was cut short by the worker's shutdown
is `Released`. Services act on the value, nobody decides again.
"""

from __future__ import annotations

import traceback as _traceback
from collections.abc import Callable
from types import TracebackType
from typing import Final

import attrs

from ..errors import RetryLater, Unrecoverable
from ..settings import ERROR_TEXT_LIMIT, Backoff, from_milliseconds
from . import backoff as _backoff
from .job import Job

#: The reasons of dead letters. The first six are chasquimq's words.
RETRIES_EXHAUSTED: Final = "retries_exhausted"
UNRECOVERABLE: Final = "unrecoverable"
STALLED: Final = "stalled"
BAD_PAYLOAD: Final = "bad_payload"
BAD_RESULT: Final = "bad_result"
UNKNOWN_TASK: Final = "unknown_task"
EXPIRED: Final = "expired"

#: Waits of a job whose name no worker here knows, in seconds: growing, so that a rolling deploy is met soon and a
#: forgotten name costs little.
_PARK_FIRST, _PARK_LONGEST = 1.0, 60.0


@attrs.frozen
class Error:
    """An exception as it is kept with a job: text only, cut to a limit, no locals.

    Attributes:
        type: The name of its type.
        message: Its text.
        traceback: Its formatted traceback.
    """

    type: str
    message: str
    traceback: str = ""

    @staticmethod
    def of(exception: BaseException) -> Error:
        """Describe an exception, whatever its ``__str__`` does."""
        return Error(type(exception).__name__[:200], _message(exception), _trace(exception))


def _message(exception: BaseException) -> str:
    try:
        text = str(exception)
    except Exception as error:  # noqa: BLE001 - a user's __str__ may do anything
        text = f"<no message: its __str__ raised {type(error).__name__}>"
    return _printable(text, ERROR_TEXT_LIMIT)


def _trace(exception: BaseException) -> str:
    # A frame of AnyQ's own at the top tells the user nothing; the tail, where the error is, is what must survive the
    # cut.
    frames: TracebackType | None = exception.__traceback__
    while (
        frames is not None
        and frames.tb_next
        and frames.tb_frame.f_globals.get("__name__", "").startswith("anyq.")
    ):
        frames = frames.tb_next
    try:
        lines = _traceback.format_exception(type(exception), exception, frames, limit=-50)
        text = "".join(lines)
    except Exception as error:  # noqa: BLE001 - so may whatever a traceback shows of a user's exception
        text = f"<no traceback: formatting it raised {type(error).__name__}>"
    if len(text) > ERROR_TEXT_LIMIT:
        text = "...\n" + text[-ERROR_TEXT_LIMIT:]
    return _printable(text, ERROR_TEXT_LIMIT + 4)


def _printable(text: str, limit: int) -> str:
    if len(text) > limit:
        text = text[:limit] + "..."
    return text.encode("utf-8", "replace").decode()


class Hopeless(Unrecoverable):
    """A run that ends its job with a reason of its own.

    Attributes:
        reason: The reason of the dead letter.
        error: What went wrong.
    """

    def __init__(self, reason: str, error: Error) -> None:
        super().__init__(error.message)
        self.reason = reason
        self.error = error


@attrs.frozen
class Outcome:
    """What a delivery came to.

    Attributes:
        job: The job.
    """

    job: Job

    @property
    def lane(self) -> bytes:
        """The stream of its entry."""
        return self.job.lane

    @property
    def entry(self) -> bytes:
        """Its entry id."""
        return self.job.entry


@attrs.frozen
class Retry(Outcome):
    """The job comes back later.

    Attributes:
        delay: Seconds until it is due.
        failed: Failed runs to write into its envelope.
        error: What went wrong, or ``None`` when nothing did (`RetryLater`, parking).
        parked: Seconds for which the job has been parked in all, when it is being parked.
        quiet: Whether nothing happened that anybody must be told: the job only waits for its turn.
    """

    delay: float
    failed: int
    error: Error | None = None
    parked: float | None = None
    quiet: bool = False


@attrs.frozen
class Dead(Outcome):
    """The job is given up and becomes a dead letter.

    Attributes:
        reason: Why, in one word.
        error: What went wrong last.
    """

    reason: str
    error: Error | None = None


@attrs.frozen
class Released(Outcome):
    """The run was cut short through no fault of the job: hand it back, no attempt used up."""


@attrs.frozen
class Aside(Outcome):
    """The job's task is paused: set it aside, unstarted, until the task is resumed."""


@attrs.frozen
class Cancelled(Outcome):
    """Somebody cancelled the job: end it. It was not begun, or was cut short."""


def given_up(job: Job, attempts: int) -> Dead | None:
    """Decide, before a run, whether the job has any run left.

    A job whose deliveries were lost with their workers has used runs without one to show for it: it may be what kills
    them.
    """
    if job.attempt <= attempts:
        return None
    if job.lost:
        message = f"{job.lost} of its runs were lost with their workers"
        return Dead(job, STALLED, Error("Stalled", message))
    return Dead(job, RETRIES_EXHAUSTED)


def expired(job: Job, now_ms: float) -> Dead | None:
    """Decide, before a run, whether the job's deadline is over."""
    deadline = job.extras.deadline_ms
    if deadline is None or now_ms < deadline:
        return None
    return Dead(job, EXPIRED, Error("Expired", f"its deadline, {from_milliseconds(deadline)}, is over"))


def in_time(outcome: Retry | Dead, now_ms: float) -> Retry | Dead:
    """Give a job up at once that would come back only after its deadline."""
    deadline = outcome.job.extras.deadline_ms
    if deadline is None or isinstance(outcome, Dead) or now_ms + outcome.delay * 1000 < deadline:
        return outcome
    message = f"it would come back after its deadline, {from_milliseconds(deadline)}"
    return Dead(outcome.job, EXPIRED, outcome.error or Error("Expired", message))


def is_suspect(job: Job, attempts: int) -> bool:
    """Tell whether a job may be what kills its workers: two were lost with it, or it has one run left after a loss.

    A worker runs one suspect at a time. The one that kills its worker then takes no other suspect's run along, so its
    neighbours, lost with it at first, do not end as `STALLED` in its company.
    """
    return job.lost >= 2 or (job.lost == 1 and job.attempt >= attempts)


def put_off(job: Job, draw: float) -> Retry:
    """Let a suspect wait for its turn, half a second to one and a half; ``draw`` is a random number in [0, 1)."""
    return Retry(job, 0.5 + draw, job.attempt - 1, quiet=True)


def judge(
    job: Job,
    exception: BaseException,
    attempts: int,
    backoff: Backoff,
    draw: float,
    on_bad_backoff: Callable[[ValueError], None] | None = None,
) -> Retry | Dead:
    """Decide what becomes of a job whose run raised.

    Args:
        job: The job, with the number of this run.
        exception: What the run raised.
        attempts: Runs that the job has in total.
        backoff: The rule for its wait.
        draw: A random number in [0, 1).
        on_bad_backoff: Told when a user's backoff function failed; the default rule is used then.
    """
    if isinstance(exception, RetryLater):
        return Retry(job, exception.delay, job.attempt - 1)
    if isinstance(exception, Hopeless):
        return Dead(job, exception.reason, exception.error)
    error = Error.of(exception)
    if isinstance(exception, Unrecoverable):
        return Dead(job, UNRECOVERABLE, error)
    if job.attempt >= attempts:
        return Dead(job, RETRIES_EXHAUSTED, error)
    try:
        delay = _backoff.wait(backoff, job.attempt, draw)
    except Exception as mistake:  # noqa: BLE001 - the user's function may raise anything
        if on_bad_backoff is not None:
            on_bad_backoff(mistake if isinstance(mistake, ValueError) else ValueError(repr(mistake)))
        delay = _backoff.wait(Backoff.exponential(), job.attempt, draw)
    return Retry(job, delay, job.attempt, error)


def park(job: Job, grace: float) -> Retry | Dead:
    """Decide what becomes of a job whose name no task here has.

    Args:
        job: The job.
        grace: Seconds after which it is given up.
    """
    waited = job.extras.parked
    if waited >= grace:
        message = f"no worker knew the task {job.name!r} for {waited:g} s"
        return Dead(job, UNKNOWN_TASK, Error("UnknownTask", message))
    delay = min(max(waited, _PARK_FIRST), _PARK_LONGEST, max(grace - waited, 0.001))
    return Retry(job, delay, job.attempt - 1, parked=waited + delay)
