"""How a supervising process asks its children to stop, and how a child notices that its supervisor is gone.

The child's standard input is a pipe that only the supervisor can write to: one byte asks to drain, a second one to
stop at once, and its end, which the kernel brings about however the supervisor dies, asks to drain too. Signals would
not do: an init system signals the children itself as well, and a child that counted both would take the first request
for the second.
"""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from itertools import count

from anyio.from_thread import BlockingPortal

from .._redis.tasks import ungrouped
from ..serve import Shift

ASK = b"."


class Leash:
    """The child's end. Takes standard input away from everything else in the process."""

    def __init__(self) -> None:
        self._pipe = os.dup(0)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)

    @asynccontextmanager
    async def held(self, shift: Shift, notice: Callable[[int], None]) -> AsyncGenerator[None]:
        """Pass on to a shift what the supervisor asks for, inside the block.

        Args:
            shift: The workers.
            notice: Called with the number of requests so far, in a thread: the event loop may be blocked.
        """
        with ungrouped():
            async with BlockingPortal() as portal:
                listener = threading.Thread(
                    target=self._listen, args=(shift, portal, notice), name="anyq leash", daemon=True
                )
                listener.start()
                yield

    def _listen(self, shift: Shift, portal: BlockingPortal, notice: Callable[[int], None]) -> None:
        for times in count(1):
            gone = not os.read(self._pipe, 1)
            if gone and times > 1:
                return  # it went after it had asked
            notice(times)
            try:
                portal.start_task_soon(shift.ask, times)
            except RuntimeError:  # the event loop has ended
                return
            if gone:
                return
