"""How a supervising process asks its children to stop, and how a child notices that its supervisor is gone.

The child's standard input is a pipe that only the supervisor can write to: one byte asks to drain, a second one to
stop at once, and its end, which the kernel brings about however the supervisor dies, asks to drain too. Signals would
not do: an init system signals the children itself as well, and a child that counted both would take the first request
for the second.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from anyio.from_thread import BlockingPortal

from ..serve import Shift

ASK = b"."


class Leash:
    """The child's end. Takes standard input away from everything else in the process."""

    def __init__(self) -> None:
        self._pipe = os.dup(0)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        self._asked = 0

    def hold(self, shift: Shift, portal: BlockingPortal, notice: Callable[[], None]) -> None:
        """Pass on what the supervisor asks for; in a thread, for a blocked event loop must not make it deaf."""
        threading.Thread(
            target=self._listen, args=(shift, portal, notice), name="anyq leash", daemon=True
        ).start()

    def _listen(self, shift: Shift, portal: BlockingPortal, notice: Callable[[], None]) -> None:
        while True:
            gone = not os.read(self._pipe, 1)
            if gone and self._asked:
                return
            self._asked += 1
            notice()
            try:
                portal.start_task_soon(self._ask, shift, self._asked)
            except RuntimeError:  # the event loop has ended
                return
            if gone:
                return

    @staticmethod
    def _ask(shift: Shift, times: int) -> None:
        while shift.asked < times:  # a signal may have asked before
            shift.ask()
