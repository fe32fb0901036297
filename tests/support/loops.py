"""The event loops that tests can run on: `pytest --loop NAME`, repeatable."""

from __future__ import annotations

import asyncio
import sys
from typing import Any, Final

DEFAULT: Final = ("asyncio", "trio")


def eager_loop() -> asyncio.AbstractEventLoop:
    """A loop whose tasks begin at once, inside of whoever makes them (from Python 3.12)."""
    loop = asyncio.new_event_loop()
    loop.set_task_factory(getattr(asyncio, "eager_task_factory"))  # noqa: B009 - 3.11 has none, nor have its types
    return loop


LOOPS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "asyncio": ("asyncio", {"debug": True}),
    "asyncio+uvloop": ("asyncio", {"debug": True, "use_uvloop": True}),
    **(
        {"asyncio+eager": ("asyncio", {"debug": True, "loop_factory": eager_loop})}
        if sys.version_info >= (3, 12)
        else {}
    ),
    "trio": ("trio", {}),
}
"""What AnyIO is told to run each of those that this Python has; asyncio in its debug mode."""
