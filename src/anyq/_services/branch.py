"""One queue's part of the nursery: its connections, verbs, channels and services, put together.

A worker of several queues has one branch for each, and one crew of runners for all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from redis.exceptions import RedisError

from .._core.keys import Keys
from .._core.lanes import Lanes
from .._core.middleware import Middleware
from .._core.runnable import Policy, Runnable
from .._core.schedules import Spec
from .._redis.client import Client
from .._redis.subscriber import Subscriber
from .._store.belongings import belongings
from .._store.consume import Consuming
from .._store.leases import Leasing
from .._store.notes import Noting
from .._store.promote import Promoting
from .._store.schedules import Scheduling
from .._store.settle import Settling
from ..errors import AnyQError
from ..metrics.sink import Sink
from ..settings import Limits, Retention
from .acks import AckFlusher
from .asides import AsideRelocator
from .cancelled import CancelRelocator
from .cancels import Cancels
from .channels import Bulletin, Jobs, Outcomes
from .clock import ServerClock
from .counts import Counts
from .dead_letters import DeadLetterRelocator
from .duties import Service
from .events import Events
from .gate import Gate
from .heartbeat import Heartbeat
from .home import Home
from .journal import Journal
from .leases import LeaseKeeper
from .ledger import Ledger
from .metrics import Metrics
from .patience import Outages, Patience
from .preparing import Preparing
from .promoter import Promoter
from .reader import Reader
from .reconciling import Reconciling
from .releases import ReleaseRelocator
from .relocator import Desk, Relocator
from .retries import RetryRelocator
from .room import Crew, Room
from .runners import Runners
from .scheduler import Scheduler
from .trimmer import Trimmer
from .watch import Watch


@attrs.frozen(kw_only=True)
class Plan:
    """What a branch is made from, besides its connections.

    Attributes:
        queue: The queue's name.
        keys: Its keys.
        tasks: Its tasks by name.
        fallback: Takes the jobs whose name no task has.
        policy: Complete defaults for runs.
        limits: Bounds on payloads and results.
        retention: How long what is kept.
        grace: Seconds for which a job with an unknown name is parked.
        consumer: The worker's name in the group.
        events: Whether the events stream is written.
        metrics: The sink of observations, if anybody wants them.
        prefetch: Jobs taken ahead of the runners at most.
        schedules: The schedules that its code declares, by name; ``None`` where others start the runs of schedules.
    """

    queue: str
    keys: Keys
    tasks: Mapping[str, Runnable]
    fallback: Runnable | None
    policy: Policy
    limits: Limits
    retention: Retention
    grace: float
    consumer: bytes
    events: bool
    metrics: Sink | None
    prefetch: int
    schedules: Mapping[str, Spec] | None


class Branch:
    """The services of one queue, and the order of their end."""

    def __init__(
        self,
        plan: Plan,
        *,
        client: Client,
        reading: Client,
        noting: Client,
        subscriber: Subscriber,
        xackdel: bool,
        heartbeat: Heartbeat,
        outages: Outages,
        outage_limit: float | None,
        crew: Crew,
        counts: Counts,
        jobs: Jobs,
        runners: Runners,
    ) -> None:
        queue, keys, consumer = plan.queue, plan.keys, plan.consumer
        self.queue = queue
        self._policy = plan.policy
        self.client = client
        self.reading = reading
        self.lanes = Lanes(keys)
        self.ledger = Ledger(keys.lanes)
        self.outcomes = Outcomes()
        self.gate = Gate(self.outcomes, self.ledger, runners)
        self.bulletin = Bulletin(events=plan.events, metrics=plan.metrics is not None)
        self._asking = Consuming(client, keys, consumer, self.lanes)
        self._leasing = Leasing(client, keys, consumer, self.lanes)
        self._promoting = Promoting(client, keys, consumer)
        settling = Settling(client, keys, consumer, xackdel=xackdel, dead_letters=plan.retention.dead_letters)
        self._clock = clock = ServerClock()
        room = Room(crew, plan.prefetch)

        def patience(service: str) -> Patience:
            return Patience(f"{service} of {queue!r}", outages, self._asking.ensure_group, outage_limit)

        self._patience = patience
        journal = Journal(
            queue=queue, patience=patience("journal"), bulletin=self.bulletin,
            noting=Noting(client, keys, consumer, plan.limits.log_lines, plan.limits.log_bytes),
        )  # fmt: skip
        self.home = Home(
            queue=queue,
            source=plan.tasks,
            fallback=plan.fallback,
            limits=plan.limits,
            grace=plan.grace,
            outcomes=self.outcomes,
            bulletin=self.bulletin,
            room=room,
            ledger=self.ledger,
            counts=counts,
            clock=clock,
            journal=journal,
        )
        self._reconciling = Reconciling(
            queue=queue, consuming=self._asking, settling=settling, ledger=self.ledger
        )
        self._cancels = Cancels(
            queue=queue, keys=keys, client=client, subscriber=subscriber, patience=patience("cancels"),
            ledger=self.ledger, cut=runners.cancel,
        )  # fmt: skip
        self.reader = Reader(
            queue=queue, consuming=Consuming(reading, keys, consumer, self.lanes), client=reading,
            reconciling=self._reconciling,
            patience=patience("reader"), ledger=self.ledger, room=room, jobs=jobs, outcomes=self.outcomes,
            home=self.home, bulletin=self.bulletin, largest=plan.limits.payload, safe=lambda: heartbeat.fresh,
            gate=self.gate, lanes=self.lanes, cancels=self._cancels,
        )  # fmt: skip
        self._lease_keeper = LeaseKeeper(
            queue=queue, leasing=self._leasing, patience=patience("lease keeper"), ledger=self.ledger,
            heartbeat=heartbeat, counts=counts, bulletin=self.bulletin, clock=clock,
            revoke=runners.revoke,
        )  # fmt: skip
        self._promoter = Promoter(
            queue=queue, keys=keys, promoting=self._promoting, subscriber=subscriber, patience=patience("promoter"),
            bulletin=self.bulletin,
        )  # fmt: skip
        self._watch = Watch(
            queue=queue, keys=keys, consumer=consumer, client=client, subscriber=subscriber,
            patience=patience("watch"), gate=self.gate, lanes=self.lanes, consuming=self._asking,
            ledger=self.ledger, room=room, interrupt=lambda: self.reader.interrupt(client),
        )  # fmt: skip
        # Downstream first: who receives is there before anybody sends.
        self.upkeep: dict[str, Service] = {
            "lease keeper": self._lease_keeper.run,
            "promoter": self._promoter.run,
            "watch": self._watch.run,
            "journal": journal.run,
            "cancels": self._cancels.run,
        }
        self._scheduler: Scheduler | None = None
        if plan.schedules is not None:
            self._scheduler = Scheduler(
                queue=queue, keys=keys, declared=plan.schedules, scheduling=Scheduling(client, keys, consumer),
                subscriber=subscriber, patience=patience("scheduler"), bulletin=self.bulletin,
            )  # fmt: skip
            self.upkeep["scheduler"] = self._scheduler.run
        if plan.retention.dead_letter_age is not None:
            self.upkeep["trimmer"] = Trimmer(
                queue=queue, client=client, keys=keys, patience=patience("trimmer"), age=plan.retention.dead_letter_age,
            ).run  # fmt: skip
        # Events have a connection of their own: no acknowledgement, and no result, waits behind a batch of them.
        self.observers: dict[str, Service] = {
            "events": Events(
                queue=queue, client=noting, keys=keys, bulletin=self.bulletin, keep=plan.retention.events
            ).run
        }
        if plan.metrics is not None:
            self.observers["metrics"] = Metrics(sink=plan.metrics, bulletin=self.bulletin).run
        desk = Desk(
            queue=queue, worker=consumer.decode(), settling=settling, patience=patience, ledger=self.ledger,
            owned=lambda job: belongings(keys, job.id, job.extras, plan.retention, noted=job.notes is not None),
            journal=journal,
            bulletin=self.bulletin, counts=counts, cancels=self._cancels,
        )  # fmt: skip
        relocators: tuple[Relocator[Any], ...] = (
            AckFlusher(desk, self.outcomes.acks),
            RetryRelocator(desk, self.outcomes.retries),
            DeadLetterRelocator(desk, self.outcomes.dead),
            ReleaseRelocator(desk, self.outcomes.releases),
            AsideRelocator(desk, self.outcomes.asides, self._watch.wake),
            CancelRelocator(desk, self.outcomes.cancelled),
        )
        self.relocators: dict[str, Service] = {relocator.service: relocator.run for relocator in relocators}

    def equip(self, around: Sequence[Middleware], given: Sequence[Sequence[Any]]) -> None:
        """Make the queue's tasks ready to run here.

        Args:
            around: Middleware around all of them, outermost first.
            given: What lifespans gave, the nearest level first.
        """
        home, prepare = self.home, Preparing(self._policy, tuple(around), given)
        home.prepare = prepare.late
        home.tasks.update({name: prepare(task) for name, task in home.source.items()})
        if home.fallback is not None:
            home.fallback = prepare(home.fallback)

    async def prepare(self) -> None:
        """Make sure of the group, ask for the time, and know what is cancelled before anything is read.

        Raises what waiting cannot mend.
        """
        await self._asking.ensure_group()
        await self._clock.ask(self._leasing.server_ms)
        await self._cancels.begin()

    def stop_watching(self) -> None:
        """Take nothing over any more, and go on renewing."""
        self._lease_keeper.stop_watching()

    @property
    def paused(self) -> list[str]:
        """What this worker knows to be paused: the queue's name, and tasks as ``queue:task``."""
        if not self.gate.known:
            return []
        tasks = [f"{self.queue}:{task}" for task in sorted(self.gate.tasks)]
        return [self.queue, *tasks] if self.gate.queue else tasks

    async def resign(self) -> None:
        """Let somebody else promote and fire on time, at once. Best effort: the locks run out by themselves."""
        try:
            await self._promoter.resign()
            if self._scheduler is not None:
                await self._scheduler.resign()
        except (AnyQError, RedisError):
            return

    async def depart(self) -> bool:
        """Hand back what the server delivered into the void, and leave the group; tell whether nothing is left behind.

        Only after the reader's connection was closed.
        """
        self._watch.leave()
        for _ in range(3):  # a delivery that was on its way while we looked is found by the next look
            await self._reconciling()
            if not len(self.ledger) and await self._patience("farewell")(self._leasing.depart):
                return True
            if len(self.ledger):
                return False
        return False

    def close(self) -> None:
        """Close all channels."""
        self.reader.close()
        self.outcomes.close()
        self.bulletin.close()
