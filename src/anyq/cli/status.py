"""``anyq status``: what queues hold, how long it has waited and how fast it moves, at a glance."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import attrs
import click

from ..queue import Queue
from ..vitals import Minute, QueueStats
from .addressing import ask, place_options, queue_of, queues_option
from .glance import Glance, overview, remarks
from .shown import clean, echo, json_option, moment, on_terminal, print_json, print_rows
from .tables import Column, console, table

_NAME = 80

#: Of a minute, in this order.
_HAPPENED = ("added", "replayed", "done", "failed", "given_up", "cancelled", "lost")


@click.command(short_help="Show what queues hold, how old and how fast.")
@place_options
@queues_option("A queue's name; repeatable.", required=True)
@click.option(
    "--history",
    "minutes",
    type=click.IntRange(1, 10_080),
    is_flag=False,
    flag_value=60,
    metavar="[MINUTES]",
    help="Show what happened in each of the last minutes (60) instead.",
)
@json_option
def status(queues: Sequence[str], url: str | None, prefix: str, minutes: int | None, as_json: bool) -> None:
    """Show what queues hold, how long it has waited, and how fast it moves.

    In a pipe the columns are: queue, ready, running, delayed, aside, dead, seconds for which the oldest ready job has
    waited, and "paused" if the queue is, or else "paused:" and the tasks that are; then waiting, parked; how many jobs
    were ever added, done, and given up, how many runs failed, how many jobs were cancelled; how many jobs a second came
    and ended, and how many runs failed, in the last minute; and how many workers live.

    With --history: queue, start of the minute, added, replayed, done, failed, given up, cancelled, lost.
    """
    if minutes is not None:
        _show_history(queues, url, prefix, minutes, as_json)
        return
    found: list[Glance] = []
    for name in dict.fromkeys(queues):
        queue = queue_of(name, url, prefix)
        found.append(ask(queue, partial(_look, queue)))
    if as_json:
        print_json({"queues": [_as_json(seen) for seen in found]})
    elif on_terminal():
        _print(found)
    else:
        print_rows(map(_row, found))


async def _look(queue: Queue) -> Glance:
    stats = await queue.stats()
    workers = sum(worker.lives for worker in await queue.workers())
    return Glance(queue.name, stats, stats.last_minute, workers)


def _as_json(seen: Glance) -> dict[str, Any]:
    return {"queue": seen.queue, **attrs.asdict(seen.stats), "workers": seen.workers}


def _row(seen: Glance) -> list[str]:
    stats = seen.stats
    counts = (stats.ready, stats.running, stats.delayed, stats.aside, stats.dead)
    oldest = "" if stats.oldest is None else f"{stats.oldest:.1f}"
    later = (
        stats.waiting, stats.parked, stats.added, stats.done, stats.given_up, stats.failed, stats.cancelled,
    )  # fmt: skip
    last = stats.last_minute
    rates = (f"{rate:.2f}" for rate in (last.added, last.ended, last.failed))
    numbers = (*map(str, later), *rates, str(seen.workers))
    return [clean(seen.queue, _NAME), *map(str, counts), oldest, _paused(stats), *numbers]


def _paused(stats: QueueStats) -> str:
    if stats.paused:
        return "paused"
    return clean("paused: " + ", ".join(stats.paused_tasks), _NAME) if stats.paused_tasks else ""


def _print(found: Sequence[Glance]) -> None:
    screen = console()
    screen.print(overview(found, screen.width))
    for seen in found:
        for remark in remarks(seen):
            echo(remark)


def _show_history(queues: Sequence[str], url: str | None, prefix: str, minutes: int, as_json: bool) -> None:
    found: dict[str, list[Minute]] = {}
    for name in dict.fromkeys(queues):
        queue = queue_of(name, url, prefix)
        found[name] = ask(queue, partial(queue.history, minutes))
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
    columns = [
        Column(clean(name, _NAME), cut=True),
        *(Column(what.replace("_", " "), right=True) for what in _HAPPENED),
    ]
    rows = [[moment(one.start), *(_count(getattr(one, what)) for what in _HAPPENED)] for one in past]
    screen = console()
    screen.print(table(columns, rows, screen.width))


def _count(number: int) -> str:
    return f"{number:,}" if number else ""
