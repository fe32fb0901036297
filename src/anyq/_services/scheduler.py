"""The scheduler: makes the jobs of schedules when they are due.

Any number of workers may do this: making the jobs and planning the next time are one script, which does nothing for
whoever comes second.

A schedule that code declares is started only by workers whose code declares it: one that was taken out of the code is
never due again.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping, Sequence

from .._core.ids import IdMaker
from .._core.keys import Keys
from .._core.schedules import MOST, Firing, Spec, judge
from .._redis.subscriber import Subscriber
from .._store.schedules import LEFT_OUT, Known, Look, Run, Scheduling
from ..errors import ConfigurationError
from ..metrics.sink import ScheduleFired
from .channels import Bulletin
from .clock import wall_ms
from .patience import Patience
from .planning import write_down
from .sleeper import Sleep, Sleeper, until

logger = logging.getLogger("anyq.scheduler")

#: Schedules looked at together, and bytes of jobs sent together: a bounded time in which the server serves nobody else.
_PAGE = 50
_MOST_BYTES = 4 * 1024 * 1024

_SLEEP = Sleep(10.0, shared=1.0, unheard=0.1)

Plan = tuple[Known, Firing, Sequence[Run]]


class Scheduler(Sleeper):
    """Starts the runs of one queue's schedules."""

    def __init__(
        self,
        *,
        queue: str,
        keys: Keys,
        declared: Mapping[str, Spec],
        scheduling: Scheduling,
        subscriber: Subscriber,
        patience: Patience,
        bulletin: Bulletin,
    ) -> None:
        super().__init__(keys, subscriber, keys.schedules_changed, _SLEEP)
        self._queue = queue
        self._declared = declared
        self._scheduling = scheduling
        self._patience = patience
        self._bulletin = bulletin
        self._new_id = IdMaker(wall_ms, random.SystemRandom().getrandbits)
        self._written = False
        self._complained: dict[str, bytes] = {}

    async def _look(self) -> float:
        look = await self._patience(self._scheduling.due, _PAGE)
        if self._declared and not (self._written and look.declared):  # or a flush took them along
            await self._declare()
            self._written = True
            return 0.0
        return 0.0 if await self._start(look) else until(look.next_due, leads=look.leads)

    async def _give_up(self) -> None:
        await self._scheduling.resign()

    async def _declare(self) -> None:
        for spec in self._declared.values():
            try:
                if not await write_down(self._scheduling, self._patience, spec):
                    logger.warning("%s: the declared schedule %r would never be due", self._queue, spec.name)
                    await self._patience(self._scheduling.remove, spec.name)
            except ConfigurationError as error:  # its record is something else; the others are not
                logger.error(  # noqa: TRY400 - whoever reads it has no use for our stack
                    "%s: the declared schedule %r was not written: %s", self._queue, spec.name, error
                )
        await self._patience(self._scheduling.mark_declared)

    async def _start(self, look: Look) -> bool:
        """Start what is due and ours; tell whether there may be more."""
        skip = 0
        while look.names:
            names = look.names
            now_ms, found = await self._patience(self._scheduling.read, names)
            plans = [self._plan(known, now_ms) for known in found if self._is_ours(known, now_ms)]
            if plans:
                await self._fire(plans, now_ms)
                return True
            if len(names) < _PAGE:
                return False
            skip += _PAGE  # what nobody here can start must not hold up what is behind it
            look = await self._patience(self._scheduling.due, _PAGE, skip)
        return False

    def _is_ours(self, known: Known, now_ms: int) -> bool:
        if known.spec is None:
            if self._complained.get(known.name) != known.token and len(self._complained) < 1000:
                self._complained[known.name] = known.token
                logger.error("%s: the schedule %r is left alone: %s", self._queue, known.name, known.why)
            return False
        if known.place != "active" or known.planned_ms > now_ms:
            return False  # somebody was quicker
        return not known.spec.declared or known.name in self._declared or self._keys.shared

    def _plan(self, known: Known, now_ms: int) -> Plan:
        spec = known.spec
        assert spec is not None
        most = max(1, min(MOST, _MOST_BYTES // (len(spec.body) + 200)))
        firing = judge(spec, known.planned_ms, now_ms, known.fired, most)
        runs: list[Run] = []
        for planned in firing.times:
            job_id = self._new_id()
            due = planned + random.randint(0, spec.jitter_ms)
            runs.append(Run(job_id, due, spec.envelope(job_id, planned, now_ms)))
        return known, firing, runs

    async def _fire(self, plans: Sequence[Plan], now_ms: int) -> None:
        part: list[Plan] = []
        size = 0
        for plan in plans:
            length = sum(len(run.envelope) for run in plan[2])
            if part and size + length > _MOST_BYTES:
                await self._send(part, now_ms)
                part, size = [], 0
            part.append(plan)
            size += length
        await self._send(part, now_ms)

    async def _send(self, plans: Sequence[Plan], now_ms: int) -> None:
        done = await self._patience(self._scheduling.fire, plans)
        if self._bulletin.metrics:
            for (known, firing, _), how in zip(plans, done, strict=True):
                if how:
                    assert known.spec is not None
                    late = (now_ms - known.planned_ms) / 1000
                    self._bulletin.observe(
                        ScheduleFired(
                            queue=self._queue,
                            schedule=known.name,
                            task=known.spec.task,
                            jobs=0 if how == LEFT_OUT else len(firing.times),
                            left_out=how == LEFT_OUT,
                            late=late,
                        )
                    )
