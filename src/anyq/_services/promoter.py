"""The promoter: moves delayed jobs into the stream when they are due."""

from __future__ import annotations

import logging

from .._core import notices
from .._core.keys import Keys
from .._redis.subscriber import Subscriber
from .._store.promote import Promoting, Promotion
from ..metrics.sink import LockOutcome, PromoterTick
from .channels import Bulletin
from .clock import wall_ms
from .patience import Patience
from .sleeper import Sleep, Sleeper, until

logger = logging.getLogger("anyq.promoter")

#: Jobs moved at once: a bounded time in which the server serves nobody else.
_LARGEST_BATCH = 256

_SLEEP = Sleep(1.0, shared=0.05, unheard=0.01)


class Promoter(Sleeper):
    """Promotes the delayed jobs of one queue."""

    def __init__(
        self,
        *,
        queue: str,
        keys: Keys,
        promoting: Promoting,
        subscriber: Subscriber,
        patience: Patience,
        bulletin: Bulletin,
    ) -> None:
        super().__init__(keys, subscriber, keys.due, _SLEEP)
        self._queue = queue
        self._promoting = promoting
        self._patience = patience
        self._bulletin = bulletin
        self._led = False

    async def _look(self) -> float:
        with self._bulletin.about_to_tell():
            promotion = await self._patience(self._promoting.promote, _LARGEST_BATCH)
            self._tell(promotion)
        return 0.0 if promotion.jobs else until(promotion.next_due, leads=promotion.leads)

    async def _give_up(self) -> None:
        await self._promoting.resign()

    def _tell(self, promotion: Promotion) -> None:
        if promotion.spoiled:
            logger.error(
                "%s: %d delayed members were no jobs; they are dead letters now",
                self._queue,
                promotion.spoiled,
            )
        if self._bulletin.events:
            now = wall_ms()
            for name, job_id in promotion.jobs:
                self._bulletin.notice(notices.waiting(job_id or "", name, now))
        if self._bulletin.metrics:
            if promotion.leads != self._led:
                self._bulletin.observe(LockOutcome(queue=self._queue, held=promotion.leads))
            self._bulletin.observe(
                PromoterTick(
                    queue=self._queue,
                    promoted=len(promotion.jobs),
                    waiting=promotion.waiting,
                    late=promotion.late,
                )
            )
        self._led = promotion.leads
