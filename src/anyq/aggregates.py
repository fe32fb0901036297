"""Many items as one call: a task whose function takes a list, and whose callers give one item each.

An item is put into the group that gathers, which is a delayed job like any other, in one script: so nothing is held
back in this program, and nothing is lost with it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast, overload

import attrs

from ._core.depends import without
from ._core.groups import Gathering, Mould
from ._core.job import NO_EXTRAS, Extras
from ._core.keys import DEFAULT_PRIORITY
from ._core.values import pack
from ._making import new_id, too_large
from ._services.clock import wall_ms
from ._services.gatherer import Item
from ._services.publisher import Leaving
from .errors import NotOpen
from .handles import JobHandle
from .options import TaskOptions
from .settings import Duration, at_least, name, seconds
from .tasks import Task

if TYPE_CHECKING:
    from .queue import Queue

T = TypeVar("T")
R = TypeVar("R")

#: Items that one call takes at most, whatever its task says.
_MOST = 10_000


@attrs.frozen
class Grouping:
    """What `Queue.aggregate` was asked for, checked.

    Attributes:
        key: Gives the group of an item.
        size: Items that a call takes at most.
        delay_ms: Milliseconds that a group waits for the next item.
        maximum_ms: Milliseconds that it waits in all.
    """

    key: Callable[[Any], str] | None
    size: int
    delay_ms: int
    maximum_ms: int

    @staticmethod
    def of(key: Callable[[Any], str] | None, size: int, delay: Duration, maximum_delay: Duration) -> Grouping:
        """Check the settings."""
        if key is not None and not callable(key):
            raise TypeError(f"key must be a function of an item, not {key!r}")
        wait, longest = seconds("delay", delay, zero=False), seconds("maximum_delay", maximum_delay)
        if longest < wait:
            raise ValueError(
                f"maximum_delay must not be shorter than delay, {delay!r}, and is {maximum_delay!r}"
            )
        return Grouping(
            key, at_least("size", size, 1, _MOST), max(1, round(wait * 1000)), max(1, round(longest * 1000))
        )


class AggregateTask(Generic[T, R]):
    """A task whose calls gather items until there are enough of them, or they have waited long enough.

    Made by `Queue.aggregate`. Call it like the function itself, with a list, to run it here and now, without Redis.

    Attributes:
        name: The task's name.
        queue: Its queue.
        task: The task that runs the calls, as any other: it can be paused, and be enqueued with a list of one's own.
    """

    def __init__(self, task: Task[[list[T]], R], parameter: str, grouping: Grouping) -> None:
        runnable = task.queue.runnables[task.name]
        self.name: str = task.name
        self.queue: Queue = task.queue
        self.task: Task[[list[T]], R] = task
        self.__doc__ = task.__doc__
        self._key = grouping.key
        self._keeps = runnable.policy.result_ttl is not None
        self._priority = runnable.policy.priority
        self._gathering = Gathering(
            task=task.name,
            parameter=parameter,
            size=grouping.size,
            delay_ms=grouping.delay_ms,
            maximum_ms=grouping.maximum_ms,
            limit=task.queue.limits.payload,
            priority=DEFAULT_PRIORITY if self._priority is None else self._priority,
        )

    def __call__(self, items: list[T], /, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself with a list, here and now; nothing is enqueued."""
        function: Any = self.task
        return function(items, *args, **kwargs)

    async def enqueue(self, item: T) -> JobHandle[R]:
        """Put an item into the call that gathers, or begin one with it.

        Returns:
            A handle on the call that will take it, with others: cancelled, rescheduled or waited for it is as a whole.
            ``handle.new`` says whether this item began it.

        Raises:
            PayloadRefused: MessagePack cannot carry the item, or it is too large; the message says which.
            RedisUnavailable: Redis was away for longer than the queue's ``outage_timeout``.
            NotOpen: The queue is not open here.

        A lost reply never doubles an item. With a ``max_length`` this waits for room when the item fills a call.
        Cancelled while it waits for Redis, the item may or may not have been added.

        Example:
            >>> handle = await digest.enqueue({"to": "ada@example.com", "text": "hello"})
        """
        [handle] = await self._gather([item])
        return handle

    async def enqueue_many(self, items: Iterable[T]) -> list[JobHandle[R]]:
        """Put many items into calls, up to a thousand in one round trip.

        Returns:
            For each item, in order, a handle on the call that will take it.

        Raises:
            Exception: As `enqueue` does. Items are checked before anything is sent. An outage in the middle leaves
                whole batches of them added.

        Example:
            >>> await digest.enqueue_many(messages)
        """
        return await self._gather(list(items))

    async def _gather(self, items: Sequence[T]) -> list[JobHandle[R]]:
        queue = self.queue
        if not queue.is_open:
            raise NotOpen(queue.name)
        queue.check_priority(self._priority)
        extras = NO_EXTRAS
        if self._gathering.priority != DEFAULT_PRIORITY:
            extras = Extras(priority=self._gathering.priority)
        if queue.tracing is None:
            return await self._add(items, extras)
        with queue.tracing(self.name, len(items)) as enqueuing:
            handles = await self._add(items, attrs.evolve(extras, trace=enqueuing.carried))
            enqueuing.added(handles)
            return handles

    async def _add(self, items: Sequence[T], extras: Extras) -> list[JobHandle[R]]:
        gathering, now = self._gathering, wall_ms()
        depth = max(0, self.queue.limits.depth - 2)  # a map and a list are around it
        where = f"{self.name}: payload.{gathering.parameter}"

        def begin() -> tuple[str, Mould]:
            job_id = new_id()
            return job_id, gathering.mould(job_id, now, extras)

        _, mould = begin()
        adding: list[Item] = []
        for place, item in enumerate(items):
            data = pack(item, what=f"{where}[{place}]", depth=depth)
            if (size := gathering.alone(mould, data)) > gathering.limit:
                raise too_large(f"{where}[{place}] would make a job of", size, gathering.limit)
            key = "" if self._key is None else name("the key of an item", self._key(item))
            adding.append(Item(gathering, key, data, begin))
        waiting = adding
        while waiting:
            with suppress(Leaving):  # whoever opened the queue leaves it: go on with the next who did
                await self.queue.session.gatherer.add(waiting)
            waiting = [item for item in waiting if not item.job_id]
        return [
            JobHandle(self.queue, item.job_id, self.name, new=item.new, keeps=self._keeps) for item in adding
        ]

    def __repr__(self) -> str:
        return f"<AggregateTask {self.name!r} of {self.queue.name!r}>"


class AggregateDecorator(Protocol):
    """What ``@queue.aggregate(...)`` gives: it takes the function."""

    @overload
    def __call__(self, function: Callable[[list[T]], Coroutine[Any, Any, R]], /) -> AggregateTask[T, R]: ...
    @overload
    def __call__(self, function: Callable[[list[T]], R], /) -> AggregateTask[T, R]: ...


def decorator(queue: Queue, grouping: Grouping, options: TaskOptions) -> AggregateDecorator:
    """Make the decorator that `Queue.aggregate` gives."""

    def register(function: Callable[..., Any]) -> AggregateTask[Any, Any]:
        if not callable(function):
            raise TypeError(f"a task that aggregates is a function of a list, not {function!r}")
        parameter = _parameter(function)
        task: Any = queue.task(**options)(function)
        return AggregateTask(task, parameter, grouping)

    return cast("AggregateDecorator", register)


def _parameter(function: Callable[..., Any]) -> str:
    """Give the name of the one parameter that takes the list."""
    parameters = [*without(inspect.signature(function)).parameters.values()]
    by_position = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
    if len(parameters) != 1 or parameters[0].kind not in by_position:
        names = ", ".join(parameter.name for parameter in parameters)
        raise TypeError(
            f"a task that aggregates takes one parameter, the list of items, and {function!r} takes ({names})"
        )
    return parameters[0].name
