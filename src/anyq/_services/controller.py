"""The controller: finds one job by its id, wherever it lies, and cancels it or lets it wait for another time.

A job moves while it is looked for. So a search goes the way that jobs go (delayed, ready, handed back, delayed again),
every change is one script that says whether the job was still where it was seen, and one that was not is looked for
again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

import anyio
import attrs
from anyio.lowlevel import checkpoint

from .._core.ids import made_at
from .._core.keys import Keys
from .._core.status import Cancellation, JobStatus
from .._redis.subscriber import Subscriber
from .._store.control import Batch, Controlling, Delayed, Ended, Found, Lying
from ..errors import RedisUnavailable
from .patience import Patience
from .publisher import Publisher

T = TypeVar("T")

#: Milliseconds before and after an id was made in which its entry usually was, where clocks agree somewhat.
_BEFORE, _AFTER = 1000, 2000

#: How often the lanes are searched before a job counts as unknown, the second time only for what came meanwhile.
_ROUNDS = 2

#: Seconds between two looks whether a job has stopped, in case that the message was lost: the first, and the longest.
_FIRST_LOOK, _LONGEST_LOOK = 0.25, 5.0

_CANCELLED_BEFORE = {"cancelled": Cancellation.CANCELLED, "stopped": Cancellation.STOPPED}


class Controller:
    """Controls the jobs of one queue.

    Args:
        keys: The queue's keys.
        controlling: The verbs.
        publisher: Numbers what is sent.
        patience: How it meets trouble.
        subscriber: Hears when jobs end.
    """

    def __init__(
        self,
        *,
        keys: Keys,
        controlling: Controlling,
        publisher: Publisher,
        patience: Patience,
        subscriber: Subscriber,
    ) -> None:
        self._keys = keys
        self._controlling = controlling
        self._publisher = publisher
        self._patience = patience
        self._subscriber = subscriber

    # -- looking --------------------------------------------------------------------------------------------------

    async def status(self, job_id: str) -> JobStatus:
        """Say how a job is."""
        return status_of(self._keys, await self.find(job_id))

    async def find(self, job_id: str) -> Found | None:
        """Find a job, or give ``None``: there is nothing under its id."""
        found, asked = await self._patience(self._controlling.look, job_id)
        if found is not None:
            return found
        made = made_at(job_id)
        others = await self._patience(self._controlling.lanes)
        if made is not None:
            for lane in (self._keys.stream, *others):
                lying = await self._search(
                    job_id, lane, b"%d" % max(0, made - _BEFORE), b"%d" % (made + _AFTER)
                )
                if isinstance(lying, Lying):
                    return attrs.evolve(lying, asked=asked)
        reached: dict[bytes, bytes] = {}
        for _ in range(_ROUNDS):
            for lane in (
                *reversed(self._keys.lanes),
                *others,
                *await self._patience(self._controlling.asides),
            ):
                lying = await self._search(job_id, lane, reached.get(lane, b"-"), b"+")
                if isinstance(lying, Lying):
                    return attrs.evolve(lying, asked=asked)
                reached[lane] = lying
            found, asked = await self._patience(self._controlling.look, job_id)
            if found is not None:
                return found
        return await self._scan(job_id) if self._keys.shared else None

    async def _search(self, job_id: str, lane: bytes, first: bytes, last: bytes) -> Lying | bytes:
        """Search a lane; give the job, or where to go on when more has come."""
        place = first
        while True:
            found = await self._patience(self._controlling.seek, job_id, lane, place, last)
            if isinstance(found, Lying):
                return found
            place = found.place
            if found.end:
                return place

    async def _scan(self, job_id: str) -> Delayed | None:
        """Search the delayed jobs themselves: a foreign program's retry has no index."""
        cursor = b"0"
        while True:
            found = await self._patience(self._controlling.scan, job_id, cursor)
            if found is None or isinstance(found, Delayed):
                return found
            cursor = found

    # -- changing -------------------------------------------------------------------------------------------------

    async def reschedule(self, job_id: str, *, delay_ms: int | None, due_ms: int | None) -> bool:
        """Let a job that is delayed wait for another time; tell whether it was delayed, and so is moved."""
        while isinstance(found := await self.find(job_id), Delayed) and not found.waits:
            move = partial(
                self._controlling.reschedule, job_id=job_id, found=found, delay_ms=delay_ms, due_ms=due_ms
            )
            if await self._once(move):
                return True
        return False

    async def cancel(self, job_id: str) -> tuple[Cancellation, Found | None]:
        """Cancel a job; say what that did, and where it was found. Asked again it has the same answer."""
        while True:
            found = await self.find(job_id)
            if found is None:
                return Cancellation.UNKNOWN, None
            if isinstance(found, Ended):
                return _CANCELLED_BEFORE.get(found.how, Cancellation.OVER), found
            done = await self._cancel(job_id, found)
            if done is not None:
                return done, found
            await checkpoint()  # it went elsewhere in between

    async def cancel_and_wait(self, job_id: str) -> Cancellation:
        """Cancel a job, and wait until it has really stopped."""
        done, found = await self.cancel(job_id)
        if done is not Cancellation.CANCELLING:
            return done
        ended = anyio.Event()

        def wake(*_: object) -> None:
            ended.set()

        with self._subscriber.subscribe(self._keys.finished(job_id), wake, on_gap=wake) as subscription:
            with suppress(RedisUnavailable):  # its looks do not need it
                await subscription.ready()
            pause = _FIRST_LOOK
            while True:
                ended = anyio.Event()
                # Asking again tells whether it is still there, and tells its worker once more.
                again = await self._cancel(job_id, found) if isinstance(found, Lying) else None
                if again is None:
                    again, found = await self.cancel(job_id)
                if again is not Cancellation.CANCELLING:
                    stopped = again in {Cancellation.CANCELLED, Cancellation.STOPPED}
                    return Cancellation.STOPPED if stopped else Cancellation.OVER
                with anyio.move_on_after(pause):
                    await ended.wait()
                pause = min(pause * 2, _LONGEST_LOOK)

    async def _cancel(self, job_id: str, found: Delayed | Lying) -> Cancellation | None:
        """Cancel a job where it was seen; ``None`` if it is not there any more."""
        if isinstance(found, Delayed):
            gone = await self._once(lambda batch: self._controlling.withdraw(batch, job_id, found))
            return Cancellation.CANCELLED if gone else None
        reply = await self._once(lambda batch: self._controlling.cancel(batch, job_id, found))
        return (None, Cancellation.CANCELLED, Cancellation.CANCELLING)[reply]

    async def _once(self, verb: Callable[[Batch], Awaitable[T]]) -> T:
        """Send a change until it is answered, under one number: it takes effect once."""
        return await self._publisher.once(lambda number, lowest: verb(Batch(number, lowest)))


def status_of(keys: Keys, found: Found | None) -> JobStatus:
    """Say how a job is that was found so, or was not."""
    match found:
        case None:
            return JobStatus.UNKNOWN
        case Ended(how):
            return JobStatus.CANCELLED if how == "stopped" else JobStatus(how)
        case Delayed():
            if found.waits:
                return JobStatus.WAITING
            return JobStatus.PARKED if found.extras.parked else JobStatus.DELAYED
        case Lying(owner=b"", lane=lane):
            return JobStatus.ASIDE if lane.startswith(keys.aside("")) else JobStatus.QUEUED
        case Lying(asked=asked):
            return JobStatus.CANCELLING if asked else JobStatus.RUNNING
