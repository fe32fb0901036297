"""What is seen of a queue in one look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import attrs

from ..._core.dead_letters import DeadLetter
from ..._core.notes import Progress
from ..._core.workers import RunningJob, WorkerInfo
from ...queue import Queue
from ...settings import from_milliseconds
from ...vitals import QueueStats, Rates

#: Runs whose progress is asked for, and dead letters that are shown: the longest, and the last.
_RUNS, _LETTERS = 8, 5


@attrs.frozen(kw_only=True)
class Look:
    """A queue at one moment.

    Attributes:
        queue: Its name.
        where: The server's URL, without its password.
        at: When it was looked at, by the server's clock.
        stats: What it holds.
        workers: Who works on it.
        runs: The longest runs.
        progress: How far they are, those that said it, by the jobs' ids.
        letters: The jobs that were given up last.
        rates: How fast it was since the look before; in the last minute, if there was none.
    """

    queue: str
    where: str
    at: datetime
    stats: QueueStats
    workers: Sequence[WorkerInfo]
    runs: Sequence[RunningJob]
    progress: Mapping[str, Progress]
    letters: Sequence[DeadLetter]
    rates: Rates


async def look(queue: Queue, before: Look | None) -> Look:
    """Look at a queue, which must be open.

    Args:
        queue: The queue.
        before: What was seen the last time.
    """
    stats, workers = await queue.stats(), await queue.workers()
    runs = sorted((run for worker in workers for run in worker.runs), key=lambda run: run.since)[:_RUNS]
    said = {run.id: await queue.job(run.id).progress() for run in runs}
    at = from_milliseconds(round(await queue.server_ms()))
    return Look(
        queue=queue.name,
        where=queue.url,
        at=at,
        stats=stats,
        workers=workers,
        runs=runs,
        progress={id: progress for id, progress in said.items() if progress is not None},
        letters=await queue.dead_letters.list(limit=_LETTERS) if stats.dead else (),
        rates=_rates(stats, at, before),
    )


def _rates(stats: QueueStats, at: datetime, before: Look | None) -> Rates:
    if before is None or (seconds := (at - before.at).total_seconds()) <= 0:
        return stats.last_minute
    steps = [now - then for now, then in zip(_totals(stats), _totals(before.stats), strict=True)]
    if min(steps) < 0:  # the counters are gone, and began anew
        return stats.last_minute
    added, ended, failed = (step / seconds for step in steps)
    return Rates(added=added, ended=ended, failed=failed)


def _totals(stats: QueueStats) -> tuple[int, int, int]:
    """Jobs that ever came, and left, and runs that failed."""
    return stats.added + stats.replayed, stats.done + stats.given_up + stats.cancelled, stats.failed


def as_json(seen: Look) -> dict[str, Any]:
    """The shape that docs/cli.md states."""
    return {
        "queue": seen.queue,
        "at": seen.at,
        **attrs.asdict(seen.stats),
        "rates": attrs.asdict(seen.rates),
        "workers": sum(worker.lives for worker in seen.workers),
        "runs": [_run(run, seen.progress.get(run.id)) for run in seen.runs],
        "given_up": [
            {
                "id": letter.id,
                "job": letter.job_id,
                "task": letter.task,
                "reason": letter.reason,
                "error": letter.error,
                "message": letter.message,
                "died_at": letter.died_at,
            }
            for letter in seen.letters
        ],
    }


def _run(run: RunningJob, progress: Progress | None) -> dict[str, Any]:
    said = None
    if progress is not None:
        said = {"current": progress.current, "total": progress.total, "message": progress.message}
    return {"job": run.id, "task": run.task, "attempt": run.attempt, "seconds": run.seconds, "progress": said}
