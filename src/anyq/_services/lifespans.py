"""Lifespans: resources that live as long as the worker takes and runs jobs, entered and left by a task of their own.

Of its own, because a lifespan may hold a task group: were it entered around the worker's nursery, the end of its
background task would cancel the nursery in the middle of everything. So it is told, and the worker drains.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, cast

import anyio
from anyio.abc import TaskStatus
from anyio.lowlevel import checkpoint_if_cancelled

from .._core.depends import fill, needs

logger = logging.getLogger("anyq.lifespans")

#: An async generator function that yields once, or whatever gives an async context manager when it is called.
Lifespan = Callable[..., AbstractAsyncContextManager[Any] | AsyncIterator[Any]]


def checked(lifespans: Any) -> tuple[Lifespan, ...]:
    """Give lifespans as a tuple, in the order in which they are entered, or refuse what is none.

    Raises:
        TypeError: One of them cannot be called, or a dependency of it is out of place.
    """
    if not isinstance(lifespans, Iterable):
        raise TypeError(f"lifespan must be a list of functions, not {lifespans!r}")
    found: tuple[Any, ...] = tuple(cast("Any", lifespans))
    for one in found:
        if not callable(one) or inspect.iscoroutinefunction(one):
            raise TypeError(
                f"a lifespan is an async generator function that yields once, or a function that gives an async "
                f"context manager; {one!r} is neither"
            )
        needs(one, _name(one))
    return found


class Lifespans:
    """Enters lifespans, keeps what they gave, and leaves them in reverse.

    Args:
        own: The worker's.
        queues: Each queue's. One that several have is entered once.
        crashed: Told when one of them ends by an error, while the worker runs or when it is left.
    """

    def __init__(
        self,
        own: Sequence[Lifespan],
        queues: Sequence[Sequence[Lifespan]],
        crashed: Callable[[str, Exception], None],
    ) -> None:
        self._own = own
        self._queues = queues
        self._crashed = crashed
        self._values: dict[Lifespan, Any] = {}
        self._scope = anyio.CancelScope()
        self._leaving = anyio.Event()
        self._ended = anyio.Event()

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Enter, say so, and leave when told."""
        entered = False
        try:
            with self._scope:
                async with AsyncExitStack() as stack:
                    await self._enter(stack)
                    entered = True
                    task_status.started()
                    await (
                        checkpoint_if_cancelled()
                    )  # who was cancelled meanwhile waits for our end, and asks for none
                    self._scope.shield = True  # until `leave_by`
                    await self._leaving.wait()
        except Exception as error:
            if not entered:
                raise
            self._crashed("lifespan", error)
        finally:
            self._ended.set()
        if self._scope.cancelled_caught:
            logger.error("a lifespan took too long to leave, and was cancelled")

    def leave_by(self, deadline: float) -> None:
        """Begin to leave; what is not left by the deadline is cancelled."""
        self._scope.deadline = deadline
        self._leaving.set()

    def hurry(self, deadline: float) -> None:
        """Leave sooner, if they are being left."""
        if self._leaving.is_set():
            self._scope.deadline = min(self._scope.deadline, deadline)

    async def left(self) -> None:
        """Wait until all are left."""
        await self._ended.wait()

    def given(self, queue: int) -> list[list[Any]]:
        """What there is for a queue, by its place: its own lifespans' values, then the worker's."""
        return self._at_hand(self._queues[queue])

    def _at_hand(self, lifespans: Sequence[Lifespan]) -> list[list[Any]]:
        levels = (lifespans, self._own)
        return [[self._values[one] for one in level if one in self._values] for level in levels]

    async def _enter(self, stack: AsyncExitStack) -> None:
        for lifespans in (self._own, *self._queues):
            for lifespan in lifespans:
                if lifespan not in self._values:
                    what = _name(lifespan)
                    arguments = fill(lifespan, needs(lifespan, what), what, self._at_hand(lifespans))
                    generates = inspect.isasyncgenfunction(lifespan)
                    make: Any = asynccontextmanager(cast("Any", lifespan)) if generates else lifespan
                    self._values[lifespan] = await stack.enter_async_context(make(**arguments))


def _name(lifespan: Any) -> str:
    return f"lifespan {getattr(lifespan, '__qualname__', None) or repr(lifespan)}"
