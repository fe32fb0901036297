"""The gate: what of a queue is paused, as this worker knows it, and what becomes of jobs that meet it.

The reader asks it before a job goes to the runners, so a pause costs the runners nothing; what waits in the buffer when
a pause comes is withdrawn. A job that is running is never touched: it ends in its own time.
"""

from __future__ import annotations

from collections.abc import Collection

import anyio

from .._core.job import Job
from .._core.outcome import Aside, Released
from .channels import Outcomes
from .ledger import Ledger
from .runners import Runners


class Gate:
    """What may pass to the runners of one queue.

    Args:
        outcomes: Where jobs go that are turned away.
        ledger: What is held.
        runners: Who may have a job in hand that has not begun.

    Attributes:
        closed: Whether anything at all is turned away: a look that costs next to nothing.
        queue: Whether the whole queue is paused; so it is until the first look has told.
        tasks: The names of the paused tasks.
    """

    __slots__ = ("_ledger", "_opened", "_outcomes", "_runners", "closed", "known", "queue", "tasks")

    def __init__(self, outcomes: Outcomes, ledger: Ledger, runners: Runners) -> None:
        self._outcomes = outcomes
        self._ledger = ledger
        self._runners = runners
        self._opened = anyio.Event()
        self.known = False
        self.closed = True
        self.queue = True
        self.tasks: frozenset[str] = frozenset()

    def set(self, *, queue: bool, tasks: Collection[str]) -> None:
        """Put a state into force: when this returns nothing begins any more of what is paused in it."""
        self.known, self.queue, self.tasks = True, queue, frozenset(tasks)
        self.closed = queue or bool(tasks)
        if self.closed:
            self._withdraw()
        if not queue:
            self._opened.set()

    def turns_away(self, job: Job) -> bool:
        """Tell whether a job is paused; then it is on its way back, and must not go to the runners."""
        if self.queue:
            job.ended, job.cut = True, "paused"
            self._outcomes.releases.put(Released(job))
        elif job.name in self.tasks:
            job.ended, job.cut = True, "paused"
            self._outcomes.asides.put(Aside(job))
        else:
            return False
        return True

    async def opened(self, longest: float) -> None:
        """Wait until the queue is not paused, ``longest`` seconds at most."""
        if self.queue:
            if self._opened.is_set():
                self._opened = anyio.Event()
            with anyio.move_on_after(longest):
                await self._opened.wait()

    def _withdraw(self) -> None:
        at_work = {id(runner.job): runner for runner in self._runners.running}
        for job in self._ledger.jobs():
            if job.ended or job.cut is not None:
                continue
            runner = at_work.get(id(job))
            if runner is None:
                self.turns_away(job)
            elif runner.waits and (self.queue or job.name in self.tasks):
                # Its run has not begun: cut, it is handed back, and met at the gate when it comes again.
                self._runners.withdraw(runner)
