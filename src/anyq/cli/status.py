"""``anyq status``: what queues hold, how long it has waited and how fast it moves, at a glance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..vitals import Minute, QueueStats
from .addressing import ask, place_options, queue_of
from .shown import clean, moment, on_terminal, print_json, print_rows

_NAME = 80

#: Parked tasks that a terminal shows of each queue.
_PARKED = 10

#: Of a minute, in this order.
_HAPPENED = ("added", "replayed", "done", "failed", "given_up", "cancelled", "lost")


@click.command()
@place_options
@click.option(
    "--queue",
    "-q",
    "queues",
    envvar="ANYQ_QUEUE",
    multiple=True,
    required=True,
    help="A queue's name; repeatable.",
)
@click.option(
    "--history",
    "minutes",
    type=click.IntRange(1, 10_080),
    is_flag=False,
    flag_value=60,
    metavar="[MINUTES]",
    help="Show what happened in each of the last minutes (60) instead.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(queues: Sequence[str], url: str | None, prefix: str, minutes: int | None, as_json: bool) -> None:
    """Show what queues hold, how long it has waited, and how fast it moves.

    In a pipe the columns are: queue, ready, running, delayed, aside, dead, seconds for which the oldest ready job has
    waited, and "paused" if the queue is, or else "paused:" and the tasks that are; then waiting, parked; how many jobs
    were ever added, done, and given up, how many runs failed, how many jobs were cancelled; how many jobs a second came
    and ended, and how many runs failed, in the last minute.

    With --history: queue, start of the minute, added, replayed, done, failed, given up, cancelled, lost.
    """
    if minutes is not None:
        _show_history(queues, url, prefix, minutes, as_json)
        return
    found: dict[str, QueueStats] = {}
    for name in dict.fromkeys(queues):
        queue = queue_of(name, url, prefix)
        found[name] = ask(queue, queue.stats)
    if as_json:
        print_json({"queues": [_as_json(name, stats) for name, stats in found.items()]})
    elif on_terminal():
        _print_table(found)
    else:
        print_rows(_row(name, stats) for name, stats in found.items())


def _as_json(name: str, stats: QueueStats) -> dict[str, Any]:
    return {"queue": name, **attrs.asdict(stats)}


def _row(name: str, stats: QueueStats) -> list[str]:
    counts = (stats.ready, stats.running, stats.delayed, stats.aside, stats.dead)
    oldest = "" if stats.oldest is None else f"{stats.oldest:.1f}"
    later = (
        stats.waiting, stats.parked, stats.added, stats.done, stats.given_up, stats.failed, stats.cancelled,
    )  # fmt: skip
    last = stats.last_minute
    rates = (f"{rate:.2f}" for rate in (last.added, last.ended, last.failed))
    return [clean(name, _NAME), *map(str, counts), oldest, _paused(stats), *map(str, later), *rates]


def _paused(stats: QueueStats) -> str:
    if stats.paused:
        return "paused"
    return clean("paused: " + ", ".join(stats.paused_tasks), _NAME) if stats.paused_tasks else ""


def _print_table(found: dict[str, QueueStats]) -> None:
    table = _table("queue")
    for name in ("ready", "running", "delayed", "aside", "dead", "oldest"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    # What most queues never have takes no room.
    rare = [name for name in ("waiting", "parked") if any(getattr(stats, name) for stats in found.values())]
    for name in (*rare, "in/s", "out/s", "fail/s"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, stats in found.items():
        shown, *counts, oldest, paused = _row(name, stats)[:8]
        words = (shown, *(f"{int(count):,}" for count in counts), f"{oldest} s" if oldest else "", paused)
        last = stats.last_minute
        rates = (f"{rate:,.1f}" for rate in (last.added, last.ended, last.failed))
        table.add_row(*map(Text, (*words, *(f"{getattr(stats, one):,}" for one in rare), *rates)))
    console = Console(highlight=False, markup=False, emoji=False)
    console.print(table)
    for name, stats in found.items():
        if stats.parked_by_task:
            console.print(f"{clean(name, _NAME)}: no worker knew {_parked(stats)}")


def _parked(stats: QueueStats) -> str:
    most = list(stats.parked_by_task.items())[:_PARKED]
    tasks = ", ".join(f"{clean(task, _NAME)!r} ({count:,} jobs parked)" for task, count in most)
    return f"{tasks}, ..." if len(stats.parked_by_task) > _PARKED else tasks


def _show_history(queues: Sequence[str], url: str | None, prefix: str, minutes: int, as_json: bool) -> None:
    found: dict[str, list[Minute]] = {}
    for name in dict.fromkeys(queues):
        queue = queue_of(name, url, prefix)
        found[name] = ask(queue, lambda: queue.history(minutes))  # noqa: B023  # asked at once
    if as_json:
        rows = [
            {"queue": name, "history": [attrs.asdict(one) for one in past]} for name, past in found.items()
        ]
        print_json({"queues": rows})
    elif on_terminal():
        for name, past in found.items():
            _print_history(name, past)
    else:
        print_rows(
            [clean(name, _NAME), moment(one.start), *(str(getattr(one, what)) for what in _HAPPENED)]
            for name, past in found.items()
            for one in past
        )


def _print_history(name: str, past: Sequence[Minute]) -> None:
    table = _table(clean(name, _NAME))
    for what in _HAPPENED:
        table.add_column(what.replace("_", " "), justify="right", no_wrap=True)
    for one in past:
        counts = [getattr(one, what) for what in _HAPPENED]
        table.add_row(*map(Text, (moment(one.start), *(f"{count:,}" if count else "" for count in counts))))
    Console(highlight=False, markup=False, emoji=False).print(table)


def _table(first: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column(Text(first), overflow="ellipsis", no_wrap=True)
    return table
