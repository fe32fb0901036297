"""``anyq jobs``: the jobs of a queue, wherever they are, page by page; and how a job is shown at all.

What is printed to a terminal is for people; in a pipe it is a line a job, columns apart by tabs; with ``--json`` it is
for programs, and its shape is documented and stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import click

from .._core.jobs import LISTED, Cursor, JobInfo
from .addressing import ask, queue_of, queue_options, server_now
from .shown import away, clean, echo, json_option, moment, on_terminal, print_json, print_rows
from .tables import Column, console, table

NAME, _SHORT = 80, 200


def _a_cursor(text: str) -> str:
    try:
        return str(Cursor.parse(text))
    except ValueError:
        raise click.BadParameter(f"'{clean(text, NAME)}' is no place in a list of jobs") from None


@click.command(short_help="List jobs, wherever they are.")
@queue_options
@click.option(
    "--state",
    "states",
    type=click.Choice([str(state) for state in LISTED]),
    multiple=True,
    help="How they are; repeatable.  [default: all but failed]",
    show_default=False,
)
@click.option("--task", metavar="NAME", help="Their task.")
@click.option("--limit", "-n", type=click.IntRange(min=1), default=20, help="How many at most.")
@click.option(
    "--after", type=_a_cursor, metavar="PLACE", help="Go on there: what the page before said at its end."
)
@click.option("--newest-first", is_flag=True, help="Begin with those that came last, or are due last.")
@click.option(
    "--payload", is_flag=True, help="Show the jobs' arguments, which are secret otherwise (with --json)."
)
@json_option
def jobs(
    queue: str,
    url: str | None,
    prefix: str,
    states: Sequence[str],
    task: str | None,
    limit: int,
    after: str | None,
    newest_first: bool,
    payload: bool,
    as_json: bool,
) -> None:
    """List jobs: those that workers have, those that are next, set aside, delayed, waiting for others.

    In a pipe the columns are: id, state, task, run, priority, enqueued, due or given up, worker, error.
    """
    target = queue_of(queue, url, prefix)

    async def work() -> tuple[list[JobInfo], datetime]:
        try:
            # One more than the page, to know whether there is another page.
            found = target.jobs(
                states or None, task, limit=limit + 1, after=after, newest_first=newest_first, payload=payload
            )
        except ValueError:  # the cursor of another list
            raise click.UsageError("--after is the place of another list: say the same --state too") from None
        return [job async for job in found], await server_now(target)

    page, now = ask(target, work)
    rest = page[limit - 1].cursor if len(page) > limit else None
    page = page[:limit]
    if as_json:
        print_json(
            {"queue": queue, "jobs": [job_as_json(job, payload=payload) for job in page], "next": rest}
        )
        return
    if on_terminal():
        _print_table(page, now, queue)
    else:
        print_rows(map(_row, page))
    if rest is not None:
        click.echo(f"more: --after {clean(rest, 1000)}", err=True)


def job_as_json(job: JobInfo, *, payload: bool) -> dict[str, Any]:
    """A job for programs."""
    shape: dict[str, Any] = {
        "id": job.id,
        "task": job.task,
        "state": str(job.state),
        "attempt": job.attempt,
        "attempts": job.attempts,
        "lost": job.lost,
        "priority": job.priority,
        "created_at": job.created_at,
        "due_at": job.due_at,
        "deadline": job.deadline,
        "scheduled_at": job.scheduled_at,
        "after": list(job.after),
        "unique": job.unique,
        "worker": job.worker,
        "reason": job.reason,
        "error": job.error,
        "message": job.message,
        "ended_at": job.ended_at,
        "entry": job.entry,
        "size": job.size,
    }
    if payload:
        shape["payload"] = job.payload
    return shape


def error_of(job: JobInfo) -> str:
    """What its last run failed with, in a line."""
    if job.error:
        return f"{job.error[:NAME]}: {job.message}" if job.message else job.error
    return job.message or job.reason


def run_of(job: JobInfo) -> str:
    """Which run it is at, in a word."""
    if job.attempt is None:
        return ""
    return str(job.attempt) if job.attempts is None else f"{job.attempt}/{job.attempts}"


def _when(job: JobInfo) -> datetime | None:
    return job.due_at or job.ended_at


def _row(job: JobInfo) -> list[str]:
    return [
        clean(job.id, NAME),
        str(job.state),
        clean(job.task, NAME),
        run_of(job),
        str(job.priority),
        moment(job.created_at),
        moment(_when(job)),
        clean(job.worker, NAME),
        clean(error_of(job), _SHORT),
    ]


_COLUMNS = (
    Column("id", cut=True, least=26), Column("state"), Column("task", cut=True, least=8), Column("run", right=True),
    Column("prio", right=True, spare=True), Column("when"), Column("worker, error", cut=True),
)  # fmt: skip


def _print_table(page: Sequence[JobInfo], now: datetime, queue: str) -> None:
    if not page:
        echo(f"no such jobs in queue '{clean(queue, NAME)}'")
        return
    screen = console()
    screen.print(table(_COLUMNS, [_cells(job, now) for job in page], screen.width))


def _cells(job: JobInfo, now: datetime) -> list[str]:
    id, state, task, run, priority, _, _, worker, error = _row(job)
    if job.ended_at is not None:
        when, more = away(job.ended_at, now), error
    else:
        when = f"due {away(job.due_at, now)}" if job.due_at is not None else away(job.created_at, now)
        more = "  ".join(filter(None, (worker, error)))
    return [id, state, task, run, priority, when, more]
