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
from .._redis.solo import Solo
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
from .sleeper import Sleeper
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


@attrs.frozen(kw_only=True)
class Lines:
    """A branch's ways to Redis.

    Attributes:
        client: What everybody asks by.
        reading: The reader's own: it waits there for jobs.
        noting: The events' own: no acknowledgement, and no result, waits behind a batch of them.
        subscriber: Where it listens.
        heartbeat: Shows that the worker lives.
    """

    client: Client
    reading: Solo
    noting: Client
    subscriber: Subscriber
    heartbeat: Heartbeat


@attrs.frozen(kw_only=True)
class Engine:
    """What all branches of a worker share.

    Attributes:
        outages: Where trouble with Redis is told.
        outage_limit: Seconds after which it is too long.
        crew: The places in which jobs run.
        counts: The worker's numbers.
        jobs: What was taken and not begun.
        runners: Who run it.
    """

    outages: Outages
    outage_limit: float | None
    crew: Crew
    counts: Counts
    jobs: Jobs
    runners: Runners


@attrs.frozen(kw_only=True)
class Verbs:
    """What a branch can do to Redis.

    Attributes:
        reading: Takes entries, by the reader's own connection.
        asking: The same by that of all: what the server says is ours.
        leasing: Keeps what is held, and takes over what nobody keeps.
        settling: Ends deliveries.
        noting: Writes down what running jobs tell.
        promoting: Moves delayed jobs that are due.
        scheduling: Starts the runs of schedules.
    """

    reading: Consuming
    asking: Consuming
    leasing: Leasing
    settling: Settling
    noting: Noting
    promoting: Promoting
    scheduling: Scheduling

    @staticmethod
    def of(plan: Plan, lines: Lines, lanes: Lanes) -> Verbs:
        """Make them for one worker's part of a queue."""
        client, keys, consumer, limits = lines.client, plan.keys, plan.consumer, plan.limits
        minutes = plan.retention.history_minutes
        return Verbs(
            reading=Consuming(lines.reading, keys, consumer, lanes),
            asking=Consuming(client, keys, consumer, lanes),
            leasing=Leasing(client, keys, consumer, lanes, minutes),
            settling=Settling(
                client, keys, consumer, dead_letters=plan.retention.dead_letters,
                minutes=minutes,
            ),
            noting=Noting(client, keys, consumer, limits.log_lines, limits.log_bytes),
            promoting=Promoting(client, keys, consumer, minutes),
            scheduling=Scheduling(client, keys, consumer, minutes),
        )  # fmt: skip


class Branch:
    """The services of one queue, and the order of their end."""

    def __init__(self, plan: Plan, lines: Lines, engine: Engine) -> None:
        self._plan = plan
        self._lines = lines
        self._engine = engine
        self.queue = plan.queue
        self.client = lines.client
        self.reading = lines.reading

        # What services share.
        self.lanes = Lanes(plan.keys)
        self._verbs = Verbs.of(plan, lines, self.lanes)
        self.ledger = Ledger(plan.keys.lanes)
        self.outcomes = Outcomes()
        self.bulletin = Bulletin(
            events=plan.keys.events if plan.events else None, metrics=plan.metrics is not None
        )
        self._clock = ServerClock()
        self._room = Room(engine.crew, plan.prefetch)
        self.gate = Gate(self.outcomes, self.ledger, engine.runners)

        # Services that others speak to.
        self._journal = self._make_journal()
        self._cancels = self._make_cancels()
        self._reconciling = self._make_reconciling()
        self.home = self._make_home()
        self.reader = self._make_reader()
        self._watch = self._make_watch()
        self._lease_keeper = self._make_lease_keeper()
        self._sleepers = self._make_sleepers()

        # Downstream first: who receives is there before anybody sends.
        self.upkeep: dict[str, Service] = {
            "reader's timer": self.reading.watch,
            "lease keeper": self._lease_keeper.run,
            "watch": self._watch.run,
            "journal": self._journal.run,
            "cancels": self._cancels.run,
            **{name: sleeper.run for name, sleeper in self._sleepers.items()},
            **self._make_trimmer(),
        }
        self.observers: dict[str, Service] = self._make_observers()
        self.relocators: dict[str, Service] = self._make_relocators()

    def _patience(self, service: str) -> Patience:
        engine = self._engine
        return Patience(
            f"{service} of {self.queue!r}",
            engine.outages,
            self._verbs.asking.ensure_group,
            engine.outage_limit,
        )

    def _make_journal(self) -> Journal:
        return Journal(
            queue=self.queue, noting=self._verbs.noting, patience=self._patience("journal"), bulletin=self.bulletin
        )  # fmt: skip

    def _make_cancels(self) -> Cancels:
        return Cancels(
            queue=self.queue, keys=self._plan.keys, client=self.client, subscriber=self._lines.subscriber,
            patience=self._patience("cancels"), ledger=self.ledger, cut=self._engine.runners.cancel,
        )  # fmt: skip

    def _make_reconciling(self) -> Reconciling:
        verbs = self._verbs
        return Reconciling(
            queue=self.queue, consuming=verbs.asking, settling=verbs.settling, ledger=self.ledger
        )

    def _make_home(self) -> Home:
        plan = self._plan
        return Home(
            queue=self.queue, source=plan.tasks, fallback=plan.fallback, limits=plan.limits,
            grace=plan.grace, outcomes=self.outcomes, bulletin=self.bulletin, room=self._room, ledger=self.ledger,
            counts=self._engine.counts, clock=self._clock, journal=self._journal,
        )  # fmt: skip

    def _make_reader(self) -> Reader:
        plan, heartbeat = self._plan, self._lines.heartbeat
        return Reader(
            queue=self.queue, consuming=self._verbs.reading, client=self.reading, reconciling=self._reconciling,
            patience=self._patience("reader"), ledger=self.ledger, room=self._room, jobs=self._engine.jobs,
            outcomes=self.outcomes, home=self.home, bulletin=self.bulletin, largest=plan.limits.payload,
            safe=lambda: heartbeat.fresh, gate=self.gate, lanes=self.lanes, cancels=self._cancels,
        )  # fmt: skip

    def _make_watch(self) -> Watch:
        plan = self._plan
        return Watch(
            queue=self.queue, keys=plan.keys, consumer=plan.consumer, client=self.client,
            subscriber=self._lines.subscriber, patience=self._patience("watch"), gate=self.gate, lanes=self.lanes,
            consuming=self._verbs.asking, ledger=self.ledger, room=self._room,
            interrupt=lambda: self.reader.interrupt(self.client),
        )  # fmt: skip

    def _make_lease_keeper(self) -> LeaseKeeper:
        return LeaseKeeper(
            queue=self.queue, leasing=self._verbs.leasing, patience=self._patience("lease keeper"), ledger=self.ledger,
            heartbeat=self._lines.heartbeat, counts=self._engine.counts, bulletin=self.bulletin, clock=self._clock,
            revoke=self._engine.runners.revoke,
        )  # fmt: skip

    def _make_sleepers(self) -> dict[str, Sleeper]:
        plan, keys, subscriber = self._plan, self._plan.keys, self._lines.subscriber
        sleepers: dict[str, Sleeper] = {
            "promoter": Promoter(
                queue=self.queue, keys=keys, promoting=self._verbs.promoting, subscriber=subscriber,
                patience=self._patience("promoter"), bulletin=self.bulletin,
            )
        }  # fmt: skip
        if plan.schedules is not None:
            sleepers["scheduler"] = Scheduler(
                queue=self.queue, keys=keys, declared=plan.schedules, scheduling=self._verbs.scheduling,
                subscriber=subscriber, patience=self._patience("scheduler"), bulletin=self.bulletin,
            )  # fmt: skip
        return sleepers

    def _make_trimmer(self) -> dict[str, Service]:
        age = self._plan.retention.dead_letter_age
        if age is None:
            return {}
        trimmer = Trimmer(
            queue=self.queue, client=self.client, keys=self._plan.keys, patience=self._patience("trimmer"), age=age
        )  # fmt: skip
        return {"trimmer": trimmer.run}

    def _make_observers(self) -> dict[str, Service]:
        plan, noting = self._plan, self._lines.noting
        events = Events(
            queue=self.queue, client=noting, keys=plan.keys, bulletin=self.bulletin, keep=plan.retention.events
        )  # fmt: skip
        observers: dict[str, Service] = {"events": events.run}
        if plan.metrics is not None:
            observers["metrics"] = Metrics(sink=plan.metrics, bulletin=self.bulletin).run
        return observers

    def _make_relocators(self) -> dict[str, Service]:
        keys, retention, outcomes = self._plan.keys, self._plan.retention, self.outcomes
        desk = Desk(
            queue=self.queue, worker=self._plan.consumer.decode(), settling=self._verbs.settling,
            patience=self._patience, ledger=self.ledger, journal=self._journal, bulletin=self.bulletin,
            counts=self._engine.counts, cancels=self._cancels,
            owned=lambda job: belongings(keys, job.id, job.extras, retention, noted=job.notes is not None),
        )  # fmt: skip
        relocators: tuple[Relocator[Any], ...] = (
            AckFlusher(desk, outcomes.acks),
            RetryRelocator(desk, outcomes.retries),
            DeadLetterRelocator(desk, outcomes.dead),
            ReleaseRelocator(desk, outcomes.releases),
            AsideRelocator(desk, outcomes.asides, self._watch.wake),
            CancelRelocator(desk, outcomes.cancelled),
        )
        return {relocator.service: relocator.run for relocator in relocators}

    def equip(self, around: Sequence[Middleware], given: Sequence[Sequence[Any]]) -> None:
        """Make the queue's tasks ready to run here.

        Args:
            around: Middleware around all of them, outermost first.
            given: What lifespans gave, the nearest level first.
        """
        home, prepare = self.home, Preparing(self._plan.policy, tuple(around), given)
        home.prepare = prepare.late
        home.take_in({name: prepare(task) for name, task in home.source.items()})
        if home.fallback is not None:
            home.fallback = prepare(home.fallback)

    async def prepare(self) -> None:
        """Make sure of the group, ask for the time, and know what is cancelled before anything is read.

        Raises what waiting cannot mend.
        """
        await self._verbs.asking.ensure_group()
        await self._clock.ask(self._verbs.leasing.server_ms)
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
            for sleeper in self._sleepers.values():
                await sleeper.resign()
        except (AnyQError, RedisError):
            return

    async def depart(self) -> bool:
        """Hand back what the server delivered into the void, and leave the group; tell whether nothing is left behind.

        Only after the reader's connection was closed.
        """
        self._watch.leave()
        for _ in range(3):  # a delivery that was on its way while we looked is found by the next look
            await self._reconciling()
            if not len(self.ledger) and await self._patience("farewell")(self._verbs.leasing.depart):
                return True
            if len(self.ledger):
                return False
        return False

    def close(self) -> None:
        """Close all channels."""
        self.reader.close()
        self.outcomes.close()
        self.bulletin.close()
