"""The metrics service: hands observations to the sink, in a thread and in batches, so that a bad sink harms nobody."""

from __future__ import annotations

import logging

import anyio
from anyio.to_thread import run_sync

from ..metrics.sink import Sink
from .batches import batches
from .channels import Bulletin

logger = logging.getLogger("anyq.metrics")

_LARGEST_BATCH = 1000


class Metrics:
    """Feeds one sink from one bulletin."""

    def __init__(self, *, sink: Sink, bulletin: Bulletin) -> None:
        self._sink = sink
        self._bulletin = bulletin
        self._limiter = anyio.CapacityLimiter(1)
        self._failing = False

    async def run(self) -> None:
        """Feed until the input ends."""
        async for batch in batches(self._bulletin.observations, _LARGEST_BATCH):
            try:
                # Abandoned when cancelled: a sink that hangs must not hold the worker's stop.
                await run_sync(self._sink.observe, batch, abandon_on_cancel=True, limiter=self._limiter)
                self._failing = False
            except Exception:
                self._bulletin.dropped += len(batch)
                if not self._failing:
                    self._failing = True
                    logger.exception(
                        "the metrics sink raised; its observations are dropped until it stops doing so"
                    )
