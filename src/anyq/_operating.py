"""Operating a queue: what whoever runs it asks and does, with a program or by `anyq` on the command line.

It needs no tasks and no worker: what is asked is read from Redis, and what is done is done there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterable
from datetime import datetime
from typing import Any

import anyio

from . import _numbers
from ._core.explain import Explanation
from ._core.jobs import JobInfo
from ._place import Place
from ._services.draining import until_empty
from ._services.patience import Patience
from ._services.pausing import Pausing
from ._store.workers import workers
from .events import Events
from .handles import JobHandle
from .jobs import Jobs
from .settings import Duration, at_least, moment, name, optional_seconds
from .tasks import Task
from .vitals import Minute, QueueStats, WorkerInfo

#: Minutes: more than two months, and still a list that fits anywhere.
_LONGEST_HISTORY = 100_000


class Operating(Place):
    """The operator's side of a `Queue`."""

    # -- pausing --------------------------------------------------------------------------------------------------

    async def pause(self, task: Task[Any, Any] | str | None = None, *, until: datetime | None = None) -> None:
        """Let no job start any more, of this queue or of one task, on any worker; jobs that run go on to their end.

        Args:
            task: The task, or its name; left out, the whole queue.
            until: The moment when the pause ends by itself, an aware ``datetime``, by the server's clock; left out, it
                lasts until `resume`. Pausing again replaces it.

        Jobs are enqueued as ever, and delayed ones become due; they wait. Jobs of a paused task are set aside, so that
        those behind them run.

        Returns when every worker that lives has confirmed that it starts nothing more: no job starts after that. A
        worker that is frozen or was killed is waited for until its ``lease`` runs out, one whose event loop is blocked
        until it turns again.

        Raises:
            RedisUnavailable: Redis was away for longer than the queue's ``outage_timeout``.
            NotOpen: The queue is not open here.

        Safe to cancel; the pause may stay in force then. To pause again, as after a lost reply, changes nothing.

        Example:
            >>> await queue.pause()
            >>> await queue.pause("newsletter", until=datetime.now(UTC) + timedelta(hours=1))
        """
        until_ms = 0 if until is None else max(1, moment("until", until))
        await self._pausing.pause(_task_or_none(task), until_ms)

    async def resume(self, task: Task[Any, Any] | str | None = None) -> bool:
        """End the pause of this queue, or of one task; jobs that were set aside are brought back by the workers.

        Args:
            task: The task, or its name; left out, the whole queue. Tasks that are paused by themselves stay so.

        Returns:
            Whether it was paused.

        Raises:
            RedisUnavailable: Redis was away for longer than the queue's ``outage_timeout``.
            NotOpen: The queue is not open here.

        Safe to cancel: the pause is ended, or it is not.

        Example:
            >>> await queue.resume("newsletter")
            True
        """
        return await self._pausing.resume(_task_or_none(task))

    async def paused(self, task: Task[Any, Any] | str | None = None) -> bool:
        """Tell whether this queue is paused, or a task of it: by itself, or with its queue.

        Args:
            task: The task, or its name; left out, the queue.

        Raises:
            RedisUnavailable: Redis was away for longer than the queue's ``outage_timeout``.
            NotOpen: The queue is not open here.

        Safe to cancel.

        Example:
            >>> await queue.paused()
            False
        """
        return await self._pausing.paused(_task_or_none(task))

    @property
    def _pausing(self) -> Pausing:
        session = self.session
        patience = Patience("pausing", session.outages, limit=self._outage_timeout)
        return Pausing(self.keys, session.client, session.subscriber, patience)

    # -- looking --------------------------------------------------------------------------------------------------

    def jobs(
        self,
        state: str | Iterable[str] | None = None,
        task: Task[Any, Any] | str | None = None,
        *,
        limit: int | None = None,
        after: str | None = None,
        newest_first: bool = False,
        payload: bool = False,
    ) -> AsyncIterator[JobInfo]:
        """Go through the jobs of this queue, page by page, wherever they are.

        Args:
            state: How they are: one of ``running``, ``cancelling``, ``queued``, ``aside``, ``delayed``, ``parked``,
                ``waiting`` and ``failed``, or several of them. Left out, all but those that were given up: ``failed``.
            task: Their task, or its name; ``""`` for jobs without one. Left out, any.
            limit: How many at most; ``None`` for all.
            after: The ``JobInfo.cursor`` of a job that was listed: go on behind it, with the same ``state`` and order.
            newest_first: In each part of the list begin with those that came last, or are due last.
            payload: Decode the jobs' arguments, which are secret otherwise.

        Returns:
            An iterator over what is there when it comes to it. In this order: what workers have, what they will take
            next (lane by lane, as they read them), what is set aside, delayed (by due time), waiting (in no order), was
            given up.

        Raises:
            ValueError, TypeError: An argument makes no sense.
            RedisUnavailable: While iterating: Redis was away for longer than the queue's ``outage_timeout``.
            NotOpen: While iterating: the queue is not open here.

        One step looks at a thousand jobs and two megabytes at most, however many there are. A job that moves meanwhile
        may be seen twice, or not at all. Safe to cancel, and to leave early: nothing is changed, nothing stays open.

        Example:
            >>> async for job in queue.jobs("queued", task="welcome", limit=50):
            ...     print(job.id, job.created_at, job.attempt)
            >>> async for job in queue.jobs("queued", task="welcome", limit=50, after=job.cursor):
            ...     ...
        """
        called = task.name if isinstance(task, Task) else task
        return Jobs(
            self,
            state=state,
            task=called,
            limit=limit,
            after=after,
            newest_first=newest_first,
            payload=payload,
        )

    def events(
        self,
        *,
        after: str | datetime | None = None,
        kinds: Collection[str] | None = None,
        job: JobHandle[Any] | str | None = None,
        follow: bool = True,
    ) -> Events:
        """Follow what happens to jobs, as workers tell it (and ChasquiMQ's, on a shared queue).

        Args:
            after: The id of the event after which to go on, or a moment: an aware ``datetime``, by the server's clock.
                ``"0"`` begins with the oldest that is kept. Left out, it begins now: at the start of the ``async with``
                block, or else of the first step.
            kinds: Only events of these kinds, such as ``("completed", "dlq")``.
            job: Only events of this job: a handle, or its id.
            follow: Wait for more at the end; ``False`` stops there.

        Returns:
            An asynchronous iterator of `Event`, which may be an ``async with`` block too.

        Raises:
            ValueError, TypeError: Something is wrong; the message says what.

        It has a connection of its own and no task. An outage is waited through: it goes on after the last event, and
        an event's ``Event.missed`` tells when the server may have forgotten some meanwhile. What a step raises is told
        by `Events.__anext__`. Events are told best effort: a worker that has no time for them drops them.

        Example:
            >>> async for event in queue.events(kinds=("completed", "dlq")):
            ...     print(event.at, event.kind, event.job_id, event.fields)
        """
        return Events(
            self, after=after, kinds=kinds, job=job.id if isinstance(job, JobHandle) else job, follow=follow
        )

    async def explain(self, id: str) -> Explanation:
        """Say why a job is not running: what it waits for, who could run it, what comes before it; or how it is.

        Args:
            id: The job's id.

        Returns:
            What is known of the job, and the reasons. ``print`` shows it in English.

        Raises:
            RedisUnavailable: Redis was away for longer than the queue's ``outage_timeout``.
            NotOpen: The queue is not open here.

        It looks for the job as `JobHandle.info` does, and counts those before it: exactly up to 10,000. Safe to cancel:
        it only looks.

        Example:
            >>> print(await queue.explain("welcome:ada"))
            Job welcome:ada of task 'welcome' is queued, run 1.
            No worker of this queue lives.
            12 jobs come before it.
        """
        wanted = name("id", id)
        return await self.with_session(lambda session: session.inquiry.explain(wanted))

    async def stats(self) -> QueueStats:
        """Tell what the queue holds, how long it has waited, and what was ever counted, in constant time.

        Raises:
            RedisUnavailable: Redis was away for longer than ``outage_timeout``.

        Safe to cancel: nothing is changed.

        Example:
            >>> stats = await queue.stats()
            >>> if stats.oldest is not None and stats.oldest > 60:
            ...     print(f"{stats.ready} jobs wait, the oldest for {stats.oldest:.0f} s")
        """
        return await self.ask("the statistics", _numbers.stats)

    async def history(self, minutes: int = 60) -> list[Minute]:
        """Tell what happened in each of the last minutes, by the clock of the server.

        Args:
            minutes: How many, up to 100,000.

        Returns:
            As many minutes, the newest last: the one that has only begun. Nothing happened in those of which nothing is
            kept: ``Retention(history=)`` says for how long it is.

        Raises:
            ValueError, TypeError: That is no such number.
            RedisUnavailable: Redis was away for longer than ``outage_timeout``.

        It costs what is kept of these minutes, however many jobs there are. Safe to cancel: nothing is changed.

        Example:
            >>> for minute in await queue.history(5):
            ...     print(
            ...         f"{minute.start:%H:%M} {minute.added} in, {minute.done} done, {minute.failed} failed"
            ...     )
        """
        at_least("minutes", minutes, 1, _LONGEST_HISTORY)
        return await self.ask("the history", _numbers.history, minutes)

    async def drain(
        self,
        timeout: Duration | None = None,
        progress: Callable[[int, int], object] | None = None,
        *,
        delayed: bool = False,
    ) -> QueueStats:
        """Wait until the queue is empty, whoever works on it: nothing ready, due, running, or on its way back.

        Args:
            timeout: Seconds to wait; ``None`` waits for as long as it takes.
            progress: Called again and again with how many jobs are gone of those that it has seen, and how many those
                are.
            delayed: Wait for jobs too whose time has not come: delays, retries, those whose name no worker knows yet.

        Returns:
            What the queue holds then: `QueueStats` tells what was not waited for. Those are delayed jobs, dead letters,
            and whatever is paused: of a paused queue only what is in workers' hands is waited for.

        Raises:
            TimeoutError: It is not empty by then; the message says what is left.
            RedisUnavailable: Redis was away for longer than ``outage_timeout``.

        Nothing is stopped: who goes on enqueuing keeps it waiting, and without a worker it waits for ever. It looks
        again and again, at most every 5 ms, and 4 times a second when it takes longer. Safe to cancel.

        Example:
            >>> stats = await queue.drain(timeout=60)
            >>> print(f"empty, but for {stats.delayed} delayed jobs")
        """
        limit = optional_seconds("timeout", timeout)
        found: QueueStats | None = None

        async def look() -> QueueStats:
            nonlocal found
            found = await self.stats()
            return found

        with anyio.move_on_after(limit):
            return await until_empty(look, delayed=delayed, progress=progress)
        what = f"queue {self.name!r} is not empty after {limit:g} s"
        if found is not None:
            what += f": {found.ready} ready, {found.running} running, {found.delayed} delayed"
        raise TimeoutError(what)

    async def workers(self) -> list[WorkerInfo]:
        """List who works on this queue: where, what each runs and since when, which tasks it knows, how it is.

        Returns:
            Those that live first. A worker tells about itself with its heartbeat, four times a lease, and at once when
            it starts or drains. One that was killed is there, ``silent``, until others have taken over what it held;
            other programs that read the queue are ``foreign``.

        Raises:
            RedisUnavailable: Redis was away for longer than ``outage_timeout``.

        It takes as many looks as there are workers, however many jobs there are. Safe to cancel: nothing is changed.

        Example:
            >>> for worker in await queue.workers():
            ...     print(worker.name, worker.host, worker.pid, worker.state, f"{worker.running} jobs")
        """
        return await self.ask("the workers", workers)


def _task_or_none(task: object) -> str | None:
    return None if task is None else name("task", task.name if isinstance(task, Task) else task)
