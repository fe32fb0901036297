"""Runs in turn: A B C, A B C, ... each on a new server in a new process, so that drift meets all alike.

That holds for the rows of a table, and for the tables: a round is one run of everything.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .environments import HERE
from .measurements import Measurement, Run
from .server import Monitor, serve

WORKERS = HERE / "workers"

#: What one run reported: figures by field, and the versions it ran with.
Reported = dict[str, Any]


class Outcome(NamedTuple):
    """All rounds of a measurement: for each round, what each run reported, by label."""

    measurement: Measurement
    rounds: list[dict[str, Reported]]
    server: str


class Runner(NamedTuple):
    """What every run needs.

    Attributes:
        program: The server's program.
        python_of: Gives a peer's interpreter.
        scale: Shrinks the number of jobs, to try things out.
    """

    program: Path
    python_of: Callable[[str], Path]
    scale: float

    def measure(self, measurements: Sequence[Measurement], rounds: int) -> list[Outcome]:
        """Let all runs of all measurements take turns, and print each as it ends.

        A round goes through every measurement, so that the rounds of one lie minutes apart: a burst of the neighbours'
        work meets one round of each, and not all rounds of one.
        """
        server = self._server_version()
        outcomes = [Outcome(measurement, [], server) for measurement in measurements]
        for number in range(1, rounds + 1):
            print(f"\nround {number} of {rounds}", flush=True)
            for measurement, done, _ in outcomes:
                print(f"  {measurement.title}", flush=True)
                done.append({run.label: self._run_and_say(measurement, run) for run in measurement.runs})
        return outcomes

    def _run_and_say(self, measurement: Measurement, run: Run) -> Reported:
        reported = self._run(run)
        said = "  ".join(
            f"{figure.title} {reported[figure.field]:,.{figure.digits}f}" for figure in measurement.figures
        )
        print(f"    {run.label:<24}  {said}", flush=True)
        return reported

    def _run(self, run: Run) -> Reported:
        jobs = max(1, int(run.jobs * self.scale))
        preload = int(run.preload * self.scale)
        with serve(self.program) as server:
            if preload:
                self._program(run.peer, "enqueue", ["--url", server.url, "--jobs", str(preload)])
            monitor = Monitor(server) if run.monitored else None
            arguments = ["--url", server.url, "--jobs", str(jobs), *run.arguments]
            reported = self._program(run.peer, run.program, arguments)
            if monitor:
                commands = monitor.commands_of_others(reported["observer"])
                reported["by_command"] = commands
                reported["commands"] = sum(commands.values())
                reported["commands_per_job"] = reported["commands"] / jobs
        return reported

    def _program(self, peer: str, name: str, arguments: Sequence[str]) -> Reported:
        path = WORKERS / f"{peer}_{name}.py"
        done = subprocess.run(
            [str(self.python_of(peer)), str(path), *arguments],
            stdout=subprocess.PIPE,
            text=True,
            check=False,
            env=_environment(),
        )
        if done.returncode:
            raise SystemExit(f"{path.name} {' '.join(arguments)} ended with {done.returncode}")
        reported: Reported = json.loads(done.stdout)
        return reported

    def _server_version(self) -> str:
        with serve(self.program) as server:
            return server.version()


def _environment() -> dict[str, str]:
    """This process's own, but for what is about its Python: modules are compiled once, as for every user."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
    }
