"""A seeded walk over everything that can happen to a queue, on a real server, with a ledger of every job.

Several workers that crash, come back as zombies, lose replies and send again, and a foreign one that claims and goes
silent: at any moment each added job is in exactly one place, nothing ends twice, only an owner changes a job, and lost
deliveries are counted. The same seed takes the same decisions as long as the server's clock gives the same answers.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
from redis.exceptions import ResponseError
from tests.support.cancelling import Cancelling
from tests.support.gathering import Gatherings
from tests.support.hands import Entry, Hands, Table, addition, claiming, member
from tests.support.timetable import Timetable

from anyq._core.codec import decode, split_member
from anyq._core.dead_letters import Raw, Revived, revive
from anyq._core.entry import admit
from anyq._core.job import Job
from anyq._core.keys import GROUP, Keys
from anyq._redis.client import Client
from anyq._services.patience import reply_code
from anyq._store import notes, pauses, totals
from anyq._store.belongings import Belonging, belongings
from anyq._store.dead_letters import Mending, trim
from anyq._store.publish import Addition, Answer, Full, Holder, Obstacle, Publishing
from anyq._store.settle import Kept, Letter
from anyq.settings import Retention

FOREIGN = b"c-foreign"

#: Jobs that a queue may hold, where the walk sets a limit.
LIMIT = 40

#: Lines that are kept of a job's log.
LINES = 3

Place = tuple[bytes, bytes]  # lane and entry id


@attrs.define
class Batch:
    """Jobs on their way: sent again under the same number until the producer believes its answer."""

    number: int
    jobs: list[tuple[str, Addition]]
    plain: bool
    limit: int
    answer: list[Answer] | None = None  # what the server said first


@attrs.define
class Producer:
    """Numbers its batches, as `Publisher` does."""

    publishing: Publishing
    last: int = 0
    open: dict[int, Batch] = attrs.Factory(dict)


@attrs.define(eq=False)
class Consumer:
    """A worker as the walk plays it: what it believes to hold may be wrong."""

    hands: Hands
    held: dict[Place, Job] = attrs.Factory(dict)
    past: list[Job] = attrs.Factory(list)  # settled, or somebody else's by now: a zombie acts on them


class Walk:
    """One queue, its players and its ledger."""

    def __init__(self, client: Client, seed: int, *, prefix: str = "anyq", workers: int = 4) -> None:
        self.random = random.Random(seed)
        self.client = client
        self.keys = Keys(prefix, f"walk-{seed}")
        self.table = Table(client, self.keys)
        self.priorities = [5] if self.keys.shared else [1, 5, 8]
        self.lanes = dict.fromkeys((self.keys.returned, *map(self.keys.lane, self.priorities)))
        self.workers = workers
        self.consumers: list[Consumer] = []
        self.zombies: list[Consumer] = []
        self.producers: list[Producer] = []
        self.added: set[str] = set()
        self.used: Counter[str] = Counter()  # runs that failed or were lost
        self.ended: Counter[str] = Counter()
        self.before: Counter[str] = Counter()  # endings of earlier jobs of the same chosen id
        self.holders: dict[str, str] = {}  # unique keys, and who took them last
        self.claims: dict[str, str] = {}  # of chosen ids
        self.debounced: set[str] = set()
        self.told: dict[str, list[bytes]] = {}  # lines of the logs of jobs, the last of them
        self._writings = 0
        self.tracked: dict[str, str] = {}  # jobs for which others may wait, and how they are
        self.waits: dict[
            str, tuple[set[str], bool]
        ] = {}  # those who wait: for whom, and whether they fail with them
        self.counts: Counter[str] = Counter()
        self.happened: Counter[str] = Counter()  # what the queue is to have counted
        self.timetable = Timetable(self)
        self.cancelling = Cancelling(self)
        self.gathering = Gatherings(self)
        self._names = 0
        self._ids = 0

    # -- the walk -----------------------------------------------------------------------------------------------------

    async def run(self, steps: int, *, look_every: int = 200) -> None:
        """Walk, look at the ledger now and then, and at the end finish every job."""
        await self.client.call(
            "CONFIG", "SET", "hz", 500
        )  # a read of nothing ends with the server's next tick
        self.producers = [Producer(self.table.producer()) for _ in range(2)]
        for _ in range(self.workers):
            await self._join()
        moves: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (10, self.add),
            (4, self.add_chosen),
            (4, self.add_unique),
            (4, self.debounce),
            (4, self.add_tracked),
            (4, self.add_waiting),
            (5, self.add_delayed),
            (4, self.add_to_a_lane),
            (4, self.send_again),
            (6, self.gathering.add),
            (2, self.gathering.send_again),
            (1, self.gathering.overfill),
            (16, self.read),
            (2, self.lose_a_read),
            (8, self.ack),
            (5, self.complete),
            (7, self.retry),
            (3, self.bury),
            (5, self.hand_back),
            (3, self.renew),
            (4, self.tell),
            (2, self.crash),
            (2, self.come_back),
            (6, self.act_as_zombie),
            (4, self.take_over),
            (2, self.rob_the_living),
            (2, self.claim_as_a_foreigner),
            (2, self.sweep),
            (6, self.promote),
            (2, self.pause),
            (2, self.resume),
            (4, self.set_aside),
            (3, self.readmit),
            (2, self.replay),
            (1, self.discard),
            (1, self.trim),
            (1, self.reconcile),
            (1, self.forget_scripts),
            (1, self.fill_up),
            (2, self.refuse),
            (3, self.timetable.plan),
            (4, self.timetable.decide),
            (6, self.timetable.fire),
            (1, self.timetable.redefine),
            (1, self.timetable.pause),
            (1, self.timetable.resume),
            (1, self.timetable.remove),
            (1, self.timetable.remember),
            (1, self.timetable.lose_the_lock),
            (5, self.cancelling.cancel),
            (3, self.cancelling.reschedule),
            (4, self.cancelling.end_cancelled),
            (2, self.cancelling.outlive),
            (2, self.cancelling.read_requests),
        ]
        names = [move for _, move in moves]
        weights = [weight for weight, _ in moves]
        each_once = self.random.sample(names, len(names))
        for step in range(1, steps + 1):
            move = each_once.pop() if each_once else self.random.choices(names, weights)[0]
            self.counts[move.__qualname__] += 1
            await move()
            if step % look_every == 0:
                await self.look()
        await self.finish()

    async def look(self) -> None:
        """Each job is in exactly one place; what is pending exists, and is somebody's."""
        stored: Counter[str] = Counter()
        entries: set[Place] = set()
        for lane in self.lanes:
            for entry, fields in await self.table.entries(lane):
                stored[decode(fields[b"d"])[0]] += 1
                self.gathering.look(fields[b"d"])
                entries.add((lane, entry))
        for _, fields in await self.table.entries(self.keys.aside("task")):
            stored[decode(fields[b"d"])[0]] += 1
        for one in await self.table.delayed():
            job_id = decode(split_member(one)[1])[0]
            stored[job_id] += 1
            self.gathering.look(split_member(one)[1])
            assert await self.client.call("GET", self.keys.delayed_member(job_id)) == one
        waiting = await self.client.call("HGETALL", self.keys.waiting)
        pairs = (
            waiting.items() if isinstance(waiting, dict) else zip(waiting[::2], waiting[1::2], strict=True)
        )
        held_up: set[str] = set()
        for child, kept in pairs:
            held_up.add(child.decode())
            member = re.split(b"[fr]", kept, maxsplit=1)[1]
            stored[decode(split_member(member)[1])[0]] += 1
        assert held_up == self.waits.keys(), f"{held_up} wait, and {self.waits} should"
        letters = Counter(
            decode(fields[b"d"])[0] for fields in await self.table.fields(self.keys.dead_letters)
        )
        for job_id in self.added | stored.keys() | self.ended.keys():
            places = stored[job_id] + self.ended[job_id]
            assert job_id in self.added, f"{job_id} was never added"
            assert places > 0, f"{job_id} is lost"
            assert places == 1, f"{job_id} is in {stored[job_id]} places and ended {self.ended[job_id]} times"
            gone = self.ended[job_id] + self.before[job_id]
            assert letters[job_id] <= gone, f"{job_id} is a dead letter and alive"
        claims = dict(await self._claims())
        for job_id in self.added - (+self.ended).keys():
            held = [self.keys.taken_id(job_id)] if job_id in self.claims else []
            held += [self.keys.unique(key) for key, holder in self.holders.items() if holder == job_id]
            assert claims.keys() >= set(held), f"{job_id} lives, and does not hold {held}"
        for job_id, lines in self.told.items():
            there = await notes.log(self.client, self.keys, job_id)
            assert there == ([] if self.ended[job_id] else lines), (
                f"{job_id} told {lines}, and {there} is kept"
            )
        for key, value in claims.items():
            owner = re.split(b"[:~]", value, maxsplit=1)[1].decode()
            mine = [id for id in self.added if owner in {id, self.claims.get(id)}]
            assert mine, f"{key!r} is held by nobody known: {value!r}"
            assert not self.ended[mine[0]], f"{key!r} outlived {mine[0]}"
        await self.cancelling.look()
        await self._look_at_the_counts(sum(stored.values()))
        for lane, entry, _, _ in await self.table.pending():
            assert (lane, entry) in entries, f"{entry!r} is pending, and there is no such entry"

    async def _look_at_the_counts(self, stored: int) -> None:
        """The queue has counted what happened; and what came in has ended, or is there."""
        flat = await self.client.call("HGETALL", self.keys.counts)
        pairs = flat.items() if isinstance(flat, dict) else zip(flat[::2], flat[1::2], strict=True)
        counted = {what.decode(): int(number) for what, number in pairs}
        counted.pop("minute", None)
        assert counted == {what: number for what, number in self.happened.items() if number}
        parked = sum(one[3] >= 64 for one in await self.table.delayed())
        read = await totals.read(self.client, self.keys, 1)
        assert (read.parked, read.parked_tasks) == (parked, {"task": parked} if parked else {})
        came = self.happened["added"] + self.happened["replayed"]
        went = self.happened["done"] + self.happened["dead"] + self.happened["cancelled"]
        assert came == went + stored

    async def finish(self) -> None:
        """Everybody dies; one worker takes all over and does what is left. Nothing may remain."""
        for producer in self.producers:
            for batch in list(producer.open.values()):
                await self._send(producer, batch)
                producer.open.pop(batch.number, None)
        for consumer in (*self.consumers, *self.zombies):
            await consumer.hands.fall_silent()
        self.consumers, self.zombies = [], []
        last = await self._join()
        await last.hands.learn()
        for name in await last.hands.leasing.silent():
            while await self._counting_losses(name, lambda: last.hands.leasing.take_over(name)):  # noqa: B023
                pass
        while await self._counting_losses(None, lambda: last.hands.leasing.sweep(0.0, 10_000)):
            pass
        await pauses.resume(self.client, self.keys, "task")
        await pauses.resume(self.client, self.keys, None)
        readmitted = 0
        while more := await pauses.readmit(self.client, self.keys, "task", 10):
            readmitted += more
            assert readmitted <= len(self.added), "what comes back does not become less"
        assert not await self.client.call("EXISTS", self.keys.pauses, self.keys.aside("task"))
        await self.client.call("DEL", self.keys.promoter_lock)
        for one in await self.table.delayed():
            await self.client.call("ZADD", self.keys.delayed, 1, one)
        while (await last.hands.promoting.promote(100)).jobs:
            pass
        while True:
            await self._read(last, 1000)
            if not last.held:
                break
            for lane in self.lanes:
                await self.acknowledge(
                    last, lane, [job for place, job in last.held.items() if place[0] == lane]
                )
        await self.look()
        assert self.ended == Counter(dict.fromkeys(self.added, 1))
        assert await self.table.pending() == []
        assert [await self.table.entries(lane) for lane in self.lanes] == [[] for _ in self.lanes]
        left = {name for name in await self.table.consumers() if name != FOREIGN}
        assert left <= {last.hands.name}, f"forgotten consumers: {left}"
        assert await last.hands.leasing.depart()
        assert await self._claims() == []
        assert await self.client.call("EXISTS", self.keys.waiting, self.keys.children) == 0

    # -- adding -------------------------------------------------------------------------------------------------------

    async def add(self) -> None:
        """Ready jobs."""
        await self.begin([(job_id, addition(job_id)) for job_id in self._new_ids()], plain=True)

    async def add_chosen(self) -> None:
        """Jobs with chosen ids, of which some were used before, or twice."""
        ids = [f"chosen-{self._ids + self.random.randint(-12, 2)}" for _ in range(self.random.randint(1, 4))]
        priority = self._some_priority()
        jobs = [(id, claiming(id, chosen=True, delay_ms=self._some_delay(), priority=priority)) for id in ids]
        await self.begin(jobs, plain=False)

    async def add_unique(self) -> None:
        """Jobs of which there is one at a time for each key; some have a chosen id too."""
        priority = self._some_priority()
        jobs = [
            (
                id,
                claiming(
                    id,
                    unique=self.some_key(),
                    delay_ms=self._some_delay(),
                    chosen=self._again(),
                    priority=priority,
                ),
            )
            for id in self._new_ids()
        ]
        await self.begin(jobs, plain=False)

    async def add_tracked(self) -> None:
        """Jobs for which others may wait."""
        jobs = [(id, claiming(id, tracked=True, delay_ms=self._some_delay())) for id in self._new_ids()]
        await self.begin(jobs, plain=False)

    async def add_waiting(self) -> None:
        """Jobs that wait for others, of which some have ended, and some never were."""
        known = [*list(self.tracked)[-30:], "nobody"]
        jobs: list[tuple[str, Addition]] = []
        for id in self._new_ids():
            chosen = self._again()
            job_id = f"waits-{self._ids % 7}" if chosen else id
            some = [one for one in known if one != job_id]
            job = claiming(
                job_id,
                chosen=chosen,
                tracked=True,
                after=tuple(self.random.sample(some, min(len(some), self.random.randint(1, 3)))),
                unique=self.random.choice([None, None, self.some_key()]),
                runs_anyway=self.random.random() < 0.3,
                priority=self._some_priority(),
            )
            jobs.append((job_id, job))
        await self.begin(jobs, plain=False)

    async def debounce(self) -> None:
        """The last one wins: in place of the one that waits, or beside the one that runs."""
        [fresh, *_] = self._new_ids()
        key = self.some_key()
        job_id, replaces = fresh, ""
        for _ in range(4):  # as `Queue` does, which goes on until it is answered
            job = claiming(
                job_id,
                unique=key,
                delay_ms=self.random.randrange(20),
                replaces=replaces,
                priority=self._some_priority(),
            )
            [answer] = await self.begin([(job_id, job)], plain=False) or [True]
            if not isinstance(answer, Holder) or answer.done:
                return
            job_id = fresh if answer.job_id == replaces == job_id else answer.job_id or fresh
            replaces = answer.job_id

    async def add_delayed(self) -> None:
        """Delayed jobs."""
        priority = self._some_priority()
        jobs = [
            (id, addition(id, delay_ms=self.random.randrange(30), priority=priority))
            for id in self._new_ids()
        ]
        await self.begin(jobs, plain=False)

    async def add_to_a_lane(self) -> None:
        """Ready jobs with a priority."""
        priority = self._some_priority()
        await self.begin([(id, addition(id, priority=priority)) for id in self._new_ids()], plain=False)

    async def send_again(self) -> None:
        """A batch whose reply was lost."""
        producer = self.random.choice(self.producers)
        if producer.open:
            batch = self.random.choice(list(producer.open.values()))
            await self._send(producer, batch)
            if self.random.random() < 0.7:
                del producer.open[batch.number]

    async def begin(
        self, jobs: list[tuple[str, Addition]], *, plain: bool, limit: int | None = None
    ) -> list[Answer] | None:
        """Some producer sends a new batch; with a limit of its own, or with whatever limit."""
        producer = self.random.choice(self.producers)
        producer.last += 1
        if limit is None:
            limit = self.random.choice([0, 0, LIMIT])
        batch = Batch(producer.last, jobs, plain, limit)
        producer.open[batch.number] = batch
        await self._send(producer, batch)
        if self.random.random() < 0.7:  # the reply arrived
            del producer.open[batch.number]
        return batch.answer

    async def _send(self, producer: Producer, batch: Batch) -> None:
        jobs = [job for _, job in batch.jobs]
        lowest = next(iter(producer.open))
        verb = producer.publishing.publish if batch.plain else producer.publishing.schedule
        if jobs[0].after:
            verb = producer.publishing.await_
        waiting = await self._waiting(batch)
        try:
            answer = await verb(batch.number, lowest, jobs, batch.limit) or [True] * len(jobs)
        except Full:
            assert batch.answer is None, "a batch that took effect found no room"
            return
        if batch.answer is not None:
            assert answer == batch.answer, "the same batch has another answer"
            return
        batch.answer = answer
        for (job_id, job), said in zip(batch.jobs, answer, strict=True):
            self._added(job_id, job, said, waiting)

    def _added(self, job_id: str, job: Addition, said: Answer, waiting: set[str | None]) -> None:
        lives = job_id in self.added and not self.ended[job_id]
        holder = self.holders.get(job.unique or "")
        if holder is not None and self.ended[holder]:
            holder = None
        strangers = set(job.after) - self.tracked.keys()
        refused = (job.claim and lives) or holder is not None
        if not refused and (isinstance(said, Obstacle) or strangers):
            assert isinstance(said, Obstacle)
            assert said.job_id in strangers, f"{job_id} is told that nobody knows {said.job_id}"
            return
        if job.claim and lives:
            assert said is False, f"{job_id} lives, and is told to be {said}"
        elif holder is not None and not (job.replaces is not None and holder in self.debounced):
            assert said == Holder(holder), f"{holder} has the key of {job_id}, which is told {said}"
        elif isinstance(said, Holder):
            assert job.replaces is not None
            assert said.job_id == (holder or ""), (
                f"{job_id} is told that {said} has its key, and it is {holder}"
            )
            if said.done:
                assert job_id == holder == job.replaces
                assert job_id in waiting, f"{job_id} was replaced, and is nowhere"
                self.used[job_id] = 0
        else:
            self.happened["added"] += 1
            assert said is True
            assert not lives, f"{job_id} is told to be new"
            assert holder not in waiting, (
                f"{job_id} is new beside {holder}, which waits and was to be replaced"
            )
            if job_id in self.added:
                self.before[job_id] += self.ended.pop(job_id)
                self.told.pop(job_id, None)
                self.used[job_id] = 0
            self.added.add(job_id)
            if job.tracked:
                self.tracked[job_id] = "alive"
                states = {parent: self.tracked[parent] for parent in job.after}
                alive = {parent for parent, state in states.items() if state == "alive"}
                if alive and (job.runs_anyway or set(states.values()) <= {"alive", "done"}):
                    self.waits[job_id] = alive, not job.runs_anyway
            if job.claim:
                self.claims[job_id] = job.claim
                self.cancelling.asked.discard(job_id)
            if job.unique is not None:
                self.holders[job.unique] = job_id
                if job.replaces is not None:
                    self.debounced.add(job_id)

    def _new_ids(self) -> list[str]:
        first, self._ids = self._ids, self._ids + self.random.randint(1, 4)
        return [f"job-{number}" for number in range(first, self._ids)]

    async def _waiting(self, batch: Batch) -> set[str | None]:
        """Those who wait under a unique key, and lie there as they were added."""
        found: set[str | None] = set()
        if any(job.replaces is not None for _, job in batch.jobs):
            for holder in self.holders.values():
                member = await self.client.call("GET", self.keys.delayed_member(holder))
                if member and await self.client.call("ZSCORE", self.keys.delayed, member) is not None:
                    found.add(holder)
        return found

    def some_key(self) -> str:
        return f"key-{self.random.randrange(6)}"

    def owned(self, job: Job) -> tuple[Belonging, ...]:
        return belongings(self.keys, job.id, job.extras, Retention(logs=0), noted=bool(self.told.get(job.id)))

    async def _claims(self) -> list[tuple[bytes, bytes]]:
        """What is held of ids and unique keys, and by whom."""
        found: list[tuple[bytes, bytes]] = []
        for key in (self.keys.unique("*"), self.keys.taken_id("*")):
            names = await self.client.call("KEYS", key)
            values = await self.client.call_many([("GET", name) for name in names])
            found += [(name, value) for name, value in zip(names, values, strict=True) if value]
        return found

    def _some_priority(self) -> int:
        return self.random.choice(self.priorities)

    def _some_delay(self) -> int | None:
        return self.random.choice([None, self.random.randrange(20)])

    # -- reading ------------------------------------------------------------------------------------------------------

    async def read(self) -> None:
        """Somebody takes what is there."""
        await self._read(self.random.choice(self.consumers), self.random.randint(1, 6))

    async def lose_a_read(self) -> None:
        """The reply of a read is lost: the server says that the entries are ours, and we do not know."""
        await self.random.choice(self.consumers).hands.take(self.random.randint(1, 3))

    async def reconcile(self) -> None:
        """What the server says is ours and we do not know is handed back."""
        consumer = self.random.choice(self.consumers)
        for lane in consumer.hands.lanes.read:
            unknown = [
                id for id in await consumer.hands.consuming.pending(lane) if (lane, id) not in consumer.held
            ]
            if unknown:
                assert await consumer.hands.settling.hand_back(lane, unknown) == [1] * len(unknown)

    async def _read(self, consumer: Consumer, count: int) -> None:
        if self.random.random() < 0.2:
            await consumer.hands.learn()
        for entry in await self.random.choice([consumer.hands.take, consumer.hands.pick])(count):
            job = self._admitted(entry)
            assert entry.lane in (self.keys.returned, self.keys.lane(job.priority))
            self.gathering.look(entry.fields[b"d"])
            assert job.attempt == self.used[job.id] + 1, (
                f"{job.id} comes as attempt {job.attempt}, and used {self.used[job.id]} runs"
            )
            consumer.held[entry.lane, entry.id] = job

    def _admitted(self, entry: Entry) -> Job:
        flat = [part for pair in entry.fields.items() if pair[0] != b"doom" for part in pair]
        job = admit("walk", entry.lane, entry.id, flat, 10_000, None)
        assert isinstance(job, Job)
        return job

    # -- settling -----------------------------------------------------------------------------------------------------

    async def ack(self) -> None:
        """Plain successes, batched; now and then sent twice."""
        consumer, lane, jobs = self._some_held()
        await self.acknowledge(consumer, lane, jobs)

    async def complete(self) -> None:
        """Successes with a result."""
        consumer, lane, jobs = self._some_held()
        if jobs:
            done = [Kept(job.entry, job.id, b"x", 60.0, self.owned(job)) for job in jobs]
            entries = [job.entry for job in jobs]
            self._end(consumer, lane, entries, await consumer.hands.settling.complete(lane, done))
            if self._again():
                assert await consumer.hands.settling.complete(lane, done) == [-1] * len(done)

    async def retry(self) -> None:
        """Failures: one more run is used up; and now and then "not now", which uses none."""
        consumer, lane, jobs = self._some_held()
        await self._retry(consumer, lane, jobs)

    async def bury(self) -> None:
        """Jobs that are given up."""
        consumer, lane, jobs = self._some_held()
        await self._bury(consumer, lane, jobs)

    async def hand_back(self) -> None:
        """Jobs that were not started."""
        consumer, lane, jobs = self._some_held()
        await self._hand_back(consumer, lane, jobs)

    async def renew(self) -> None:
        """The server names exactly those that are not ours any more."""
        consumer, lane, jobs = self._some_held(most=20)
        owners = await self.owners(lane)
        lost = await consumer.hands.leasing.renew(lane, [job.entry for job in jobs]) if jobs else []
        assert lost == [job.entry for job in jobs if owners.get(job.entry) != consumer.hands.name]
        for entry in lost:
            consumer.past.append(consumer.held.pop((lane, entry)))

    async def set_aside(self) -> None:
        """Jobs whose task is paused, as far as their worker knows."""
        consumer, lane, jobs = self._some_held()
        await self._set_aside(consumer, lane, jobs)

    async def _set_aside(self, consumer: Consumer, lane: bytes, jobs: Sequence[Job]) -> None:
        entries = [(job.entry, job.priority) for job in jobs]
        moved = 1 if "task" in (await pauses.look(self.client, self.keys)).tasks else 2

        async def verb() -> list[int]:
            return await consumer.hands.settling.set_aside(lane, "task", entries)

        await self._settle(consumer, lane, jobs, verb, moved)

    async def tell(self) -> None:
        """Jobs log a line; now and then that is sent twice. Only the owner of a job is heard."""
        consumer, lane, jobs = self._some_held()
        await self._note(consumer, lane, jobs)

    async def _note(self, consumer: Consumer, lane: bytes, jobs: Sequence[Job]) -> None:
        if not jobs:
            return
        self._writings += 1
        line = b"line %d" % self._writings
        told = [notes.Note(job.entry, job.id, self._writings, b"p", [line]) for job in jobs]
        noting = notes.Noting(self.client, self.keys, consumer.hands.name, LINES, 1000)
        owners = await self.owners(lane)
        expected = [int(owners.get(job.entry) == consumer.hands.name) for job in jobs]
        for _ in range(1 + self._again()):
            assert await noting.note(lane, told) == expected
        for job, owned in zip(jobs, expected, strict=True):
            if owned:
                self.told[job.id] = [*self.told.get(job.id, []), line][-LINES:]

    async def _retry(self, consumer: Consumer, lane: bytes, jobs: Sequence[Job]) -> None:
        jobs = await self.cancelling.refused(consumer, lane, jobs)
        failed = [job.attempt - self.random.choice([0, 0, 1]) for job in jobs]
        moves = [
            (job.entry, self.random.randrange(20), member(job.id, count, job.extras, parked=self._parks()))
            for job, count in zip(jobs, failed, strict=True)
        ]
        lost = [job.entry for job, count in zip(jobs, failed, strict=True) if count == job.attempt]
        moved = await self._settle(
            consumer, lane, jobs, lambda: consumer.hands.settling.retry(lane, moves, failed=lost)
        )
        for job, count in zip(jobs, failed, strict=True):
            if job in moved:
                self.used[job.id] = count
                self.happened["retried"] += job.entry in lost

    def _parks(self) -> bool:
        return not self.keys.shared and self.random.random() < 0.3

    def member(self, job: Job) -> bytes:
        """A job as it would be delayed after a failure."""
        return member(job.id, job.attempt, job.extras)

    async def _bury(self, consumer: Consumer, lane: bytes, jobs: Sequence[Job]) -> None:
        letters = [
            Letter(
                job.entry,
                ["d", member(job.id, 0, job.extras)[8:], "reason", "stalled"],
                job.id,
                b"why",
                self.random.choice([0, 9]),
                self.owned(job),
            )
            for job in jobs
        ]

        async def verb() -> list[int]:
            return (await consumer.hands.settling.bury(lane, letters))[0]

        for job in await self._settle(consumer, lane, jobs, verb):
            self.over(job.id, "dead")

    async def _hand_back(self, consumer: Consumer, lane: bytes, jobs: Sequence[Job]) -> None:
        entries = [job.entry for job in jobs]
        await self._settle(consumer, lane, jobs, lambda: consumer.hands.settling.hand_back(lane, entries))

    async def _settle(
        self,
        consumer: Consumer,
        lane: bytes,
        jobs: Sequence[Job],
        verb: Callable[[], Awaitable[list[int]]],
        moved: int = 1,
    ) -> list[Job]:
        """Run an owner-checked verb: 1 for what the consumer owns, 0 for the rest, and only 0 the second time."""
        if not jobs:
            return []
        owners = await self.owners(lane)
        expected = [moved * int(owners.get(job.entry) == consumer.hands.name) for job in jobs]
        assert await verb() == expected, (
            f"{consumer.hands.name!r} owns {expected} of {[job.id for job in jobs]}"
        )
        if self._again():
            assert await verb() == [0] * len(jobs), "sent again, and it took effect again"
        for job in jobs:
            consumer.held.pop((lane, job.entry), None)
            consumer.past.append(job)
        return [job for job, owned in zip(jobs, expected, strict=True) if owned]

    async def acknowledge(self, consumer: Consumer, lane: bytes, jobs: Sequence[Job]) -> None:
        """As the ack flusher does: those that own something are ended by a script."""
        owning = [job for job in jobs if job.extras.owns or job.id in self.told]
        if plain := [job.entry for job in jobs if job not in owning]:
            self._end(consumer, lane, plain, await consumer.hands.settling.ack(lane, plain))
            if self._again():
                assert await consumer.hands.settling.ack(lane, plain) == [-1] * len(plain)
        if owning:
            done = [Kept(job.entry, job.id, b"", 0.0, self.owned(job)) for job in owning]
            entries = [job.entry for job in owning]
            self._end(consumer, lane, entries, await consumer.hands.settling.complete(lane, done))
            if self._again():
                assert await consumer.hands.settling.complete(lane, done) == [-1] * len(done)

    def over(self, job_id: str, how: str) -> None:
        """A job has ended, and with it the waiting of others."""
        self.ended[job_id] += 1
        self.happened[how] += 1
        # Nor has it a key any more: the next job of its id may have none.
        self.holders = {key: holder for key, holder in self.holders.items() if holder != job_id}
        if job_id not in self.tracked:
            return
        self.tracked[job_id] = how
        for child, (parents, fails) in list(self.waits.items()):
            if job_id in parents:
                parents.discard(job_id)
                if not parents or (fails and how != "done"):
                    del self.waits[child]

    def _end(self, consumer: Consumer, lane: bytes, entries: Sequence[bytes], reply: Sequence[int]) -> None:
        """A plain success counts whoever owns the entry: a late one is one too. Only the first, though."""
        for entry, answer in zip(entries, reply, strict=True):
            job = consumer.held.pop((lane, entry), None) or next(
                one for one in consumer.past if (one.lane, one.entry) == (lane, entry)
            )
            consumer.past.append(job)
            assert answer in {1, -1}
            if answer == 1:
                self.over(job.id, "done")

    def _some_held(self, most: int = 4) -> tuple[Consumer, bytes, list[Job]]:
        consumer, lane = self.random.choice(self.consumers), self.random.choice([*self.lanes])
        held = [job for (where, _), job in consumer.held.items() if where == lane]
        return consumer, lane, self.random.sample(held, min(len(held), self.random.randint(1, most)))

    def _again(self) -> bool:
        """Whether the reply was lost, and so the same is sent again."""
        return self.random.random() < 0.25

    async def owners(self, lane: bytes) -> dict[bytes, bytes]:
        return {entry: owner for where, entry, owner, _ in await self.table.pending() if where == lane}

    # -- dying --------------------------------------------------------------------------------------------------------

    async def crash(self) -> None:
        """A worker goes silent; its memory lives on as a zombie. Another one starts."""
        consumer = self.random.choice(self.consumers)
        self.consumers.remove(consumer)
        await consumer.hands.fall_silent()
        self.zombies = [*self.zombies[-3:], consumer]
        await self._join()

    async def come_back(self) -> None:
        """A zombie beats again, as after SIGCONT, and its worker goes on as if nothing had happened."""
        if self.zombies:
            zombie = self.zombies.pop(self.random.randrange(len(self.zombies)))
            await zombie.hands.beat()
            await pauses.look(self.client, self.keys, zombie.hands.name)
            leaver = self.random.choice(self.consumers)
            self.consumers.remove(leaver)
            await leaver.hands.fall_silent()
            self.consumers.append(zombie)

    async def act_as_zombie(self) -> None:
        """Somebody acts on what it held once, or still holds in spite of its silence."""
        actors = [*self.zombies, *self.consumers]
        zombie = self.random.choice(actors)
        lane = self.random.choice([*self.lanes])
        known = [
            job
            for job in (*zombie.past[-20:], *(zombie.held.values() if zombie in self.zombies else ()))
            if job.lane == lane
        ]
        jobs = list({job.entry: job for job in self.random.sample(known, min(len(known), 3))}.values())
        if not jobs:
            return
        verbs = ["ack", "retry", "bury", "hand back", "set aside", "renew", "tell", "end cancelled"]
        verb = self.random.choice(verbs)
        if verb == "ack":
            await self.acknowledge(zombie, lane, jobs)
        elif verb == "retry":
            await self._retry(zombie, lane, jobs)
        elif verb == "bury":
            await self._bury(zombie, lane, jobs)
        elif verb == "tell":
            await self._note(zombie, lane, jobs)
        elif verb == "end cancelled":
            await self.cancelling.end(zombie, lane, jobs)
        elif verb == "hand back":
            await self._hand_back(zombie, lane, jobs)
        elif verb == "set aside":
            await self._set_aside(zombie, lane, jobs)
        else:
            owners = await self.owners(lane)
            lost = await zombie.hands.leasing.renew(lane, [job.entry for job in jobs])
            assert lost == [job.entry for job in jobs if owners.get(job.entry) != zombie.hands.name]

    async def take_over(self) -> None:
        """Some worker takes a few entries of one that is silent."""
        watcher = self.random.choice(self.consumers)
        for name in await watcher.hands.leasing.silent():
            count = self.random.randint(1, 5)
            # What lies in lanes that it has not heard of yet is left to those who have.
            known = watcher.hands.lanes.read
            held = sum(owner == name and lane in known for lane, _, owner, _ in await self.table.pending())
            moved = await self._counting_losses(name, lambda: watcher.hands.leasing.take_over(name, count))  # noqa: B023
            assert 0 <= moved <= held
            assert moved or not held, "a worker was forgotten with entries in its hands"

    async def rob_the_living(self) -> None:
        """Who beats is not robbed."""
        watcher, owner = self.random.choice(self.consumers), self.random.choice(self.consumers)
        before = await self.table.pending()
        assert await watcher.hands.leasing.take_over(owner.hands.name) == -1
        assert await self.table.pending() == before

    async def claim_as_a_foreigner(self) -> None:
        """A foreign worker takes entries from their owners, as chasquimq's do, or reads some, and goes silent."""
        pending = await self.table.pending()
        if pending and self.random.random() < 0.5:
            lane, entry, _, _ = self.random.choice(pending)
            await self.client.call("XCLAIM", lane, GROUP, FOREIGN, 0, entry)
        else:
            await Hands(self.client, self.keys, FOREIGN).take(2)

    async def sweep(self) -> None:
        """Foreign workers' entries come back; those of AnyQ's stay, silent or not."""
        watcher = self.random.choice(self.consumers)
        await watcher.hands.learn()
        before = await self.table.pending()
        foreign = [row for row in before if row[2] == FOREIGN]
        moved = await self._counting_losses(None, lambda: watcher.hands.leasing.sweep(0.0, 10_000))
        assert moved == len(foreign)
        assert await self.table.pending() == [row for row in before if row[2] != FOREIGN]

    async def _counting_losses(self, name: bytes | None, verb: Callable[[], Awaitable[int]]) -> int:
        """Whatever leaves its owner's hands here was delivered in vain."""
        before = await self.table.pending()
        ids = {
            (lane, entry): decode(fields[b"d"])[0]
            for lane in self.lanes
            for entry, fields in await self.table.entries(lane)
        }
        moved = await verb()
        after = {row[:2] for row in await self.table.pending()}
        for lane, entry, owner, deliveries in before:
            if (lane, entry) not in after:
                assert owner == name or (name is None and owner == FOREIGN)
                self.used[ids[lane, entry]] += deliveries
                self.happened["lost"] += deliveries
        return moved

    # -- the rest -----------------------------------------------------------------------------------------------------

    async def promote(self) -> None:
        """Somebody moves a few due jobs."""
        promotion = await self.random.choice(self.consumers).hands.promoting.promote(
            self.random.randint(1, 5)
        )
        assert promotion.spoiled == 0
        if self.random.random() < 0.2:
            await self.client.call("DEL", self.keys.promoter_lock)  # its holder died

    async def pause(self) -> None:
        """Somebody pauses the task, or the queue; some of the workers confirm it."""
        task = self.random.choice(["task", None])
        number = await pauses.pause(self.client, self.keys, task, self.random.choice([0, 2**45, 1]))
        waited_for = set(await pauses.unconfirmed(self.client, self.keys, number))
        living = {consumer.hands.name for consumer in self.consumers}
        assert waited_for == living
        for consumer in self.random.sample(self.consumers, 2):
            await pauses.confirm(self.client, self.keys, consumer.hands.name, number)
            waited_for.discard(consumer.hands.name)
        assert set(await pauses.unconfirmed(self.client, self.keys, number)) == waited_for

    async def resume(self) -> None:
        """Somebody resumes; perhaps twice, since the reply was lost."""
        task = self.random.choice(["task", None])
        await pauses.resume(self.client, self.keys, task)
        if self._again():
            assert not await pauses.resume(self.client, self.keys, task)

    async def readmit(self) -> None:
        """Somebody brings back what was set aside, if it may come."""
        paused = "task" in (await pauses.look(self.client, self.keys)).tasks
        before = len(await self.table.entries(self.keys.aside("task")))
        moved = await pauses.readmit(self.client, self.keys, "task", self.random.randint(1, 4))
        assert moved == -1 if paused else moved <= before
        after = len(await self.table.entries(self.keys.aside("task")))
        assert after == before - max(0, moved)
        aside = (await pauses.look(self.client, self.keys)).aside
        assert aside == ({"task": after} if after else {})

    async def replay(self) -> None:
        """Somebody replays dead letters: each is a job again, with all its runs before it, unless it is in the way."""
        letters = await self.table.entries(self.keys.dead_letters)
        chosen = self.random.sample(letters, min(len(letters), self.random.randint(1, 3)))
        jobs: list[Revived] = []
        answers = [self._replayed(id, fields, jobs) for id, fields in chosen]
        self._names += 1
        mending = Mending(self.client, self.keys, b"mending-%d" % self._names)
        for _ in range(2 if self._again() else 1):
            assert await mending.replay(1, jobs, 0) == answers

    def _replayed(self, id: bytes, fields: dict[bytes, bytes], jobs: list[Revived]) -> int | bytes:
        letter = revive(Raw(id, len(fields[b"d"]), fields[b"d"], fields), 10_000)
        assert isinstance(letter, Revived)
        jobs.append(letter)
        job_id, claim, key = letter.job_id, letter.extras.claim, letter.extras.unique
        holder = self.holders.get(key, job_id)
        if claim and not self.ended[job_id]:
            return b"id"
        if key and holder != job_id and not self.ended[holder]:
            return b"unique"
        self.ended[job_id] -= 1
        self.happened["replayed"] += 1
        self.used[job_id] = 0
        self.cancelling.asked.discard(job_id)
        self.told.pop(job_id, None)
        if claim:
            self.claims[job_id] = claim
        if key:
            self.holders[key] = job_id
            self.debounced.discard(job_id)
        return 1

    async def discard(self) -> None:
        """Somebody deletes dead letters: their jobs stay ended, and nothing else is touched."""
        letters = [id for id, _ in await self.table.entries(self.keys.dead_letters)]
        chosen = self.random.sample(letters, min(len(letters), self.random.randint(1, 2)))
        self._names += 1
        mending = Mending(self.client, self.keys, b"mending-%d" % self._names)
        for _ in range(2 if self._again() else 1):
            assert await mending.delete(1, [*chosen, b"1-1"]) == len(chosen)
        left = [id for id, _ in await self.table.entries(self.keys.dead_letters)]
        assert left == [id for id in letters if id not in chosen]

    async def trim(self) -> None:
        """Dead letters that are too old are dropped."""
        letters = [id for id, _ in await self.table.entries(self.keys.dead_letters)]
        more = True
        while more:
            dropped, more = await trim(self.client, self.keys, 2.0)
            letters = letters[dropped:]
            assert [id for id, _ in await self.table.entries(self.keys.dead_letters)] == letters

    async def forget_scripts(self) -> None:
        """The server restarted its script cache."""
        await self.client.call("SCRIPT", "FLUSH")

    async def fill_up(self) -> None:
        """A full server refuses an add, whole; what is in hand is settled, promoted and taken over all the same."""
        before = await self.table.everything()
        async with self._maxmemory():
            for verb in ("publish", "schedule"):
                with pytest.raises(ResponseError) as caught:
                    await getattr(self.table.producer(), verb)(1, 1, [addition("refused")], 0)
                assert reply_code(caught.value) == "OOM"
            assert await self.table.everything() == before
            await self.gathering.refuse()
            for move in (
                self.retry,
                self.bury,
                self.hand_back,
                self.set_aside,
                self.readmit,
                self.pause,
                self.resume,
                self.tell,
                self.take_over,
                self.promote,
                self.ack,
                self.complete,
                self.cancelling.cancel,
                self.cancelling.reschedule,
                self.cancelling.end_cancelled,
            ):
                await move()

    @asynccontextmanager
    async def _maxmemory(self) -> AsyncGenerator[None]:
        await self.client.call("CONFIG", "SET", "maxmemory", 1)
        try:
            yield
        finally:
            await self.client.call("CONFIG", "SET", "maxmemory", 0)

    async def refuse(self) -> None:
        """A target is of another type for a moment: what was to go there stays where it was."""
        consumer, lane, jobs = self._some_held()
        targets: dict[bytes, Callable[[], Awaitable[Any]]] = {
            self.keys.delayed: lambda: self._retry(consumer, lane, jobs),
            self.keys.dead_letters: lambda: self._bury(consumer, lane, jobs),
        }
        target = self.random.choice(list(targets))
        owners = await self.owners(lane)
        if not any(owners.get(job.entry) == consumer.hands.name for job in jobs):
            return
        aside = target + b":aside"
        existed = await self.client.call("EXISTS", target)
        if existed:
            await self.client.call("RENAME", target, aside)
        await self.client.call("SET", target, "of another type")
        try:
            with pytest.raises(ResponseError) as caught:
                await targets[target]()
            assert reply_code(caught.value) == "WRONGTYPE"
        finally:
            await self.client.call("DEL", target)
            if existed:
                await self.client.call("RENAME", aside, target)
        assert await self.owners(lane) == owners

    async def _join(self) -> Consumer:
        self._names += 1
        hands = await self.table.hands(b"anyq-%d" % self._names)
        consumer = Consumer(hands)
        self.consumers.append(consumer)
        return consumer


def describe(seed: int, steps: int) -> str:
    """How to walk the same way again."""
    return f"ANYQ_WALK_SEEDS={seed} ANYQ_WALK_STEPS={steps}"
