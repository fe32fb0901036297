"""Tests of your own tasks on the real engine, in milliseconds.

The fixtures (``anyq_url``, ``anyq_queue``, ``anyq_redirect``) come from the pytest plugin and need no import; what is
here works in asynchronous tests of any kind, and outside of pytest too.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import attrs

from ._core.codec import decode
from ._core.values import Undecodable, unpack
from ._store.inspect import depths
from .queue import Queue
from .settings import Duration, seconds
from .worker import Worker

__all__ = ["DeadLetter", "Drained", "dead_letters", "drain", "run_worker"]


@attrs.frozen(kw_only=True)
class DeadLetter:
    """A job that was given up, as a test asks about it; `anyq.DeadLetter` is what operators see of one.

    Attributes:
        id: The job's id.
        task: The task's name.
        arguments: The arguments by name; ``None`` if they could not be read.
        reason: Why it was given up: ``retries_exhausted``, ``unrecoverable``, ``bad_payload``, ...
        error: The name of the last error's type, or ``""``.
        message: The last error's text, or what was wrong with the job.
        traceback: Where the last error was raised.
        attempts: How many runs it had.
    """

    id: str
    task: str
    arguments: Any = attrs.field(repr=False)
    reason: str
    error: str
    message: str
    traceback: str = attrs.field(repr=False)
    attempts: int


@attrs.frozen(kw_only=True)
class Drained:
    """What came of the jobs that a `drain` ran.

    Attributes:
        done: Jobs that were finished.
        failed: Runs that raised or timed out.
        retried: Runs after which the job was to come back.
        delayed: Jobs that still wait for their time.
        dead_letters: The jobs given up, those of earlier drains of the queues included.
    """

    done: int
    failed: int
    retried: int
    delayed: int
    dead_letters: list[DeadLetter]


@asynccontextmanager
async def run_worker(*queues: Queue, **settings: Any) -> AsyncGenerator[Worker]:
    """Open queues, and run their jobs inside the block.

    Args:
        *queues: The queues; inside the block they are open, so that jobs can be enqueued.
        **settings: Settings of the `anyq.Worker`. Unless they say otherwise, ten jobs run at a time, and leaving the
            block cancels those that still run: a failed test is not to be waited for.

    Example:
        >>> async with run_worker(queue) as worker:
        ...     await welcome.enqueue("ada@example.com")
        ...     await worker.wait_idle()
    """
    async with AsyncExitStack() as stack:
        for queue in queues:
            await stack.enter_async_context(queue)
        chosen: dict[str, Any] = {"concurrency": 10, "drain_timeout": 0, **settings}
        yield await stack.enter_async_context(Worker(queues, **chosen))


async def drain(
    *queues: Queue, skip_delays: bool = False, timeout: Duration = 10.0, **settings: Any
) -> Drained:
    """Run the jobs of queues until none is left that is due, and say what came of them.

    Args:
        *queues: The queues.
        skip_delays: Run delayed jobs too, without waiting for their time: those that were enqueued so, and the
            retries of those that fail. An hour of backoff takes milliseconds.
        timeout: Seconds after which something must be wrong.
        **settings: Settings of the `anyq.Worker`, as for `run_worker`.

    Returns:
        What came of them.

    Raises:
        TimeoutError: Jobs still ran, or came, when the time was over; the message names those that ran.

    Safe to cancel: jobs that run are handed back.

    Example:
        >>> await welcome.enqueue("nobody")
        >>> drained = await drain(queue, skip_delays=True)
        >>> assert [letter.reason for letter in drained.dead_letters] == ["retries_exhausted"]
    """
    limit = seconds("timeout", timeout, zero=False)
    async with run_worker(*queues, **settings) as worker:
        with anyio.move_on_after(limit) as scope:
            await worker.wait_idle()
            while skip_delays and any([await _hasten(queue) for queue in queues]):
                await worker.wait_idle()
        if scope.cancelled_caught:
            running = ", ".join(map(repr, worker.unfinished)) or "none: they come back again and again"
            raise TimeoutError(f"the queues were not empty after {limit:g} s; jobs in hand: {running}")
        statistics = worker.statistics()
        waiting = [(await depths(queue.redis, queue.keys)).delayed for queue in queues]
        letters = [letter for queue in queues for letter in await dead_letters(queue)]
    return Drained(
        done=statistics.done,
        failed=statistics.failed,
        retried=statistics.retried,
        delayed=sum(waiting),
        dead_letters=letters,
    )


async def dead_letters(queue: Queue) -> list[DeadLetter]:
    """List the jobs of a queue that were given up, the oldest first.

    Args:
        queue: The queue; it need not be open.

    Safe to cancel.

    Example:
        >>> [letter] = await dead_letters(queue)
        >>> assert letter.error == "ConnectionRefusedError"
    """
    async with queue:
        entries = await queue.redis.call(b"XRANGE", queue.keys.dead_letters, b"-", b"+")
    return [_letter(dict(zip(fields[::2], fields[1::2], strict=True))) for _, fields in entries]


async def _hasten(queue: Queue) -> bool:
    """Make all delayed jobs due now, and wake who promotes them; give whether there were any."""
    keys = queue.keys
    members = await queue.redis.call(b"ZRANGE", keys.delayed, 0, -1)
    now = time.time_ns() // 1_000_000
    for member in members:
        # XX: a job that was promoted meanwhile does not come back.
        await queue.redis.call(b"ZADD", keys.delayed, b"XX", now, member)
    await queue.redis.call(b"PUBLISH", keys.due, now)
    return bool(members)


def _letter(fields: Mapping[bytes, bytes]) -> DeadLetter:
    def text(name: bytes) -> str:
        return fields.get(name, b"").decode("utf-8", "replace")

    job_id, arguments = "", None
    try:
        job_id, body, *_ = decode(fields.get(b"d", b""))
        arguments = unpack(body)
    except Undecodable:  # that may be why it is dead
        pass
    return DeadLetter(
        id=job_id,
        task=text(b"n"),
        arguments=arguments,
        reason=text(b"reason"),
        error=text(b"error"),
        message=text(b"message") or text(b"detail"),
        traceback=text(b"traceback"),
        attempts=int(text(b"attempts") or 0),
    )
