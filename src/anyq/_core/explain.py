"""Why a job is not running: what is known of it, of the pauses, of the workers and of those before it, put into words.

Rule: this only says what the facts say. They were read one after the other while everything moves, so a reason may be
over when it is read; and where a worker did not tell what it knows, nothing is made of that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Final

import attrs

from ..settings import from_milliseconds
from .jobs import JobInfo
from .status import JobStatus
from .words import lasting
from .workers import WorkerInfo

#: How many jobs before one are counted exactly.
COUNTED: Final = 10_000

#: How many jobs are named that one waits for, and characters of a message.
_NAMED, _MESSAGE = 5, 200


class ReasonKind(StrEnum):
    """What a `Reason` is about.

    Attributes:
        QUEUE_PAUSED: The queue is paused.
        TASK_PAUSED: The job's task is paused.
        RETURNS: Its task is not paused any more: the job is on its way back.
        DUE: It waits for its time.
        RETRY: It waits for its time, since its last run failed.
        PARKED: It waits until it is offered again: no worker knew its task.
        WAITS: It waits for other jobs to end.
        STRANDED: It waits for other jobs of which nothing is known any more: nobody lets it go.
        NO_WORKER: No worker lives.
        UNKNOWN_TASK: Workers live, and none of them knows its task.
        DRAINING: The workers that know its task are leaving.
        BUSY: The workers that know its task have their hands full.
        BEHIND: Other jobs come before it.
        EXPIRED: Its deadline is over: it is given up when a worker meets it.
        READY: Nothing stands in its way.
        RUNNING: It runs.
        TAKEN: A worker has it, and has not begun it, or not said so yet.
        SILENT: A worker has it that gives no sign of life: others take the job over.
        CANCELLING: Somebody cancelled it, and its worker stops it.
        ENDED: It has ended.
        GIVEN_UP: It was given up.
        UNKNOWN: There is nothing under its id.
    """

    QUEUE_PAUSED = "queue_paused"
    TASK_PAUSED = "task_paused"
    RETURNS = "returns"
    DUE = "due"
    RETRY = "retry"
    PARKED = "parked"
    WAITS = "waits"
    STRANDED = "stranded"
    NO_WORKER = "no_worker"
    UNKNOWN_TASK = "unknown_task"
    DRAINING = "draining"
    BUSY = "busy"
    BEHIND = "behind"
    EXPIRED = "expired"
    READY = "ready"
    RUNNING = "running"
    TAKEN = "taken"
    SILENT = "silent"
    CANCELLING = "cancelling"
    ENDED = "ended"
    GIVEN_UP = "given_up"
    UNKNOWN = "unknown"


@attrs.frozen(kw_only=True)
class Reason:
    """One thing that keeps a job from running, or says how it is.

    Attributes:
        kind: What it is about.
        text: The same as a sentence.
        at: The moment that it names, by the server's clock: when it is over by itself, or since when it is so.
        jobs: The jobs that it names, and how they are.
        count: The jobs that it counts.
        workers: The workers that it names.
    """

    kind: ReasonKind
    text: str
    at: datetime | None = None
    jobs: Mapping[str, JobStatus] = attrs.field(factory=dict[str, JobStatus])
    count: int | None = None
    workers: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Explanation:
    """Why a job is not running, or how it is; ``str`` gives it in English, a sentence a line.

    Attributes:
        job: What is known of the job.
        reasons: What keeps it from running, the gravest first; or how it is.
    """

    job: JobInfo
    reasons: tuple[Reason, ...]

    def __str__(self) -> str:
        job = self.job
        of = f" of task {job.task!r}" if job.task else ""
        run = f", run {job.attempt}" if job.attempt is not None and job.state not in _OVER else ""
        if run and job.attempts is not None:
            run += f" of {job.attempts}"
        first = f"Job {job.id}{of} is {job.state}{run}."
        return "\n".join([first, *(reason.text for reason in self.reasons)])


@attrs.frozen(kw_only=True)
class Facts:
    """What an explanation is made from.

    Attributes:
        job: What is known of the job.
        now: The server's clock.
        queue_pause: Until which millisecond the queue is paused: 0 until it is resumed, ``None`` if it is not.
        task_pause: The same for the job's task.
        workers: Who works on the queue.
        ahead: Ready jobs of its lane that come before it; more than `COUNTED` means: at least so many.
        sooner: Ready jobs in lanes that are read before its own.
        parents: How those are that it waits for; not all, if they are many.
        chain: For what the first of those waits, and so on: ids and states.
    """

    job: JobInfo
    now: datetime
    queue_pause: int | None = None
    task_pause: int | None = None
    workers: Sequence[WorkerInfo] = ()
    ahead: int = 0
    sooner: int = 0
    parents: Mapping[str, JobStatus] = attrs.field(factory=dict[str, JobStatus])
    chain: Sequence[tuple[str, JobStatus]] = ()


_OVER = frozenset({JobStatus.DONE, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.UNKNOWN})


def explain(facts: Facts) -> Explanation:
    """Say why a job is not running."""
    match facts.job.state:
        case JobStatus.QUEUED:
            reasons = [*_expired(facts), *_pauses(facts), *_workers(facts), *_behind(facts)]
            if not reasons:
                text = "Nothing stands in its way: a worker that knows its task has room, and takes it any moment."
                reasons = [Reason(kind=ReasonKind.READY, text=text)]
        case JobStatus.ASIDE:
            reasons = [*_expired(facts), *_aside(facts), *_workers(facts)]
        case JobStatus.DELAYED | JobStatus.PARKED:
            reasons = [*_expired(facts), _delayed(facts), *_pauses(facts), *_workers(facts, busy=False)]
        case JobStatus.WAITING:
            reasons = [*_expired(facts), *_waits(facts)]
        case JobStatus.RUNNING | JobStatus.CANCELLING:
            reasons = [*_held(facts)]
        case _:
            reasons = [_over(facts.job)]
    return Explanation(job=facts.job, reasons=tuple(reasons))


# -- what keeps it ----------------------------------------------------------------------------------------------------


def _expired(facts: Facts) -> Iterator[Reason]:
    deadline = facts.job.deadline
    if deadline is not None and deadline <= facts.now:
        text = f"Its deadline, {_time(deadline)}, is over: it is given up as soon as a worker meets it."
        yield Reason(kind=ReasonKind.EXPIRED, text=text, at=deadline)


def _pauses(facts: Facts) -> Iterator[Reason]:
    if facts.queue_pause is not None:
        yield _paused(ReasonKind.QUEUE_PAUSED, "The queue", facts.queue_pause)
    if facts.task_pause is not None:
        yield _paused(ReasonKind.TASK_PAUSED, "Its task", facts.task_pause)


def _paused(kind: ReasonKind, what: str, until_ms: int) -> Reason:
    if not until_ms:
        return Reason(kind=kind, text=f"{what} is paused, until it is resumed.")
    until = from_milliseconds(until_ms)
    return Reason(kind=kind, text=f"{what} is paused, until {_time(until)}.", at=until)


def _aside(facts: Facts) -> Iterator[Reason]:
    if facts.task_pause is None:
        text = "It was set aside while its task was paused; that is over, and workers bring it back."
        yield Reason(kind=ReasonKind.RETURNS, text=text)
    yield from _pauses(facts)


def _delayed(facts: Facts) -> Reason:
    job, due = facts.job, facts.job.due_at
    if due is None:
        when = "at a time that its bytes do not tell"
    elif due > facts.now:
        when = f"at {_time(due)}, in {lasting((due - facts.now).total_seconds())}"
    else:
        when = f"since {_time(due)}, and a worker makes it ready"
    if job.state is JobStatus.PARKED:
        text = f"No worker that met it knew its task; it is offered again {when}."
        return Reason(kind=ReasonKind.PARKED, text=text, at=due)
    if job.error or (job.attempt or 1) > 1:
        failed = f"Run {(job.attempt or 2) - 1} failed{_error(job)}."
        return Reason(kind=ReasonKind.RETRY, text=f"{failed} It is due again {when}.", at=due)
    return Reason(kind=ReasonKind.DUE, text=f"It waits for its time: it is due {when}.", at=due)


def _waits(facts: Facts) -> Iterator[Reason]:
    count = len(facts.job.waits_for)
    if not count:
        text = "Of the jobs that it waits for nothing is known any more, so nobody lets it go: cancel it."
        yield Reason(kind=ReasonKind.STRANDED, text=text)
        return
    shown = [f"{parent} ({state})" for parent, state in [*facts.parents.items()][:_NAMED]]
    more = f" and {count - len(shown):,} others" if count > len(shown) else ""
    text = f"It waits for {_number(count, 'job')} to end: {', '.join(shown)}{more}."
    for job_id, state in facts.chain:
        text += f" That one waits for {job_id} ({state})."
    yield Reason(kind=ReasonKind.WAITS, text=text, jobs=dict(facts.parents), count=count)


def _workers(facts: Facts, *, busy: bool = True) -> Iterator[Reason]:
    """What there is to say of those who could run it."""
    task = facts.job.task
    lives = [worker for worker in facts.workers if worker.lives]
    foreign = [worker for worker in facts.workers if worker.state == "foreign"]
    if not lives:
        if foreign:  # nobody knows what they know
            return
        silent = len(facts.workers)
        beside = f" ({_number(silent, 'worker')} gave no sign of life for too long)" if silent else ""
        yield Reason(kind=ReasonKind.NO_WORKER, text=f"No worker of this queue lives{beside}.")
        return
    able = [worker for worker in lives if worker.knows(task) is not False]
    if not able:
        if not foreign:
            alone = len(lives) == 1
            who = "The worker that lives does not know" if alone else "None of the workers that live knows"
            text = f"{who} its task {task!r}, but {_tasks(lives)}."
            yield Reason(kind=ReasonKind.UNKNOWN_TASK, text=text, workers=_names(lives))
        return
    staying = [worker for worker in able if worker.state != "draining"]
    if not staying:
        text = "The workers that know its task are leaving, and take nothing more."
        yield Reason(kind=ReasonKind.DRAINING, text=text, workers=_names(able))
        return
    if busy and all(worker.busy is not None and worker.concurrency for worker in staying):
        at_work, room = (sum(getattr(one, what) for one in staying) for what in ("busy", "concurrency"))
        if at_work >= room:
            who = "The worker that knows" if len(staying) == 1 else f"The {len(staying)} workers that know"
            text = f"{who} its task {_have(staying)} all hands full: {_number(at_work, 'job')} run there."
            yield Reason(kind=ReasonKind.BUSY, text=text, count=at_work, workers=_names(staying))


def _behind(facts: Facts) -> Iterator[Reason]:
    count = min(facts.ahead, COUNTED) + facts.sooner
    if count < 1:
        return
    if facts.ahead > COUNTED:
        text = f"More than {_number(count, 'job')} come before it"
    else:
        text = f"{_number(count, 'job')} {'comes' if count == 1 else 'come'} before it"
    if facts.sooner:
        text += f", {facts.sooner:,} of them in lanes that are read sooner"
    yield Reason(kind=ReasonKind.BEHIND, text=f"{text}.", count=count)


# -- how it is --------------------------------------------------------------------------------------------------------


def _held(facts: Facts) -> Iterator[Reason]:
    job = facts.job
    worker = next((one for one in facts.workers if one.name == job.worker), None)
    where = f"{worker.host}:{worker.pid}" if worker is not None and worker.host else job.worker
    names = (job.worker,)
    if job.state is JobStatus.CANCELLING:
        yield Reason(
            kind=ReasonKind.CANCELLING,
            text=f"Somebody cancelled it, and its worker {where} is told.",
            workers=names,
        )
    if worker is not None and worker.state == "silent":
        text = f"Its worker {where} gives no sign of life: others take the job over within seconds."
        yield Reason(kind=ReasonKind.SILENT, text=text, workers=names)
    elif job.started_at is not None:
        lasts = lasting((facts.now - job.started_at).total_seconds())
        text = f"It runs on worker {where} since {_time(job.started_at)}, for {lasts}."
        yield Reason(kind=ReasonKind.RUNNING, text=text, at=job.started_at, workers=names)
    elif worker is not None and worker.state == "foreign":
        text = f"Worker {where}, another program's, has it."
        yield Reason(kind=ReasonKind.TAKEN, text=text, workers=names)
    else:
        text = f"Worker {where} has taken it, and has not said yet that it runs."
        if worker is not None and worker.busy and worker.concurrency and worker.busy >= worker.concurrency:
            hands = _number(worker.busy, "job")
            text = f"Worker {where} has taken it ahead, and has all hands full: {hands} run there."
        yield Reason(kind=ReasonKind.TAKEN, text=text, workers=names)
    if job.error:
        yield Reason(kind=ReasonKind.RETRY, text=f"The run before failed{_error(job)}.")


def _over(job: JobInfo) -> Reason:
    if job.state is JobStatus.FAILED:
        runs = "" if job.attempt is None else f" after {_number(job.attempt, 'run')}"
        when = "" if job.ended_at is None else f" at {_time(job.ended_at)}"
        reason = f" as {job.reason}" if job.reason else ""
        letter = " It is a dead letter, and can be replayed." if job.entry else ""
        text = f"It was given up{when}{runs}{reason}{_error(job)}.{letter}"
        return Reason(kind=ReasonKind.GIVEN_UP, text=text, at=job.ended_at)
    if job.state is JobStatus.UNKNOWN:
        text = "There is nothing under this id: it ended and nothing was kept of it, or it never was."
        return Reason(kind=ReasonKind.UNKNOWN, text=text)
    how = "It was cancelled." if job.state is JobStatus.CANCELLED else "It has ended, and its result is kept."
    return Reason(kind=ReasonKind.ENDED, text=how)


# -- words ------------------------------------------------------------------------------------------------------------


def _error(job: JobInfo) -> str:
    if not job.error and not job.message:
        return ""
    message = next(iter(job.message.splitlines()), "")
    message = message if len(message) <= _MESSAGE else message[: _MESSAGE - 1] + "…"
    return f": {job.error}: {message}" if job.error and message else f": {job.error or message}"


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _have(workers: Sequence[WorkerInfo]) -> str:
    return "has" if len(workers) == 1 else "have"


def _names(workers: Sequence[WorkerInfo]) -> tuple[str, ...]:
    return tuple(worker.name for worker in workers)


def _tasks(workers: Sequence[WorkerInfo]) -> str:
    names = sorted({task for worker in workers for task in worker.tasks})
    shown = ", ".join(repr(task) for task in names[:_NAMED])
    return f"{shown} and {len(names) - _NAMED:,} others" if len(names) > _NAMED else shown or "no task"


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
