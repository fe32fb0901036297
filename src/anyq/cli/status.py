"""``anyq status``: what queues hold and how long it has waited, at a glance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..vitals import QueueStats
from .addressing import ask, place_options, queue_of
from .shown import clean, on_terminal, print_json, print_rows

_NAME = 80


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
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(queues: Sequence[str], url: str | None, prefix: str, as_json: bool) -> None:
    """Show what queues hold, and how long it has waited.

    In a pipe the columns are: queue, ready, running, delayed, aside, dead, seconds for which the oldest ready job has
    waited, and "paused" if the queue is, or else "paused:" and the tasks that are.
    """
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
    return [clean(name, _NAME), *map(str, counts), oldest, _paused(stats)]


def _paused(stats: QueueStats) -> str:
    if stats.paused:
        return "paused"
    return clean("paused: " + ", ".join(stats.paused_tasks), _NAME) if stats.paused_tasks else ""


def _print_table(found: dict[str, QueueStats]) -> None:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("queue", overflow="ellipsis", no_wrap=True)
    for name in ("ready", "running", "delayed", "aside", "dead", "oldest"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for name, stats in found.items():
        shown, *counts, oldest, paused = _row(name, stats)
        words = (shown, *(f"{int(count):,}" for count in counts), f"{oldest} s" if oldest else "", paused)
        table.add_row(*map(Text, words))
    Console(highlight=False, markup=False, emoji=False).print(table)
