"""Background tasks that live exactly as long as an ``async with`` block.

A task group's tasks are cancelled together with the block they belong to. A connection must not be: a worker that is
cancelled still has outcomes to write, in a shielded scope with a deadline, and it writes them through that connection.
So each task here is shielded, and the shield's end is the end of the block, which cancellation always reaches.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from types import TracebackType
from typing import Self, cast

import anyio


class BlockTasks:
    """The tasks of one block, opened and closed by its ``__aenter__`` and ``__aexit__``."""

    def __init__(self) -> None:
        self._group = anyio.create_task_group()
        self._scopes: set[anyio.CancelScope] = set()

    async def open(self) -> None:
        await self._group.__aenter__()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return await self.close(kind, error, traceback)

    def start_soon(self, work: Callable[[], Awaitable[None]], *, name: str) -> None:
        """Start a task; what it raises ends the block."""
        scope = anyio.CancelScope(shield=True)
        self._scopes.add(scope)
        self._group.start_soon(self._run, work, scope, name=name)

    async def _run(self, work: Callable[[], Awaitable[None]], scope: anyio.CancelScope) -> None:
        try:
            with scope:
                await work()
        finally:
            self._scopes.discard(scope)

    async def close(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        """Cancel the tasks and wait for them.

        What the body raised comes out as it was, not in a group of one; so does what the only failing task raised.
        """
        for scope in self._scopes:
            scope.cancel()
        try:
            return await self._group.__aexit__(kind, error, traceback)
        except BaseExceptionGroup as group:
            if error is None:
                raise only(group) from None
            others = group.split(lambda one: one is error)[1]
            if others is None:
                return False
            if isinstance(error, anyio.get_cancelled_exc_class()):
                raise only(others) from None
            raise


@contextmanager
def ungrouped() -> Generator[None]:
    """Let an error that stands alone in the group of the block's task group come out as it is."""
    try:
        yield
    except BaseExceptionGroup as group:
        alone = only(group)
        raise alone from alone.__cause__


def only(error: BaseException) -> BaseException:
    """What is in a group of one, however deep."""
    inside = _inside(error)
    return only(inside[0]) if len(inside) == 1 else error


def _inside(error: BaseException) -> tuple[BaseException, ...]:
    if isinstance(error, BaseExceptionGroup):
        return cast("BaseExceptionGroup[BaseException]", error).exceptions
    return ()
