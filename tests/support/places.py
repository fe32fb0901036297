"""Cancelling at every suspension: a coroutine is driven by hand, so that no place is left out."""

from __future__ import annotations

import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any

import anyio
from tests.support.servers import SECONDS

Work = Callable[[], Coroutine[Any, Any, Any]]


@types.coroutine
def counted(
    work: Coroutine[Any, Any, Any], place: int, cancel: Callable[[], None], seen: list[int]
) -> Generator[Any, Any, Any]:
    """Drive a coroutine by hand and cancel when it suspends for the ``place``-th time."""
    step: Callable[[Any], Any] = work.send
    argument: Any = None
    while True:
        try:
            yielded = step(argument)
        except StopIteration as end:
            return end.value
        if seen[0] == place:
            cancel()
        seen[0] += 1
        try:
            argument = yield yielded
            step = work.send
        except BaseException as error:  # noqa: BLE001 - thrown into what is driven
            argument = error
            step = work.throw


async def at_every_place(work: Work, after: Callable[[], Awaitable[None]]) -> int:
    """Run ``work`` again and again, cancelled at its first, second, ... suspension; how many it has."""
    for place in range(1000):
        seen = [0]
        with anyio.fail_after(2 * SECONDS), anyio.CancelScope() as scope:
            await counted(work(), place, scope.cancel, seen)
        await after()
        if seen[0] <= place:
            return place
    raise AssertionError("it does not end")
