"""The runners: take a job, run its function, judge what came of it, hand the outcome on. No Redis in this file.

The path of every job, so it is kept short. There are as many runners as were ever at work at once, and one to come.
Idle ones wait in line, not in a crowd: only the holder of the line's lock waits for a job, while nobody waits a busy
runner takes what is there; a burst costs one or two wake-ups. One cancel scope belongs to a *runner* and is made anew
only after it was cancelled; a job's timeout moves its deadline. Outcomes leave by ``put``, which is no cancellation
point.
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from functools import partial
from inspect import iscoroutine
from typing import Any

import anyio
from anyio.lowlevel import checkpoint
from anyio.to_thread import run_sync

from .._core import notices
from .._core.job import NO_EXTRAS, Job
from .._core.outcome import (
    BAD_PAYLOAD,
    BAD_RESULT,
    Cancelled,
    Dead,
    Error,
    Hopeless,
    Released,
    Retry,
    expired,
    given_up,
    in_time,
    is_suspect,
    judge,
    park,
    put_off,
)
from .._core.runnable import Runnable
from .._core.values import Undecodable, pack, unpack
from ..context import running_job
from ..errors import PayloadRefused, RetryLater
from ..metrics.sink import JobOutcome
from ..settings import Backoff
from .channels import Jobs
from .clock import wall_ms
from .home import Home
from .processes import Processes
from .room import Crew

logger = logging.getLogger("anyq.runners")

#: Seconds of jobs that never suspend after which the runners let others have a turn.
_TURN = 0.004


class TimedOut(TimeoutError):
    """A run took longer than its timeout."""


class ScopeLeft(RuntimeError):
    """A run was cancelled by a scope that a handler entered and never left."""


class Runner:
    """One of N at most: its scope, and what it does now.

    Attributes:
        scope: Cancelling it cuts the running job short; there is one before there is a job.
        job: The running job.
        since: When its run began, on the monotonic clock.
        limited: Whether its scope may be cancelled: this run has a deadline, or was cut.
        thread: Cancelling it abandons the thread that the run waits for.
        waits: Whether the job is in hand and has not begun, since it waits for its turn.
    """

    __slots__ = ("job", "limited", "scope", "since", "thread", "waits")

    def __init__(self) -> None:
        self.scope: anyio.CancelScope
        self.job: Job | None = None
        self.since = 0.0
        self.limited = False
        self.thread: anyio.CancelScope | None = None
        self.waits = False


class Runners:
    """All runners of a worker.

    Args:
        crew: How many there may be, and how many are at work.
        jobs: Where jobs come from.
        threads: How many plain functions may run at the same time.
        processes: Where those run that are to be killed.
    """

    def __init__(self, crew: Crew, jobs: Jobs, threads: int, processes: Processes) -> None:
        self._crew = crew
        self._jobs = jobs
        self._ready: deque[Job] = deque()  # taken from the channel, and by no runner yet
        self._line = anyio.Lock(fast_acquire=True)
        self._threads = anyio.CapacityLimiter(threads)
        self._processes = processes
        self._context: Context = copy_context()
        self._spawn: Callable[[Runner], None]
        self._stopping = False
        self._turn_ends = 0.0
        self._suspect: Job | None = None
        self.runners: list[Runner] = []
        self.abandoned: list[Job] = []
        self.around: list[anyio.CancelScope] = []
        """The scopes around all runners: what they cancel, no handler did."""

    async def run(self) -> None:
        """Run jobs until the channel is closed and empty."""
        self._context = copy_context()
        async with anyio.create_task_group() as nursery:
            self.around.append(nursery.cancel_scope)

            def spawn(runner: Runner) -> None:
                nursery.start_soon(self._run, runner)

            self._spawn = spawn
            self._reinforce()

    def _reinforce(self) -> None:
        """Add a runner, if all that there are work and there is a place for one more.

        So there is always one to come for the next job, and a worker of a thousand places has no more tasks than it
        needs. Whoever begins to work looks here.
        """
        count = len(self.runners)
        if self._crew.size - self._crew.idle >= count < self._crew.size and not self._ends:
            runner = Runner()
            self.runners.append(runner)
            self._send(runner)

    @property
    def _ends(self) -> bool:
        """Whether no more runs are to begin."""
        return self._stopping or any(scope.cancel_called for scope in self.around)

    def _send(self, runner: Runner) -> None:
        # A fresh context: what one job's handler left in context variables is not the next one's business.
        self._context.copy().run(self._spawn, runner)

    # -- from outside ---------------------------------------------------------------------------------------------

    @property
    def running(self) -> list[Runner]:
        """The runners that have a job."""
        return [runner for runner in self.runners if runner.job is not None]

    def release_unstarted(self) -> int:
        """Hand back what waits in the buffer, and whatever is taken from it from now on; give how many it was."""
        self._stopping = True
        count = 0
        try:
            while True:
                while self._ready:
                    self._release(self._ready.popleft())
                    count += 1
                self._ready.extend(self._jobs.take_nowait())
        except (anyio.WouldBlock, anyio.EndOfStream):
            return count

    def cut(self, reason: str) -> None:
        """Cut all running jobs short; each ends as ``reason`` says."""
        for runner in self.running:
            self._cut(runner, reason)

    def abandon(self) -> list[Job]:
        """Stop waiting for threads that ignore that their job was cut; their jobs stay held until this process ends."""
        for runner in self.running:
            if runner.thread is not None and runner.job is not None:
                self.abandoned.append(runner.job)
                runner.thread.cancel()
        return self.abandoned

    def withdraw(self, runner: Runner) -> None:
        """Take a job back that is in hand and has not begun: its queue or its task was paused."""
        self._cut(runner, "paused")

    def revoke(self, job: Job) -> None:
        """Stop a job that is not ours any more; what it comes to is nobody's business."""
        job.cut = "lost"
        for runner in self.runners:
            if runner.job is job:
                self._cut(runner, "lost")

    def cancel(self, job: Job) -> bool:
        """Cut a job short that somebody cancelled, if it is at work; tell whether it is."""
        for runner in self.runners:
            if runner.job is job:
                self._cut(runner, "cancelled")
                return True
        return False

    def _cut(self, runner: Runner, reason: str) -> None:
        assert runner.job is not None
        runner.job.cut = runner.job.cut or reason
        runner.limited = True
        runner.scope.cancel()

    def _release(self, job: Job) -> None:
        home: Home = job.home
        home.room.buffered -= 1
        job.ended = True
        if job.cut is None:
            home.outcomes.releases.put(Released(job))

    # -- the path of every job ------------------------------------------------------------------------------------

    async def _run(self, runner: Runner) -> None:
        with anyio.CancelScope() as scope:
            runner.scope = scope
            runner.waits = False
            self._crew.idle -= 1
            if self._ready:
                self._reinforce()
            try:
                if await self._serve(runner):
                    return
            finally:
                self._crew.idle += 1
        self._send(runner)  # its handler was cut, or left something in the context: go on in a fresh one

    async def _serve(self, runner: Runner) -> bool:
        """Run jobs; give True when none will come any more, False when this runner must begin anew."""
        ready, crew, scope, clock = self._ready, self._crew, runner.scope, time.monotonic
        now = clock()
        while True:
            while not ready:
                if not await self._refill():
                    return True
                now = clock()
            job = ready.popleft()
            if self._stopping or job.cut is not None:
                self._release(job)
                continue
            home: Home = job.home
            home.room.buffered -= 1
            if crew.waiting and home.room.taken():
                self._turn_ends = now  # what the reader asks for is on its way while jobs run
            runner.job, runner.since = job, now
            clean = True
            try:
                task = home.tasks.get(job.name) or home.find(job.name)
                if task is None:
                    self._park(job, home)
                    now = clock()
                elif (run := self._begin(job, task, home, runner)) is None:
                    now = clock()
                else:
                    running_job.set(job)
                    before = copy_context()
                    home.counts.started += 1
                    if home.bulletin.events:
                        home.bulletin.notice(notices.active(job, wall_ms()))
                    try:
                        value = await run
                    except BaseException as error:  # what ends the worker is raised again
                        if _ends_us(error):
                            raise
                        await self._raised(job, task, home, runner, error)
                        now = clock()
                    else:
                        now = clock()
                        job.seconds = now - runner.since
                        if job.recorded or job.cut is not None or home.bulletin.metrics:
                            self._returned(job, home, value)
                            now = clock()  # to pack a large result took a while, which is not the next run's
                        else:
                            home.outcomes.acks.put(job)
                    try:
                        clean = copy_context() == before
                    except Exception:  # noqa: BLE001 - a value in it cannot be compared, and says so in its own way
                        clean = False
            finally:
                runner.job = None
                job.ended = True
                crew.finished += 1
            if runner.limited:
                scope.deadline = math.inf
                runner.limited = False
                clean = clean and not scope.cancel_called  # to ask it costs Trio a look at the clock
            if not clean:
                return False
            if now > self._turn_ends:
                await self._give_a_turn()
                now = clock()

    async def _give_a_turn(self) -> None:
        """Let others run; one does so for all runners."""
        self._turn_ends = time.monotonic() + _TURN
        self._crew.rests()  # for the moment: a queue that has nothing here gets its share
        try:
            await checkpoint()
        finally:
            self._crew.idle -= 1
        self._reinforce()

    async def _refill(self) -> bool:
        """Take the jobs that there are, or wait in line for some; give False when none will come any more."""
        try:
            # Past a line that somebody waits in nothing is taken: it may be one who is about to look into the channel,
            # and would wait there for more, while what was taken lies here and the others stand behind it.
            if self._line.locked() or not self._take():
                self._crew.rests()
                try:
                    async with self._line:
                        if not self._ready:
                            self._ready.extend(await self._jobs.take())
                finally:
                    self._crew.idle -= 1
                self._turn_ends = time.monotonic() + _TURN
        except anyio.EndOfStream:
            return False
        self._reinforce()
        return True

    def _take(self) -> bool:
        """Take the jobs that there are; tell whether there were any."""
        try:
            self._ready.extend(self._jobs.take_nowait())
        except anyio.WouldBlock:
            return False
        return True

    def _begin(self, job: Job, task: Runnable, home: Home, runner: Runner) -> Coroutine[Any, Any, Any] | None:
        """Give the run of a job that may run; of one that may not, hand its end on and give ``None``."""
        attempts = job.override.attempts
        job.attempts = attempts = task.attempts if attempts is None else attempts
        extras = job.extras
        plain = extras is NO_EXTRAS
        if not plain or task.policy.result_ttl is not None:
            job.result_ttl = ttl = task.policy.result_ttl if extras.result_ttl is None else extras.result_ttl
            job.recorded = ttl is not None or extras.owns
        if job.attempt > attempts:
            dead = given_up(job, attempts)
            assert dead is not None
            self._give_up(dead, home)
            return None
        if not plain and (dead := expired(job, home.clock.ms())) is not None:
            self._give_up(dead, home)
            return None
        try:
            payload = unpack(job.body, home.limits.depth)
        except Undecodable as error:
            self._give_up(Dead(job, "decode_failed", Error("Undecodable", str(error))), home)
            return None
        if plain and task.binds and not job.lost:
            try:
                run: Coroutine[Any, Any, Any] = task.function(**payload)  # the path of every job
                return run
            except TypeError:
                pass  # what does not fit is said below
        misfit = task.misfit(payload)
        if misfit is not None:
            self._give_up(Dead(job, BAD_PAYLOAD, Error("BadPayload", misfit)), home)
            return None
        if job.lost and is_suspect(job, attempts):
            if self._suspect is not None:
                home.outcomes.retries.put(put_off(job, random.random()))
                return None
            self._suspect = job
        return self._specially(job, payload, task, home, runner)

    async def _specially(self, job: Job, payload: Any, task: Runnable, home: Home, runner: Runner) -> Any:
        """Make a run that is more than a plain call of a coroutine function."""
        job.payload = payload
        try:
            if self._suspect is job:
                runner.waits = True
                await self._stand_apart(home)
                runner.waits = False
            timeout = _timeout(job, task)
            if timeout is not None:
                self._start_clock(job, runner, timeout)
            if task.style != "async":
                runner.waits = task.style != "chain"  # inside middleware a run has begun
                return await self._elsewhere(job, task, runner)
            if task.parameters is None:
                return await task.function(job)
            args, kwargs = _arguments(task, payload)
            return await task.function(*args, **kwargs)
        finally:
            if self._suspect is job:
                self._suspect = None

    async def _raised(
        self, job: Job, task: Runnable, home: Home, runner: Runner, error: BaseException
    ) -> None:
        """Judge a run that raised, and hand its outcome on; raise the cancellation again, if it was one."""
        if runner.scope.cancel_called or any(scope.cancel_called for scope in self.around):
            # Cut short, whatever the handler made of it: its own error, or a group of both, counts as a plain one does.
            self._cut_short(job, task, home, runner)
        elif _is_cancelled():
            self._left_open(job, task, home, runner)
        else:
            # SystemExit and the like, or a cancellation that nobody ordered, end a handler and not the worker.
            self._failed(job, task, home, error, runner.since)
            return
        if isinstance(error, anyio.get_cancelled_exc_class()):
            raise error
        if not isinstance(error, Exception):  # a group with the cancellation in it: that alone goes on
            await checkpoint()

    def _returned(self, job: Job, home: Home, value: Any) -> None:
        """Hand on that a run returned; also one that was cut: a late success is still a success."""
        if job.recorded:
            try:
                job.result = _packed(value, home) if job.result_ttl is not None else b""
            except Exception as error:  # noqa: BLE001 - whatever it is, to run the job again would end the same way
                dead = Dead(job, BAD_RESULT, Error.of(error))
                self._say_failed(job, home, dead.error, job.seconds)
                self._give_up(dead, home)
                return
        if job.cut == "lost":
            return
        home.outcomes.acks.put(job)
        if home.bulletin.metrics:
            self._observe(job, home, "done", job.seconds)

    async def _stand_apart(self, home: Home) -> None:
        """Let go of all jobs that were lost before and are not at work, before a suspect begins.

        If it kills this worker, what is in our hands is lost with it: nothing may end as `STALLED` that never ran.
        """
        at_work = {id(runner.job) for runner in self.running}
        near = [job for job in home.ledger.jobs() if job.lost and id(job) not in at_work]
        for job in near:
            if not job.ended and job.cut is None:
                job.ended, job.cut = True, "put off"
                home.outcomes.retries.put(put_off(job, random.random()))
        await home.ledger.rid_of(near)

    def _start_clock(self, job: Job, runner: Runner, timeout: float) -> None:
        runner.limited = True
        runner.scope.deadline = anyio.current_time() + timeout
        job.deadline_ms = wall_ms() + round(timeout * 1000)

    def _stop_clock(self, runner: Runner) -> float:
        """Let no time pass for a run that waits for its turn; give the seconds that it has left."""
        left = runner.scope.deadline - anyio.current_time()
        runner.scope.deadline = math.inf
        return left

    def _go_on(self, job: Job, runner: Runner, left: float) -> None:
        """The run's turn has come, or it does not wait for it any more."""
        runner.waits = False
        if left < math.inf:
            self._start_clock(job, runner, left)

    async def _elsewhere(self, job: Job, task: Runnable, runner: Runner) -> Any:
        """Make a run that is no plain call of a coroutine function."""
        if task.style == "thread":
            return await self._in_thread(job, task, runner)
        if task.style == "process":
            return await self._in_process(job, task, runner)
        assert task.inner is not None
        return await task.function(job, partial(self._innermost, job, task.inner, runner))

    async def _innermost(self, job: Job, task: Runnable, runner: Runner) -> Any:
        """Call the handler from inside its middleware, which may have changed the payload."""
        misfit = task.misfit(job.payload)
        if misfit is not None:
            raise Hopeless(BAD_PAYLOAD, Error("BadPayload", misfit))
        if task.style != "async":
            return await self._elsewhere(job, task, runner)
        if task.parameters is None:
            return await task.function(job)
        args, kwargs = _arguments(task, job.payload)
        return await task.function(*args, **kwargs)

    async def _in_process(self, job: Job, task: Runnable, runner: Runner) -> Any:
        """Run a plain function in a process, which does not outlive the run's cancellation."""
        args, kwargs = _arguments(task, job.payload)
        left = self._stop_clock(runner)  # neither to wait for a process nor its start counts
        begun = partial(self._go_on, job, runner, left)
        try:
            return await self._processes.run(
                task.function, job, args, kwargs, None if left == math.inf else left, begun
            )
        finally:
            if runner.waits or runner.scope.deadline == math.inf:  # it has not begun
                begun()

    async def _in_thread(self, job: Job, task: Runnable, runner: Runner) -> Any:
        """Run a plain function in a thread, and wait for it even when its timeout passed.

        It cannot be stopped, and to run the job a second time beside it would be worse. Only the worker's stop abandons
        it.
        """
        if task.parameters is None:
            args: list[Any] = [job]
            kwargs: dict[str, Any] = {}
        else:
            args, kwargs = _arguments(task, job.payload)
        limiter: anyio.CapacityLimiter = task.limiter or self._threads
        left = self._stop_clock(runner)  # to wait for a thread is no fault of the job's
        try:
            await limiter.acquire()
        finally:
            self._go_on(job, runner, left)
        try:
            if left < math.inf:
                ends = time.monotonic() + left
                job.overdue = lambda: time.monotonic() >= ends
            if runner.thread is not None:
                raise RuntimeError(
                    f"middleware called call_next() of task {task.name!r} again while the thread of the call before "
                    "is at work: await the first, then call again"
                )
            with anyio.CancelScope(shield=True) as scope:
                runner.thread = scope
                try:
                    call = partial(_plainly, task, args, kwargs)
                    return await run_sync(call, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1))
                finally:
                    runner.thread = None
            await checkpoint()  # abandoned: the runner's scope was cancelled before, so this raises
            raise AssertionError("a thread was abandoned while its job was not cut")
        finally:
            limiter.release()

    # -- what came of it ------------------------------------------------------------------------------------------

    def _cut_short(self, job: Job, task: Runnable, home: Home, runner: Runner) -> None:
        """Judge a run that was cancelled, by who did it."""
        if job in self.abandoned:
            logger.error(
                "job %r of task %r runs on in a thread that ignores its cancellation; it stays with this process",
                job.id,
                job.name,
            )
            return
        # By the clock of the scope that was cancelled: another one may say that it is not yet time (uvloop's goes in
        # whole milliseconds and stands still within a turn), and the run would not count.
        began, timeout = runner.since, _timeout(job, task)
        if job.cut is None and timeout is not None and anyio.current_time() >= runner.scope.deadline:
            job.cut = "timeout"
            self._failed(
                job, task, home, TimedOut(f"the run took longer than its timeout of {timeout:g} s"), began
            )
            return
        if job.cut == "cancelled":
            home.outcomes.cancelled.put(Cancelled(job))
            self._observe(job, home, "cancelled", time.monotonic() - began)
            return
        if job.cut != "lost":
            home.outcomes.releases.put(Released(job))
        self._observe(job, home, "released", time.monotonic() - began)

    def _left_open(self, job: Job, task: Runnable, home: Home, runner: Runner) -> None:
        """Judge a run whose task is cancelled for good, by what a handler left behind: this task must end with it.

        The run counts, or the job would end one worker after the other.
        """
        why = (
            "cancelled by a cancel scope or task group that it, or a job before it, entered and did not leave: close "
            "async generators that have one (contextlib.aclosing)"
        )
        logger.error("job %r of task %r was %s; the worker cannot go on, and ends", job.id, job.name, why)
        self._failed(job, task, home, ScopeLeft(why), runner.since)

    def _failed(self, job: Job, task: Runnable, home: Home, error: BaseException, began: float) -> None:
        seconds = time.monotonic() - began
        if job.cut == "lost":
            return
        backoff = job.override.backoff or task.policy.backoff or Backoff.exponential()
        outcome = judge(job, error, job.attempts, backoff, random.random(), self._bad_backoff)
        if job.extras is not NO_EXTRAS:
            outcome = in_time(outcome, home.clock.ms())
        if not isinstance(error, RetryLater):
            self._say_failed(job, home, outcome.error, seconds)
        if isinstance(outcome, Retry):
            if outcome.error is not None:
                logger.warning(
                    "job %r of task %r failed (attempt %d of %d, %s); it comes back in %.3g s",
                    job.id, job.name, job.attempt, job.attempts, outcome.error.type, outcome.delay,
                )  # fmt: skip
            home.outcomes.retries.put(outcome)
        else:
            home.outcomes.dead.put(outcome)

    def _say_failed(self, job: Job, home: Home, error: Error | None, seconds: float) -> None:
        home.counts.failed += 1
        self._observe(job, home, "failed", seconds)
        if home.bulletin.events and error is not None:
            home.bulletin.notice(notices.failed(job, error, round(seconds * 1_000_000), wall_ms()))

    def _give_up(self, dead: Dead, home: Home) -> None:
        home.outcomes.dead.put(dead)

    def _park(self, job: Job, home: Home) -> None:
        job.result_ttl = job.extras.result_ttl  # whoever waits for the result must hear of the end
        outcome = in_time(park(job, home.grace), home.clock.ms())
        seen = home.unknown.get(job.name, 0)
        if len(home.unknown) < 1000 or seen:
            home.unknown[job.name] = seen + 1
        if not seen and job.name in home.unknown:
            logger.warning(
                "%s: no task here is named %r; its jobs are parked, and dead-lettered after %g s",
                home.queue, job.name, home.grace,
            )  # fmt: skip
        if isinstance(outcome, Retry):
            home.outcomes.retries.put(outcome)
        else:
            home.outcomes.dead.put(outcome)

    def _observe(self, job: Job, home: Home, outcome: Any, seconds: float) -> None:
        if home.bulletin.metrics:
            home.bulletin.observe(
                JobOutcome(
                    queue=home.queue, task=job.name, outcome=outcome, attempt=job.attempt,
                    duration_us=round(seconds * 1_000_000),
                )
            )  # fmt: skip

    def _bad_backoff(self, mistake: ValueError) -> None:
        logger.error("a backoff function failed, the default backoff is used: %s", mistake)


def _packed(value: Any, home: Home) -> bytes:
    """Encode a result that is kept."""
    result = pack(value, what="the result", depth=home.limits.depth)
    if len(result) > home.limits.result:
        raise PayloadRefused(f"the result has {len(result)} bytes, and the limit is {home.limits.result}")
    return result


def _arguments(task: Runnable, payload: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Split a payload into positional-only arguments and the rest."""
    assert task.parameters is not None
    if not task.parameters.positional:
        return [], payload
    rest = dict(payload)
    args = [rest.pop(name) for name in task.parameters.positional if name in rest]
    return args, rest


def _plainly(task: Runnable, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """Call a plain function, in its thread."""
    try:
        value = task.function(*args, **kwargs)
    except (KeyboardInterrupt, GeneratorExit) as error:
        # No signal is raised in a thread, and nobody closes one: the function said that by itself, and it is its run's
        # failure. As it is, it would end the worker that waits for the thread.
        kind = type(error).__name__
        raise RuntimeError(f"task {task.name!r} raised {kind} in its thread: {error}") from error
    if iscoroutine(value):
        value.close()
        raise TypeError(
            f"task {task.name!r} is a plain function, and it returned a coroutine, which nobody awaits: make it "
            "(or the decorator around it) an async def"
        )
    return value


def _timeout(job: Job, task: Runnable) -> float | None:
    """Seconds that a run may take."""
    return task.policy.timeout if job.extras.timeout is None else job.extras.timeout


def _ends_us(error: BaseException) -> bool:
    """Whether what came out of a run is no handler's failure: the process is interrupted, or this coroutine is closed.

    Ctrl-C may be raised anywhere, so in a handler too. A coroutine is closed from the inside out, and each has a
    GeneratorExit that begins in it: one that came through other frames was raised by somebody's own code.
    """
    if isinstance(error, GeneratorExit):
        return error.__traceback__ is None or error.__traceback__.tb_next is None
    return isinstance(error, KeyboardInterrupt)


def _is_cancelled() -> bool:
    """Whether the next suspension of this task raises its cancellation."""
    return anyio.current_effective_deadline() == -math.inf
