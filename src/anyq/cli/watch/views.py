"""How looks are shown: a view that is drawn anew on a terminal, lines in a pipe, objects for programs."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

import click
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ..._core.notes import Progress
from ..._core.workers import WorkerInfo
from ..glance import Glance, overview, remarks
from ..shown import away, clean, lasting, moment, print_json, print_rows
from ..tables import Cell, Column, console, table
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
        screen = console()
        with Live(console=screen, auto_refresh=False, vertical_overflow="crop") as drawn:
            yield lambda looks, trouble: drawn.update(picture(looks, trouble, screen.width), refresh=True)
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


def picture(looks: Sequence[Look], trouble: str, width: int) -> RenderableType:
    """All that is seen, for a person."""
    parts: list[RenderableType] = []
    if looks:
        parts.append(
            Text(f"{clean(looks[0].where, _SHORT)}   {looks[0].at.astimezone():%H:%M:%S}", style="dim")
        )
    if trouble:
        parts.append(Text(f"no answer: {clean(trouble, _SHORT)}", style="bold red"))
    glances = [_glance(seen) for seen in looks]
    parts.append(overview(glances, width))
    parts += (
        Text(f" {remark}", style="yellow", no_wrap=True, overflow="ellipsis")
        for one in glances
        for remark in remarks(one)
    )
    several = len(looks) > 1
    if any(seen.workers for seen in looks):
        parts.append(_workers(looks, width, several=several))
    if any(seen.runs for seen in looks):
        parts.append(_runs(looks, width, several=several))
    if any(seen.letters for seen in looks):
        parts.append(_letters(looks, width, several=several))
    return Group(*parts)


def _glance(seen: Look) -> Glance:
    return Glance(seen.queue, seen.stats, seen.rates, sum(worker.lives for worker in seen.workers))


_WORKER_COLUMNS = (
    Column("worker"), Column("where", cut=True), Column("state"), Column("jobs", right=True),
    Column("held", right=True, spare=True), Column("loop lag", right=True), Column("oldest run", right=True),
)  # fmt: skip


def _workers(looks: Sequence[Look], width: int, *, several: bool) -> RenderableType:
    rows = [(seen.queue, worker) for seen in looks for worker in seen.workers]
    shown = [_worker(worker, queue if several else "") for queue, worker in rows[:_WORKERS]]
    made = table(_WORKER_COLUMNS, shown, width)
    return made if len(rows) <= _WORKERS else Group(made, Text(f" and {len(rows) - _WORKERS} more"))


def _worker(worker: WorkerInfo, queue: str) -> list[str]:
    where = f"{clean(worker.host, _NAME)}:{worker.pid}" if worker.host else ""
    jobs = "" if worker.concurrency is None else f"{worker.busy}/{worker.concurrency}"
    lag = "" if worker.loop_lag is None else f"{worker.loop_lag * 1000:,.0f} ms"
    name = clean(f"{queue}: {worker.name}" if queue else worker.name, _NAME)
    return [name, where, clean(worker.state, _NAME), jobs, str(worker.held), lag, lasting(worker.oldest)]


_RUN_COLUMNS = (
    Column("running job", cut=True), Column("task", cut=True), Column("attempt", right=True, spare=True),
    Column("for", right=True), Column("", spare=True, width=_BAR), Column("", cut=True),
)  # fmt: skip


def _runs(looks: Sequence[Look], width: int, *, several: bool) -> Table:
    rows: list[list[Cell]] = []
    for seen in looks:
        for run in seen.runs:
            job = clean(f"{seen.queue}: {run.id}" if several else run.id, _NAME)
            words = (job, clean(run.task, _NAME), str(run.attempt), lasting(run.seconds))
            rows.append([*words, *far(seen.progress.get(run.id))])
    return table(_RUN_COLUMNS, rows, width)


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


_LETTER_COLUMNS = (
    Column("given up"),
    Column(""),
    Column("task", cut=True),
    Column("reason", cut=True),
    Column("error", cut=True),
)


def _letters(looks: Sequence[Look], width: int, *, several: bool) -> Table:
    letters = [(seen, letter) for seen in looks for letter in seen.letters]
    rows: list[list[Cell]] = []
    for seen, letter in sorted(letters, key=lambda row: row[1].died_at, reverse=True):
        job = clean(f"{seen.queue}: {letter.job_id}" if several else letter.job_id, _NAME)
        error = ": ".join(filter(None, (letter.error, letter.message or letter.detail)))
        names = (clean(letter.task, _NAME), clean(letter.reason, _NAME))
        rows.append([job, away(letter.died_at, seen.at), *names, clean(error, _SHORT)])
    return table(_LETTER_COLUMNS, rows, width)
