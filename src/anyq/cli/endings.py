"""How a process of the command line ends: what its exit code says, and the list of what it left behind.

A worker's nursery cannot leave a handler that ignores its cancellation: that is the point of a nursery. A *process*
can, and here it does: a watchdog in a thread of its own ends it, late enough that everything else had its time, and
says what was cut.
"""

from __future__ import annotations

import math
import os
import queue
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from .._core.job import Job
from ..worker import Worker
from .logs import tell

DONE = 0
CRASHED = 1
USAGE = 2  # click's: the command line makes no sense
LEFT_SOMETHING = 3

#: From harmless to grave: of several codes, the gravest counts.
GRAVITY = (DONE, LEFT_SOMETHING, CRASHED, USAGE)

#: Seconds after the drain's deadline in which a worker leaves whatever happens: its own 4, and one for the process.
GRACE = 5.0


def report(workers: Iterable[Worker], *, as_json: bool = False) -> bool:
    """Say on stderr what workers left behind; give whether that was anything."""
    left = [worker for worker in workers if not worker.left_nothing]
    if not left:
        return False
    jobs = [job for worker in left for job in worker.unfinished]
    text = "no job is left behind, but Redis could not be told that this worker ends"
    if jobs:
        text = f"{_count(jobs)} left behind; other workers take over what is left"
    if as_json:
        tell(text, as_json=True, left_behind=[_named(job) for job in jobs])
        return True
    tell(f"{text}:" if jobs else text, as_json=False)
    for job in jobs:
        print(f"  {_line(job)}", file=sys.stderr)
    return True


def end_now(code: int) -> NoReturn:
    """End the process without waiting for anything; only what was printed is seen off."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            continue  # nobody reads it any more, or it was closed at the start
    os._exit(code)


def leave(code: int) -> NoReturn:
    """End the process: at once if a thread might keep it (a plain function that ignores that its job was cut)."""
    me = threading.current_thread()
    if code != DONE and any(not thread.daemon and thread is not me for thread in threading.enumerate()):
        end_now(code)
    sys.exit(code)


class Watchdog:
    """Ends the process when its drain has taken too long.

    Args:
        workers: Whose jobs are listed then.
        drain_timeout: Seconds that handlers are given after the first request to stop.
        as_json: Whether what is said is an object a line.
    """

    def __init__(self, workers: Sequence[Worker], drain_timeout: float, *, as_json: bool = False) -> None:
        self._workers = workers
        self._drain_timeout = drain_timeout
        self._as_json = as_json
        # A SimpleQueue may be put into by a signal's handler, whatever that handler has interrupted.
        self._requests: queue.SimpleQueue[tuple[float, int]] = queue.SimpleQueue()
        threading.Thread(target=self._watch, name="anyq watchdog", daemon=True).start()

    def asked(self, times: int) -> None:
        """Take note of a request to stop: the first starts the clock, a further one shortens it. From anywhere."""
        self._requests.put((time.monotonic(), times))

    def _watch(self) -> None:
        deadline = math.inf
        while (left := deadline - time.monotonic()) > 0:
            try:
                when, times = self._requests.get(timeout=min(left, threading.TIMEOUT_MAX))
            except queue.Empty:
                break
            deadline = min(deadline, when + GRACE + (self._drain_timeout if times == 1 else 0))
        try:
            tell(
                "the worker does not end, most likely for a handler ignores that it was cancelled; the process does",
                as_json=self._as_json,
            )
            report(self._workers, as_json=self._as_json)
        finally:  # also if nobody can be told
            end_now(LEFT_SOMETHING)


def _count(jobs: Sequence[Job]) -> str:
    return "1 job is" if len(jobs) == 1 else f"{len(jobs)} jobs are"


def _named(job: Job) -> dict[str, Any]:
    return {"job": job.id, "task": job.name, "queue": job.queue, "attempt": job.attempt}


def _line(job: Job) -> str:
    return f"{job.id} of task {job.name!r} in queue {job.queue!r}, attempt {job.attempt}"
