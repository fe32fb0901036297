"""The supervisor of ``anyq worker --processes N``: one that dies is replaced, and all drain together.

A child is never forked off: it begins in a fresh interpreter, like a program of its own, and in a session of its own,
so that Ctrl-C reaches it once and not twice. It hears its supervisor through its leash (`leash.py`).
"""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Callable, Sequence

import anyio
import attrs
from anyio.abc import Process

from .._services.hesitation import Hesitation
from ..serve import SIGNALS
from .endings import DONE, GRACE, GRAVITY, LEFT_SOMETHING, USAGE
from .leash import ASK

logger: logging.Logger = logging.getLogger("anyq.cli")

#: The wait before a replacement, in seconds: the first, and the longest after several that did not live for long.
_PAUSES = 0.2, 30.0
_LONG = 10.0

#: Seconds that a child is given past everything that it was promised; then it is killed.
_PATIENCE = 2.0


async def supervise(arguments: Callable[[int], Sequence[str]], count: int, drain_timeout: float) -> int:
    """Run children until a signal comes and all have drained.

    Args:
        arguments: Gives what follows ``anyq`` on the command line of the child at a place, counted from 1.
        count: How many children.
        drain_timeout: Seconds that a child's handlers are given.

    Returns:
        The gravest of their exit codes.
    """
    supervisor = Supervisor(arguments, drain_timeout)
    with anyio.open_signal_receiver(*SIGNALS) as signals:
        async with anyio.create_task_group() as nursery:

            async def listen() -> None:
                async for number in signals:
                    logger.info("%s: the worker processes are asked to stop", number.name)
                    await supervisor.ask()

            nursery.start_soon(listen)
            nursery.start_soon(supervisor.enforce)
            async with anyio.create_task_group() as places:
                for place in range(1, count + 1):
                    places.start_soon(supervisor.keep, place)
            nursery.cancel_scope.cancel()
    return supervisor.code


@attrs.define(eq=False)
class _Child:
    process: Process
    told: int = 0


class Supervisor:
    """Keeps children at work until it is asked to let them end.

    Args:
        arguments: Gives what follows ``anyq`` on the command line of the child at a place, counted from 1.
        drain_timeout: Seconds that a child's handlers are given.
    """

    def __init__(self, arguments: Callable[[int], Sequence[str]], drain_timeout: float) -> None:
        self._arguments = arguments
        self._drain_timeout = drain_timeout
        self._children: set[_Child] = set()
        self._asked = 0
        self._stopping = anyio.Event()
        self._promised = anyio.CancelScope(deadline=math.inf)
        self.code: int = DONE

    async def ask(self) -> None:
        """Ask all children to drain; each further time, to stop at once."""
        self._asked += 1
        needs = GRACE + _PATIENCE + (self._drain_timeout if self._asked == 1 else 0)
        self._promised.deadline = min(self._promised.deadline, anyio.current_time() + needs)
        self._stopping.set()
        for child in list(self._children):
            await self._tell(child)

    async def keep(self, place: int) -> None:
        """Keep one child at work until all are to stop; replace it when it dies before."""
        hesitation = Hesitation(*_PAUSES)
        while not self._stopping.is_set():
            began = anyio.current_time()
            code = await self._live(place)
            if self._stopping.is_set() or code == USAGE:
                self._judge(code)
                if code == USAGE:  # it would not go better the next time
                    await self.ask()
                return
            if anyio.current_time() - began >= _LONG:
                hesitation.over()
            wait = hesitation.next()
            logger.error("worker process %d ended with %d; it is replaced in %.1f s", place, code, wait)
            with anyio.move_on_after(wait):
                await self._stopping.wait()

    async def enforce(self) -> None:
        """Kill the children that outlive what they were promised."""
        with self._promised:
            await anyio.sleep_forever()
        for child in list(self._children):
            logger.error("the worker process with pid %d does not end, and is killed", child.process.pid)
            child.process.kill()

    async def _live(self, place: int) -> int:
        """One child, from its start to its end; gives its exit code, negative for a signal that killed it."""
        async with await anyio.open_process(
            [sys.executable, "-m", "anyq", *self._arguments(place)],
            stdout=None,
            stderr=None,
            start_new_session=True,
        ) as process:
            logger.info("worker process %d has pid %d", place, process.pid)
            child = _Child(process)
            self._children.add(child)
            try:
                await self._tell(child)
                return await process.wait()
            finally:
                self._children.discard(child)

    async def _tell(self, child: _Child) -> None:
        """Pass on what the child has not been told yet."""
        news, child.told = self._asked - child.told, self._asked
        if news and child.process.stdin is not None:
            try:
                await child.process.stdin.send(ASK * news)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):  # it has ended already
                return

    def _judge(self, code: int) -> None:
        known = code if code in GRAVITY else LEFT_SOMETHING  # killed: nobody knows what it held
        self.code = max(self.code, known, key=GRAVITY.index)
