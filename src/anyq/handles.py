"""What the enqueuing side holds of a job: a handle, and through it the result, its status, and a say in its fate.

Nobody polls: the script that ends a job publishes that it did, and the waiter is woken. A lost message costs seconds,
not for ever.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import anyio

from ._core.jobs import JobInfo
from ._core.notes import LogLine, Progress, unpack_line, unpack_progress
from ._core.outcome import BAD_RESULT
from ._core.status import Cancellation, JobStatus
from ._core.values import MAP, Undecodable, unpack
from ._services.patience import Patience
from ._store import notes, results
from ._store.cancels import REASON
from .errors import JobCancelled, JobFailed, RedisUnavailable, ResultsDisabled
from .settings import Duration, moment, optional_seconds, seconds

if TYPE_CHECKING:
    from ._session import Session
    from .queue import Queue

R_co = TypeVar("R_co", covariant=True)

#: Seconds after which a waiter looks by itself, in case that a message was lost.
_LOOK_AGAIN = 5.0

#: The same while no message can come.
_LOOK_AGAIN_UNHEARD = 0.1


@contextmanager
def within(limit: float | None, what: str) -> Generator[None]:
    """`anyio.fail_after`, whose `TimeoutError` says what did not happen."""
    with anyio.move_on_after(limit) as scope:
        yield
    if limit is not None and scope.cancelled_caught and anyio.current_time() >= scope.deadline:
        raise TimeoutError(f"{what} within {limit:g} s")


class JobHandle(Generic[R_co]):
    """A job that was enqueued.

    Made by enqueuing, and by `Queue.job` from an id: what it says and does is about the job under that id, whoever
    enqueued it.

    Attributes:
        id: The job's id.
        name: The task's name; ``""`` when only the id is known.
        new: Whether this enqueue made the job; ``False`` when the id that you chose, or the unique key, was taken: then
            this is a handle on the job that is there.
    """

    __slots__ = ("_keeps", "_queue", "id", "name", "new")

    def __init__(
        self, queue: Queue, job_id: str, name: str, *, new: bool = True, keeps: bool | bytes | None = None
    ) -> None:
        # Whether its result is kept, if that is known; of a duplicate, the claim of the job that is there.
        self._queue = queue
        self.id: str = job_id
        self.name: str = name
        self.new: bool = new
        self._keeps = keeps

    @property
    def queue(self) -> Queue:
        """Its queue."""
        return self._queue

    async def result(self, timeout: Duration | None = None) -> R_co:  # a timeout is what users look for here
        """Wait for the job to end and give what its handler returned.

        Args:
            timeout: Seconds to wait; ``None`` waits for as long as it takes.

        Returns:
            The handler's value, as MessagePack carries it: a tuple comes back as a list.

        Raises:
            JobFailed: The job was given up; type, message and traceback are on the error. Or what another program
                left in the place of its result is none (``reason`` is ``bad_result``).
            JobCancelled: The job was cancelled.
            ResultsDisabled: Nobody asked to keep the result; raised at once, and it says what to set. Of a job that was
                there already (``new`` is false) it is raised when that one has ended and its result is not kept.
            TimeoutError: It did not end in time. The job goes on.

        Cancelling the wait does not cancel the job. After a second delivery the result is that of the run that ended
        first.

        Example:
            >>> handle = await add.options(result_ttl=60).enqueue(1, 2)
            >>> await handle.result(timeout=5)
            3
        """
        if self._keeps is False:
            raise ResultsDisabled(self.id)
        with within(optional_seconds("timeout", timeout, zero=True), f"job {self.id!r} did not end"):
            return await self._queue.with_session(self._wait)

    async def progress(self) -> Progress | None:
        """Tell how far the job says that it is.

        Returns:
            What it said last, through `Job.progress`; ``None`` if it has said nothing, or has ended longer than
            ``Retention.logs`` ago. Each run of a job goes on from what the one before said.

        Raises:
            RedisUnavailable: Redis was away for longer than the queue's ``outage_timeout``.

        Safe to cancel: it only looks.

        Example:
            >>> progress = await handle.progress()
            >>> print(progress.current, "of", progress.total)
            3 of 10
        """
        data = await self._queue.ask("the progress of a job", notes.progress, self.id)
        return None if data is None else unpack_progress(data)

    async def log(self) -> list[LogLine]:
        """Give the lines that the job logged, through `Job.log`, in all of its runs.

        Returns:
            The last lines, in order; none once the job has ended longer than ``Retention.logs`` ago.

        Raises:
            RedisUnavailable: Redis was away for longer than the queue's ``outage_timeout``.

        Safe to cancel: it only looks.

        Example:
            >>> for line in await handle.log():
            ...     print(line.at, line.attempt, line.text)
        """
        lines = await self._queue.ask("the log of a job", notes.log, self.id)
        return [unpack_line(line) for line in lines]

    async def _wait(self, session: Session) -> R_co:
        keys = self._queue.keys
        patience = Patience(f"the result of job {self.id!r}", session.outages)
        arrival = _Arrival()
        with session.subscriber.subscribe(
            keys.finished(self.id), arrival.set, on_gap=arrival.gap
        ) as subscription:
            with suppress(RedisUnavailable):  # unheard, it looks by itself, and more often
                await subscription.ready()
            while True:
                arrival.event = anyio.Event()
                longest = _LOOK_AGAIN if subscription.confirmed else _LOOK_AGAIN_UNHEARD
                # Asked before the result is: a job leaves both in the same step.
                ended = await self._ended(session, patience, arrival)
                result, failure = await patience(results.fetch, session.client, keys, self.id)
                if failure is not None:
                    raise _failed(self.id, failure)
                if result is not None:
                    return cast("R_co", _returned(self.id, result))
                if ended:
                    raise ResultsDisabled(self.id, ended=True)
                with anyio.move_on_after(longest):
                    await arrival.event.wait()

    async def _ended(self, session: Session, patience: Patience, arrival: _Arrival) -> bool:
        """Tell whether the job that was there before this one is gone; of others its result tells."""
        claim = self._keeps
        if not isinstance(claim, bytes):
            return False
        holds, longer = await patience(results.holds, session.client, claim, self.id)
        if not holds or arrival.came:
            return True
        return longer and await session.controller.status(self.id) is JobStatus.UNKNOWN

    async def status(self) -> JobStatus:
        """Ask how the job is.

        Returns:
            Its status at this moment. Of a job that ended without a result or a failure that somebody asked to keep,
            nothing is known: ``JobStatus.UNKNOWN``.

        Raises:
            RedisUnavailable: Redis was away for longer than the queue's ``outage_timeout``.
            NotOpen: The queue is not open here.

        A job that is delayed or was just enqueued is found at once; one that was handed back, retried or has an id of
        your own is looked for in the whole backlog, a thousand jobs at a time. Safe to cancel.

        Example:
            >>> await handle.status()
            <JobStatus.DELAYED: 'delayed'>
        """
        return await self._queue.with_session(lambda session: session.controller.status(self.id))

    async def info(self, *, payload: bool = False) -> JobInfo:
        """Tell all that is known of the job: where it is, which run this is, what it waits for, how far it is.

        Args:
            payload: Decode its arguments, which are secret otherwise.

        Returns:
            What was found at this moment; with the state ``JobStatus.UNKNOWN``, and nothing else, if there is nothing
            under its id. A job that was given up is found among the dead letters, also if nobody asked to keep that.

        Raises:
            RedisUnavailable: Redis was away for longer than the queue's ``outage_timeout``.
            NotOpen: The queue is not open here.

        It looks for the job as `status` does, and for one that is not there also through the dead letters, a thousand
        at a time. Safe to cancel: it only looks.

        Example:
            >>> info = await handle.info()
            >>> print(info.state, info.attempt, info.due_at, info.error, info.message)
        """
        return await self._queue.with_session(lambda session: session.inquiry.info(self.id, payload=payload))

    async def cancel(self, *, wait: bool = False, timeout: Duration | None = None) -> Cancellation:
        """Cancel the job, wherever it is: delayed, queued, or running on any worker.

        One that waits is taken away, and no worker ever gets it. One that a worker has is stopped: a coroutine is
        cancelled at its next ``await``; the process of one with ``executor="process"`` is killed; a plain function in
        a thread cannot be interrupted, it sees ``current_job().cancelled``. A run that returns all the same is done,
        one that raises counts as cancelled. A cancelled job is not retried and is no dead letter; whoever waits for its
        result gets `JobCancelled`. An id of your own is free again.

        Args:
            wait: Wait until a running job has really stopped.
            timeout: Seconds to wait for that; ``None`` waits for as long as it takes.

        Returns:
            What it did.

        Raises:
            TimeoutError: It did not stop in time. It goes on being cancelled.
            RedisUnavailable: Redis was away for longer than the queue's ``outage_timeout``.
            NotOpen: The queue is not open here.

        The request stays with the job: a worker that did not hear of it learns it within seconds, one that takes the
        job over from a dead worker does not begin it. Cancelled itself, this may or may not have asked; asking again
        does no harm.

        Example:
            >>> await handle.cancel(wait=True, timeout=10)
            <Cancellation.STOPPED: 'stopped'>
        """
        limit = optional_seconds("timeout", timeout, zero=True)
        if not wait:
            done, _ = await self._queue.with_session(lambda session: session.controller.cancel(self.id))
            return done
        with within(limit, f"job {self.id!r} did not stop"):
            return await self._queue.with_session(lambda session: session.controller.cancel_and_wait(self.id))

    async def reschedule(self, *, delay: Duration | None = None, at: datetime | None = None) -> bool:
        """Let the job, which is delayed, wait for another time, by the server's clock.

        Works for whatever made it wait: its own ``delay`` or ``at``, a retry's backoff, `RetryLater`, an unknown task.

        Args:
            delay: Seconds from now.
            at: The moment, an aware ``datetime``; instead of ``delay``.

        Returns:
            Whether it was done; ``False`` when the job is not delayed (any more).

        Raises:
            ValueError, TypeError: Not exactly one of them was given, or it is wrong.
            RedisUnavailable: Redis was away for longer than the queue's ``outage_timeout``.
            NotOpen: The queue is not open here.

        A reply that is lost is asked for again and has the same answer. Cancelled, it may or may not have been done.

        Example:
            >>> await handle.reschedule(delay=3600)
            True
        """
        if (delay is None) is (at is None):
            raise ValueError(f"give either delay or at, not {delay!r} and {at!r}")
        delay_ms = None if delay is None else round(seconds("delay", delay) * 1000)
        due_ms = None if at is None else moment("at", at)
        return await self._queue.with_session(
            lambda session: session.controller.reschedule(self.id, delay_ms=delay_ms, due_ms=due_ms)
        )

    async def run_now(self) -> bool:
        """Let the job, which is delayed, be due at once.

        Returns:
            Whether it was done; ``False`` when the job is not delayed (any more).

        Raises:
            Exception: As `reschedule` does.

        Example:
            >>> await handle.run_now()
            True
        """
        return await self.reschedule(delay=0)

    def __repr__(self) -> str:
        return f"<JobHandle {self.id} of {self.name!r}{'' if self.new else ', taken before'}>"


class _Arrival:
    """Wakes one waiter."""

    __slots__ = ("came", "event")

    def __init__(self) -> None:
        self.event = anyio.Event()
        self.came = False

    def set(self, _channel: bytes, _message: bytes) -> None:
        self.came = True
        self.event.set()

    def gap(self) -> None:
        """Messages may have been lost."""
        self.event.set()


def _returned(job_id: str, result: bytes) -> Any:
    try:
        return unpack(result, depth=10_000)
    except Undecodable as error:
        raise _unreadable(job_id, error) from None


def _failed(job_id: str, failure: bytes) -> JobFailed:
    try:
        fields = unpack(failure)
    except Undecodable as error:
        return _unreadable(job_id, error)
    if type(fields) is not MAP:
        return _unreadable(job_id, Undecodable("no map"))
    kind = JobCancelled if fields.get("reason") == REASON else JobFailed
    return kind(
        job_id,
        reason=str(fields.get("reason", "")),
        type=str(fields.get("type", "")),
        message=str(fields.get("message", "")),
        traceback=str(fields.get("traceback", "")),
    )


def _unreadable(job_id: str, error: Undecodable) -> JobFailed:
    """Say that a job has ended, and that somebody else's program wrote down how."""
    message = f"what is kept of its end cannot be read ({error})"
    return JobFailed(job_id, reason=BAD_RESULT, type="Undecodable", message=message, traceback="")
