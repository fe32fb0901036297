"""What a job finds at home: its queue's tasks and channels, carried by the job, so that the runners serve any queue."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs

from .._core.runnable import Runnable
from ..settings import Limits
from .channels import Bulletin, Outcomes
from .clock import ServerClock
from .counts import Counts
from .journal import Journal
from .ledger import Ledger
from .room import Room


@attrs.define
class Home:
    """One queue, as the runners see it.

    Attributes:
        queue: The queue's name.
        tasks: The tasks by name, ready to run here.
        names: Their names, by the bytes that come from Redis.
        source: The queue's tasks by name.
        prepare: Makes the one of the other.
        fallback: Takes the jobs whose name no task has.
        limits: Bounds on payloads and results.
        grace: Seconds for which a job with an unknown name is parked before it is given up.
        outcomes: Where ends of runs go.
        bulletin: Where it is said what happened.
        room: The reader's view of the runners.
        ledger: What is held.
        journal: Where running jobs tell how far they are.
        counts: The worker's numbers.
        clock: The server's.
        unknown: Names that no task has, and how often they came.
    """

    queue: str
    source: Mapping[str, Runnable]
    fallback: Runnable | None
    limits: Limits
    grace: float
    outcomes: Outcomes
    bulletin: Bulletin
    room: Room
    ledger: Ledger
    journal: Journal
    counts: Counts
    clock: ServerClock
    tasks: dict[str, Runnable] = attrs.field(factory=dict[str, Runnable])
    prepare: Callable[[Runnable], Runnable] = attrs.field(default=lambda task: task)
    names: dict[bytes, str] = attrs.field(factory=dict[bytes, str])
    unknown: dict[str, int] = attrs.field(factory=dict[str, int])

    def take_in(self, tasks: Mapping[str, Runnable]) -> None:
        """These are ready to run here."""
        self.tasks.update(tasks)
        self.names.update((name.encode(), name) for name in tasks)

    def find(self, name: str) -> Runnable | None:
        """Give the task that was registered under this name while the worker ran, else the fallback."""
        late = self.source.get(name)
        if late is None:
            return self.fallback
        task = self.prepare(late)
        self.take_in({name: task})
        return task

    def forget(self, name: str) -> None:
        """Another function may have this name from now on."""
        self.tasks.pop(name, None)
