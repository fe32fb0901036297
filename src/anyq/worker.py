"""The worker: one nursery, read from top to bottom.

     reader ── jobs ──▶ runners × N ─┬─ acks ─────▶ ack flusher
                                     ├─ retries ──▶ retry relocator
                                     ├─ dead ─────▶ dead-letter relocator
                                     ├─ releases ─▶ release relocator
                                     └─ asides ───▶ aside relocator
     promoter, scheduler, lease keeper, watch, heartbeat      events, metrics ◀── notices of all

Data moves from left to right; stopping closes from left to right: the reader stops, what was not begun is handed back,
handlers end or are cut at the deadline, relocators end because their input ended, and the worker leaves the group when
nothing is held.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

import anyio
import attrs
from anyio.abc import TaskGroup, TaskStatus
from anyio.lowlevel import checkpoint_if_cancelled
from anyio.to_thread import run_sync
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from . import embedded
from ._core.job import Job
from ._core.keys import CONSUMER_PREFIX
from ._core.middleware import Middleware, checked
from ._core.runnable import Policy
from ._redis.client import Client
from ._redis.solo import Solo
from ._redis.tasks import only
from ._services.branch import Branch, Engine, Lines, Plan
from ._services.channels import Jobs
from ._services.counts import Counts
from ._services.duties import Duties, Duty, Service, begin
from ._services.heartbeat import Heartbeat
from ._services.lifespans import Lifespan, Lifespans
from ._services.lifespans import checked as checked_lifespans
from ._services.patience import Outages, Patience
from ._services.processes import Processes, default_limit
from ._services.pulse import Pulse
from ._services.room import Crew
from ._services.runners import Runners
from ._services.shutdown import GRACE, Shutdown
from ._session import Session
from ._store.fitness import misfits
from ._store.inspect import Depths, depths
from .errors import AnyQError, RedisUnavailable, WorkerCrashed
from .metrics.sink import NoSink, Sink
from .options import policy_of
from .queue import Queue, one_or_several
from .settings import Backoff, Duration, at_least, flag, optional_seconds, seconds
from .vitals import Health, Statistics

logger: logging.Logger = logging.getLogger("anyq.worker")

#: Seconds for which starting waits for Redis.
_START_PATIENCE = 10.0

#: Seconds by which leaving a worker may exceed ``drain_timeout``.
_GRACE = GRACE

#: How far apart the looks of `Worker.wait_idle` are, in seconds.
_FIRST_LOOK, _LONGEST_LOOK = 0.002, 0.05


class Worker:
    """Runs the jobs of one or several queues, for as long as its block is open.

    Args:
        queues: A `Queue`, or several; their tasks must be registered before the worker starts.
        concurrency: How many jobs run at the same time.
        threads: How many plain functions run at the same time, each in a thread; ``concurrency``, at most 40, if left
            out.
        processes: How many functions with ``executor="process"`` run at the same time, each in a process; one a core,
            and at most ``concurrency``, if left out. Processes are started when they are needed.
        lease: Seconds after which other workers take over what this one holds when it no longer shows that it lives.
            It says so four times within; a job may run for as long as it takes. More than four round trips to the
            server, or the worker takes no jobs, and logs it.
        drain_timeout: Seconds that running handlers are given when the worker stops; then they are cancelled and their
            jobs handed back. The whole exit takes at most this and 4 seconds more.
        attempts: Runs in total of a job whose task and queue say nothing.
        backoff: The wait before retries where task and queue say nothing.
        events: Write the events stream.
        metrics: A sink of observations (see `anyq.metrics`).
        middleware: Coroutine functions of ``(job, call_next)`` around each run, outermost first; outside of the queues'
            and the tasks'.
        lifespan: Async generator functions that yield once, or functions that give async context managers: entered
            before the worker takes jobs, left after the drain, and what they give fills `Depends` in the handlers of
            all queues. Before the queues' own (see `Queue.lifespan`).
        unknown_task_grace: Seconds for which a job whose name no task has is parked before it is dead-lettered.
        prefetch: Jobs taken ahead of the runners at most; what is really taken follows their speed.
        max_block: Seconds for which a handler may block the event loop before the worker counts as dead.
        schedules: Declare the schedules of the queues' code and start the runs of schedules that are due; ``False``
            leaves that to other workers.
        outage_limit: Seconds of Redis trouble after which the worker gives up with `WorkerCrashed`; ``None`` never
            does.

    Raises:
        ValueError, TypeError: A setting is wrong; the message names it, its value and what is allowed.

    Entering returns when the worker is ready to take jobs. Leaving drains, also when the block ends by an exception or
    by cancellation. If the engine fails, the block is cancelled and the error comes out of the ``async with``.

    Example:
        >>> async with Worker(queue, concurrency=10) as worker:
        ...     await worker.wait_idle()
    """

    def __init__(
        self,
        queues: Queue | Sequence[Queue],
        *,
        concurrency: int = 100,
        threads: int | None = None,
        processes: int | None = None,
        lease: Duration = 4.0,
        drain_timeout: Duration = 30.0,
        attempts: int = 5,
        backoff: Backoff | None = None,
        events: bool = True,
        metrics: Sink | None = None,
        middleware: Sequence[Middleware] = (),
        lifespan: Sequence[Lifespan] = (),
        unknown_task_grace: Duration = 3600.0,
        prefetch: int | None = None,
        max_block: Duration = 30.0,
        schedules: bool = True,
        outage_limit: Duration | None = None,
    ) -> None:
        self.queues: tuple[Queue, ...] = one_or_several(queues)
        if len({(queue.url, queue.prefix, queue.name) for queue in self.queues}) < len(self.queues):
            raise ValueError("queues names the same queue twice")
        self.concurrency: int = at_least("concurrency", concurrency, 1, 100_000)
        self._threads = min(self.concurrency, 40) if threads is None else at_least("threads", threads, 1)
        self._process_limit = (
            default_limit(self.concurrency) if processes is None else at_least("processes", processes, 1)
        )
        self.lease: float = seconds("lease", lease, zero=False)
        if self.lease < 1:
            raise ValueError(f"lease must be at least 1 second, not {lease!r}: four heartbeats fall into it")
        self.drain_timeout: float = seconds("drain_timeout", drain_timeout)
        self._policy = policy_of(
            {"attempts": at_least("attempts", attempts, 1), "backoff": backoff or Backoff.exponential()}
        )
        self._events = flag("events", events)
        self._metrics = None if metrics is None or isinstance(metrics, NoSink) else metrics
        if self._metrics is not None and not isinstance(self._metrics, Sink):
            raise TypeError(f"metrics must have observe(observations), and {metrics!r} has not")
        self._middleware = checked("middleware", middleware)
        self._lifespan = checked_lifespans(lifespan)
        self._grace = seconds("unknown_task_grace", unknown_task_grace)
        self._prefetch = (
            max(1000, 2 * self.concurrency) if prefetch is None else at_least("prefetch", prefetch, 0)
        )
        self._max_block = seconds("max_block", max_block, zero=False)
        self._schedules = flag("schedules", schedules)
        self._outage_limit = optional_seconds("outage_limit", outage_limit)
        self.name: str = CONSUMER_PREFIX.decode() + os.urandom(8).hex()

        self._state = "new"
        self._host: TaskGroup | None = None
        self._stop_asked: anyio.Event | None = None
        self._stopped: anyio.Event | None = None
        self._drain_scope: anyio.CancelScope | None = None
        self._drain_timeout = self.drain_timeout
        self._crash: BaseException | None = None
        self._crew = Crew(self.concurrency)
        self._counts = Counts()
        self._runners: Runners | None = None
        self._lifespans: Lifespans | None = None
        self._branches: list[Branch] = []
        self._pulse: Pulse | None = None
        self._heartbeats: list[Heartbeat] = []
        self._sessions: list[Session] = []
        self._outages = Outages(f"worker {self.name}")
        self._left = True

    # -- life -----------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Start, and return when the worker is ready to take jobs.

        Raises:
            RedisUnavailable: Redis could not be reached within ten seconds.
            ConfigurationError: The server refuses what a worker needs; the message says what to do.
            LookupError: No lifespan gives what a handler depends on.
            Exception: Whatever a lifespan raised.
        """
        if self._state != "new":
            raise RuntimeError("a Worker is entered once: make another one")
        self._stop_asked, self._stopped = anyio.Event(), anyio.Event()
        self._host = anyio.create_task_group()
        await self._host.__aenter__()
        try:
            await self._host.start(self._live)
        except BaseException as error:
            self.stop()  # cancelled in the moment when it was ready, it is at work
            await self._leave(type(error), error, error.__traceback__)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        """Drain and leave, within ``drain_timeout`` and 4 seconds, also when cancelled."""
        self.stop()
        return await self._leave(kind, error, traceback)

    async def run(self, *, task_status: TaskStatus[Worker] = anyio.TASK_STATUS_IGNORED) -> None:
        """Work until `stop` is called or this is cancelled: ``async with`` for programs that have nothing else to do.

        Args:
            task_status: Told when the worker is ready to take jobs, for ``await nursery.start(worker.run)``.

        Safe to cancel: cancelling it drains.
        """
        async with self:
            assert self._stopped is not None
            task_status.started(self)
            await self._stopped.wait()

    def stop(self, *, drain_timeout: Duration | None = None) -> None:
        """Begin the drain, from anywhere in the event loop; or make the one under way shorter.

        Args:
            drain_timeout: Seconds that running handlers are given from now on, instead of the worker's setting; 0
                cancels them at once.
        """
        if drain_timeout is not None:
            self._drain_timeout = seconds("drain_timeout", drain_timeout)
            if self._drain_scope is not None:
                deadline = anyio.current_time() + self._drain_timeout
                self._drain_scope.deadline = min(self._drain_scope.deadline, deadline)
                if self._lifespans is not None:
                    self._lifespans.hurry(deadline + _GRACE)
        if self._stop_asked is not None:
            self._stop_asked.set()

    # -- how it is doing ------------------------------------------------------------------------------------------

    async def wait_idle(self) -> None:
        """Wait until the queues are empty: nothing ready, nothing delayed that is due, nothing in any worker's hands.

        How this worker's jobs ended is confirmed by then, and counted in `statistics`. Delayed jobs whose time has not
        come, retries among them, are not waited for, and neither is what is paused: of a paused queue only what is in
        workers' hands. Returns early when the worker stops. Safe to cancel.

        Raises:
            RedisUnavailable: Redis was away for longer than ``outage_limit``.
            RuntimeError: The worker was not started.
        """
        if self._stopped is None:
            raise RuntimeError("the worker was not started: wait inside of its 'async with'")
        patience = Patience("wait_idle", self._outages, limit=self._outage_limit)
        pause = _FIRST_LOOK
        while not self._stopped.is_set():
            with anyio.move_on_after(_LONGEST_LOOK):
                for branch in self._branches:
                    await branch.ledger.empty()
            begun = self._counts.started
            # What was read and run while we asked may be unconfirmed yet, or have put a job into a queue asked before.
            if (
                not self._holds
                and await self._nothing_waits(patience)
                and not self._holds
                and self._counts.started == begun
            ):
                return
            with anyio.move_on_after(pause):
                await self._stopped.wait()
            pause = min(pause * 2, _LONGEST_LOOK)

    @property
    def _holds(self) -> bool:
        return any(len(branch.ledger) for branch in self._branches)

    async def _nothing_waits(self, patience: Patience) -> bool:
        """Ask each queue in turn whether there is anything to do in it, or in anybody's hands."""
        for branch, queue in zip(self._branches, self.queues, strict=True):
            found = await patience(self._depths, branch, queue)
            if found is None or (found.held if found.paused else found.ready or found.due):
                return False
        return True

    async def _depths(self, branch: Branch, queue: Queue) -> Depths | None:
        """Count; ``None`` once the worker has stopped, whose connections are closed and will not come back."""
        assert self._stopped is not None
        return None if self._stopped.is_set() else await depths(branch.client, queue.keys)

    def statistics(self) -> Statistics:
        """Give the numbers of this moment."""
        unknown: dict[str, int] = {}
        for branch in self._branches:
            for name, times in branch.home.unknown.items():
                unknown[name] = unknown.get(name, 0) + times
        return Statistics(
            running=len(self._runners.running) if self._runners else 0,
            buffered=sum(branch.home.room.buffered for branch in self._branches),
            held=sum(len(branch.ledger) for branch in self._branches),
            unknown_tasks=unknown,
            paused=tuple(name for branch in self._branches for name in branch.paused),
            dropped=sum(branch.bulletin.dropped for branch in self._branches),
            **attrs.asdict(self._counts),
        )

    @property
    def unfinished(self) -> list[Job]:
        """The jobs in this worker's name; after its end, those that it could not hand back. Any thread may ask."""
        return [job for branch in self._branches for job in branch.ledger.jobs()]

    @property
    def left_nothing(self) -> bool:
        """Whether nothing is in this worker's name, no job and no consumer: what its end should have come to."""
        return self._left and not self.unfinished

    def health(self) -> Health:
        """Say how the worker is: what a readiness probe wants to know."""
        problems: list[str] = []
        age = max((heartbeat.age for heartbeat in self._heartbeats), default=math.inf)
        if self._state != "running":
            problems.append(f"the worker is {self._state}")
        if self._state == "running" and age > self.lease:
            problems.append(f"Redis took no heartbeat for {age:.1f} s")
        if self._outages.troubled:
            problems.append(f"Redis is in trouble: {self._outages.last_error}")
        stuck = tuple(
            runner.job.id
            for runner in (self._runners.running if self._runners else ())
            if runner.job is not None and runner.job.cancelled
        )
        if stuck:
            problems.append(f"{len(stuck)} runs ignore that they were cut")
        return Health(
            ok=not problems, problems=tuple(problems), state=self._state, heartbeat_age=age, stuck=stuck
        )

    def __repr__(self) -> str:
        names = ", ".join(repr(queue.name) for queue in self.queues)
        return f"<Worker {self.name} of {names}, {self._state}, concurrency {self.concurrency}>"

    # -- the nursery ----------------------------------------------------------------------------------------------

    async def _live(self, *, task_status: TaskStatus[None]) -> None:
        """Start, work, drain.

        Shielded from the moment when something can be held: the drain ends it, and each of its steps has a deadline.
        """
        assert self._stop_asked is not None
        assert self._stopped is not None
        jobs = Jobs()
        try:
            with anyio.CancelScope() as engine:
                async with AsyncExitStack() as connections:
                    processes = Processes(self._process_limit)
                    connections.push_async_callback(processes.close, -math.inf)
                    self._runners = Runners(self._crew, jobs, self._threads, processes)
                    self._pulse = pulse = self._make_pulse(self._runners)
                    try:
                        await self._open(connections, jobs)
                        self._lifespans = lifespans = await self._enter_lifespans(connections)
                        # From here on nobody's cancellation is heard, but `stop`.
                        await checkpoint_if_cancelled()
                        engine.shield = True
                        self._state, self._left = "running", False
                        async with anyio.create_task_group() as nursery:
                            self._runners.around.append(nursery.cancel_scope)
                            begin(nursery, "pulse", pulse.run, self._crashed)
                            begin(nursery, "processes", processes.mind, self._crashed)
                            duties = self._start(nursery)
                            logger.info("%r is ready", self)
                            task_status.started()
                            await self._stop_asked.wait()
                            await self._drain(duties, jobs, lifespans, processes)
                            nursery.cancel_scope.cancel()
                    finally:
                        # Only now: while a handler that ignores its cancellation is still at work, its job must stay
                        # ours.
                        for heartbeat in self._heartbeats:
                            heartbeat.stop()
                        for branch in self._branches:
                            branch.close()
                        jobs.close()
        finally:
            self._state = "stopped"
            self._stopped.set()
        if self._crash is not None:
            raise self._crash

    async def _open(self, connections: AsyncExitStack, jobs: Jobs) -> None:
        """Connect, look whether the server is fit, and say that this worker lives, before it can hold anything."""
        assert self._runners is not None
        assert self._pulse is not None
        engine = Engine(
            outages=self._outages,
            outage_limit=self._outage_limit,
            crew=self._crew,
            counts=self._counts,
            jobs=jobs,
            runners=self._runners,
        )
        patience = Patience("starting", self._outages, limit=_START_PATIENCE)
        for queue in self.queues:
            session = await connections.enter_async_context(queue.entered())
            self._sessions.append(session)
            await patience(session.client.connect)
            for sentence in await patience(misfits, session.client, private=queue.url == embedded.SCHEME):
                logger.warning("%s: %s", queue.name, sentence)
            locate = queue.locate if queue.relocates else None
            reading = Solo(session.address, locate=locate)
            connections.callback(reading.close)
            noting = await connections.enter_async_context(Client(session.address, locate=locate))
            heartbeat = Heartbeat(
                queue.locate, [queue.keys.heartbeat(self.name.encode())], self.lease, self._max_block
            )
            self._heartbeats.append(heartbeat)
            lines = Lines(
                client=session.client,
                reading=reading,
                noting=noting,
                subscriber=session.subscriber,
                heartbeat=heartbeat,
            )
            branch = Branch(self._plan(queue), lines, engine)
            self._branches.append(branch)
            self._pulse.add(branch, heartbeat)
            # In this order: a consumer without a heartbeat would be put out of the group.
            await patience(_first_beat, heartbeat)
            await patience(branch.prepare)
            heartbeat.start()

    async def _enter_lifespans(self, connections: AsyncExitStack) -> Lifespans:
        """Enter what handlers work with, in a task of its own, and put the handlers together."""
        assert self._host is not None
        lifespans = Lifespans(self._lifespan, [queue.lifespans for queue in self.queues], self._crashed)
        connections.callback(lambda: lifespans.leave_by(anyio.current_time() + _GRACE))
        await self._host.start(lifespans.run, name="anyq lifespans")
        for place, (branch, queue) in enumerate(zip(self._branches, self.queues, strict=True)):
            branch.equip((*self._middleware, *queue.around), lifespans.given(place))
            queue.watchers.add(branch.home.forget)
            connections.callback(queue.watchers.discard, branch.home.forget)
        return lifespans

    def _plan(self, queue: Queue) -> Plan:
        policy = Policy(
            attempts=queue.policy.attempts or self._policy.attempts,
            backoff=queue.policy.backoff or self._policy.backoff,
            timeout=queue.policy.timeout,
            result_ttl=queue.policy.result_ttl,
        )
        return Plan(
            queue=queue.name,
            keys=queue.keys,
            tasks=queue.runnables,
            fallback=queue.fallback_runnable,
            policy=policy,
            limits=queue.limits,
            retention=queue.retention,
            grace=self._grace,
            consumer=self.name.encode(),
            events=self._events,
            metrics=self._metrics,
            prefetch=self._prefetch,
            schedules=queue.schedules.declared if self._schedules else None,
        )

    def _start(self, nursery: TaskGroup) -> Duties:
        """Start all services, downstream first: who receives is there before anybody sends."""
        assert self._runners is not None
        duties = Duties()

        def start(services: dict[str, Service]) -> list[Duty]:
            return [begin(nursery, name, service, self._crashed) for name, service in services.items()]

        for branch in self._branches:
            duties.observers += start(branch.observers)
            duties.relocators += start(branch.relocators)
            duties.upkeep += start(branch.upkeep)
        [duties.runners] = start({"runners": self._runners.run})
        for branch in self._branches:
            start({"reader": branch.reader.run})
        return duties

    def _crashed(self, name: str, error: Exception) -> None:
        """A service ended by an error: drain what can be drained, then raise it."""
        logger.error("the worker's %s failed; the worker stops", name, exc_info=error)
        if self._crash is None:
            # In a task group of a service the error stands alone; what comes out is the error itself.
            bare = only(error)
            if isinstance(bare, AnyQError | RedisError):
                self._crash = WorkerCrashed(name, str(bare))
                self._crash.__cause__ = bare
            else:
                self._crash = bare
        assert self._host is not None
        self.stop()
        self._host.cancel_scope.cancel()  # the block's body; this nursery is shielded and drains

    def _make_pulse(self, runners: Runners) -> Pulse:
        return Pulse(
            name=self.name,
            concurrency=self.concurrency,
            state=lambda: "starting" if self._state == "new" else self._state,
            runners=runners,
            every=min(1.0, self._max_block / 4, self.lease / 8),
            lately=max(1.0, self.lease / 2),
        )

    # -- the end --------------------------------------------------------------------------------------------------

    async def _drain(self, duties: Duties, jobs: Jobs, lifespans: Lifespans, processes: Processes) -> None:
        """Stop, drain, cut; from left to right, each step bounded."""
        assert self._runners is not None
        shutdown = Shutdown(branches=self._branches, runners=self._runners, jobs=jobs, duties=duties)
        self._state = "draining"
        if self._pulse is not None:
            self._pulse.tell()
        self._drain_scope = scope = anyio.CancelScope(deadline=anyio.current_time() + self._drain_timeout)
        logger.info("%r stops: %d handlers are at work", self, len(self._runners.running))

        await shutdown.take_nothing_more()
        with scope:  # leases are kept meanwhile
            await duties.runners.ended.wait()
        leave_by = min(anyio.current_time(), scope.deadline) + _GRACE
        await shutdown.cut_handlers()
        # Nobody works with the resources any more. They have what is left of the time in all.
        lifespans.leave_by(max(scope.deadline, leave_by - _GRACE) + _GRACE)
        await shutdown.settle(leave_by)
        self._left = await shutdown.say_goodbye(leave_by)
        await shutdown.tell_the_last(leave_by)
        await processes.close(leave_by)
        await lifespans.left()  # resources may use the queues until now
        self._hurry_sessions(leave_by)
        if not duties.runners.ended.is_set():
            logger.error(
                "these handlers ignore their cancellation, and the worker cannot leave before they end: %s",
                ", ".join(repr(runner.job) for runner in self._runners.running),
            )

    def _hurry_sessions(self, leave_by: float) -> None:
        """Share what is left of the grace among the queues, which are left one after the other."""
        for session in self._sessions:
            rest = max(0.0, leave_by - anyio.current_time()) / len(self._sessions)
            session.farewell = min(session.farewell, rest)

    async def _leave(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        """Wait for the engine. What comes out is what was raised, not groups of it."""
        assert self._host is not None
        try:
            return await self._host.__aexit__(kind, error, traceback)
        except BaseExceptionGroup as group:
            others = group if error is None else group.split(lambda one: one is error)[1]
            if others is None:
                return False
            alone = only(others)
            if isinstance(error, anyio.get_cancelled_exc_class()):
                raise alone from alone.__cause__  # the block was cancelled because of it, not the other way round
            raise alone from alone.__cause__ or error


async def _first_beat(heartbeat: Heartbeat) -> None:
    """Beat once, in a thread, with the errors of the transport."""
    try:
        await run_sync(heartbeat.beat, abandon_on_cancel=True)
    except (RedisError, OSError) as error:
        # redis-py's own errors of connections are no OSErrors.
        if isinstance(error, AnyQError) or not isinstance(
            error, OSError | RedisConnectionError | RedisTimeoutError
        ):
            raise
        raise RedisUnavailable(f"the first heartbeat failed: {heartbeat.explain(error)}") from error
