"""``anyq events``: what happens to jobs, a line an event."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from .._core.events import Event
from .addressing import ask, queue_of, queue_options
from .lasting import until_ended
from .moments import a_moment
from .shown import clean, echo, on_terminal, print_json

_NAME, _VALUE = 80, 200

#: How kinds look on a terminal.
_STYLES = {
    "completed": "green",
    "failed": "yellow",
    "retry-scheduled": "yellow",
    "dlq": "bold red",
    "cancelled": "magenta",
    "active": "cyan",
}


def a_place(_context: click.Context, _parameter: click.Parameter, text: str | None) -> str | datetime | None:
    """Read where to begin: an event's id, or a moment."""
    if text is None or text.replace("-", "", 1).isdecimal():
        return text
    return a_moment(text)


@click.command(short_help="Follow what happens to jobs.")
@queue_options
@click.option(
    "--follow/--no-follow", default=True, help="Wait for more, or stop at the end of what there is."
)
@click.option(
    "--after",
    callback=a_place,
    metavar="ID|WHEN",
    help="Begin after this event, or at this moment: 2026-11-22T20:00, or 2h for 2 hours ago; 0 for the oldest that "
    "is kept.  [default: now]",
)
@click.option(
    "--kind", "-k", "kinds", multiple=True, help="Only events of this kind, such as dlq; repeatable."
)
@click.option("--job", help="Only events of the job with this id.")
@click.option("--limit", "-n", type=click.IntRange(min=1), help="Stop after so many.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, an object a line.")
def events(
    queue: str,
    url: str | None,
    prefix: str,
    follow: bool,
    after: str | datetime | None,
    kinds: Sequence[str],
    job: str | None,
    limit: int | None,
    as_json: bool,
) -> None:
    """Show what happens to jobs, while it happens: a line an event.

    In a pipe the columns are: id, time, kind, task, job, attempt; then what else the event tells, as name=value.

    Ctrl-C ends it, with exit code 0.
    """
    target = queue_of(queue, url, prefix)
    try:
        found = target.events(after=after, kinds=kinds, job=job, follow=follow)
    except ValueError as error:
        raise click.BadParameter(clean(str(error), 200), param_hint="--after") from None
    tell = _tell_json if as_json else _teller()

    async def work() -> None:
        # A server that is not there is said at once; one that goes is waited for.
        await target.redis.call("PING")
        shown = 0
        async with found:
            async for event in found:
                if event.missed and not as_json:
                    click.echo("anyq: events before this one are gone, and were not shown", err=True)
                tell(event)
                shown += 1
                if shown == limit:
                    return

    ask(target, lambda: until_ended(work))


def as_json(event: Event) -> dict[str, Any]:
    """The shape that docs/cli.md states."""
    return {
        "id": event.id,
        "at": event.at,
        "kind": event.kind,
        "task": event.task,
        "job": event.job_id,
        "attempt": event.attempt,
        "fields": dict(event.fields),
        "missed": event.missed,
    }


def line(event: Event) -> Text:
    """An event as a person reads it, on one line."""
    text = Text(f"{event.at.astimezone():%H:%M:%S.%f}"[:-3], style="dim")
    text.append("  ")
    text.append(f"{clean(event.kind, _NAME):<15}", style=_STYLES.get(event.kind, ""))
    for word in (clean(event.task, _NAME), clean(event.job_id, _NAME), *_rest(event)):
        if word:
            text.append("  ")
            text.append(word)
    return text


def _tell_json(event: Event) -> None:
    print_json(as_json(event))


def _teller() -> Callable[[Event], None]:
    if not on_terminal():
        return lambda event: echo("\t".join(_row(event)))
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    return lambda event: console.print(line(event))


def _row(event: Event) -> list[str]:
    return [
        event.id,
        event.at.isoformat(timespec="milliseconds"),
        clean(event.kind, _NAME),
        clean(event.task, _NAME),
        clean(event.job_id, _VALUE),
        "" if event.attempt is None else str(event.attempt),
        *_fields(event),
    ]


def _rest(event: Event) -> list[str]:
    attempt = [] if event.attempt is None else [f"attempt={event.attempt}"]
    return [*attempt, *_fields(event)]


def _fields(event: Event) -> list[str]:
    return [f"{clean(name, _NAME)}={clean(_shown(value), _VALUE)}" for name, value in event.fields.items()]


def _shown(value: float | str) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
