"""``anyq job``: single jobs by their ids: shown, cancelled, retried, started, given another time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

import attrs
import click

from .._core.jobs import JobInfo
from .._core.notes import Progress
from .._core.status import Cancellation, JobStatus
from ..queue import Queue
from ..settings import name as checked_name
from .addressing import ask, queue_of, queue_options
from .asking import agree, yes_option
from .endings import DONE, LEFT_SOMETHING, leave
from .jobs import NAME, error_of, job_as_json, run_of
from .moments import a_length, a_time
from .shown import clean, clean_lines, echo, json_option, moment, on_terminal, print_json

T = TypeVar("T")

_LONG, _LINES = 2000, 60

_WAITING = frozenset({JobStatus.DELAYED, JobStatus.PARKED})
_OVER = frozenset({JobStatus.FAILED, JobStatus.UNKNOWN, JobStatus.DONE, JobStatus.CANCELLED})


def _an_id(text: str) -> str:
    try:
        return checked_name("a job's id", text)
    except ValueError as error:
        raise click.BadParameter(clean(str(error), 200)) from None


_id = click.argument("id", type=_an_id)
_ids = click.argument("ids", nargs=-1, required=True, type=_an_id, metavar="ID...")


@click.group(name="job", short_help="One job: show, explain, cancel, retry, run it.")
def job() -> None:
    """Single jobs by their ids: show, explain, cancel, retry and run them, give them another time.

    Exits with 0 when all that was asked for is done; 3 when some of it is not, such as for a job that is not there, or
    does not wait; 1 when Redis cannot be asked, or the answer to a question was no; 2 when the command line makes no
    sense.
    """


@attrs.frozen
class _Done:
    """What was done for a job.

    Attributes:
        id: The job's id.
        what: What, in a word; or how it is, since nothing was done.
        done: Whether what was asked for is done.
        said: The same as a sentence, behind the id.
    """

    id: str
    what: str
    done: bool
    said: str


# -- looking ----------------------------------------------------------------------------------------------------------


@job.command()
@queue_options
@_id
@click.option("--payload", is_flag=True, help="Show the job's arguments too, which are secret otherwise.")
@json_option
def show(queue: str, url: str | None, prefix: str, id: str, payload: bool, as_json: bool) -> None:
    """Show all that is known of a job, its progress and its log too."""
    target = queue_of(queue, url, prefix)
    info = ask(target, lambda: target.job(id).info(payload=payload))
    if as_json:
        print_json(_as_json(info, payload=payload))
    elif info.state is not JobStatus.UNKNOWN:
        _print(info, payload=payload)
    if info.state is JobStatus.UNKNOWN:
        if not as_json:
            click.echo(f"anyq: there is nothing under the id '{clean(id, NAME)}'", err=True)
        leave(LEFT_SOMETHING)


@job.command(short_help="Say why a job is not running.")
@queue_options
@_id
@json_option
def explain(queue: str, url: str | None, prefix: str, id: str, as_json: bool) -> None:
    """Say why a job is not running: what it waits for, who could run it, what comes before it; or how it is."""
    target = queue_of(queue, url, prefix)
    found = ask(target, lambda: target.explain(id))
    if as_json:
        reasons = [
            {
                "kind": str(reason.kind),
                "text": reason.text,
                "at": reason.at,
                "jobs": {parent: str(state) for parent, state in reason.jobs.items()},
                "count": reason.count,
                "workers": list(reason.workers),
            }
            for reason in found.reasons
        ]
        print_json({"queue": queue, "job": _as_json(found.job, payload=False), "reasons": reasons})
    else:
        for line in str(found).splitlines():
            echo(clean(line, _LONG))
    leave(LEFT_SOMETHING if found.job.state is JobStatus.UNKNOWN else DONE)


# -- doing ------------------------------------------------------------------------------------------------------------


@job.command(short_help="Cancel jobs, whether they wait or run.")
@queue_options
@_ids
@click.option("--wait", is_flag=True, help="Wait until those that run have really stopped.")
@click.option("--timeout", type=a_length, metavar="LENGTH", help="With --wait: for so long at most: 30s.")
@yes_option
@json_option
def cancel(
    queue: str,
    url: str | None,
    prefix: str,
    ids: Sequence[str],
    wait: bool,
    timeout: timedelta | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Cancel jobs, wherever they are: one that waits is taken away, one that runs is stopped.

    In a pipe the columns are: id, what was done.
    """
    if timeout is not None and not wait:
        raise click.UsageError("--timeout is about --wait")
    target = queue_of(queue, url, prefix)
    count = len(set(ids))
    jobs = f"job '{clean(ids[0], NAME)}'" if count == 1 else f"{count} jobs"
    agree(f"Cancel {jobs} of queue '{clean(queue, NAME)}'?", yes=yes)

    async def end(id: str) -> _Done:
        try:
            did = await target.job(id).cancel(wait=wait, timeout=timeout)
        except TimeoutError:
            return _Done(id, "cancelling", False, "has not stopped yet, and goes on being cancelled")
        return _Done(id, str(did), did in _CANCELLED, _CANCELLATIONS[did])

    _each(target, ids, end, as_json=as_json)


_CANCELLED = frozenset({Cancellation.CANCELLED, Cancellation.CANCELLING, Cancellation.STOPPED})
_CANCELLATIONS = {
    Cancellation.CANCELLED: "is cancelled, before it began",
    Cancellation.CANCELLING: "is being cancelled: its worker is told",
    Cancellation.STOPPED: "is cancelled, and has stopped",
    Cancellation.OVER: "had ended by itself",
    Cancellation.UNKNOWN: "is not there",
}


@job.command(short_help="Let jobs that failed run again.")
@queue_options
@_ids
@json_option
def retry(queue: str, url: str | None, prefix: str, ids: Sequence[str], as_json: bool) -> None:
    """Let jobs run again: those that were given up are replayed, those that wait for a retry run now.

    A job that is replayed has all its attempts before it. In a pipe the columns are: id, what was done (replayed, run),
    or how it is.
    """
    target = queue_of(queue, url, prefix)

    async def again(id: str) -> _Done:
        handle = target.job(id)
        state = await handle.status()
        if state in _WAITING:
            if await handle.run_now():
                return _Done(id, "run", True, "runs now")
            state = await handle.status()
        if state not in _OVER:
            return _Done(id, str(state), False, f"is {state}: there is nothing to retry")
        letters = await target.dead_letters.list(job=id, limit=1)
        if not letters:
            return _Done(id, str(state), False, "is not among the dead letters")
        replayed = await target.dead_letters.replay(letters[0].id)
        if replayed.count:
            return _Done(id, "replayed", True, "is ready again")
        return _Done(id, str(JobStatus.FAILED), False, f"stays a dead letter: {replayed.left[letters[0].id]}")

    _each(target, ids, again, as_json=as_json)


@job.command()
@queue_options
@_ids
@json_option
def run(queue: str, url: str | None, prefix: str, ids: Sequence[str], as_json: bool) -> None:
    """Let delayed jobs be due at once, whatever made them wait.

    In a pipe the columns are: id, "run", or how it is.
    """
    _move(queue_of(queue, url, prefix), ids, "run", "runs now", delay=timedelta(0), as_json=as_json)


@job.command()
@queue_options
@_ids
@click.option("--delay", type=a_length, metavar="LENGTH", help="Until so much later than now: 90s, 10m, 2h.")
@click.option("--at", type=a_time, metavar="WHEN", help="Until then: 2026-11-22T20:00.")
@json_option
def reschedule(
    queue: str,
    url: str | None,
    prefix: str,
    ids: Sequence[str],
    delay: timedelta | None,
    at: datetime | None,
    as_json: bool,
) -> None:
    """Let delayed jobs wait for another time, by the server's clock.

    In a pipe the columns are: id, "rescheduled", or how it is.
    """
    if (delay is None) is (at is None):
        raise click.UsageError("give either --delay or --at")
    said = "waits until then"
    _move(queue_of(queue, url, prefix), ids, "rescheduled", said, delay=delay, at=at, as_json=as_json)


# -- how it is done ---------------------------------------------------------------------------------------------------


def _move(
    target: Queue,
    ids: Sequence[str],
    what: str,
    said: str,
    *,
    delay: timedelta | None = None,
    at: datetime | None = None,
    as_json: bool,
) -> None:
    async def move(id: str) -> _Done:
        handle = target.job(id)
        if await handle.reschedule(delay=delay, at=at):
            return _Done(id, what, True, said)
        state = await handle.status()
        return _Done(id, str(state), False, f"is {state}: it does not wait for its time")

    _each(target, ids, move, as_json=as_json)


def _each(
    target: Queue, ids: Sequence[str], verb: Callable[[str], Awaitable[_Done]], *, as_json: bool
) -> None:
    """Do something for each job, say what came of it, and end."""

    async def work() -> list[_Done]:
        return [await verb(id) for id in dict.fromkeys(ids)]

    found = ask(target, work)
    if as_json:
        rows = [{"id": one.id, "what": one.what, "done": one.done} for one in found]
        print_json({"queue": target.name, "jobs": rows})
    elif on_terminal():
        for one in found:
            echo(f"{clean(one.id, NAME)} {clean(one.said, _LONG)}")
    else:
        for one in found:
            echo(f"{clean(one.id, NAME)}\t{one.what}")
            if not one.done:
                click.echo(f"anyq: {clean(one.id, NAME)} {clean(one.said, _LONG)}", err=True)
    leave(DONE if all(one.done for one in found) else LEFT_SOMETHING)


def _as_json(info: JobInfo, *, payload: bool) -> dict[str, Any]:
    progress = info.progress
    return {
        **job_as_json(info, payload=payload),
        "started_at": info.started_at,
        "waits_for": list(info.waits_for),
        "progress": None if progress is None else attrs.asdict(progress),
        "log": [attrs.asdict(line) for line in info.log],
    }


def _how_far(progress: Progress | None) -> str:
    if progress is None:
        return ""
    total = "" if progress.total is None else f" of {progress.total:g}"
    return f"{progress.current:g}{total}" + (f", {progress.message}" if progress.message else "")


def _print(info: JobInfo, *, payload: bool) -> None:
    facts = {
        "id": info.id,
        "state": str(info.state),
        "task": info.task,
        "run": run_of(info),
        "lost": str(info.lost or ""),
        "priority": str(info.priority),
        "enqueued": moment(info.created_at),
        "planned": moment(info.scheduled_at),
        "due": moment(info.due_at),
        "deadline": moment(info.deadline),
        "worker": info.worker,
        "started": moment(info.started_at),
        "progress": _how_far(info.progress),
        "after": ", ".join(info.after),
        "waits for": ", ".join(info.waits_for),
        "unique": info.unique,
        "reason": info.reason,
        "error": error_of(info) if info.error or info.message else "",
        "given up": moment(info.ended_at),
        "entry": info.entry,
        "size": f"{info.size} bytes" if info.size else "",
    }
    if payload:
        facts["payload"] = repr(info.payload)
    for name, value in facts.items():
        if value:
            echo(f"{name + ':':<11}{clean(value, _LONG)}")
    if info.log:
        echo("log:")
        lines = "\n".join(
            f"{moment(line.at)} run {line.attempt}: {clean(line.text, _LONG)}" for line in info.log
        )
        for line in clean_lines(lines, _LONG, _LINES):
            echo(f"  {line}")
