"""What the walk of `walk.py` does to single jobs: cancels them wherever they lie, or lets them wait for another time.

What the ledger asserts of it: a job whose cancelling took effect has ended, and is nowhere; one that a worker has goes
on until that worker ends it; and of a job that is not found the ledger says that it has ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tests.support.hands import claiming

from anyq._core.job import Job
from anyq._store import cancels
from anyq._store.control import Batch, Controlling, Delayed, Ended, Lying, Reached
from anyq._store.settle import CANCELLED, NOT_ASKED, Cut

if TYPE_CHECKING:
    from tests.support.walk import Consumer, Walk


class Cancelling:
    """Cancels jobs of a walk.

    Attributes:
        asked: The jobs for which there is a request, as the ledger knows them.
    """

    def __init__(self, walk: Walk) -> None:
        self.walk = walk
        self.asked: set[str] = set()
        self._control: Controlling | None = None
        self._batch = 0

    @property
    def control(self) -> Controlling:
        """Whoever cancels: a producer of its own."""
        if self._control is None:
            self._control = self.walk.table.controlling()
        return self._control

    def _next(self) -> Batch:
        self._batch += 1
        return Batch(self._batch, self._batch)

    async def _find(self) -> tuple[str, Delayed | Lying | None]:
        """Some job, and where it is: nowhere only if it has ended, or waits for others."""
        walk = self.walk
        living = sorted(walk.added - (+walk.ended).keys())
        job_id = walk.random.choice(
            sorted(walk.added) if not living or walk.random.random() < 0.2 else living
        )
        if not walk.added:
            return "", None
        return job_id, await self._place(job_id)

    async def _place(self, job_id: str) -> Delayed | Lying | None:
        """Where a job is."""
        walk = self.walk
        found, asked = await self.control.look(job_id)
        assert asked == (job_id in self.asked)
        if isinstance(found, Ended):
            assert walk.ended[job_id], f"{job_id} lives, and is told to be {found}"
            return None
        if found is not None:
            return found
        for lane in (*walk.lanes, *await self.control.asides()):
            place: Lying | Reached = Reached(b"-", end=False)
            while isinstance(place, Reached) and not place.end:
                place = await self.control.seek(job_id, lane, place.place, b"+")
            if isinstance(place, Lying):
                return place
        assert walk.ended[job_id] or job_id in walk.waits, f"{job_id} lives, and is not found"
        return None

    async def cancel(self) -> None:
        """Somebody cancels a job; perhaps twice, since the reply was lost."""
        if not self.walk.added:
            return
        job_id, found = await self._find()
        if found is None:
            return
        walk, batch = self.walk, self._next()
        for _ in range(2 if walk.random.random() < 0.25 else 1):
            if isinstance(found, Delayed):
                assert await self.control.withdraw(batch, job_id, found)
            else:
                reply = await self.control.cancel(batch, job_id, found)
                assert reply == (2 if found.owner else 1)
        if isinstance(found, Lying) and found.owner:
            self.asked.add(job_id)
            return
        walk.waits.pop(job_id, None)
        walk.over(job_id, "cancelled")
        if isinstance(found, Delayed):
            assert not await self.control.withdraw(self._next(), job_id, found)
        else:
            assert await self.control.cancel(self._next(), job_id, found) == 0

    async def reschedule(self) -> None:
        """Somebody lets a delayed job wait for another time."""
        if not self.walk.added:
            return
        job_id, found = await self._find()
        if isinstance(found, Delayed) and not found.waits:
            delay, batch = self.walk.random.randrange(30), self._next()
            for _ in range(2 if self.walk.random.random() < 0.25 else 1):
                assert await self.control.reschedule(batch, job_id, found, delay_ms=delay, due_ms=None)

    async def end_cancelled(self) -> None:
        """A worker ends what it holds and somebody cancelled; now and then what nobody did."""
        walk = self.walk
        consumer = walk.random.choice(walk.consumers)
        asked = [job for job in consumer.held.values() if job.id in self.asked]
        jobs = asked or list(consumer.held.values())[:1]
        for lane in walk.lanes:
            await self.end(consumer, lane, [job for job in jobs if job.lane == lane])

    async def end(self, consumer: Consumer, lane: bytes, jobs: Sequence[Job]) -> None:
        """Ended is what the worker owns and somebody asked for; what nobody asked for stays as it is."""
        if not jobs:
            return
        walk = self.walk
        cuts = [Cut(job.entry, job.id, cancels.STOPPED, 0.0, walk.owned(job)) for job in jobs]
        owned = await self._owned(consumer, lane, jobs)
        expected = [0 if job not in owned else 1 if job.id in self.asked else NOT_ASKED for job in jobs]
        assert await consumer.hands.settling.end_cancelled(lane, cuts) == expected
        for job, answer in zip(jobs, expected, strict=True):
            if answer == 1:
                walk.over(job.id, "cancelled")
                self.asked.discard(job.id)
            if answer != NOT_ASKED:
                consumer.held.pop((lane, job.entry), None)
                consumer.past.append(job)
        if walk.random.random() < 0.25:
            again = [answer if answer == NOT_ASKED else 0 for answer in expected]
            assert await consumer.hands.settling.end_cancelled(lane, cuts) == again

    async def refused(self, consumer: Consumer, lane: bytes, jobs: Sequence[Job]) -> list[Job]:
        """Try to retry those that somebody cancelled, which does nothing; give the others."""
        owned = await self._owned(consumer, lane, jobs)
        asked = [job for job in jobs if job.id in self.asked and job in owned]
        if asked:
            moves = [(job.entry, 0, self.walk.member(job)) for job in asked]
            assert await consumer.hands.settling.retry(lane, moves) == [CANCELLED] * len(asked)
        return [job for job in jobs if job not in asked]

    async def outlive(self) -> None:
        """Somebody cancels a job that ends by itself, and another takes its id: of that one nobody asked anything."""
        walk = self.walk
        consumer, job = await self._in_hand()
        found = await self._place(job.id)
        assert isinstance(found, Lying)
        assert (found.lane, found.entry, found.owner) == (job.lane, job.entry, consumer.hands.name)
        assert await self.control.cancel(self._next(), job.id, found) == 2
        self.asked.add(job.id)
        await walk.acknowledge(consumer, job.lane, [job])
        await self.look()
        assert await walk.begin([(job.id, claiming(job.id, chosen=True))], plain=False, limit=0) == [True]
        await self.look()

    async def _in_hand(self) -> tuple[Consumer, Job]:
        """Some job of a chosen id, in its owner's hands; if there is none, one that is added and read for it."""
        walk = self.walk
        added = ""
        while not (found := await self._owned_with_chosen_ids()):
            if not added:
                added = f"chosen-outlived-{self._batch}"
                fresh = claiming(added, chosen=True)
                assert await walk.begin([(added, fresh)], plain=False, limit=0) == [True]
            await walk.read()
        return walk.random.choice(found)

    async def _owned_with_chosen_ids(self) -> list[tuple[Consumer, Job]]:
        owners = {
            (lane, entry): owner
            for lane in self.walk.lanes
            for entry, owner in (await self.walk.owners(lane)).items()
        }
        return [
            (consumer, job)
            for consumer in self.walk.consumers
            for place, job in consumer.held.items()
            if owners.get(place) == consumer.hands.name
            and job.id.startswith("chosen-")
            and job.id not in self.asked
        ]

    async def read_requests(self) -> None:
        """Some worker reads the requests, and forgets those whose jobs ended by themselves."""
        walk = self.walk
        assert await cancels.read(walk.client, walk.keys, list(self.asked)[:3]) == self.asked
        gone = [job_id for job_id in self.asked if walk.ended[job_id]]
        if gone:
            await cancels.overtaken(walk.client, walk.keys, gone)
            self.asked.difference_update(gone)

    async def look(self) -> None:
        """The requests are those that the ledger knows."""
        assert await cancels.read(self.walk.client, self.walk.keys, ()) == self.asked

    async def _owned(self, consumer: Consumer, lane: bytes, jobs: Sequence[Job]) -> list[Job]:
        owners = await self.walk.owners(lane)
        return [job for job in jobs if owners.get(job.entry) == consumer.hands.name]
