"""The steps of a worker's end, from left to right: take nothing more, let handlers end, settle, say good-bye, tell.

The worker says in which order, and by when; each step ends by then, whatever becomes of Redis and of the handlers.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import anyio
import attrs
from redis.exceptions import RedisError

from ..errors import AnyQError
from .branch import Branch
from .channels import Jobs
from .duties import Duties, within
from .runners import Runners

logger = logging.getLogger("anyq.worker")

#: After the drain's deadline, in seconds: for cancelled handlers to clean up, for the flushes, for the farewell.
_CLEANUP_GRACE = 1.0
_FLUSH_GRACE = 2.0
_FAREWELL_GRACE = 1.0

#: Together they are the grace by which leaving a worker may exceed ``drain_timeout``.
GRACE = _CLEANUP_GRACE + _FLUSH_GRACE + _FAREWELL_GRACE

#: Seconds in which a runner ends whose thread was abandoned.
_ABANDONED = 0.2


@attrs.frozen(kw_only=True)
class Shutdown:
    """The end of a worker.

    Attributes:
        branches: The worker's queues.
        runners: Who run their jobs.
        jobs: What was taken and not begun.
        duties: The services at work.
    """

    branches: Sequence[Branch]
    runners: Runners
    jobs: Jobs
    duties: Duties

    async def take_nothing_more(self) -> None:
        """Take nothing new, and hand back at once what was not begun: another worker starts it immediately."""
        async with anyio.create_task_group() as readers:
            for branch in self.branches:
                branch.stop_watching()
                readers.start_soon(branch.reader.stop, branch.client)
        for branch in self.branches:
            branch.reader.close()
        self.jobs.send.close()
        self.runners.release_unstarted()

    async def cut_handlers(self) -> None:
        """Cancel the handlers that still run, and abandon those in threads that ignore it."""
        ended = self.duties.runners.ended
        if ended.is_set():
            return
        self.runners.cut("shutdown")
        if not await within(_CLEANUP_GRACE, ended):
            for job in self.runners.abandon():
                logger.error("%r: its thread ignores that it was cut; it is abandoned", job)
            await within(_ABANDONED, ended)

    async def settle(self, leave_by: float) -> None:
        """Write the outcomes: the relocators end because their input ended. The last handler may still end here."""
        with anyio.CancelScope(deadline=min(anyio.current_time() + _FLUSH_GRACE, leave_by - _FAREWELL_GRACE)):
            await self.duties.runners.ended.wait()
            for branch in self.branches:
                branch.outcomes.end()
            for duty in self.duties.relocators:
                await duty.ended.wait()
        for duty in self.duties.relocators:
            duty.scope.cancel()

    async def say_goodbye(self, leave_by: float) -> bool:
        """Leave the groups: nothing may be delivered to us any more. Tell whether nothing is left in our name."""
        for branch in self.branches:
            branch.reading.close()
        left_nothing = False
        with anyio.CancelScope(deadline=leave_by - _FAREWELL_GRACE / 2):
            left_nothing = all([await self._depart(branch) for branch in self.branches])
        for duty in self.duties.upkeep:
            duty.scope.cancel()
        return left_nothing

    async def _depart(self, branch: Branch) -> bool:
        departed = False
        await branch.resign()
        try:
            departed = await branch.depart()
        except (AnyQError, RedisError) as error:
            logger.warning("%s: could not say good-bye to Redis: %s", branch.queue, error)
        if not departed and len(branch.ledger):
            logger.error("%s: %d jobs are left in this worker's name", branch.queue, len(branch.ledger))
        return departed

    async def tell_the_last(self, leave_by: float) -> None:
        """Write the last events; nothing happens after them."""
        for branch in self.branches:
            branch.bulletin.end()
        with anyio.CancelScope(deadline=min(anyio.current_time() + _FAREWELL_GRACE, leave_by)):
            for duty in self.duties.observers:
                await duty.ended.wait()
        for duty in self.duties.observers:
            duty.scope.cancel()
