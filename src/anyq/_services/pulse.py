"""The pulse: shows the heartbeat's thread that the event loop turns, and what the worker tells about itself.

It looks at what the runners hold anyway, a few times between two beats, so that a job costs nothing for being seen. The
thread writes it, with the beat that it makes in any case.
"""

from __future__ import annotations

import os
import platform
import socket
import time
from collections.abc import Callable, Sequence
from heapq import nsmallest

import anyio

from .._core.workers import RUNS_LISTED, Portrait, pack_record
from .._version import installed_version
from .branch import Branch
from .heartbeat import Heartbeat
from .runners import Runner, Runners

#: Of the loop's time, what putting records together may take: one part in so many.
_SHARE = 200


class Pulse:
    """Lets a worker be seen.

    Args:
        name: The worker's name.
        concurrency: How many jobs it runs at the same time.
        state: Gives ``running`` or ``draining``.
        runners: All of them.
        every: Seconds between two beats of the pulse.
        lately: Seconds for which it is told at least that the event loop was late; longer than between two heartbeats.
    """

    def __init__(
        self,
        *,
        name: str,
        concurrency: int,
        state: Callable[[], str],
        runners: Runners,
        every: float,
        lately: float,
    ) -> None:
        self._portrait = Portrait(
            name=name,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=installed_version(),
            python=platform.python_version(),
            backend=anyio.get_cancelled_exc_class().__module__.partition(".")[0],
            concurrency=concurrency,
        )
        self._state = state
        self._runners = runners
        self._every = every
        self._lately = lately
        self._seen: list[tuple[Branch, Heartbeat]] = []
        self._started = time.monotonic()
        self._lag, self._lag_before, self._lag_since = 0.0, 0.0, self._started

    def add(self, branch: Branch, heartbeat: Heartbeat) -> None:
        """Tell about one more queue, with the beats of this heartbeat."""
        self._seen.append((branch, heartbeat))
        self._tell([(branch, heartbeat)])

    async def run(self) -> None:
        """Beat until cancelled."""
        self.tell()
        next_record = 0.0
        while True:
            began = time.monotonic()
            for _, heartbeat in self._seen:
                heartbeat.tick()
            if began >= next_record:
                self._tell(self._seen)
                ended = time.monotonic()
                next_record = ended + _SHARE * (ended - began)
            due = time.monotonic() + self._every
            await anyio.sleep(self._every)
            self._late(time.monotonic(), due)

    def _late(self, now: float, due: float) -> None:
        """Note by how much the loop was late; a record that is never written must not be the only one that says so."""
        if now - self._lag_since > self._lately:
            self._lag, self._lag_before, self._lag_since = 0.0, self._lag, now
        self._lag = max(self._lag, now - due)

    def tell(self) -> None:
        """Tell at once: the worker's state changed."""
        self._tell(self._seen)
        for _, heartbeat in self._seen:
            heartbeat.hurry()

    def _tell(self, seen: Sequence[tuple[Branch, Heartbeat]]) -> None:
        running = self._runners.running
        for branch, heartbeat in seen:
            heartbeat.record = self._record(branch, running)

    def _record(self, branch: Branch, running: Sequence[Runner]) -> bytes:
        home, gate = branch.home, branch.gate
        now, now_ms = time.monotonic(), home.clock.ms()
        mine = [runner for runner in running if runner.job is not None and runner.job.home is home]
        first = nsmallest(RUNS_LISTED, mine, key=_since)
        return pack_record(
            self._portrait,
            state=self._state(),
            started_ms=now_ms - (now - self._started) * 1000,
            now_ms=now_ms,
            busy=len(running),
            running=len(mine),
            runs=(
                (job.id, job.name, job.attempt, now_ms - (now - runner.since) * 1000, runner.waits)
                for runner in first
                if (job := runner.job) is not None
            ),
            tasks=home.source,
            fallback=home.fallback is not None,
            paused=gate.known and gate.queue,
            paused_tasks=gate.tasks if gate.known else (),
            loop_lag=max(self._lag, self._lag_before),
        )


def _since(runner: Runner) -> float:
    return runner.since
