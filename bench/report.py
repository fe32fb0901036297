"""From rounds to docs/benchmarks.md and bench/results.json: medians, spread, ratios round by round, goals."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from .environments import HERE
from .measurements import Figure, Goal, Measurement
from .rounds import Outcome

TIMES = "\N{MULTIPLICATION SIGN}"

METHOD = """\
## How it was measured

- Each run is a process of its own that talks to a Redis server of its own (loopback TCP, nothing persisted). Nothing
  else is shared: every peer has a virtual environment with pinned versions (`bench/requirements-*.txt`).
- All runs take turns: a round is one run of every row of every table, so that the rounds of a row lie minutes apart,
  and a burst of the machine's neighbours does not meet all of them. A cell shows the median of the rounds, and below
  it the least and the greatest. A ratio is taken within each round; its median is shown, with the least and the
  greatest.
- *Consume*: the peer's own producer puts the jobs there in another process beforehand. The clock starts right before
  the worker is made and stops when the last job was handled **and** the job stream is empty, that is, every job is
  acknowledged: a thread that sleeps until the last handler has run then asks for the length of the stream every
  millisecond. "First to last job" is the time between the first and the last handler, without start and last acks.
  The handlers, the counting and the clock are the same code for all. Everything else is left at each library's
  defaults.
- ChasquiMQ's worker is shown twice: as its users start it, and kept on one core, where its threads do not compete
  for the interpreter's lock and a job costs it about half. The goals are about the former.
- *CPU* is the processor time of the worker's process, all threads, its server not included. It suffers less from
  neighbours on the machine than the rates do.
- ChasquiMQ runs on asyncio, streaQ on asyncio through AnyIO, AnyQ on both; the standard event loop, no uvloop.
- Its own benchmarks flatter every project. The programs are short: `bench/workers/`. Run them: `nox -s bench`.
"""


class Spread(NamedTuple):
    """The values of all rounds in three numbers."""

    least: float
    middle: float
    greatest: float


def spread(values: Sequence[float]) -> Spread:
    return Spread(min(values), median(values), max(values))


def values(outcome: Outcome, label: str, field: str, over: str | None = None) -> list[float]:
    """A run's figure in each round, or its ratio to another run's in the same round."""
    if over is None:
        return [float(reported[label][field]) for reported in outcome.rounds]
    return [float(reported[label][field]) / float(reported[over][field]) for reported in outcome.rounds]


def reached(outcome: Outcome, goal: Goal) -> bool:
    """Whether the median is what it must be."""
    middle = median(values(outcome, goal.label, goal.field, goal.over))
    return middle >= goal.least if goal.least is not None else middle <= (goal.most or 0)


# -- the page ---------------------------------------------------------------------------------------------------------


def page(outcomes: Sequence[Outcome], command: str) -> str:
    """The whole of docs/benchmarks.md."""
    parts = [
        "# Benchmarks",
        "Written by `nox -s bench`; do not edit by hand.",
        _setting(outcomes, command),
        "## What must be reached",
        _goals(outcomes),
    ]
    for outcome in outcomes:
        parts += [f"## {outcome.measurement.title}", outcome.measurement.about, _table(outcome)]
    return "\n\n".join([*parts, METHOD])


def _table(outcome: Outcome) -> str:
    measurement = outcome.measurement
    first, *others = measurement.figures
    heads = ["", first.title, f"over {measurement.baseline}", *(figure.title for figure in others)]
    rows: list[list[str]] = []
    for run in _present(outcome):
        ratio = "-"
        if run != measurement.baseline and measurement.baseline in outcome.rounds[0]:
            ratio = _cell(values(outcome, run, first.field, measurement.baseline), 2, TIMES)
        figures = [_cell(values(outcome, run, figure.field), figure.digits) for figure in measurement.figures]
        rows.append([run, figures[0], ratio, *figures[1:]])
    return _markdown(heads, rows)


def _goals(outcomes: Sequence[Outcome]) -> str:
    rows: list[list[str]] = []
    for outcome in outcomes:
        for goal in outcome.measurement.goals:
            if not {goal.label, goal.over or goal.label} <= set(_present(outcome)):
                continue
            figure = _figure(outcome.measurement, goal.field)
            digits = 2 if goal.over else figure.digits
            what = f"{outcome.measurement.title}: {goal.label}, {figure.title}"
            wanted = f"at least {goal.least:g}" if goal.least is not None else f"at most {goal.most:g}"
            measured = f"{median(values(outcome, goal.label, goal.field, goal.over)):,.{digits}f}"
            if goal.over:
                what, wanted, measured = f"{what}, over {goal.over}", f"{wanted}{TIMES}", f"{measured}{TIMES}"
            rows.append([what, wanted, measured, "yes" if reached(outcome, goal) else "**no**"])
    return _markdown(["", "goal", "measured", "reached"], rows)


def _setting(outcomes: Sequence[Outcome], command: str) -> str:
    versions: dict[str, str] = {}
    for outcome in outcomes:
        for reported in outcome.rounds[0].values():
            versions.update(reported["versions"])
    load = ", ".join(f"{part:.1f}" for part in os.getloadavg())
    facts = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{_processor()}, {os.cpu_count()} cores; {platform.system()} {platform.release()}; load {load}",
        "server": f"Redis {outcomes[0].server}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "versions": ", ".join(f"{name} {number}" for name, number in sorted(versions.items())),
        "AnyQ's commit": _commit(),
        "rounds": str(len(outcomes[0].rounds)),
        "command": f"`{command}`",
    }
    return _markdown(["", ""], [[name, value] for name, value in facts.items()])


def _present(outcome: Outcome) -> list[str]:
    return list(outcome.rounds[0])


def _figure(measurement: Measurement, field: str) -> Figure:
    return next(figure for figure in measurement.figures if figure.field == field)


def _cell(numbers: Sequence[float], digits: int, unit: str = "") -> str:
    least, middle, greatest = (f"{number:,.{digits}f}" for number in spread(numbers))
    return f"**{middle}**{unit}<br>{least} … {greatest}"


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---", *("---:" for _ in heads[1:])] if len(heads) > 2 else ["---", "---"], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(HERE), *arguments], capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--", str(HERE.parent / "src"))
    return (git("rev-parse", "--short", "HEAD") or "none yet") + (" and changes on top" if changed else "")


# -- the data ---------------------------------------------------------------------------------------------------------


def data(outcomes: Sequence[Outcome], command: str) -> dict[str, Any]:
    """Everything that was reported, for programs."""
    return {
        "command": command,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "server": outcomes[0].server,
        "machine": f"{_processor()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "commit": _commit(),
        "measurements": {
            outcome.measurement.key: {
                "goals": [
                    {**goal._asdict(), "reached": reached(outcome, goal)}
                    for goal in outcome.measurement.goals
                    if {goal.label, goal.over or goal.label} <= set(_present(outcome))
                ],
                "rounds": outcome.rounds,
            }
            for outcome in outcomes
        },
    }


def write(outcomes: Sequence[Outcome], command: str, docs: Path, results: Path) -> None:
    """Write both files."""
    docs.write_text(page(outcomes, command), encoding="utf-8")
    results.write_text(json.dumps(data(outcomes, command), indent=1) + "\n", encoding="utf-8")
