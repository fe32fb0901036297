"""``anyq schedules``: what makes jobs by itself, when it does so next, and a say in it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

import attrs
import click

from .._core.schedules import Cron, Every
from ..errors import UnknownSchedule
from ..queue import Queue
from ..schedules import PlannedRun, Schedule
from ..settings import name as checked_name
from .addressing import ask, queue_of, queue_options, server_now
from .asking import agree, yes_option
from .endings import DONE, LEFT_SOMETHING, leave
from .shown import away, clean, echo, json_option, moment, on_terminal, print_json, print_rows
from .tables import Column, console, table

T = TypeVar("T")

_NAME, _WHEN = 80, 60


def a_name(text: str) -> str:
    """Read a schedule's name.

    Raises:
        click.BadParameter: No schedule can be called so.
    """
    try:
        return checked_name("a schedule's name", text)
    except ValueError as error:
        raise click.BadParameter(clean(str(error), 200)) from None


_names = click.argument("names", nargs=-1, required=True, type=a_name, metavar="NAME...")


@click.group(name="schedules", short_help="Schedules: list, run, pause and remove them.")
def schedules() -> None:
    """Schedules: list them, say what is due next, run, pause, resume and remove them.

    Exits with 0 when all that was asked for is done; 3 when there is no schedule of some name; 1 when Redis cannot be
    asked, or the answer to a question was no; 2 when the command line makes no sense.
    """


# -- looking ----------------------------------------------------------------------------------------------------------


@schedules.command("list")
@queue_options
@click.option("--task", metavar="NAME", help="Only those that make jobs of this task.")
@click.option(
    "--state", type=click.Choice(("active", "paused", "ended")), help="Only those that are in this state."
)
@click.option(
    "--payload", is_flag=True, help="Show the jobs' arguments, which are secret otherwise (with --json)."
)
@json_option
def list_(
    queue: str,
    url: str | None,
    prefix: str,
    task: str | None,
    state: str | None,
    payload: bool,
    as_json: bool,
) -> None:
    """List the schedules of a queue, by name.

    In a pipe the columns are: name, task, when, state, next planned time, last one, runs so far, "declared" if code
    declares it.
    """
    target = queue_of(queue, url, prefix)

    async def work() -> tuple[list[Schedule], datetime]:
        return await target.schedules.list(), await server_now(target)

    everything, now = ask(target, work)
    found = [
        schedule
        for schedule in everything
        if task in (None, schedule.task) and state in (None, schedule.state)
    ]
    if as_json:
        print_json({"queue": queue, "schedules": [_as_json(schedule, payload=payload) for schedule in found]})
    elif on_terminal():
        _print_table(found, now, queue)
    else:
        print_rows(map(_row, found))


@schedules.command("next", short_help="Show the runs that are started next.")
@queue_options
@click.argument("names", nargs=-1, type=a_name, metavar="[NAME]...")
@click.option("--count", "-n", type=click.IntRange(1, 10_000), default=5, help="How many runs.")
@json_option
def next_(queue: str, url: str | None, prefix: str, names: Sequence[str], count: int, as_json: bool) -> None:
    """Show the runs that are started next, of all schedules or of those that are named, in the order of time.

    Those that are paused or have ended start none. In a pipe the columns are: time, schedule, task.
    """
    target = queue_of(queue, url, prefix)

    async def work() -> tuple[list[PlannedRun], datetime] | str:
        try:
            return await target.schedules.upcoming(*names, count=count), await server_now(target)
        except UnknownSchedule as error:
            return error.name

    found = ask(target, work)
    if isinstance(found, str):
        _print_missing([found])
        leave(LEFT_SOMETHING)
    runs, now = found
    if as_json:
        print_json({"queue": queue, "runs": [attrs.asdict(run) for run in runs]})
    elif on_terminal():
        _print_runs(runs, now)
    else:
        print_rows(_run(run) for run in runs)


# -- doing ------------------------------------------------------------------------------------------------------------


@schedules.command(short_help="Make a job of each schedule now.")
@queue_options
@_names
@json_option
def run(queue: str, url: str | None, prefix: str, names: Sequence[str], as_json: bool) -> None:
    """Make a job of each schedule now, whatever its state; its plan stays as it is. Prints the jobs' ids.

    In a pipe the columns are: schedule, job, task.
    """
    target = queue_of(queue, url, prefix)
    jobs, missing = ask(target, lambda: _each(names, target.schedules.run_now))
    rows = [{"schedule": name, "job": job.id, "task": job.name} for name, job in jobs.items()]
    if as_json:
        print_json({"queue": queue, "jobs": rows, "missing": missing})
    else:
        for row in rows:
            name, job, task = (clean(word, _NAME) for word in row.values())
            echo(f"{name}: job {job} of {task}" if on_terminal() else f"{name}\t{job}\t{task}")
    _leave(missing, as_json=as_json)


@schedules.command(short_help="Let schedules start nothing until they are resumed.")
@queue_options
@_names
@json_option
def pause(queue: str, url: str | None, prefix: str, names: Sequence[str], as_json: bool) -> None:
    """Let schedules start nothing until they are resumed; jobs that they made go on.

    In a pipe the columns are: schedule, state, next planned time.
    """
    target = queue_of(queue, url, prefix)
    _change(target, names, target.schedules.pause, as_json=as_json)


@schedules.command()
@queue_options
@_names
@json_option
def resume(queue: str, url: str | None, prefix: str, names: Sequence[str], as_json: bool) -> None:
    """Let paused schedules go on; what was due meanwhile is not made up.

    In a pipe the columns are: schedule, state, next planned time.
    """
    target = queue_of(queue, url, prefix)
    _change(target, names, target.schedules.resume, as_json=as_json)


@schedules.command()
@queue_options
@_names
@yes_option
@json_option
def remove(queue: str, url: str | None, prefix: str, names: Sequence[str], yes: bool, as_json: bool) -> None:
    """Remove schedules for good; jobs that they made stay.

    One that code declares comes back with the next worker that starts: take it out of the code, or pause it. In a pipe
    the columns are: schedule, "removed".
    """
    target = queue_of(queue, url, prefix)
    known = {schedule.name: schedule for schedule in ask(target, target.schedules.list)}
    count = len(set(names) & known.keys())
    if count:
        what = f"{count} schedule{'' if count == 1 else 's'} of queue '{clean(queue, _NAME)}'"
        agree(f"Remove {what}?", yes=yes)

    async def work() -> list[str]:
        return [name for name in dict.fromkeys(names) if await target.schedules.remove(name)]

    removed = ask(target, work)
    missing = [name for name in dict.fromkeys(names) if name not in removed]
    if as_json:
        print_json({"queue": queue, "removed": removed, "missing": missing})
    else:
        link = " is " if on_terminal() else "\t"
        for name in removed:
            echo(f"{clean(name, _NAME)}{link}removed")
    for name in removed:
        if name in known and known[name].declared:
            click.echo(
                f"anyq: {clean(name, _NAME)} is declared by code, and comes back with the next worker that declares it",
                err=True,
            )
    _leave(missing, as_json=as_json)


# -- how it is done ---------------------------------------------------------------------------------------------------


async def _each(names: Sequence[str], verb: Callable[[str], Awaitable[T]]) -> tuple[dict[str, T], list[str]]:
    """Do something with each schedule; give what it came to, and the names that are none's."""
    done: dict[str, T] = {}
    missing: list[str] = []
    for name in dict.fromkeys(names):
        try:
            done[name] = await verb(name)
        except UnknownSchedule:
            missing.append(name)
    return done, missing


def _change(
    target: Queue,
    names: Sequence[str],
    verb: Callable[[str], Awaitable[Schedule]],
    *,
    as_json: bool,
) -> None:
    """Pause or resume schedules, and say how they stand."""
    found, missing = ask(target, lambda: _each(names, verb))
    if as_json:
        rows = [
            {"schedule": name, "state": schedule.state, "next_at": schedule.next_at}
            for name, schedule in found.items()
        ]
        print_json({"queue": target.name, "schedules": rows, "missing": missing})
    else:
        for name, schedule in found.items():
            due = moment(schedule.next_at) if schedule.state == "active" else ""
            if on_terminal():
                echo(f"{clean(name, _NAME)} is {schedule.state}{due and f', due at {due}'}")
            else:
                echo(f"{clean(name, _NAME)}\t{schedule.state}\t{moment(schedule.next_at)}")
    _leave(missing, as_json=as_json)


def _leave(missing: Sequence[str], *, as_json: bool) -> None:
    if missing and not as_json:
        _print_missing(missing)
    leave(LEFT_SOMETHING if missing else DONE)


def _print_missing(missing: Sequence[str]) -> None:
    for name in missing:
        click.echo(f"anyq: there is no schedule '{clean(name, _NAME)}'", err=True)


# -- what is printed --------------------------------------------------------------------------------------------------


def _when(when: Cron | Every) -> str:
    """When a schedule is due, as a person reads it."""
    if isinstance(when, Every):
        return f"every {when.interval:g} s"
    return clean(when.expression, _WHEN) + (f" {clean(when.tz, _WHEN)}" if when.tz else "")


def _row(schedule: Schedule) -> list[str]:
    return [
        clean(schedule.name, _NAME),
        clean(schedule.task, _NAME),
        _when(schedule.when),
        schedule.state,
        moment(schedule.next_at),
        moment(schedule.last_at),
        f"{schedule.fired}{'' if schedule.limit is None else f'/{schedule.limit}'}",
        "declared" if schedule.declared else "",
    ]


def _run(run: PlannedRun) -> list[str]:
    return [moment(run.at), clean(run.schedule, _NAME), clean(run.task, _NAME)]


_COLUMNS = (
    Column("schedule", cut=True), Column("task", cut=True), Column("when", cut=True), Column("state"), Column("next"),
    Column("last", spare=True), Column("runs", right=True), Column("", spare=True),
)  # fmt: skip


def _print_table(found: Sequence[Schedule], now: datetime, queue: str) -> None:
    if not found:
        echo(f"no such schedules in queue '{clean(queue, _NAME)}'")
        return
    rows: list[list[str]] = []
    for schedule in found:
        name, task, when, state, _, _, runs, declared = _row(schedule)
        due = away(schedule.next_at, now) if schedule.state == "active" else ""
        rows.append([name, task, when, state, due, away(schedule.last_at, now), runs, declared])
    screen = console()
    screen.print(table(_COLUMNS, rows, screen.width))


_PLANNED = (Column("at"), Column(""), Column("schedule", cut=True), Column("task", cut=True))


def _print_runs(runs: Sequence[PlannedRun], now: datetime) -> None:
    if not runs:
        click.echo("nothing is planned")
        return
    rows = [[(row := _run(run))[0], away(run.at, now), *row[1:]] for run in runs]
    screen = console()
    screen.print(table(_PLANNED, rows, screen.width))


def _as_json(schedule: Schedule, *, payload: bool) -> dict[str, Any]:
    when, missed, options = schedule.when, schedule.missed, schedule.options
    backoff = options.get("backoff")
    shape: dict[str, Any] = {
        "name": schedule.name,
        "task": schedule.task,
        "when": {"every": when.interval}
        if isinstance(when, Every)
        else {"cron": when.expression, "tz": when.tz},
        "state": schedule.state,
        "next_at": schedule.next_at,
        "last_at": schedule.last_at,
        "fired": schedule.fired,
        "limit": schedule.limit,
        "start": schedule.start,
        "end": schedule.end,
        "jitter": schedule.jitter,
        "deadline": schedule.deadline,
        "missed": {"kind": missed.kind, "most": missed.most, "grace": missed.grace},
        "declared": schedule.declared,
        "priority": schedule.priority,
        "unique": schedule.unique,
        "left_out": schedule.left_out,
        "attempts": options.get("attempts"),
        "backoff": None if backoff is None else repr(backoff),
        "timeout": options.get("timeout"),
        "result_ttl": options.get("result_ttl"),
    }
    if payload:
        shape["payload"] = schedule.payload
    return shape
