"""The reader: takes entries from Redis, writes them into the ledger, and hands them on.

It stops first. While it runs it also has what the server says is ours compared with the ledger, between two reads, when
no reply can be on its way.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

import anyio
from anyio.lowlevel import cancel_shielded_checkpoint, checkpoint

from .._core import notices
from .._core.entry import Spoiled, admit
from .._core.job import Job
from .._core.lanes import Lanes
from .._redis.client import Client
from .._redis.solo import Solo
from .._store.consume import Consuming, Delivery
from ..errors import ReplyTimeout
from ..metrics.sink import ReaderBatch
from .cancels import Cancels
from .channels import Bulletin, Jobs, Outcomes
from .clock import wall_ms
from .gate import Gate
from .home import Home
from .ledger import Ledger
from .patience import Patience
from .reconciling import Reconciling
from .room import Room

logger = logging.getLogger("anyq.reader")

#: Milliseconds of one blocking read: short, so that a frozen connection is noticed soon.
_BLOCK_MS = 1000

#: Entries of one read at most: a reply of bounded size, and a bounded pause of the loop to take it in. An entry is two
#: lists in the reply, and Python's garbage collector begins with the 700th new object (up to 3.12): a larger reply
#: would set it off each time, with nothing to collect. (So would a reply that is kept while its jobs are made.)
_LARGEST_READ = 340

#: Bytes of one read, judged by the size of what came last: large jobs are read in small numbers.
_LARGEST_READ_BYTES = 8 * 1024 * 1024

#: Seconds between two comparisons of the server's view with the ledger.
_RECONCILE_EVERY = 5.0

#: Seconds that a blocked read is given to end after the server was asked to unblock it.
_UNBLOCK_GRACE = 0.5


class Reader:
    """Reads one queue.

    Args:
        queue: The queue's name.
        consuming: The verbs.
        reconciling: Hands back what nobody knows.
        client: The connection that it reads on.
        patience: How it meets trouble.
        ledger: Where held entries are written down.
        room: How much may be taken.
        jobs: Where jobs go.
        outcomes: Where entries go that can never become a job; jobs carry it along.
        bulletin: Where it says what happened.
        largest: The largest envelope in bytes.
        cancels: What is to be cancelled, and so is not handed on.
        safe: Tells whether the heartbeat is well: a worker that may look dead takes nothing.
        gate: Turns away what is paused.
        lanes: What is read.
    """

    def __init__(
        self,
        *,
        queue: str,
        consuming: Consuming,
        reconciling: Reconciling,
        client: Solo,
        patience: Patience,
        ledger: Ledger,
        room: Room,
        jobs: Jobs,
        outcomes: Outcomes,
        home: Home,
        bulletin: Bulletin,
        largest: int,
        safe: Callable[[], bool],
        gate: Gate,
        cancels: Cancels,
        lanes: Lanes,
    ) -> None:
        self._queue = queue
        self._consuming = consuming
        self._reconciling = reconciling
        self._client = client
        self._patience = patience
        self._ledger = ledger
        self._room = room
        self._jobs = jobs.send.clone()
        self._outcomes = outcomes
        self._home = home
        self._bulletin = bulletin
        self._largest = largest
        self._safe = safe
        self._gate = gate
        self._cancels = cancels
        self._lanes = lanes
        self._stopping = False
        self._blocked = False
        self._scope = anyio.CancelScope()
        self._ended = anyio.Event()
        self._generation = -1
        self._reconciled_at = 0.0
        self._busy = False
        self._weight = 1.0

    async def run(self) -> None:
        """Read until `stop`."""
        try:
            with self._jobs, self._scope:
                while not self._stopping:
                    await self._turn()
        finally:
            self._ended.set()

    async def stop(self, through: Client) -> None:
        """Stop reading; a read that blocks is ended through another client, or cut off if that does not work.

        After this nothing more is handed on. What the server delivered into a read that was cut off is found once the
        connection is closed.
        """
        self._stopping = True
        with anyio.move_on_after(_UNBLOCK_GRACE):
            if await self.interrupt(through):
                await self._ended.wait()
        self._scope.cancel()
        await self._ended.wait()

    async def interrupt(self, through: Client) -> bool:
        """End a read that blocks, through another client; tell whether the server was asked to."""
        if self._blocked and (connection := self._client.connection_id) is not None:
            try:
                await through.call(b"CLIENT", b"UNBLOCK", connection, timeout=_UNBLOCK_GRACE)
            except Exception as error:  # noqa: BLE001 - best effort: an ACL may forbid it, Redis may be gone
                logger.debug("%s: could not unblock the read: %s", self._queue, error)
            else:
                return True
        return False

    async def _turn(self) -> None:
        now = anyio.current_time()
        # Before the look for room: while all runners are busy, what a lost reply brought would lie in our name unseen.
        if self._generation != self._client.generation or now - self._reconciled_at > _RECONCILE_EVERY:
            await self._patience(self._reconciling)
            self._generation = self._client.generation
            self._reconciled_at = now
            if self._stopping:
                return
        if self._gate.queue:
            await self._gate.opened(_RECONCILE_EVERY)
            return
        room = self._room.now() if self._safe() else 0
        if not room:
            await self._room.wait(0.2)
            return
        await self._patience(
            lambda: self._read(min(room, _LARGEST_READ, int(_LARGEST_READ_BYTES / self._weight) + 1))
        )

    async def _read(self, count: int) -> None:
        if self._stopping or self._gate.queue:
            return
        deliveries = await self._ask(count)
        if self._bulletin.telling:
            # Who let jobs run hears of it now too, by way of another task, and tells it before they begin.
            await cancel_shielded_checkpoint()
            await cancel_shielded_checkpoint()
        taken, jobs = self._take_in(deliveries)
        if self._cancels.asked:
            jobs = self._cancels.refuse(jobs)
        if taken:
            self._busy = True
            if self._bulletin.metrics:
                self._bulletin.observe(ReaderBatch(queue=self._queue, size=taken))
        elif self._busy:
            self._busy = False
            if self._bulletin.events:
                self._bulletin.notice(notices.drained(wall_ms()))
        if jobs:
            few = len(jobs) <= self._room.idle
            self._room.buffered += len(jobs)
            self._jobs.send_nowait(jobs)
            if few:
                # They begin before the next read is written, which takes about as long as their way to here. Twice,
                # since on Trio the order of a turn is by chance.
                await checkpoint()
                await checkpoint()

    async def _ask(self, count: int) -> Iterable[Delivery]:
        """Take what is there, or wait for some."""
        deliveries: Iterable[Delivery] = ()
        try:
            if self._lanes.several:
                deliveries = await self._consuming.take(count)
            if not deliveries and not (self._stopping or self._gate.queue):
                self._blocked = True
                share = max(1, count // len(self._lanes.read)) if self._lanes.several else count
                deliveries = await self._consuming.read(share, _BLOCK_MS)
        except ReplyTimeout:
            # Perhaps the link is too slow for so much: ask for a quarter, or the same reply would be late for ever.
            self._weight = 4 * _LARGEST_READ_BYTES / count
            raise
        finally:
            self._blocked = False
        return deliveries

    def _take_in(self, deliveries: Iterable[Delivery]) -> tuple[int, list[Job]]:
        """Write all that came into the ledger; give how many entries it was, and the jobs that are to run."""
        taken = weight = 0
        queue, largest, home, gate = self._queue, self._largest, self._home, self._gate
        names = home.names
        jobs: list[Job] = []
        for lane, entries in deliveries:
            taken += len(entries)
            held = self._ledger.lanes[lane]
            entries.reverse()
            while entries:  # the reply is given up piece by piece: a job takes the place that an entry had
                entry, fields = entries.pop()
                if entry in held:  # delivered once more, by a server that forgot the first time (a failover)
                    continue
                held[entry] = job = admit(queue, lane, entry, fields, largest, home, names)
                if isinstance(job, Spoiled):
                    weight += len(job.data)
                    self._outcomes.dead.put(job)
                else:
                    weight += len(job.body)
                    if not (gate.closed and gate.turns_away(job)):
                        jobs.append(job)
        if taken:
            self._weight = max(1.0, weight / taken)
        return taken, jobs

    def close(self) -> None:
        """Close its end of the channel, if it never ran."""
        self._jobs.close()
