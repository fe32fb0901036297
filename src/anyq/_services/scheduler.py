"""The scheduler: makes the jobs of schedules when they are due.

It sleeps until the next planned time, by the server's clock, and is woken when a schedule is planned anew. Any number
of workers may do this: making the jobs and planning the next time are one script, which does nothing for whoever comes
second. A foreign program wakes nobody, and a wake-up can be lost: so it looks at least every `_LONGEST_SLEEP` seconds.

A schedule that code declares is started only by workers whose code declares it: one that was taken out of the code is
never due again.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping, Sequence

import anyio

from .._core.ids import IdMaker
from .._core.keys import Keys
from .._core.schedules import MOST, Firing, Spec, judge
from .._redis.subscriber import Subscriber
from .._store.schedules import COURTESY_MS, Known, Look, Run, Scheduling
from ..errors import ConfigurationError
from ..metrics.sink import ScheduleFired
from .channels import Bulletin
from .clock import wall_ms
from .patience import Patience
from .planning import write_down

logger = logging.getLogger("anyq.scheduler")

#: Schedules looked at together, and bytes of jobs sent together: a bounded time in which the server serves nobody else.
_PAGE = 50
_MOST_BYTES = 4 * 1024 * 1024

_LONGEST_SLEEP = 10.0

#: The same for a queue that is shared with programs that wake nobody.
_LONGEST_SLEEP_SHARED = 1.0

#: The same while its subscription is not in force yet, and nobody could wake it.
_LONGEST_SLEEP_UNHEARD = 0.1

#: Seconds that resigning may take.
_FAREWELL = 0.5

Plan = tuple[Known, Firing, Sequence[Run]]


class Scheduler:
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
        self._queue = queue
        self._keys = keys
        self._declared = declared
        self._scheduling = scheduling
        self._subscriber = subscriber
        self._patience = patience
        self._bulletin = bulletin
        self._woken = anyio.Event()
        self._leaving = False
        self._ended = anyio.Event()
        self._new_id = IdMaker(wall_ms, random.SystemRandom().getrandbits)
        self._complained: dict[str, bytes] = {}
        self._longest = _LONGEST_SLEEP_SHARED if keys.shared else _LONGEST_SLEEP

    async def run(self) -> None:
        """Write the declared schedules down, then start runs until cancelled or told to resign."""
        try:
            await self._go_on()
        finally:
            self._ended.set()

    async def resign(self) -> None:
        """Stop, and let somebody else start runs on time at once."""
        self._leaving = True
        self._woken.set()
        with anyio.move_on_after(_FAREWELL):  # in an outage the lock runs out by itself
            await self._ended.wait()
            await self._scheduling.resign()

    async def _go_on(self) -> None:
        channel = self._keys.schedules_changed
        with self._subscriber.subscribe(channel, self._wake, on_gap=self._wake) as subscription:
            if self._declared:
                await self._declare()
            while not self._leaving:
                self._woken = anyio.Event()
                longest = self._longest if subscription.confirmed else _LONGEST_SLEEP_UNHEARD
                look = await self._patience(lambda: self._scheduling.due(_PAGE))
                if self._declared and not look.declared:  # a flush took them along
                    await self._declare()
                elif not await self._start(look) and not self._leaving:
                    with anyio.move_on_after(_sleep(look, longest)):
                        await self._woken.wait()

    def _wake(self, *_: object) -> None:
        self._woken.set()

    async def _declare(self) -> None:
        for spec in self._declared.values():
            try:
                if not await write_down(self._scheduling, self._patience, spec):
                    logger.warning("%s: the declared schedule %r would never be due", self._queue, spec.name)
                    await self._patience(lambda: self._scheduling.remove(spec.name))  # noqa: B023
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
            now_ms, found = await self._patience(lambda: self._scheduling.read(names))  # noqa: B023
            plans = [self._plan(known, now_ms) for known in found if self._is_ours(known, now_ms)]
            if plans:
                await self._fire(plans, now_ms)
                return True
            if len(names) < _PAGE:
                return False
            skip += _PAGE  # what nobody here can start must not hold up what is behind it
            look = await self._patience(lambda: self._scheduling.due(_PAGE, skip))  # noqa: B023
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
        done = await self._patience(lambda: self._scheduling.fire(plans))
        if self._bulletin.metrics:
            for (known, firing, _), ours in zip(plans, done, strict=True):
                if ours:
                    assert known.spec is not None
                    late = (now_ms - known.planned_ms) / 1000
                    self._bulletin.observe(
                        ScheduleFired(
                            queue=self._queue,
                            schedule=known.name,
                            task=known.spec.task,
                            jobs=len(firing.times),
                            late=late,
                        )
                    )


def _sleep(look: Look, longest: float) -> float:
    if look.next_due is None:
        return longest
    courtesy = 0.0 if look.leads else COURTESY_MS / 1000
    return min(look.next_due + courtesy, longest)
