"""The publisher: what concurrent callers enqueue in one turn of the loop leaves in one script.

A lone caller sends for itself, without a detour. Whoever comes while something is under way joins the next batch. A
batch has a number, and the server remembers the numbers that took effect: one whose reply was lost is sent again and
adds nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import anyio
import attrs

from .._redis.connection import Waiter
from .._store.publish import Addition, Answer, Full, Publishing
from ..errors import ConnectionLost, QueueFull, another
from .hesitation import Hesitation
from .patience import Patience

T = TypeVar("T")

#: Jobs in one script, and their bytes: a bounded time in which the server serves nobody else.
_LARGEST_BATCH = 1000
_LARGEST_BYTES = 4 * 1024 * 1024

#: Jobs in one part of many, and parts on their way at the same time: enough to keep both sides at work.
_PART = 200
_UNDER_WAY = 4

#: Pauses of a caller that waits for room, in seconds: the first, and the longest.
PAUSES = 0.005, 0.25


class Leaving(Exception):
    """Whoever opened the queue here leaves it; who waits for room goes on elsewhere.

    Attributes:
        answers: Those for the jobs that were added before.
    """

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[Answer] = []


class _Ticket:
    """A caller that waits in the batch."""

    __slots__ = ("answer", "error", "job", "sent")

    def __init__(self, job: Addition) -> None:
        self.job = job
        self.sent = anyio.Event()
        self.answer: Answer = True
        self.error: Exception | None = closed()


@attrs.frozen
class _Part:
    """Jobs that are on their way, one batch.

    Attributes:
        number: The batch's.
        envelopes: The jobs.
        waiter: Where its reply comes; ``None`` if it was not sent.
    """

    number: int
    envelopes: Sequence[bytes]
    waiter: Waiter | None


class Publisher:
    """Adds jobs to one queue.

    Args:
        queue: The queue's name.
        publishing: The verbs.
        patience: How it meets trouble.
        max_length: Jobs that the stream may hold; 0 for any number.
    """

    def __init__(self, *, queue: str, publishing: Publishing, patience: Patience, max_length: int) -> None:
        self._queue = queue
        self._publishing = publishing
        self._patience = patience
        self._max_length = max_length
        self._waiting: list[_Ticket] = []
        self._wanted = anyio.Event()
        self._batch = 0
        self._unanswered: dict[int, None] = {}
        self._leaving = False
        self._answered = anyio.Event()

    @property
    def used(self) -> bool:
        """Whether anything was ever sent."""
        return self._batch > 0

    async def add(self, jobs: Sequence[Addition], *, wait: bool = True) -> list[Answer]:
        """Add jobs; tell for each what became of it. Cancelled, a batch that was on its way may or may not be added.

        Raises:
            QueueFull: There is no room, and ``wait`` is false.
            RedisUnavailable: Redis was away for longer than the patience.
            Leaving: `finish` was called while this waited for room.
        """
        # With a bound on the length everybody answers for itself: one that must wait must not hold up the others.
        if len(jobs) != 1 or jobs[0].after or self._max_length or not (self._unanswered or self._waiting):
            return await self._send(jobs, wait=wait)
        ticket = _Ticket(jobs[0])
        self._waiting.append(ticket)
        self._wanted.set()
        await ticket.sent.wait()
        if ticket.error is not None:
            raise ticket.error
        return [ticket.answer]

    async def stream(self, name: str, envelopes: Iterable[bytes]) -> None:
        """Add plain jobs of one task while they are being made: the server works on one part while the next is encoded.

        In their order, unless the connection breaks in the middle. For queues without a ``max_length``.

        Raises:
            RedisUnavailable: Redis was away for longer than the patience; whole parts may have been added.
        """
        under_way: deque[_Part] = deque()
        try:
            for some in _parts(envelopes):
                under_way.append(self._begin(name, some))
                if len(under_way) == _UNDER_WAY and not await self._ended(under_way):
                    # Not added, as far as we know: again, and in order, before more of them.
                    await self._resend(name, under_way)
            while under_way:
                if not await self._ended(under_way):
                    await self._resend(name, under_way)
        finally:
            for part in under_way:
                self._answer(part.number)

    def _begin(self, name: str, envelopes: Sequence[bytes]) -> _Part:
        number = self._number()
        waiter = self._publishing.begin(number, self._lowest, name, envelopes)
        return _Part(number, envelopes, waiter)

    async def _ended(self, under_way: deque[_Part]) -> bool:
        """Wait for the first of them, and tell whether it was added; then it is none of them any more."""
        part = under_way[0]
        if not await self._publishing.ended(part.waiter):
            return False
        self._answer(under_way.popleft().number)
        return True

    async def _resend(self, name: str, under_way: deque[_Part]) -> None:
        while under_way:
            part = under_way[0]
            if not await self._publishing.ended(part.waiter):
                await self._patience(
                    self._publish, part.number, [Addition(name, envelope) for envelope in part.envelopes]
                )
            self._answer(under_way.popleft().number)

    async def once(self, verb: Callable[[int, int], Awaitable[T]]) -> T:
        """Send a change of one job until it is answered, under a number of its own and the lowest not yet answered.

        Raises:
            RedisUnavailable: Redis was away for longer than the patience.
        """
        number = self._number()
        try:
            return await self._patience(lambda: verb(number, self._lowest))
        finally:
            self._answer(number)

    def _number(self) -> int:
        """Number a batch; it is unanswered from now on."""
        self._batch = number = self._batch + 1
        self._unanswered[number] = None
        return number

    @property
    def _lowest(self) -> int:
        """The lowest number that is not answered."""
        return next(iter(self._unanswered))

    def _answer(self, number: int) -> None:
        """A batch is answered, or nobody wants to know any more."""
        del self._unanswered[number]
        self._answered.set()

    async def run(self) -> None:
        """Send what gathers, until cancelled."""
        tickets: list[_Ticket] = []
        try:
            while True:
                await self._wanted.wait()
                self._wanted = anyio.Event()
                tickets, self._waiting = self._waiting, []
                for group in _by_priority(tickets):
                    await self._send_together(group)
                tickets = []
        finally:
            for ticket in (*tickets, *self._waiting):
                ticket.sent.set()

    async def finish(self) -> None:
        """Wait until everything is answered that was given to `add`; who waits for room is sent away."""
        self._leaving = True
        while self._waiting or self._unanswered:
            self._answered = anyio.Event()
            await self._answered.wait()

    async def forget(self) -> None:
        """Drop what the server remembers of our batches: all are answered, and nothing more will be sent."""
        await self._publishing.forget()

    async def _send_together(self, tickets: Sequence[_Ticket]) -> None:
        try:
            answers = await self._send([ticket.job for ticket in tickets], wait=True)
        except Exception as error:  # noqa: BLE001 - each caller of the batch raises it
            for ticket in tickets:
                ticket.error = another(error)
        else:
            for ticket, answer in zip(tickets, answers, strict=True):
                ticket.answer, ticket.error = answer, None
        for ticket in tickets:
            ticket.sent.set()

    async def _send(self, jobs: Sequence[Addition], *, wait: bool) -> list[Answer]:
        answers: list[Answer] = []
        try:
            for batch in self._batches(jobs):
                answers += await self._deliver(batch, wait=wait)
        except Leaving as leaving:
            leaving.answers = answers
            raise
        return answers

    async def _deliver(self, jobs: Sequence[Addition], *, wait: bool) -> list[Answer]:
        """Send one batch until it is answered."""
        number = self._number()
        pauses: Hesitation | None = None
        try:
            while True:
                try:
                    return await self._patience(self._publish, number, jobs)
                except Full:
                    if not wait:
                        raise QueueFull(self._queue, self._max_length) from None
                if self._leaving:
                    raise Leaving
                pauses = pauses or Hesitation(*PAUSES)
                await anyio.sleep(pauses.next())
        finally:
            self._answer(number)

    async def _publish(self, number: int, jobs: Sequence[Addition]) -> list[Answer]:
        """Send one batch, by the verb for what is in it; sent again it adds nothing."""
        if all(job.plain for job in jobs):
            await self._publishing.publish(number, self._lowest, jobs, self._max_length)
            return [True] * len(jobs)
        add = self._publishing.await_ if jobs[0].after else self._publishing.schedule
        return await add(number, self._lowest, jobs, self._max_length)

    def _batches(self, jobs: Sequence[Addition]) -> Iterable[Sequence[Addition]]:
        return (jobs,) if len(jobs) == 1 else self._split(jobs)

    def _split(self, jobs: Sequence[Addition]) -> Iterator[Sequence[Addition]]:
        # A batch that fills the whole queue would wait until it is empty, and starve beside other producers.
        longest = min(_LARGEST_BATCH, max(1, self._max_length // 10) if self._max_length else _LARGEST_BATCH)
        longest = min(longest, max(1, _LARGEST_BATCH // (len(jobs[0].after) or 1)))
        start = size = 0
        for index, job in enumerate(jobs):
            size += len(job.envelope)
            if index > start and (index - start == longest or size > _LARGEST_BYTES):
                yield jobs[start:index]
                start, size = index, len(job.envelope)
        if start < len(jobs):
            yield jobs[start:]


def _parts(envelopes: Iterable[bytes]) -> Iterator[Sequence[bytes]]:
    """Split what is made one after the other into parts of bounded numbers and bytes."""
    part: list[bytes] = []
    size = 0
    for envelope in envelopes:
        if part and size + len(envelope) > _LARGEST_BYTES:
            yield part
            part, size = [], 0
        part.append(envelope)
        size += len(envelope)
        if len(part) == _PART:
            yield part
            part, size = [], 0
    if part:
        yield part


def _by_priority(tickets: Sequence[_Ticket]) -> Iterable[Sequence[_Ticket]]:
    """Split what gathered: each priority has a lane, and a batch goes to one."""
    groups: dict[int, list[_Ticket]] = {}
    for ticket in tickets:
        groups.setdefault(ticket.job.priority, []).append(ticket)
    return groups.values()


def closed() -> ConnectionLost:
    """Say that nobody will ever know whether it was added."""
    return ConnectionLost("the queue was closed before Redis answered")
