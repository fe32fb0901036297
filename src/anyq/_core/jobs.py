"""A job as a value, seen from outside: what its bytes tell, wherever in Redis it lies.

Like a dead letter, no job is an error: its bytes are anybody's, and what they do not tell is ``None`` or empty.
Arguments are secret: they are decoded only on request, and ``repr`` never shows them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any, Final

import attrs

from ..settings import from_milliseconds
from .codec import Undecodable, decode, envelope_id
from .dead_letters import DeadLetter
from .job import NO_EXTRAS, NO_OVERRIDE
from .keys import DEFAULT_PRIORITY, PRIORITIES
from .notes import LogLine, Progress
from .status import JobStatus
from .values import unpack

#: The states in which jobs are found by listing, in the order of a list: those that a worker has, those that will run
#: next, those that wait, those that were given up.
LISTED: Final = (
    JobStatus.RUNNING,
    JobStatus.CANCELLING,
    JobStatus.QUEUED,
    JobStatus.ASIDE,
    JobStatus.DELAYED,
    JobStatus.PARKED,
    JobStatus.WAITING,
    JobStatus.FAILED,
)

#: Those of jobs that have not ended.
UNDER_WAY: Final = LISTED[:-1]

#: States that lie among those of another, and the kind of part where that is.
_KINDS: Final = {JobStatus.CANCELLING: JobStatus.RUNNING, JobStatus.PARKED: JobStatus.DELAYED}

_ENTRY = re.compile(r"\d{1,20}-\d{1,20}", re.ASCII)
_DUE = re.compile(r"-?[\d.e+]{1,30},\d{1,9}|-?inf,\d{1,9}", re.ASCII)

#: The kinds of parts of a list, in its order, and how a place in one is written.
_PLACES: Final = {
    JobStatus.RUNNING: _ENTRY,
    JobStatus.QUEUED: _ENTRY,
    JobStatus.ASIDE: _ENTRY,
    JobStatus.DELAYED: _DUE,
    JobStatus.WAITING: re.compile(r"\d{1,20},\d{1,9}", re.ASCII),
    JobStatus.FAILED: _ENTRY,
}

#: Milliseconds of the latest moment that Python's calendar has.
_LATEST: Final = 253_402_300_799_000


@attrs.frozen(kw_only=True, repr=False)
class JobInfo:
    """A job, as it was seen at one moment.

    Attributes:
        id: The job's id; ``""`` if its bytes do not tell.
        task: The task's name; ``""`` for none.
        state: How it is.
        attempt: Which run is under way, or comes next, counted from 1; of a job that was given up, how many it had.
            ``None`` if that is not known.
        attempts: How many runs the job asked for in total; ``None`` leaves it to its task, or to the worker.
        lost: Deliveries of it that were lost with their workers.
        priority: From 0 to 9.
        created_at: When it was enqueued, by the clock of the program that did; ``None`` if that is not known.
        due_at: Of a job that waits for its time: when that is, by the server's clock.
        deadline: From when on it is not started any more; ``None`` for never.
        scheduled_at: For when a schedule planned it; ``None`` for a job that no schedule made.
        after: The ids of the jobs that it waits for, or waited for.
        unique: The unique key that it holds, or ``""``.
        worker: The worker that has it, or gave it up; ``""`` for none.
        reason: Of a job that was given up: why, in one word.
        error: The type of the exception that its last run ended with; ``""`` if there was none, or it is not known.
        message: The text of that; of a job that waits, its first 500 characters.
        ended_at: When it was given up, by the server's clock.
        entry: Where it lies: the id of its entry in the stream, or that of its dead letter.
        size: Its bytes as it lies there.
        payload: The arguments by name, when they were asked for; else ``None``. As bytes where they cannot be decoded.
        cursor: Of a job in a list: where in it; ``after=`` goes on behind it.
        started_at: Of a job that was asked for by its id, and runs: since when, by the server's clock. ``None`` if it
            has not begun, or its worker has not said so yet (which takes about a second).
        waits_for: Of a job that was asked for by its id: those of ``after`` that have not ended.
        progress: Of a job that was asked for by its id: how far it said that it is, if it did.
        log: Of a job that was asked for by its id: the last lines that it logged.
    """

    id: str
    task: str
    state: JobStatus
    attempt: int | None = None
    attempts: int | None = None
    lost: int = 0
    priority: int = DEFAULT_PRIORITY
    created_at: datetime | None = None
    due_at: datetime | None = None
    deadline: datetime | None = None
    scheduled_at: datetime | None = None
    after: tuple[str, ...] = ()
    unique: str = ""
    worker: str = ""
    reason: str = ""
    error: str = ""
    message: str = ""
    ended_at: datetime | None = None
    entry: str = ""
    size: int = 0
    payload: Any = None
    cursor: str = ""
    started_at: datetime | None = None
    waits_for: tuple[str, ...] = ()
    progress: Progress | None = None
    log: tuple[LogLine, ...] = ()

    def __repr__(self) -> str:
        return f"<JobInfo {self.id!r} of {self.task!r}: {self.state}>"


@attrs.frozen(kw_only=True)
class Seen:
    """A job as a list finds it in Redis.

    Attributes:
        place: Where in its part of the list it lies, in the words of that.
        size: Bytes of its envelope.
        envelope: The envelope, most without its payload; or, where that is no usual one, its first bytes.
        name: The task's name.
        entry: Its entry id.
        lost: How often it was lost with a worker since its envelope was written.
        owner: The consumer that has it.
        priority: The priority noted beside it; ``None`` for none.
        due_ms: The millisecond when it is due.
    """

    place: str
    size: int
    envelope: bytes
    name: bytes
    entry: str = ""
    lost: int = 0
    owner: bytes = b""
    priority: int | None = None
    due_ms: float | None = None


def read(seen: Seen, state: JobStatus, *, cursor: str = "", payload: bool = False) -> JobInfo:
    """Read a job.

    Args:
        seen: The job, its payload included if that is wanted.
        state: Where it was seen: ``DELAYED`` becomes ``PARKED`` where its bytes say so.
        cursor: Its place in the list.
        payload: Decode the arguments.
    """
    job_id, created, attempt = envelope_id(seen.envelope) or "", None, None
    override, extras, arguments = NO_OVERRIDE, NO_EXTRAS, None
    try:
        job_id, body, created_ms, failed, override, extras = decode(seen.envelope)
    except Undecodable:
        arguments = seen.envelope
    else:
        created, attempt = _moment(created_ms), failed + seen.lost + 1
        arguments = _arguments(body) if payload else None
    if state is JobStatus.DELAYED and extras.parked:
        state = JobStatus.PARKED
    return JobInfo(
        id=job_id,
        task=seen.name.decode("utf-8", "replace"),
        state=state,
        attempt=attempt,
        attempts=override.attempts,
        lost=extras.lost + seen.lost,
        priority=extras.priority if seen.priority is None else seen.priority,
        created_at=created,
        due_at=_moment(seen.due_ms),
        deadline=_moment(extras.deadline_ms),
        scheduled_at=_moment(extras.scheduled),
        after=extras.after,
        unique=extras.unique,
        worker=seen.owner.decode("utf-8", "replace"),
        error="" if extras.error is None else extras.error[0],
        message="" if extras.error is None else extras.error[1],
        entry=seen.entry,
        size=seen.size,
        cursor=cursor,
        payload=arguments if payload else None,
    )


def of_letter(letter: DeadLetter, *, cursor: str = "") -> JobInfo:
    """See a dead letter as the job that it was."""
    return JobInfo(
        id=letter.job_id,
        task=letter.task,
        state=JobStatus.FAILED,
        attempt=letter.attempts,
        lost=letter.lost,
        created_at=letter.created_at,
        worker=letter.worker,
        reason=letter.reason,
        error=letter.error,
        message=letter.message or letter.detail,
        ended_at=letter.died_at,
        entry=letter.id,
        size=letter.size,
        cursor=cursor,
        payload=letter.payload,
    )


@attrs.frozen
class Cursor:
    """A place in a list of jobs: behind which job to go on.

    Attributes:
        kind: The kind of that job's part of the list, named after the first of its states.
        part: Which of the parts of that kind: a lane, or a task; ``""`` where there is but one.
        place: Where in it.
    """

    kind: JobStatus
    part: str
    place: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.part}/{self.place}"

    @staticmethod
    def parse(text: object) -> Cursor:
        """Read what ``str`` wrote.

        Raises:
            ValueError: It is no cursor.
        """
        if isinstance(text, str):
            kind, _, rest = text.partition("/")
            part, _, place = rest.rpartition("/")
            if kind in _PLACES and _PLACES[JobStatus(kind)].fullmatch(place):
                return Cursor(JobStatus(kind), part, place)
        raise ValueError(f"after must be the cursor of a job that was listed, not {text!r}")


def kinds(wanted: Collection[JobStatus]) -> list[JobStatus]:
    """Say which kinds of parts of the list hold jobs in these states, in the order of the list."""
    sought = {_KINDS.get(state, state) for state in wanted}
    return [kind for kind in _PLACES if kind in sought]


def states(given: str | Iterable[str] | None) -> tuple[JobStatus, ...]:
    """Check which states are asked for; in the order of a list.

    Args:
        given: A state, several, or ``None`` for those of jobs that have not ended.

    Raises:
        ValueError: One of them is none, or jobs in it are not listed.
    """
    if given is None:
        return UNDER_WAY
    wanted = [given] if isinstance(given, str) else list(given)
    for one in wanted:
        if one not in LISTED:
            known = ", ".join(LISTED)
            raise ValueError(f"jobs are listed by these states: {known}; not {one!r}")
    return tuple(state for state in LISTED if state in wanted)


def priority_of(lane: int) -> int | None:
    """Read the priority from the fourth byte of a delayed member; ``None`` where it says nothing."""
    priority = (lane & 15) - 1
    return priority if priority in PRIORITIES else None


def _arguments(body: bytes) -> Any:
    try:
        return unpack(body)
    except Undecodable:
        return body


def _moment(milliseconds: float | None) -> datetime | None:
    return None if milliseconds is None else from_milliseconds(round(min(max(milliseconds, 0), _LATEST)))
