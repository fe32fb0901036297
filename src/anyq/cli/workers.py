"""``anyq workers``: who works on a queue, where, and what each is at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from ..vitals import RunningJob, WorkerInfo
from .addressing import ask, queue_of, queue_options
from .shown import clean, echo, json_option, lasting, on_terminal, print_json, print_rows
from .tables import Column, console, table

_NAME = 80


@click.command(short_help="Show who works on a queue, and at what.")
@queue_options
@click.option("--runs", is_flag=True, help="List the jobs that each runs, instead of the workers alone.")
@json_option
def workers(queue: str, url: str | None, prefix: str, runs: bool, as_json: bool) -> None:
    """Show who works on a queue: where, how busy, how late its event loop is, and for how long its oldest run goes on.

    A worker that was killed is "silent" until others have taken over what it held; programs other than AnyQ's are
    "foreign". In a pipe the columns are: name, host, process, version, backend, state, jobs that it runs (of all its
    queues), concurrency, jobs of this queue that it holds, seconds by which its event loop is late, seconds of its
    oldest run. With --runs a line is a run: worker, job, task, attempt, seconds, and "waiting" if it waits for a thread
    or a process.
    """
    target = queue_of(queue, url, prefix)
    found = ask(target, target.workers)
    if as_json:
        print_json({"queue": queue, "workers": [_as_json(worker, runs=runs) for worker in found]})
    elif on_terminal():
        _print_tables(queue, found, runs=runs)
    elif runs:
        print_rows([clean(worker.name, _NAME), *_run(run)] for worker in found for run in worker.runs)
    else:
        print_rows(map(_row, found))


def _as_json(worker: WorkerInfo, *, runs: bool) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": worker.name,
        "state": worker.state,
        "host": worker.host,
        "pid": worker.pid,
        "version": worker.version,
        "python": worker.python,
        "backend": worker.backend,
        "started_at": worker.started_at,
        "concurrency": worker.concurrency,
        "busy": worker.busy,
        "running": worker.running,
        "held": worker.held,
        "idle": worker.idle,
        "oldest": worker.oldest,
        "loop_lag": worker.loop_lag,
        "age": worker.age,
        "tasks": sorted(worker.tasks),
        "fallback": worker.fallback,
        "paused": worker.paused,
        "paused_tasks": sorted(worker.paused_tasks),
    }
    if runs:
        row["runs"] = [
            {
                "job": run.id,
                "task": run.task,
                "attempt": run.attempt,
                "since": run.since,
                "seconds": run.seconds,
                "waits": run.waits,
            }
            for run in worker.runs
        ]
    return row


def _row(worker: WorkerInfo) -> list[str]:
    words = (worker.host, worker.pid, worker.version, worker.backend, worker.state, worker.busy)
    return [
        *(clean(_text(word), _NAME) for word in (worker.name, *words, worker.concurrency, worker.held)),
        *("" if seconds is None else f"{seconds:.3f}" for seconds in (worker.loop_lag, worker.oldest)),
    ]


def _run(run: RunningJob) -> list[str]:
    names = (clean(run.id, _NAME), clean(run.task, _NAME))
    return [*names, str(run.attempt), f"{run.seconds:.3f}", "waiting" if run.waits else ""]


_COLUMNS = (
    Column("worker"), Column("where", cut=True), Column("version", spare=True), Column("backend", spare=True),
    Column("state"), Column("jobs", right=True), Column("held", right=True), Column("loop lag", right=True),
    Column("oldest run", right=True),
)  # fmt: skip

_RUNS = (
    Column("worker", spare=True), Column("job", cut=True), Column("task", cut=True), Column("attempt", right=True),
    Column("for", right=True), Column(""),
)  # fmt: skip


def _print_tables(queue: str, found: Sequence[WorkerInfo], *, runs: bool) -> None:
    if not found:
        echo(f"nobody works on queue '{clean(queue, _NAME)}'")
        return
    screen = console()
    screen.print(table(_COLUMNS, [_cells(worker) for worker in found], screen.width))
    if runs:
        rows = [_run_cells(worker, run) for worker in found for run in worker.runs]
        screen.print(table(_RUNS, rows, screen.width) if rows else "nothing of this queue runs")


def _cells(worker: WorkerInfo) -> list[str]:
    name, host, pid, version, backend, state, busy, concurrency, held, *_ = _row(worker)
    lag = "" if worker.loop_lag is None else f"{worker.loop_lag * 1000:,.0f} ms"
    where, jobs = f"{host}:{pid}" if host else "", f"{busy}/{concurrency}" if concurrency else ""
    return [name, where, version, backend, state, jobs, held, lag, lasting(worker.oldest)]


def _run_cells(worker: WorkerInfo, run: RunningJob) -> list[str]:
    job, task, attempt, _, waits = _run(run)
    return [clean(worker.name, _NAME), job, task, attempt, lasting(run.seconds), waits]


def _text(value: object) -> str:
    return "" if value is None else str(value)
