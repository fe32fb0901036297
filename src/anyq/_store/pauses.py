"""Pausing a queue or its tasks: who says so, who looks, who confirms.

What is paused stands in one hash, whose ``number`` grows with each pause. A worker that has read a state, and starts
nothing any more of what is paused in it, confirms its number; so whoever pauses knows when nothing can start any more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
from redis.exceptions import ResponseError

from .._core.keys import CONSUMER_PREFIX, GROUP, Keys
from .._redis.client import Client
from .._redis.replies import error_code, field
from . import scripts

#: Milliseconds for which a confirmation is remembered: far longer than anybody waits for one.
_REMEMBERED = 3_600_000


@attrs.frozen
class Pauses:
    """What is paused at one moment.

    Attributes:
        now: The server's clock then, in milliseconds.
        number: The number of this state; 0 when there is nothing to confirm.
        queue: Until which millisecond the whole queue is paused: 0 until it is resumed, ``None`` if it is not paused.
        tasks: The same for each paused task.
        aside: How many jobs of which task are set aside.
        priorities: Those whose lanes there are.
    """

    now: int = 0
    number: int = 0
    queue: int | None = None
    tasks: Mapping[str, int] = attrs.field(factory=dict[str, int])
    aside: Mapping[str, int] = attrs.field(factory=dict[str, int])
    priorities: Sequence[int] = ()

    @property
    def stranded(self) -> list[str]:
        """The tasks that have jobs set aside and are not paused: those may come back."""
        return [task for task in self.aside if task not in self.tasks]

    @property
    def next_end(self) -> float | None:
        """Seconds until the first pause ends by itself; ``None`` if none does."""
        ends = [until for until in (self.queue, *self.tasks.values()) if until]
        return max(0, min(ends) - self.now) / 1000 if ends else None

    def covers(self, task: str | None) -> bool:
        """Whether a task is paused, by itself or with its queue; or the queue, for ``None``."""
        return self.queue is not None or task in self.tasks


async def pause(client: Client, keys: Keys, task: str | None, until_ms: int) -> int:
    """Pause a task, or the queue for ``None``, until an epoch millisecond (0: until it is resumed); give the number."""
    flag = (keys.paused,) if keys.shared and task is None else ()
    number: int = await client.run(
        scripts.PAUSE, (keys.pauses, keys.confirmed, *flag), (_field(task), until_ms, keys.pausing)
    )
    return number


async def resume(client: Client, keys: Keys, task: str | None) -> bool:
    """End a pause; whether there was one."""
    flag = (keys.paused,) if keys.shared and task is None else ()
    return bool(await client.run(scripts.RESUME, (keys.pauses, *flag), (_field(task), keys.pausing)))


async def readmit(client: Client, keys: Keys, task: str, count: int = 50) -> int:
    """Let up to ``count`` jobs of a task come back that were set aside.

    Returns:
        How many it was: 0 when none is left, and -1 if the task is paused.
    """
    moved: int = await client.run(
        scripts.READMIT,
        (keys.pauses, keys.aside(task), keys.returned, *keys.priority_lanes),
        (task, count),
    )
    return moved


async def look(client: Client, keys: Keys, consumer: bytes | None = None) -> Pauses:
    """Read what is paused, and which lanes there are; what is over by the server's clock is forgotten there.

    Args:
        client: The connection.
        keys: The queue's keys.
        consumer: The worker that looks: it enters the group by this, since whoever pauses waits for all that are in it,
            and who was silent for long may have been put out.
    """
    others = (keys.paused,) if keys.shared else keys.priority_lanes
    args = () if consumer is None else (GROUP, consumer)
    now, flagged, priorities, *fields = await client.run(
        scripts.LOOK, (keys.pauses, keys.stream, *others), args
    )
    tasks: dict[str, int] = {}
    aside: dict[str, int] = {}
    number, queue = 0, 0 if flagged else None
    for name, value in zip(fields[::2], fields[1::2], strict=True):
        if not value.isdigit():
            continue  # nothing that AnyQ wrote, and no reason to end a worker
        kind, _, task = name.decode("utf-8", "replace").partition(":")
        match kind:
            case "number":
                number = int(value)
            case "queue":
                queue = int(value)
            case "task":
                tasks[task] = int(value)
            case "aside":
                aside[task] = int(value)
            case _:  # a newer AnyQ's
                pass
    return Pauses(now, number, queue, tasks, aside, priorities)


async def confirm(client: Client, keys: Keys, consumer: bytes, number: int) -> None:
    """Say for a worker that it starts nothing of what was paused in the state with this number."""
    await client.run(scripts.CONFIRM, (keys.confirmed,), (consumer, number, _REMEMBERED, keys.confirming))


async def call(client: Client, keys: Keys) -> None:
    """Wake the workers once more, in case that a message was lost."""
    await client.call(b"PUBLISH", keys.pausing, b"paused")


async def unconfirmed(client: Client, keys: Keys, number: int) -> list[bytes]:
    """Name the workers that live and have not confirmed this number, or a later one."""
    try:
        rows = await client.call(b"XINFO", b"CONSUMERS", keys.stream, GROUP)
    except ResponseError as error:
        if error_code(error) == "NOGROUP" or "no such key" in str(error):  # there never was a worker
            return []
        raise
    names = [name for row in rows if (name := field(row, b"name")).startswith(CONSUMER_PREFIX)]
    if not names:
        return []
    known = await client.call(b"HMGET", keys.confirmed, *names)
    late = [name for name, seen in zip(names, known, strict=True) if seen is None or int(seen) < number]
    alive = await client.call_many([(b"EXISTS", keys.heartbeat(name)) for name in late])
    return [name for name, lives in zip(late, alive, strict=True) if lives != 0]


def _field(task: str | None) -> str:
    return "queue" if task is None else f"task:{task}"
