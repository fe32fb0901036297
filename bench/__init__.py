"""AnyQ beside its peers, measured: `nox -s bench`, or `python -m bench --server PATH` with a Redis 8.6 program.

`measurements.py` is the table of what is measured and what must be reached, `workers/` are the programs that do it
(one short-lived process a run), `rounds.py` runs them in turn, `report.py` writes docs/benchmarks.md and
bench/results.json. The standard library is enough for all but the programs in `workers/`.
"""
