"""What every measured program uses, so that all peers are timed by the same code.

Rule: nothing here knows a peer, and the standard library and redis-py are enough. A program does its work
with its own queue library, prints one line of JSON and ends at once with ``os._exit``: how well a library
shuts down is not measured here, and one of them may crash while the interpreter ends.
"""

from __future__ import annotations

import gc
import json
import os
import random
import subprocess
import sys
import threading
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from time import monotonic_ns, perf_counter, process_time, sleep
from typing import Any, NoReturn

QUEUE = "bench"
BATCH = 1_000
PATIENCE = 600.0  # seconds: a run that is not done by then has failed


def arguments(**choices: Sequence[str]) -> Namespace:
    """Read the command line that all programs share.

    Args:
        **choices: Further options of this program, each with the values that it may take.
    """
    parser = ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--jobs", type=int, required=True)
    parser.add_argument("--concurrency", type=int, default=100)
    parser.add_argument("--backend", choices=("asyncio", "trio"), default="asyncio")
    parser.add_argument("--one-core", action="store_true", help="keep this process on one core")
    parser.add_argument("--produce", action="store_true", help="be the producing half of this program")
    for name, values in choices.items():
        parser.add_argument(f"--{name}", choices=values, default=values[0])
    options = parser.parse_args()
    if options.one_core:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    return options


def report(*packages: str, **measured: object) -> NoReturn:
    """Print the one line of JSON that a program is run for, and end the process."""
    versions = {package: version(package) for package in packages}
    print(json.dumps({**measured, "versions": versions}), flush=True)
    os._exit(0)


def give_up(reason: str) -> NoReturn:
    """End the process as failed, from any thread."""
    print(reason, file=sys.stderr, flush=True)
    os._exit(1)


# -- consuming --------------------------------------------------------------------------------------------------------


class Tally:
    """Counts handler runs; every measured handler calls ``hit`` once and does nothing else of its own."""

    def __init__(self, expected: int) -> None:
        self.expected = expected
        self.count = 0
        self.first = 0.0
        self.last = 0.0
        self.reached = threading.Event()

    def hit(self) -> None:
        if not self.count:
            self.first = perf_counter()
        self.count += 1
        if self.count == self.expected:
            self.last = perf_counter()
            self.reached.set()


class Stopwatch:
    """Times a consuming run: from ``start`` until all jobs were handled and the job stream is empty.

    A thread sleeps until the last handler has run, then asks for the length of the stream every millisecond:
    while jobs run it costs nothing, and it needs nothing from the library under test.

    Args:
        tally: What the handlers count with.
        url: The server.
        stream: The key of the job stream; a job leaves it when it is acknowledged.
        empty: Whether to wait for the empty stream; without it, the run ends with the last expected handler.
        packages: The distributions whose versions are reported.
    """

    def __init__(self, tally: Tally, url: str, stream: str, *, empty: bool, packages: Sequence[str]) -> None:
        import redis  # here, because programs that only produce or run streaQ can do without

        self._tally = tally
        self._stream = stream
        self._empty = empty
        self._packages = packages
        self._client = redis.Redis.from_url(url)
        self._client.ping()
        connection: Any = self._client.client_info()
        self._name: str = connection["addr"]
        self._idle_memory = resident("VmRSS")

    def start(self) -> None:
        """Start the clock; call it right before the worker is made."""
        gc.collect()  # a whole collection takes 20 ms, and whether one falls into the run would be chance
        threading.Thread(target=self._watch, daemon=True).start()
        self._cpu = process_time()
        self._began = perf_counter()

    def _watch(self) -> None:
        tally = self._tally
        if not tally.reached.wait(PATIENCE):
            give_up(f"only {tally.count} of {tally.expected} jobs were handled in {PATIENCE:.0f} s")
        while self._empty and self._client.xlen(self._stream):
            if perf_counter() - tally.last > PATIENCE:
                give_up("all jobs were handled, but the stream did not become empty")
            sleep(0.001)
        ended = perf_counter()
        cpu = process_time() - self._cpu
        report(
            *self._packages,
            rate=tally.expected / (ended - self._began),
            handler_rate=tally.expected / (tally.last - tally.first),
            seconds=ended - self._began,
            first_after_ms=(tally.first - self._began) * 1e3,
            cpu_us=cpu / tally.expected * 1e6,
            handled=tally.count,
            rss_mib=resident("VmRSS"),
            peak_mib=resident("VmHWM"),
            before_mib=self._idle_memory,
            observer=self._name,
        )


def resident(field: str) -> float:
    """This process's memory in MiB: ``VmRSS`` (now) or ``VmHWM`` (the most it ever was)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) / 1024
    raise LookupError(field)


# -- latency ----------------------------------------------------------------------------------------------------------

HELLO = -1
WARM_UP = 50


class Ear:
    """The worker's half of a latency run: collects how long each job took from its enqueue to its start.

    The producer is a second process (this program with ``--produce``). It first sends a hello; once the
    worker has handled that, it is up, and the producer is told to go. Both processes read the same clock.
    """

    def __init__(self, jobs: int, *packages: str) -> None:
        self._jobs = jobs
        self._packages = packages
        self._samples: list[int] = []
        self._seen = 0
        self._producer = subprocess.Popen(
            [sys.executable, *sys.argv, "--produce"], stdin=subprocess.PIPE, text=True
        )
        threading.Thread(target=self._guard, daemon=True).start()

    def hit(self, number: int, sent_ns: int) -> None:
        """Call it first thing in the handler, with the two arguments of the job."""
        taken = monotonic_ns() - sent_ns
        if number == HELLO:
            assert self._producer.stdin
            self._producer.stdin.write("go\n")
            self._producer.stdin.flush()
            return
        if number >= WARM_UP:
            self._samples.append(taken)
        self._seen += 1
        if self._seen == self._jobs + WARM_UP:
            self._report()

    def _report(self) -> NoReturn:
        self._producer.kill()
        self._producer.wait()
        ordered = sorted(self._samples)

        def percentile(share: float) -> float:
            return ordered[min(len(ordered) - 1, int(len(ordered) * share))] / 1e6

        report(
            *self._packages,
            p50_ms=percentile(0.50),
            p90_ms=percentile(0.90),
            p99_ms=percentile(0.99),
            max_ms=ordered[-1] / 1e6,
            samples=len(ordered),
        )

    def _guard(self) -> None:
        if self._producer.wait() not in (0, -9):
            give_up("the producing process failed")
        sleep(10)
        give_up(f"only {self._seen} jobs arrived")


def wait_for_go() -> None:
    """The producer's half: blocks (nothing else runs there) until the worker has handled the hello."""
    if sys.stdin.readline() != "go\n":
        give_up("the worker went away")


def pauses(jobs: int) -> list[float]:
    """How long to wait before each job, in seconds: the worker is idle again, and meets no timer's rhythm."""
    rhythm = random.Random(jobs)
    return [rhythm.uniform(0.005, 0.015) for _ in range(jobs + WARM_UP)]


# -- enqueueing -------------------------------------------------------------------------------------------------------


def rates(jobs: int, sequential: float, concurrent: float, *packages: str) -> NoReturn:
    """Report two ways of enqueueing one job at a time, each given as the seconds that ``jobs`` took."""
    report(
        *packages,
        sequential_rate=jobs / sequential,
        concurrent_rate=jobs / concurrent,
        speedup=sequential / concurrent,
    )
