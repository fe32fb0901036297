"""What a worker tells about itself with each heartbeat, and what others make of it.

A record is one MessagePack map under the heartbeat's key, written again with each beat, so it lives and dies with the
worker. It is bounded, whatever the worker runs. Who reads it believes nothing: a record that makes no sense is that of
a worker that lives, and of which nothing else is known.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

import attrs
import msgpack

from ..settings import from_milliseconds
from .keys import CONSUMER_PREFIX
from .values import ARRAY, MAP, Undecodable, unpack

#: The most runs that are listed, those that began first.
RUNS_LISTED = 1000

#: The most characters that the runs of a record may have, and the names of its tasks.
_RUNS_SIZE, _NAMES_SIZE = 98_304, 32_768

#: The most characters of any other word.
_WORD = 256

#: Nothing in a record lies deeper.
_DEPTH = 4

#: The states of a worker that tells about itself.
_STATES = frozenset({"starting", "running", "draining"})


@attrs.frozen
class RunningJob:
    """A job that a worker has at work.

    Attributes:
        id: The job's id.
        task: Its task's name.
        attempt: Which run this is, counted from 1.
        since: When the run began, by the server's clock.
        seconds: For how long it had run when the queue was asked.
        waits: Whether it has not begun: it waits for a thread or a process.
    """

    id: str
    task: str
    attempt: int
    since: datetime
    seconds: float
    waits: bool = False


@attrs.frozen(kw_only=True)
class WorkerInfo:
    """A worker of a queue, as it told about itself with its last heartbeat.

    What a worker did not tell is ``None`` (or empty): an older version of AnyQ, another program, one that was killed.

    Attributes:
        name: Its name, which no two workers share, and no two starts of one.
        state: ``starting``, ``running``, ``draining``; ``silent`` if its heartbeat is missing, and others take over
            what it holds; ``unknown`` if it lives and says nothing that can be read; ``foreign`` for another program's,
            whose workers have no heartbeat.
        held: Jobs in its name: begun, about to begin, or being settled.
        idle: Seconds since it last asked the server for jobs.
        host: The name of its machine.
        pid: Its process.
        version: AnyQ's version there.
        python: Python's version there.
        backend: ``asyncio`` or ``trio``.
        started_at: When it started, by the server's clock.
        concurrency: How many jobs it runs at the same time at most.
        busy: How many it has at work, of all its queues.
        running: How many of them are this queue's.
        runs: These, those that began first first; a thousand are listed at most.
        tasks: The names of the tasks that it knows; empty if it did not tell.
        fallback: Whether it takes jobs whose name no task has.
        paused: Whether it knows that the queue is paused.
        paused_tasks: The tasks that it knows to be paused.
        loop_lag: Seconds by which its event loop was late lately, at most.
        seen_at: When it told this, by the server's clock.
        age: Seconds since then. It tells four times a lease, unless its event loop is blocked or the server is full.
    """

    name: str
    state: str
    held: int = 0
    idle: float | None = None
    host: str | None = None
    pid: int | None = None
    version: str | None = None
    python: str | None = None
    backend: str | None = None
    started_at: datetime | None = None
    concurrency: int | None = None
    busy: int | None = None
    running: int | None = None
    runs: tuple[RunningJob, ...] = ()
    tasks: frozenset[str] = frozenset()
    fallback: bool = False
    paused: bool = False
    paused_tasks: frozenset[str] = frozenset()
    loop_lag: float | None = None
    seen_at: datetime | None = None
    age: float | None = None
    _all_tasks: bool = attrs.field(default=False, alias="all_tasks", repr=False)

    @property
    def lives(self) -> bool:
        """Whether it has a heartbeat."""
        return self.state not in {"silent", "foreign"}

    @property
    def oldest(self) -> float | None:
        """Seconds for which its longest run goes on; ``None`` if it runs nothing."""
        return max((run.seconds for run in self.runs), default=None)

    def knows(self, task: str) -> bool | None:
        """Tell whether it can run jobs of a task; ``None`` if it did not say.

        Args:
            task: The task's name.
        """
        if self.fallback or task in self.tasks:
            return True
        return False if self._all_tasks else None


@attrs.frozen(kw_only=True)
class Portrait:
    """What a worker tells about itself that stays as it is.

    Attributes:
        name: Its name.
        host: The name of its machine.
        pid: Its process.
        version: AnyQ's version.
        python: Python's version.
        backend: The event loop's.
        concurrency: How many jobs it runs at the same time.
    """

    name: str
    host: str
    pid: int
    version: str
    python: str
    backend: str
    concurrency: int


@attrs.frozen
class Consumer:
    """What the server knows of a consumer of the group.

    Attributes:
        held: Entries in its name.
        idle: Seconds since it last asked for some.
    """

    held: int
    idle: float


def pack_record(
    portrait: Portrait,
    *,
    state: str,
    started_ms: float,
    now_ms: float,
    busy: int,
    running: int,
    runs: Iterable[tuple[str, str, int, float, bool]],
    tasks: Collection[str],
    fallback: bool,
    paused: bool,
    paused_tasks: Collection[str],
    loop_lag: float,
) -> bytes:
    """Write a record.

    Args:
        portrait: What stays as it is.
        state: ``starting``, ``running`` or ``draining``.
        started_ms: When the worker started, in epoch milliseconds of the server's clock, as all moments here.
        now_ms: Now.
        busy: Jobs at work, of all queues.
        running: Those of this queue.
        runs: These: id, task, attempt, milliseconds since when, whether it waits; as many as there is room for.
        tasks: The names of the queue's tasks.
        fallback: Whether jobs of unknown tasks are taken.
        paused: Whether the queue is paused.
        paused_tasks: The names of paused tasks.
        loop_lag: Seconds by which the event loop was late.
    """
    names = _names(sorted(tasks))
    fields: dict[str, Any] = {
        **attrs.asdict(portrait, value_serializer=_word),
        "state": state,
        "started": round(started_ms),
        "at": round(now_ms),
        "busy": busy,
        "running": running,
        "runs": _runs(runs),
        "tasks": names,
        "all_tasks": len(names) == len(tasks),
        "fallback": fallback,
        "paused": paused,
        "paused_tasks": _names(sorted(paused_tasks)),
        "loop_lag": round(loop_lag, 4),
    }
    packed: bytes = msgpack.packb(fields, unicode_errors="replace")
    return packed


def describe(name: bytes, consumer: Consumer, record: bytes | None, now_ms: float) -> WorkerInfo:
    """Say what is known of a consumer.

    Args:
        name: Its name in the group.
        consumer: What the server knows of it.
        record: Its heartbeat, if there is one.
        now_ms: Epoch milliseconds of the server's clock.
    """
    shown = name.decode("utf-8", "backslashreplace")
    known: dict[str, Any] = {"name": shown, "held": consumer.held, "idle": consumer.idle}
    if record is None:
        state = "silent" if name.startswith(CONSUMER_PREFIX) else "foreign"
        return WorkerInfo(state=state, **known)
    return WorkerInfo(**known, **_read(record, now_ms))


def _read(record: bytes, now_ms: float) -> dict[str, Any]:
    unknown = {"state": "unknown"}
    try:
        fields = unpack(record, depth=_DEPTH)
    except Undecodable:
        return unknown
    if type(fields) is not MAP:
        return unknown
    read = _Reader(fields)
    if (state := read.word("state")) not in _STATES:
        return unknown
    at = read.number("at")
    return {
        "state": state,
        **{word: read.word(word) for word in ("host", "version", "python", "backend")},
        **{count: read.count(count) for count in ("pid", "concurrency", "busy", "running")},
        "started_at": _moment(read.number("started")),
        "runs": tuple(_read_runs(fields.get("runs"), now_ms)),
        "tasks": read.names("tasks"),
        "all_tasks": fields.get("all_tasks") is True,
        "fallback": fields.get("fallback") is True,
        "paused": fields.get("paused") is True,
        "paused_tasks": read.names("paused_tasks"),
        "loop_lag": read.number("loop_lag"),
        "seen_at": _moment(at),
        "age": None if at is None else max(0.0, (now_ms - at) / 1000),
    }


def _read_runs(rows: object, now_ms: float) -> Iterable[RunningJob]:
    if type(rows) is not ARRAY:
        return
    for row in rows[:RUNS_LISTED]:
        if type(row) is not ARRAY or len(row) < 5:
            continue
        job, task, attempt, _, waits = row[:5]
        since = _number(row[3])
        if type(job) is str and type(task) is str and type(attempt) is int and since is not None:
            seconds = max(0.0, (now_ms - since) / 1000)
            yield RunningJob(job, task, attempt, from_milliseconds(int(since)), seconds, waits is True)


@attrs.frozen
class _Reader:
    """Fields of a record, each only if it is what it should be."""

    fields: dict[Any, Any]

    def word(self, name: str) -> str | None:
        value = self.fields.get(name)
        return value if type(value) is str else None

    def count(self, name: str) -> int | None:
        value = self.fields.get(name)
        return value if type(value) is int and value >= 0 else None

    def number(self, name: str) -> float | None:
        return _number(self.fields.get(name))

    def names(self, name: str) -> frozenset[str]:
        value: Any = self.fields.get(name, ())
        return frozenset(one for one in value if type(one) is str) if type(value) is ARRAY else frozenset()


def _runs(rows: Iterable[tuple[str, str, int, float, bool]]) -> list[list[Any]]:
    listed: list[list[Any]] = []
    left = _RUNS_SIZE
    for job, task, attempt, since, waits in rows:
        left -= len(job) + len(task) + 16
        if left < 0 or len(listed) == RUNS_LISTED:
            break
        listed.append([job, task, attempt, round(since), waits])
    return listed


def _names(names: Sequence[str]) -> list[str]:
    kept: list[str] = []
    left = _NAMES_SIZE
    for name in names:
        left -= len(name) + 4
        if left < 0:
            break
        kept.append(name)
    return kept


def _word(_owner: Any, _field: Any, value: Any) -> Any:
    return value[:_WORD] if isinstance(value, str) else value


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and abs(value) < 1e15 else None


def _moment(value: float | None) -> datetime | None:
    return None if value is None else from_milliseconds(int(value))
