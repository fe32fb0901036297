"""Workers as a program: they run until the operating system says that it is enough.

This is the one place that knows signals. The first one drains, the second stops at once; a third changes nothing, for
there is nothing left to shorten. It must run in the main thread, as all of Python's signal handling does.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import count
from types import FrameType

import anyio
from anyio.abc import TaskGroup, TaskStatus

from ._redis.tasks import ungrouped
from .worker import Worker

logger: logging.Logger = logging.getLogger("anyq.serve")

#: The signals that end a program politely: what an init system or a container sends, and Ctrl-C.
SIGNALS = (signal.SIGTERM, signal.SIGINT)


async def serve(
    *workers: Worker, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
) -> signal.Signals | None:
    """Run workers until SIGTERM or SIGINT: the first drains, the second stops at once.

    Args:
        *workers: The workers; each was made, and none was entered.
        task_status: Told when all of them are ready to take jobs, for ``await nursery.start(serve, worker)``.

    Returns:
        The first signal that came, or ``None`` if the workers were stopped by `Worker.stop`. All have drained then;
        ``worker.unfinished`` lists what one of them could not hand back.

    Raises:
        RedisUnavailable: Redis could not be reached within ten seconds of the start.
        ConfigurationError: The server refuses what a worker needs; the message says what to do.
        WorkerCrashed: A service of a worker gave up; the other workers have drained.
        RuntimeError: This is not the main thread.

    Safe to cancel: cancelling it drains, each worker within its ``drain_timeout`` and 4 seconds.

    Example:
        >>> async def main() -> None:
        ...     await anyq.serve(Worker(emails, concurrency=100), Worker(reports, concurrency=2))
        >>> anyio.run(main)
    """
    return await watch(Shift(workers), task_status=task_status)


class Shift:
    """Workers that start together, and are asked together to stop: once to drain, twice to stop at once.

    Args:
        workers: The workers.
    """

    def __init__(self, workers: Sequence[Worker]) -> None:
        if not workers or not all(isinstance(worker, Worker) for worker in workers):
            raise TypeError(f"serve needs one or several Workers, not {workers!r}")
        self.workers: tuple[Worker, ...] = tuple(workers)
        self.asked: int = 0
        self._starting: set[anyio.CancelScope] = set()

    def ask(self, times: int) -> None:
        """Ask all workers to stop, for the first time or again: then they stop at once. From inside of the event loop.

        Who asks counts for himself. Two who ask for the first time want the same, and the workers still drain.
        """
        if times <= self.asked:
            return
        self.asked = times
        for worker in self.workers:
            worker.stop(drain_timeout=None if times == 1 else 0)
        for scope in self._starting:
            scope.cancel()  # that worker has no jobs yet

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Run them until all have ended. If one crashes, the others drain, and what comes out is the error itself."""
        with ungrouped():
            async with anyio.create_task_group() as nursery:
                async with anyio.create_task_group() as starting:
                    for worker in self.workers:
                        starting.start_soon(self._start, worker, nursery, name=f"start of {worker!r}")
                task_status.started()

    async def _start(self, worker: Worker, nursery: TaskGroup) -> None:
        if self.asked:
            return  # before it could hear of it
        with anyio.CancelScope() as scope:
            self._starting.add(scope)
            try:
                logger.debug("%r starts", worker)
                await nursery.start(worker.run, name=repr(worker))
            finally:
                self._starting.discard(scope)


async def watch(
    shift: Shift,
    *,
    notice: Callable[[int], None] | None = None,
    task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> signal.Signals | None:
    """Run a shift until it ends, and ask it to stop at each signal.

    Args:
        shift: The workers.
        notice: Called with the number of signals so far, by the interpreter and not by the event loop, which may be
            blocked.
        task_status: Told when all workers are ready to take jobs.

    Returns:
        The first signal that came, or ``None``.
    """
    first: signal.Signals | None = None
    with anyio.open_signal_receiver(*SIGNALS) as signals, nullcontext() if notice is None else _told(notice):

        async def listen() -> None:
            nonlocal first
            times = 0
            async for number in signals:
                first, times = first or number, times + 1
                shift.ask(times)

        with ungrouped():
            async with anyio.create_task_group() as nursery:
                nursery.start_soon(listen, name="anyq signals")
                await shift.run(task_status=task_status)
                nursery.cancel_scope.cancel()
    return first


@contextmanager
def _told(notice: Callable[[int], None]) -> Generator[None]:
    """Call ``notice`` at each signal, before the handler that the event loop has put there."""
    before = {number: signal.getsignal(number) for number in SIGNALS}

    times = count(1)

    def handle(number: int, frame: FrameType | None) -> None:
        notice(next(times))
        loops = before[signal.Signals(number)]
        if callable(loops):
            loops(number, frame)

    for number in SIGNALS:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
