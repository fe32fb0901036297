"""How looks are shown: a view that is drawn anew on a terminal, lines in a pipe, objects for programs."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

import click
from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ..._core.notes import Progress
from ..._core.workers import WorkerInfo
from ..shown import clean, lasting, moment, print_json, print_rows
from .looks import Look, as_json

Shown = Callable[[Sequence[Look], str], None]

_NAME, _SHORT = 80, 120

#: Workers that are listed; of more it is said how many there are.
_WORKERS = 8

_BAR = 20


@contextmanager
def view(*, live: bool, as_json: bool) -> Generator[Shown]:
    """Give what shows looks, and why there are no new ones."""
    if live:
        console = Console(highlight=False, markup=False, emoji=False)
        with Live(console=console, auto_refresh=False, vertical_overflow="crop") as drawn:
            yield lambda looks, trouble: drawn.update(picture(looks, trouble), refresh=True)
    else:
        yield _lines_of(_objects if as_json else _rows)


def _lines_of(lines: Callable[[Sequence[Look]], None]) -> Shown:
    said = False

    def shown(looks: Sequence[Look], trouble: str) -> None:
        nonlocal said
        if trouble and not said:
            click.echo(f"anyq: {clean(trouble, 1000)}; waiting for it", err=True)
        elif not trouble:
            lines(looks)
        said = bool(trouble)

    return shown


def _objects(looks: Sequence[Look]) -> None:
    for seen in looks:
        print_json(as_json(seen))


def _rows(looks: Sequence[Look]) -> None:
    print_rows([moment(seen.at), *_row(seen)] for seen in looks)


def _row(seen: Look) -> list[str]:
    stats = seen.stats
    counts = (stats.ready, stats.running, stats.delayed, stats.waiting, stats.aside, stats.dead)
    oldest = "" if stats.oldest is None else f"{stats.oldest:.1f}"
    rates = (f"{rate:.1f}" for rate in (seen.rates.added, seen.rates.ended, seen.rates.failed))
    workers = sum(worker.lives for worker in seen.workers)
    return [clean(seen.queue, _NAME), *map(str, counts), oldest, *rates, str(workers), _paused(seen)]


def _paused(seen: Look) -> str:
    stats = seen.stats
    if stats.paused:
        return "paused"
    return clean("paused: " + ", ".join(stats.paused_tasks), _NAME) if stats.paused_tasks else ""


# -- on a terminal ----------------------------------------------------------------------------------------------------


def picture(looks: Sequence[Look], trouble: str) -> RenderableType:
    """All that is seen, for a person."""
    parts: list[RenderableType] = []
    if looks:
        parts.append(
            Text(f"{clean(looks[0].where, _SHORT)}   {looks[0].at.astimezone():%H:%M:%S}", style="dim")
        )
    if trouble:
        parts.append(Text(f"no answer: {clean(trouble, _SHORT)}", style="bold red"))
    parts.append(_queues(looks))
    several = len(looks) > 1
    if any(seen.workers for seen in looks):
        parts.append(_workers(looks, several=several))
    if any(seen.runs for seen in looks):
        parts.append(_runs(looks, several=several))
    if any(seen.letters for seen in looks):
        parts.append(_letters(looks, several=several))
    return Group(*parts)


def _queues(looks: Sequence[Look]) -> Table:
    table = _table("queue")
    for name in (
        "ready",
        "running",
        "delayed",
        "aside",
        "dead",
        "oldest",
        "in/s",
        "out/s",
        "failed/s",
        "workers",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for seen in looks:
        name, *_, workers, paused = _row(seen)
        stats, rates = seen.stats, seen.rates
        counts = (stats.ready, stats.running, stats.delayed + stats.waiting, stats.aside)
        numbers = [Text(f"{count:,}") for count in counts]
        speeds = [Text(f"{rate:,.1f}") for rate in (rates.added, rates.ended)]
        failing = Text(f"{rates.failed:,.1f}", style="yellow" if rates.failed else "")
        dead = Text(f"{stats.dead:,}", style="red" if stats.dead else "")
        parked = f"{stats.parked:,} parked" if stats.parked else ""
        idle = Text(workers, style="" if workers != "0" else "bold red" if stats.ready else "dim")
        table.add_row(
            Text(name),
            *numbers,
            dead,
            Text(lasting(stats.oldest)),
            *speeds,
            failing,
            idle,
            Text("  ".join(filter(None, (paused, parked))), style="yellow"),
        )
    return table


def _workers(looks: Sequence[Look], *, several: bool) -> Table:
    table = _table("worker", "where", "state")
    for name in ("jobs", "held", "loop lag", "oldest run"):
        table.add_column(name, justify="right", no_wrap=True)
    rows = [(seen.queue, worker) for seen in looks for worker in seen.workers]
    for queue, worker in rows[:_WORKERS]:
        table.add_row(*map(Text, _worker(worker, queue if several else "")))
    if len(rows) > _WORKERS:
        table.add_row(Text(f"and {len(rows) - _WORKERS} more"))
    return table


def _worker(worker: WorkerInfo, queue: str) -> list[str]:
    where = f"{clean(worker.host, _NAME)}:{worker.pid}" if worker.host else ""
    jobs = "" if worker.concurrency is None else f"{worker.busy}/{worker.concurrency}"
    lag = "" if worker.loop_lag is None else f"{worker.loop_lag * 1000:,.0f} ms"
    name = clean(f"{queue}: {worker.name}" if queue else worker.name, _NAME)
    return [name, where, clean(worker.state, _NAME), jobs, str(worker.held), lag, lasting(worker.oldest)]


def _runs(looks: Sequence[Look], *, several: bool) -> Table:
    table = _table("running job", "task")
    table.add_column("attempt", justify="right", no_wrap=True)
    table.add_column("for", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True, width=_BAR)
    table.add_column("", no_wrap=True, overflow="ellipsis")
    for seen in looks:
        for run in seen.runs:
            job = clean(f"{seen.queue}: {run.id}" if several else run.id, _NAME)
            words = (job, clean(run.task, _NAME), str(run.attempt), lasting(run.seconds))
            table.add_row(*map(Text, words), *far(seen.progress.get(run.id)))
    return table


def far(progress: Progress | None) -> tuple[RenderableType, Text]:
    """How far a job is: a bar if it said of how much, and in words."""
    if progress is None:
        return "", Text()
    said = f"{progress.current:,g}"
    bar: RenderableType = ""
    if progress.total is not None:
        said += f" of {progress.total:,g}"
        total = max(progress.total, 0.0)
        bar = ProgressBar(total=total or 1.0, completed=min(max(progress.current, 0.0), total), width=_BAR)
    return bar, Text(clean(f"{said}  {progress.message}".rstrip(), _SHORT))


def _letters(looks: Sequence[Look], *, several: bool) -> Table:
    table = _table("given up", "task", "reason", "error")
    letters = [(seen.queue, letter) for seen in looks for letter in seen.letters]
    for queue, letter in sorted(letters, key=lambda row: row[1].died_at, reverse=True):
        job = clean(f"{queue}: {letter.job_id}" if several else letter.job_id, _NAME)
        error = ": ".join(filter(None, (letter.error, letter.message or letter.detail)))
        table.add_row(
            Text(job),
            Text(clean(letter.task, _NAME)),
            Text(clean(letter.reason, _NAME)),
            Text(clean(error, _SHORT)),
        )
    return table


def _table(*names: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in names:
        table.add_column(name, overflow="ellipsis", no_wrap=True)
    return table
