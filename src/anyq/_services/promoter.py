"""The promoter: moves delayed jobs into the stream when they are due.

It sleeps until the next job is due, by the server's clock, and is woken when one is added that is due earlier. A
foreign program wakes nobody, and a wake-up can be lost: so it looks at least every `_LONGEST_SLEEP` seconds.
"""

from __future__ import annotations

import logging

import anyio

from .._core import notices
from .._core.keys import Keys
from .._redis.subscriber import Subscriber
from .._store.promote import COURTESY_MS, Promoting, Promotion
from ..metrics.sink import LockOutcome, PromoterTick
from .channels import Bulletin
from .clock import wall_ms
from .patience import Patience

logger = logging.getLogger("anyq.promoter")

#: Jobs moved at once: a bounded time in which the server serves nobody else.
_LARGEST_BATCH = 256

_LONGEST_SLEEP = 1.0

#: The same for a queue that is shared with programs that wake nobody.
_LONGEST_SLEEP_SHARED = 0.05

#: The same while its subscription is not in force yet, and nobody could wake it.
_LONGEST_SLEEP_UNHEARD = 0.01


class Promoter:
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
        self._queue = queue
        self._keys = keys
        self._promoting = promoting
        self._subscriber = subscriber
        self._patience = patience
        self._bulletin = bulletin
        self._woken = anyio.Event()
        self._leaving = False
        self._led = False
        self._longest = _LONGEST_SLEEP_SHARED if keys.shared else _LONGEST_SLEEP

    async def run(self) -> None:
        """Promote until cancelled or told to resign."""
        with self._subscriber.subscribe(self._keys.due, self._wake, on_gap=self._wake) as subscription:
            while not self._leaving:
                self._woken = anyio.Event()
                longest = self._longest if subscription.confirmed else _LONGEST_SLEEP_UNHEARD
                promotion = await self._patience(lambda: self._promoting.promote(_LARGEST_BATCH))
                self._tell(promotion)
                if promotion.jobs:
                    continue
                with anyio.move_on_after(_sleep(promotion, longest)):
                    await self._woken.wait()

    async def resign(self) -> None:
        """Promote no more, which would take the lock again, and let somebody else promote on time at once."""
        self._leaving = True
        self._woken.set()
        await self._promoting.resign()  # on the same connection: after the promotion that may be under way

    def _wake(self, *_: object) -> None:
        self._woken.set()

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


def _sleep(promotion: Promotion, longest: float) -> float:
    if promotion.next_due is None:
        return longest
    courtesy = 0.0 if promotion.leads else COURTESY_MS / 1000
    return min(promotion.next_due + courtesy, longest)
