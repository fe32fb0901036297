"""``anyq pause`` and ``anyq resume``: no job starts any more, of a queue or of one task; and they do again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import TypeVar

import click

from ..queue import Queue
from .addressing import ask, queue_of, queue_options, server_now
from .moments import a_length, a_time
from .shown import clean, json_option, moment, on_terminal, print_json, print_rows

T = TypeVar("T")

_NAME = 80

_task = click.option("--task", metavar="NAME", help="Only the jobs of this task, instead of the whole queue.")


@click.command(short_help="Let no job of a queue or a task start any more.")
@queue_options
@_task
@click.option("--until", type=a_time, metavar="WHEN", help="It ends by itself then: 2026-11-22T20:00.")
@click.option(
    "--for", "length", type=a_length, metavar="LENGTH", help="It ends by itself after so long: 90s, 10m, 2h."
)
@json_option
def pause(
    queue: str,
    url: str | None,
    prefix: str,
    task: str | None,
    until: datetime | None,
    length: timedelta | None,
    as_json: bool,
) -> None:
    """Let no job of a queue start any more, or of one task; jobs that run go on to their end.

    Returns when every worker that lives has confirmed it. To pause again replaces its end. In a pipe the columns are:
    queue, task (empty: the whole queue), "paused", and until when (empty: until it is resumed).
    """
    if until is not None and length is not None:
        raise click.UsageError("give either --until or --for")
    target = queue_of(queue, url, prefix)

    async def work() -> datetime | None:
        ends = until
        if length is not None:
            ends = await server_now(target) + length
        await target.pause(task, until=ends)
        return ends

    ends = _ask(target, work)
    if as_json:
        print_json({"queue": queue, "task": task, "paused": True, "until": ends})
    elif on_terminal():
        click.echo(f"{_shown(queue, task)} is paused {'until ' + moment(ends) if ends else 'until resumed'}")
    else:
        print_rows([[clean(queue, _NAME), clean(task or "", _NAME), "paused", moment(ends)]])


@click.command(short_help="End such a pause.")
@queue_options
@_task
@json_option
def resume(queue: str, url: str | None, prefix: str, task: str | None, as_json: bool) -> None:
    """End the pause of a queue, or of one task; those that are paused by themselves stay so.

    It is no mistake if nothing was paused. In a pipe the columns are: queue, task (empty: the whole queue), and
    "resumed" or "not paused".
    """
    target = queue_of(queue, url, prefix)
    was = _ask(target, lambda: target.resume(task))
    if as_json:
        print_json({"queue": queue, "task": task, "paused": False, "was_paused": was})
    elif on_terminal():
        click.echo(f"{_shown(queue, task)} {'is resumed' if was else 'was not paused'}")
    else:
        print_rows([[clean(queue, _NAME), clean(task or "", _NAME), "resumed" if was else "not paused"]])


def _ask(target: Queue, work: Callable[[], Awaitable[T]]) -> T:
    try:
        return ask(target, work)
    except (ValueError, TypeError) as error:
        raise click.UsageError(clean(str(error), 1000)) from None


def _shown(queue: str, task: str | None) -> str:
    return (
        f"queue {clean(queue, _NAME)}"
        if task is None
        else f"task {clean(task, _NAME)} of {clean(queue, _NAME)}"
    )
