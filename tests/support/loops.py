"""The event loops that tests can run on: `pytest --loop NAME`, repeatable."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from contextvars import Context
from typing import Any, Final, TypeVarTuple, Unpack

T = TypeVarTuple("T")

DEFAULT: Final = ("asyncio", "trio")


class GuardedLoop(asyncio.SelectorEventLoop):
    """A loop that only the thread that made it may use, but for `call_soon_threadsafe`.

    So does asyncio's debug mode, which also notes at each call and each future where it came from, and takes four
    times as long.
    """

    def __init__(self) -> None:
        self._home = threading.get_ident()
        super().__init__()

    def call_soon(
        self, callback: Callable[[Unpack[T]], object], *args: *T, context: Context | None = None
    ) -> asyncio.Handle:
        self._guard()
        return super().call_soon(callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[T]], object],
        *args: *T,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        self._guard()
        return super().call_at(when, callback, *args, context=context)

    def _guard(self) -> None:
        if threading.get_ident() != self._home:
            raise RuntimeError(
                "a loop is used from a thread that is not its own, and not by call_soon_threadsafe"
            )


def eager_loop() -> asyncio.AbstractEventLoop:
    """A loop whose tasks begin at once, inside of whoever makes them (from Python 3.12)."""
    loop = asyncio.new_event_loop()
    loop.set_task_factory(getattr(asyncio, "eager_task_factory"))  # noqa: B009 - 3.11 has none, nor have its types
    return loop


LOOPS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "asyncio": ("asyncio", {"loop_factory": GuardedLoop}),
    "asyncio+debug": ("asyncio", {"debug": True}),
    "asyncio+uvloop": ("asyncio", {"debug": True, "use_uvloop": True}),
    **(
        {"asyncio+eager": ("asyncio", {"debug": True, "loop_factory": eager_loop})}
        if sys.version_info >= (3, 12)
        else {}
    ),
    "trio": ("trio", {}),
}
"""What AnyIO is told to run each of those that this Python has; asyncio's other loops in its debug mode."""
