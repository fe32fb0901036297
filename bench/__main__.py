"""The command line: which measurements, how many rounds, which server, where the report goes."""

from __future__ import annotations

import os
from argparse import ArgumentParser
from pathlib import Path

from .environments import HERE, KEPT, python_of
from .measurements import ALL
from .report import write
from .rounds import Runner

ROOT = HERE.parent


def main() -> None:
    keys = [measurement.key for measurement in ALL]
    parser = ArgumentParser(prog="python -m bench", description="Measure AnyQ beside its peers.")
    parser.add_argument(
        "measurements", nargs="*", metavar="MEASUREMENT", help=f"of {', '.join(keys)}; else all"
    )
    parser.add_argument("--server", type=Path, help="a Redis 8.6 program; else $ANYQ_BENCH_SERVER")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", metavar="PEER", help="of anyq, chasquimq, streaq; else all")
    parser.add_argument("--scale", type=float, default=1.0, help="a part of the jobs, to try things out")
    parser.add_argument("--venvs", type=Path, default=KEPT, help="the peers' environments")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs" / "benchmarks.md")
    parser.add_argument("--results", type=Path, default=HERE / "results.json")
    options = parser.parse_args()

    if unknown := set(options.measurements) - set(keys):
        parser.error(f"no such measurement: {', '.join(sorted(unknown))}; there are {', '.join(keys)}")
    program = options.server or Path(os.environ.get("ANYQ_BENCH_SERVER", ""))
    if not program.is_file():
        parser.error(f"needs a Redis 8.6 program: --server PATH or $ANYQ_BENCH_SERVER (now: {program})")

    chosen = [measurement for measurement in ALL if measurement.key in (options.measurements or keys)]
    if options.only:
        chosen = [
            measurement._replace(runs=tuple(run for run in measurement.runs if run.peer in options.only))
            for measurement in chosen
        ]
    peers = {run.peer for measurement in chosen for run in measurement.runs}
    pythons = {peer: python_of(peer, options.venvs.resolve()) for peer in sorted(peers)}
    runner = Runner(program.resolve(), pythons.__getitem__, options.scale)
    outcomes = runner.measure([measurement for measurement in chosen if measurement.runs], options.rounds)

    command = f"python -m bench --rounds {options.rounds}"
    if options.measurements or options.only or options.scale != 1:
        command += " (a part only)"
    write(outcomes, command, options.docs, options.results)
    print(f"\nwritten: {options.docs} and {options.results}")


if __name__ == "__main__":
    main()
