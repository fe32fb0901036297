"""One job, followed until it has ended."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

import anyio
import attrs
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..._core.jobs import JobInfo
from ..._core.status import JobStatus
from ...errors import RedisUnavailable
from ...queue import Queue
from ..shown import clean, lasting, moment, print_json, print_rows
from ..tables import console
from .views import far

Tell = Callable[[JobInfo], None]

_NAME, _SHORT, _LINE = 80, 120, 1000

ENDED: Final = frozenset({JobStatus.DONE, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.UNKNOWN})

#: How the last event of a job says that it has ended.
_ENDS: Final = {
    "completed": JobStatus.DONE,
    "dlq": JobStatus.FAILED,
    "cancelled": JobStatus.CANCELLED,
}

#: Looks for the last event of a job of which nothing else is left, and seconds between two: it is told a moment late.
_TRIES, _MOMENT = 4, 0.5

#: To look for a job that lies in a deep backlog takes its time: at most this part of all time is spent so.
_SHARE = 0.1


async def follow(queue: Queue, id: str, interval: float, count: int | None, tell: Tell) -> JobStatus:
    """Look at a job until it has ended, or so many times; tell what is seen, and give how it was at last."""
    handle, number, place, task = queue.job(id), 0, "0", ""
    await queue.redis.call("PING")  # a server that is not there is said at once, one that goes is waited for
    while True:
        began = anyio.current_time()
        async with queue.events() as now:
            behind = now.position or "0"
        try:
            info = await handle.info()
        except RedisUnavailable:
            await anyio.sleep(interval)
            continue
        if info.state is JobStatus.UNKNOWN:
            info = attrs.evolve(info, task=task, state=await _ended_how(queue, id, place))
        task = info.task
        tell(info)
        number += 1
        if info.state in ENDED or number == count:
            return info.state
        place = behind
        await anyio.sleep(max(interval, (anyio.current_time() - began) / _SHARE))


async def _ended_how(queue: Queue, id: str, place: str) -> JobStatus:
    """How a job has ended of which nothing is kept, by what its worker told."""
    state = JobStatus.UNKNOWN
    for number in range(_TRIES):
        if number:
            await anyio.sleep(_MOMENT)
        async for event in queue.events(after=place, job=id, follow=False):
            state = _ENDS.get(event.kind, JobStatus.UNKNOWN)
        if state is not JobStatus.UNKNOWN:
            break
    return state


@contextmanager
def teller(*, live: bool, as_json: bool) -> Generator[Tell]:
    """Give what tells how a job is, when that has changed."""
    if live:
        screen = console()
        with Live(console=screen, auto_refresh=False, transient=True) as drawn:
            picture = _Picture(drawn)
            yield picture
        if picture.last is not None:
            screen.print(Text(_sentence(picture.last)), soft_wrap=True)
    else:
        yield _changes(_object if as_json else _row)


class _Picture:
    """A job on a terminal: what it logs scrolls by, how it is stays below."""

    def __init__(self, drawn: Live) -> None:
        self._drawn = drawn
        self._logged: Any = None
        self.last: JobInfo | None = None

    def __call__(self, info: JobInfo) -> None:
        self.last = info
        for line in info.log:
            if self._logged is None or line.at > self._logged:
                self._drawn.console.print(Text(clean(line.text, _LINE)), soft_wrap=True)
        if info.log:
            self._logged = info.log[-1].at
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_row(Text(_sentence(info)), *far(info.progress))
        self._drawn.update(grid, refresh=True)


def _sentence(info: JobInfo) -> str:
    words = [clean(info.task or info.id, _NAME), str(info.state)]
    if info.attempt is not None:
        words.append(f"attempt {info.attempt}")
    if info.started_at is not None:
        words.append(f"for {lasting((datetime.now(UTC) - info.started_at).total_seconds())}")
    if info.due_at is not None:
        words.append(f"due at {moment(info.due_at)}")
    if info.worker:
        words.append(f"on {clean(info.worker, _NAME)}")
    if info.reason or info.error:
        words.append(clean(": ".join(filter(None, (info.reason, info.error, info.message))), _SHORT))
    return "  ".join(words)


def _changes(tell: Tell) -> Tell:
    """Tell only what is new."""
    before: list[Any] = []

    def changed(info: JobInfo) -> None:
        now = [info.state, info.attempt, info.progress, info.due_at, info.error]
        if now != before:
            before[:] = now
            tell(info)

    return changed


def _row(info: JobInfo) -> None:
    progress = info.progress
    said = ["", "", ""]
    if progress is not None:
        total = "" if progress.total is None else f"{progress.total:g}"
        said = [f"{progress.current:g}", total, clean(progress.message, _SHORT)]
    names = [clean(info.id, _NAME), clean(info.task, _NAME)]
    attempt = "" if info.attempt is None else str(info.attempt)
    print_rows([[moment(datetime.now(UTC)), *names, str(info.state), attempt, *said]])


def _object(info: JobInfo) -> None:
    progress = info.progress
    said = None
    if progress is not None:
        said = {"current": progress.current, "total": progress.total, "message": progress.message}
    print_json(
        {
            "job": info.id,
            "at": datetime.now(UTC),
            "task": info.task,
            "state": str(info.state),
            "attempt": info.attempt,
            "worker": info.worker,
            "due_at": info.due_at,
            "reason": info.reason,
            "error": info.error,
            "message": info.message,
            "progress": said,
            "ended": info.state in ENDED,
        }
    )
