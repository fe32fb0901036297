"""Queues at a glance, as `anyq status` and `anyq watch` show them to people: a row for each, and what needs a line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import attrs

from ..vitals import QueueStats, Rates
from .shown import clean, lasting, moment
from .tables import Cell, Column, table

if TYPE_CHECKING:
    from rich.table import Table

_NAME = 80

#: Parked tasks, and paused ones, that are named of each queue.
_TASKS = 10

#: What most queues never have takes no room.
_RARE = ("waiting", "parked", "aside")

_STYLES = {"dead": "red", "parked": "yellow", "aside": "yellow"}


@attrs.frozen
class Glance:
    """One queue.

    Attributes:
        queue: Its name.
        stats: What it holds.
        rates: How fast it is.
        workers: How many live who work on it.
    """

    queue: str
    stats: QueueStats
    rates: Rates
    workers: int

    @property
    def untouched(self) -> bool:
        """Whether nothing tells that there is such a queue."""
        stats = self.stats
        holds = stats.ready + stats.running + stats.delayed + stats.waiting + stats.aside + stats.dead
        return not (holds or stats.added or stats.done or self.workers or stats.paused)


def overview(glances: Sequence[Glance], width: int) -> Table:
    """The table of the queues."""
    rare = [name for name in _RARE if any(getattr(one.stats, name) for one in glances)]
    counts = ("ready", "running", "delayed", *rare, "dead")
    columns = [
        Column("queue", cut=True), *(Column(name, right=True) for name in (*counts, "oldest")),
        *(Column(name, right=True, spare=True) for name in ("in/s", "out/s", "fail/s")), Column("workers", right=True),
    ]  # fmt: skip
    return table(columns, [_cells(one, counts) for one in glances], width)


def _cells(one: Glance, counts: Sequence[str]) -> list[Cell]:
    from rich.text import Text  # on a terminal only, as in `tables.py`

    stats, rates = one.stats, one.rates
    numbers = [
        Text(f"{number:,}", style=_STYLES.get(name, "") if number else "dim")
        for name, number in ((name, getattr(stats, name)) for name in counts)
    ]
    failing = Text(f"{rates.failed:,.1f}", style="yellow" if rates.failed else "")
    nobody = "bold red" if stats.ready else "dim"
    workers = Text(f"{one.workers:,}", style="" if one.workers else nobody)
    speeds = (f"{rates.added:,.1f}", f"{rates.ended:,.1f}")
    return [clean(one.queue, _NAME), *numbers, lasting(stats.oldest), *speeds, failing, workers]


def remarks(one: Glance) -> Iterator[str]:
    """What is worth a line of its own: why jobs of a queue do not run."""
    stats, queue = one.stats, clean(one.queue, _NAME)
    if stats.paused:
        yield f"{queue} is paused {_until(stats.paused_until)}"
    if stats.paused_tasks:
        tasks = [f"{clean(task, _NAME)} {_until(end)}" for task, end in stats.paused_tasks.items()]
        yield f"{queue}: paused: {_some(tasks)}"
    if stats.parked_by_task:
        tasks = [f"{clean(task, _NAME)!r} ({_jobs(count)})" for task, count in stats.parked_by_task.items()]
        yield f"{queue}: no worker knew {_some(tasks)}"
    if stats.ready and not one.workers:
        yield f"{queue}: jobs wait, and nobody works on it"
    if one.untouched:
        yield f"{queue}: nothing was ever in this queue, and nobody works on it: is that its name?"


def _until(end: datetime | None) -> str:
    return f"until {moment(end)}" if end is not None else "until it is resumed"


def _jobs(count: int) -> str:
    return f"{count:,} job{'' if count == 1 else 's'} parked"


def _some(tasks: Sequence[str]) -> str:
    return ", ".join(tasks[:_TASKS]) + (", ..." if len(tasks) > _TASKS else "")
