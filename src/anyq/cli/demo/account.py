"""The books of a demonstration: every job that was enqueued, and what became of it.

A job that is neither done nor dead is missing, and a demonstration with a missing job has failed.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Sequence

import attrs

from ...errors import JobFailed
from ...handles import JobHandle
from .tasks import Survey


@attrs.frozen
class Plan:
    """One job that is to be made.

    Attributes:
        path: The file.
        failures: How many of its runs fail on purpose.
        delay: Seconds until it is due.
    """

    path: str
    failures: int = 0
    delay: float = 0.0


@attrs.define
class Ping:
    """One job that only measures how soon it starts.

    Attributes:
        delay: Seconds until it is due.
        late: Seconds from its time, or from `enqueue` if it had none, to its start; once known.
    """

    delay: float = 0.0
    late: float | None = None


@attrs.define
class Account:
    """What is known of a demonstration.

    Attributes:
        plans: The jobs that survey a file, by id.
        surveyed: Their results.
        pings: The jobs that only measured how soon they start, by id.
        dead: The jobs that were given up.
        began: When the first was enqueued; on the monotonic clock, as all moments here.
        retried: How many runs came back.
        stopped_by: The signal that ended it early.
    """

    plans: dict[str, Plan] = attrs.field(factory=dict[str, Plan])
    surveyed: dict[str, Survey] = attrs.field(factory=dict[str, Survey])
    pings: dict[str, Ping] = attrs.field(factory=dict[str, Ping])
    dead: dict[str, JobFailed] = attrs.field(factory=dict[str, JobFailed])
    began: float = 0.0
    retried: int = 0
    stopped_by: signal.Signals | None = None

    def enqueued(self, handles: Sequence[JobHandle[Survey]], plans: Sequence[Plan]) -> None:
        """Enter jobs that Redis has."""
        self.plans.update((handle.id, plan) for handle, plan in zip(handles, plans, strict=True))

    @property
    def missing(self) -> list[str]:
        """The jobs that are neither done nor dead."""
        surveys = [job_id for job_id in self.plans if job_id not in self.surveyed and job_id not in self.dead]
        pings = [
            job_id for job_id, ping in self.pings.items() if ping.late is None and job_id not in self.dead
        ]
        return surveys + pings

    @property
    def jobs(self) -> int:
        """How many jobs were enqueued."""
        return len(self.plans) + len(self.pings)

    @property
    def settled(self) -> int:
        """How many of them came to an end."""
        return self.jobs - len(self.missing)

    @property
    def in_line(self) -> list[float]:
        """Seconds from enqueue to start of the jobs that nothing held up on purpose, sorted."""
        return sorted(self.surveyed[job_id]["waited"] for job_id in self._plain)

    def alone(self, *, delayed: bool) -> list[float]:
        """Seconds from their time to their start of the jobs that found an idle worker, sorted."""
        return sorted(
            ping.late for ping in self.pings.values() if ping.late is not None and bool(ping.delay) is delayed
        )

    @property
    def pace(self) -> tuple[int, float]:
        """How many jobs that nothing held up were done, and the seconds that took, enqueuing included."""
        ends = [self.surveyed[job_id]["ended"] for job_id in self._plain]
        return len(ends), max(ends, default=self.began) - self.began

    @property
    def words(self) -> Counter[str]:
        """The commonest words of all files."""
        found: Counter[str] = Counter()
        for survey in self.surveyed.values():
            found.update(survey["commonest"])
        return found

    @property
    def _plain(self) -> list[str]:
        return [
            job_id
            for job_id, survey in self.surveyed.items()
            if survey["attempt"] == 1 and not self.plans[job_id].delay
        ]


def percentile(ordered: Sequence[float], share: float) -> float:
    """Give the value that this share of the values does not exceed: a value that was measured, not one in between."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
