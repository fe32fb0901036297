"""From a queue's task to a worker's: the middleware around it and its own threads, put together once per task.

A task that has nothing of this is left as it is: its runs cost what they always did.
"""

from __future__ import annotations

from functools import partial

import anyio
import attrs

from .._core.middleware import Middleware, through
from .._core.runnable import Runnable


@attrs.frozen
class Preparing:
    """Makes a worker's tasks of a queue's.

    Attributes:
        around: Middleware around all of them, outermost first.
    """

    around: tuple[Middleware, ...] = ()

    def __call__(self, task: Runnable) -> Runnable:
        """Prepare one."""
        if task.threads is not None:
            task = attrs.evolve(task, limiter=anyio.CapacityLimiter(task.threads))
        layers = (*self.around, *task.middleware)
        if not layers:
            return task
        # Whether the payload fits is looked at innermost, for middleware may change it.
        function = partial(through, layers)
        return attrs.evolve(task, function=function, style="chain", parameters=None, exact=None, inner=task)
