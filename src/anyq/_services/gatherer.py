"""The gatherer: puts items into groups, those of all callers of one turn of the loop in one script.

It knows which job was open last for a group, which the script corrects. What a job did not take goes into the next
batch; a group for which there is no room waits, and holds up no other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence

import anyio
import attrs

from .._core.groups import Gathering, Mould
from .._store.gather import Gathered, Group
from ..errors import another
from .hesitation import Hesitation
from .publisher import PAUSES, Leaving, Publisher, closed

#: Items in one script, and their bytes: a bounded time in which the server serves nobody else.
_LARGEST_BATCH = 1000
_LARGEST_BYTES = 1024 * 1024

#: Groups of which the open job is remembered.
_REMEMBERED = 10_000

#: What a group is called: its task, and what keeps it apart from the task's others.
_Name = tuple[str, str]


@attrs.define(eq=False)
class Item:
    """One item on its way.

    Attributes:
        gathering: How the task's items become calls.
        key: What keeps groups of the task apart.
        data: The item, encoded.
        begin: Writes the job that a group begins as: its id, and its mould.
        job_id: The job that took it, once one has.
        new: Whether that job began with it.
    """

    gathering: Gathering
    key: str
    data: bytes
    begin: Callable[[], tuple[str, Mould]]
    job_id: str = ""
    new: bool = False
    caller: _Caller | None = None


@attrs.define(eq=False)
class _Caller:
    """Whoever waits until all of its items were taken."""

    left: int
    done: anyio.Event = attrs.field(factory=anyio.Event)
    error: Exception | None = None
    gone: bool = False

    def fail(self, error: Exception) -> None:
        if not self.gone:
            self.error, self.gone = another(error), True
            self.done.set()


class Gatherer:
    """Puts items into the groups of one queue.

    Args:
        send: The verb, for a batch under its number and the lowest not yet answered.
        publisher: Numbers what is sent.
        start: Starts `run` in the background, when it is first needed.
    """

    def __init__(
        self,
        *,
        send: Callable[[int, int, Sequence[Group]], Awaitable[list[Gathered]]],
        publisher: Publisher,
        start: Callable[[], None],
    ) -> None:
        self._send = send
        self._publisher = publisher
        self._start = start
        self._started = False
        self._waiting: dict[_Name, deque[Item]] = {}
        self._open: dict[_Name, str] = {}
        self._wanted = anyio.Event()
        self._idle = anyio.Event()
        self._leaving = False

    async def add(self, items: Sequence[Item]) -> None:
        """Put items into their groups; each tells afterwards which job took it.

        Cancelled, items that were on their way may or may not be added; the others are not.

        Raises:
            RedisUnavailable: Redis was away for longer than the patience.
            Leaving: `finish` was called while this waited for room.
        """
        if not self._started:
            self._started = True
            self._start()
        caller = _Caller(len(items))
        for item in items:
            item.caller = caller
            self._waiting.setdefault((item.gathering.task, item.key), deque()).append(item)
        self._wanted.set()
        try:
            await caller.done.wait()
        finally:
            caller.gone = True
        if caller.error is not None:
            raise caller.error

    async def run(self) -> None:
        """Send what gathers, until cancelled."""
        hesitation = Hesitation(*PAUSES)  # of groups that wait for room
        batch: list[tuple[list[Item], Group]] = []
        try:
            while True:
                await self._wanted.wait()
                self._wanted = anyio.Event()
                while batch := self._batch():
                    crowded, taken = await self._deliver(batch), len(batch)
                    batch = []
                    if crowded and self._leaving:
                        self._send_away(Leaving())
                    elif crowded and crowded == taken:
                        self._wanted = anyio.Event()
                        with anyio.move_on_after(hesitation.next()):
                            await self._wanted.wait()
                    else:
                        hesitation.over()
                self._idle.set()
        finally:
            for items, _ in batch:
                _fail(items, closed())
            self._send_away(closed())

    async def finish(self) -> None:
        """Wait until everything was sent that was given to `add`; who waits for room is sent away."""
        self._leaving = True
        while self._started and self._waiting:
            self._idle = anyio.Event()
            self._wanted.set()
            await self._idle.wait()

    def _batch(self) -> list[tuple[list[Item], Group]]:
        """Take a batch: of each group no more than one job can take."""
        batch: list[tuple[list[Item], Group]] = []
        count = size = 0
        for name, waiting in list(self._waiting.items()):
            while waiting and _gone(waiting[0]):
                waiting.popleft()
            if not waiting:
                del self._waiting[name]
                continue
            if count >= _LARGEST_BATCH or size >= _LARGEST_BYTES:
                continue
            gathering = waiting[0].gathering
            items: list[Item] = []
            bytes_ = 0
            for item in waiting:
                bytes_ += len(item.data)
                if items and (
                    len(items) >= min(gathering.size, _LARGEST_BATCH - count) or bytes_ > gathering.most
                ):
                    break
                if not _gone(item):
                    items.append(item)
            job_id, mould = items[0].begin()
            data = [item.data for item in items]
            batch.append((items, Group(gathering, name[1], data, job_id, mould, self._open.get(name, ""))))
            count += len(items)
            size += bytes_ + mould.size
        return batch

    async def _deliver(self, batch: Sequence[tuple[list[Item], Group]]) -> int:
        """Send a batch until it is answered; tell for how many groups there is no room."""
        groups = [group for _, group in batch]
        try:
            answers = await self._publisher.once(lambda number, lowest: self._send(number, lowest, groups))
        except Exception as error:  # noqa: BLE001 - each caller of the batch raises it
            for items, _ in batch:
                _fail(items, error)
            return 0
        crowded = 0
        for (items, group), answer in zip(batch, answers, strict=True):
            name = (group.gathering.task, group.key)
            if not answer.job_id:
                crowded += 1
                self._waiting[name] = self._waiting.pop(name)  # behind those that have room
                continue
            self._open.pop(name, None)  # what was used last is forgotten last
            self._open[name] = answer.job_id
            for place, item in enumerate(items[: answer.taken]):
                item.job_id, item.new = answer.job_id, answer.new and place == 0
                self._taken(name, item)
        while len(self._open) > _REMEMBERED:
            del self._open[next(iter(self._open))]
        return crowded

    def _taken(self, name: _Name, item: Item) -> None:
        self._waiting[name].remove(item)  # the first, or behind some whose caller has gone
        caller = item.caller
        assert caller is not None
        caller.left -= 1
        if not caller.left:
            caller.done.set()

    def _send_away(self, error: Exception) -> None:
        for waiting in self._waiting.values():
            _fail(waiting, error)
        self._waiting.clear()


def _gone(item: Item) -> bool:
    return item.caller is None or item.caller.gone


def _fail(items: Iterable[Item], error: Exception) -> None:
    for item in items:
        if item.caller is not None:
            item.caller.fail(error)
