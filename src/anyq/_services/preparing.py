"""From a queue's task to a worker's: its dependencies, the middleware around it and its own threads, once per task.

A task that has nothing of this is left as it is: its runs cost what they always did.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NoReturn

import anyio
import attrs

from .._core.depends import fill
from .._core.middleware import Middleware, through
from .._core.runnable import Policy, Runnable


@attrs.frozen
class Preparing:
    """Makes a worker's tasks of a queue's.

    Attributes:
        policy: What holds where neither job nor task say anything.
        around: Middleware around all of them, outermost first.
        given: What lifespans gave, the nearest level first.
    """

    policy: Policy
    around: tuple[Middleware, ...] = ()
    given: Sequence[Sequence[Any]] = ()

    def __call__(self, task: Runnable) -> Runnable:
        """Prepare one.

        Raises:
            LookupError: No lifespan gives what it depends on.
        """
        task = attrs.evolve(task, policy=task.policy.over(self.policy))
        if task.needs:
            filled = fill(task.function, task.needs, task.title, self.given)
            task = attrs.evolve(task, function=partial(task.function, **filled))
        if task.threads is not None:
            task = attrs.evolve(task, limiter=anyio.CapacityLimiter(task.threads))
        layers = (*self.around, *task.middleware)
        if not layers:
            return task
        # Whether the payload fits is looked at innermost, for middleware may change it.
        function = partial(through, layers)
        return attrs.evolve(task, function=function, style="chain", parameters=None, exact=None, inner=task)

    def late(self, task: Runnable) -> Runnable:
        """Prepare one that came while the worker ran; what it lacks is its jobs' failure and not the worker's."""
        try:
            return self(task)
        except LookupError as error:
            refuse = partial(_refuse, str(error))
            return attrs.evolve(task, function=refuse, style="async", parameters=None, exact=None)


async def _refuse(message: str, _: object) -> NoReturn:
    raise LookupError(message)
