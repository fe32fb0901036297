"""Dead letters as an operator holds them: looked at, replayed, deleted."""

from __future__ import annotations

import builtins
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Concatenate, Final, ParamSpec, Protocol, Self, TypedDict, TypeVar, Unpack

import anyio
import attrs

from ._core.dead_letters import DeadLetter, DeadLetterGroup, Grouping, Raw, read
from ._core.keys import Keys
from ._mending import AT_ONCE, GONE, Mender, Replayed
from ._redis.client import Client
from ._store import dead_letters as store
from ._store.dead_letters import HEAD, WHOLE, Range
from .settings import at_least, moment

if TYPE_CHECKING:
    from .queue import Queue

P = ParamSpec("P")
T = TypeVar("T")

#: Told how many letters were dealt with so far, and how many there are in all.
Progress = Callable[[int, int], object]

#: Letters that are read by their ids at once, whole: a reply of bounded size.
_FETCHED_AT_ONCE: Final = 16

#: Batches a second, about, when replaying with a rate.
_STEPS: Final = 4

#: Different errors that are told apart.
_GROUPS: Final = 10_000

_ID = re.compile(r"\d{1,20}-\d{1,20}", re.ASCII)


class DeadLetterFilter(TypedDict, total=False):
    """Which dead letters are meant: those to which everything applies that is given."""

    task: str
    """The task's name; ``""`` for jobs without one."""

    reason: str
    """Why the job was given up, such as ``retries_exhausted``."""

    error: str
    """The type of the last exception, such as ``ConnectionError``."""

    job: str
    """The job's id."""

    since: datetime
    """It was given up then or later, by the server's clock; aware."""

    until: datetime
    """It was given up then or before, by the server's clock; aware."""


class DeadLetters:
    """The dead letters of a queue: ``queue.dead_letters``.

    They are kept in the order in which they died, ``Retention.dead_letters`` of them at most. Everything here works on
    an open queue, with or without workers, and on letters of chasquimq's workers too.

    Example:
        >>> async with queue:
        ...     for letter in await queue.dead_letters.list(task="welcome", limit=20):
        ...         print(letter.died_at, letter.reason, letter.error, letter.message)
        ...     await queue.dead_letters.replay_all(task="welcome", rate=50)
    """

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    # -- looking --------------------------------------------------------------------------------------------------

    async def count(self, **where: Unpack[DeadLetterFilter]) -> int:
        """Count dead letters: all of them in constant time, or those that match, by looking at each.

        Args:
            **where: Which ones: see `DeadLetterFilter`.

        Raises:
            RedisUnavailable: Redis was away for longer than the queue's ``outage_timeout``.
            ValueError, TypeError: A condition makes no sense.

        Safe to cancel: nothing is changed.
        """
        span = _range(where)
        if span.everything:
            return await self._ask(store.count)
        total = 0
        if "job" in where:
            async for _ in _Each(self._look, span, where):
                total += 1
            return total
        rest: Range | None = span
        while rest is not None:
            number, rest = await self._ask(store.matches, rest)
            total += number
        return total

    async def trimmed(self) -> int:
        """Count the letters that AnyQ's workers ever trimmed, for their number or their age. Safe to cancel.

        Raises:
            RedisUnavailable: Redis was away for longer than the queue's ``outage_timeout``.
        """
        return await self._ask(store.trimmed)

    async def list(
        self,
        *,
        limit: int = 100,
        after: str | None = None,
        newest_first: bool = True,
        payload: bool = False,
        **where: Unpack[DeadLetterFilter],
    ) -> builtins.list[DeadLetter]:
        """Give a page of dead letters.

        Args:
            limit: How many at most.
            after: The id of the last letter of the page before; ``None`` for the first page.
            newest_first: Begin with those that died last; ``False`` begins with the oldest.
            payload: Decode the jobs' arguments, which are secret otherwise.
            **where: Which ones: see `DeadLetterFilter`.

        Returns:
            The letters; fewer than ``limit`` when there are no more.

        Raises:
            RedisUnavailable: Redis was away for longer than the queue's ``outage_timeout``.
            ValueError, TypeError: An argument makes no sense.

        Safe to cancel: nothing is changed.

        Example:
            >>> page = await queue.dead_letters.list(reason="retries_exhausted", limit=50)
            >>> page = await queue.dead_letters.list(reason="retries_exhausted", limit=50, after=page[-1].id)
        """
        at_least("limit", limit, 1)
        span = _range(where)
        if after is not None:
            edge = b"(" + _letter_id(after)
            span = attrs.evolve(span, last=edge) if newest_first else attrs.evolve(span, first=edge)
        found: builtins.list[DeadLetter] = []
        async for letter in _Each(
            self._look, span, where, newest_first=newest_first, payload=payload, most=limit
        ):
            found.append(letter)
            if len(found) == limit:
                break
        return found

    def each(
        self, *, newest_first: bool = False, payload: bool = False, **where: Unpack[DeadLetterFilter]
    ) -> AsyncIterator[DeadLetter]:
        """Go through all dead letters, in pages; those that die meanwhile may be among them.

        Args:
            newest_first: Begin with those that died last.
            payload: Decode the jobs' arguments, which are secret otherwise.
            **where: Which ones: see `DeadLetterFilter`.

        Raises:
            Exception: As `list` does.

        Safe to cancel, and to leave early: nothing is changed, and nothing is open between two letters.

        Example:
            >>> async for letter in queue.dead_letters.each(reason="stalled"):
            ...     print(letter.job_id)
        """
        return _Each(self._look, _range(where), where, newest_first=newest_first, payload=payload)

    async def errors(
        self, *, limit: int = 100, **where: Unpack[DeadLetterFilter]
    ) -> builtins.list[DeadLetterGroup]:
        """Tell what went wrong: dead letters by the type of their error, their task and the reason.

        Every letter is looked at, a thousand in one step, so that the server is never held up. Of more than 10,000
        different groups, those are counted that are met first, beginning with the oldest letter.

        Args:
            limit: How many groups at most.
            **where: Which letters: see `DeadLetterFilter`, but for ``job``.

        Returns:
            The groups, the largest first.

        Raises:
            RedisUnavailable: Redis was away for longer than the queue's ``outage_timeout``.
            ValueError, TypeError: An argument makes no sense.

        Safe to cancel: nothing is changed.

        Example:
            >>> for group in await queue.dead_letters.errors():
            ...     print(group.count, group.task, group.error, group.message)
        """
        at_least("limit", limit, 1)
        if "job" in where:
            raise TypeError("the errors of a single job are its letters: list(job=...)")
        grouping = Grouping(_GROUPS)
        rest: Range | None = _range(where)
        while rest is not None:
            groups, rest = await self._ask(store.errors, rest)
            grouping.add(groups)
        return grouping.groups()[:limit]

    async def get(self, id: str, *, payload: bool = False) -> DeadLetter | None:
        """Give one dead letter, or ``None`` if there is none with this id.

        Args:
            id: The letter's id (a job's id is a condition of `list`).
            payload: Decode the job's arguments, which are secret otherwise.

        Raises:
            RedisUnavailable: Redis was away for longer than the queue's ``outage_timeout``.
            ValueError: It is no letter's id.

        Safe to cancel: nothing is changed.
        """
        [raw] = await self._ask(store.fetch, (_letter_id(id),))
        return None if raw is None else read(raw, payload=payload)

    # -- mending --------------------------------------------------------------------------------------------------

    async def replay(self, *ids: str, progress: Progress | None = None) -> Replayed:
        """Make dead letters ready jobs again, each with a fresh budget of attempts.

        A job keeps its id, its arguments, its options (but no deadline) and the time at which it was made; it goes to
        the end of the line. What was kept of its failure is dropped, so that who waits for its result waits for the new
        runs. One letter that cannot be replayed never holds up the others: it stays where it is.

        Args:
            *ids: The letters' ids.
            progress: Called after each batch, with how many were dealt with so far, and how many there are.

        Returns:
            How many are ready again; which ones are not, and why.

        Raises:
            RedisUnavailable: Redis was away for longer than the queue's ``outage_timeout``. What was replayed before is
                a job again and no dead letter any more: call it again for the rest.
            ValueError: One of them is no letter's id.

        Safe to cancel, between batches and within: each letter is replayed or not, and never twice, also when a reply
        of Redis is lost. On a queue with a ``max_length`` it waits for room.

        Example:
            >>> replayed = await queue.dead_letters.replay(letter.id)
            >>> replayed.count, replayed.left
            (1, {})
        """
        wanted = [_letter_id(id) for id in dict.fromkeys(ids)]
        mender = self._mender()
        for start in range(0, len(wanted), _FETCHED_AT_ONCE):
            part = wanted[start : start + _FETCHED_AT_ONCE]
            found = await self._ask(store.fetch, part)
            for id, raw in zip(part, found, strict=True):
                if raw is None:
                    mender.left[id.decode()] = GONE
            await mender.replay([raw for raw in found if raw is not None], named=True)
            if progress is not None:
                progress(start + len(part), len(wanted))
        await mender.end()
        return mender.replayed

    async def replay_all(
        self,
        *,
        limit: int | None = None,
        rate: float | None = None,
        progress: Progress | None = None,
        **where: Unpack[DeadLetterFilter],
    ) -> Replayed:
        """Make all dead letters ready jobs again, or those that match; the oldest first. See `replay`.

        Letters that die after the call began are left alone: a job that fails again is not replayed in a circle.

        Args:
            limit: Replay no more than this.
            rate: Jobs a second at most, so that a large replay is no flood; ``None`` for as fast as it goes.
            progress: Called after each batch, with how many were dealt with so far, and how many there are.
            **where: Which ones: see `DeadLetterFilter`. Without any: all.

        Returns:
            How many are ready again; which of those that were met are not, and why.

        Raises:
            Exception: As `replay` does.

        Safe to cancel as `replay` is.

        Example:
            >>> await queue.dead_letters.replay_all(task="welcome", error="ConnectionError", rate=50)
        """
        if limit is not None:
            at_least("limit", limit, 0)
        if rate is not None and (isinstance(rate, bool) or not isinstance(rate, int | float) or not rate > 0):
            raise ValueError(f"rate must be a number of jobs a second > 0, not {rate!r}")
        rest = await self._until_now(where)
        total = await self._total(where, limit, progress)
        mender, seen = self._mender(), 0
        at_once = AT_ONCE if rate is None else max(1, min(AT_ONCE, int(rate / _STEPS)))
        began = anyio.current_time()
        while rest is not None and (limit is None or mender.count < limit):
            wanted = at_once if limit is None else min(at_once, limit - mender.count)
            found, rest = await self._look(rest, where, wanted, given=WHOLE)
            await mender.replay(found, named=False)
            seen += len(found)
            if progress is not None and found:
                progress(seen, max(seen, total))
            if rate is not None and rest is not None:
                await anyio.sleep_until(began + mender.count / rate)
        await mender.end()
        return mender.replayed

    async def delete(self, *ids: str) -> int:
        """Delete dead letters for good.

        Args:
            *ids: The letters' ids.

        Returns:
            How many there were.

        Raises:
            RedisUnavailable: Redis was away for longer than the queue's ``outage_timeout``; some may be deleted.
            ValueError: One of them is no letter's id.

        Safe to cancel: each letter is deleted or not.
        """
        wanted = [_letter_id(id) for id in dict.fromkeys(ids)]
        mender = self._mender()
        for start in range(0, len(wanted), AT_ONCE):
            await mender.delete(wanted[start : start + AT_ONCE])
        await mender.end()
        return mender.count

    async def delete_all(
        self,
        *,
        limit: int | None = None,
        progress: Progress | None = None,
        **where: Unpack[DeadLetterFilter],
    ) -> int:
        """Delete all dead letters for good, or those that match; the oldest first.

        Letters that die after the call began are left alone.

        Args:
            limit: Delete no more than this.
            progress: Called after each batch, with how many were dealt with so far, and how many there are.
            **where: Which ones: see `DeadLetterFilter`. Without any: all.

        Returns:
            How many were deleted.

        Raises:
            Exception: As `delete` does, and for a condition that makes no sense.

        Safe to cancel as `delete` is.

        Example:
            >>> month = timedelta(days=30)
            >>> await queue.dead_letters.delete_all(until=datetime.now(timezone.utc) - month)
        """
        if limit is not None:
            at_least("limit", limit, 0)
        rest = await self._until_now(where)
        total = await self._total(where, limit, progress)
        mender = self._mender()
        while rest is not None and (limit is None or mender.count < limit):
            wanted = AT_ONCE if limit is None else min(AT_ONCE, limit - mender.count)
            found, rest = await self._look(rest, where, wanted, given=HEAD if "job" in where else 0)
            if found:
                await mender.delete([raw.id for raw in found])
                if progress is not None:
                    progress(mender.count, max(mender.count, total))
        await mender.end()
        return mender.count

    # -- the work -------------------------------------------------------------------------------------------------

    def _mender(self) -> Mender:
        return Mender(self._queue, self._queue.limits.payload)

    async def _look(
        self, span: Range, where: DeadLetterFilter, wanted: int, *, given: int, newest_first: bool = False
    ) -> tuple[builtins.list[Raw], Range | None]:
        found, rest = await self._ask(store.look, span, wanted, newest_first=newest_first, given=given)
        if "job" in where:  # the script looked for its bytes only
            found = [raw for raw in found if raw.job_id == where["job"]]
        return found, rest

    async def _until_now(self, where: DeadLetterFilter) -> Range | None:
        """The range of what matches, up to the letter that is the newest now; ``None`` when there is none."""
        span = _range(where)
        newest = await self._ask(store.newest)
        if newest is None:
            return None
        if span.last == b"+" or int(newest.partition(b"-")[0]) <= int(span.last):
            return attrs.evolve(span, last=newest)
        return span

    async def _total(self, where: DeadLetterFilter, limit: int | None, progress: Progress | None) -> int:
        if progress is None:
            return 0
        total = await self.count(**where)
        return total if limit is None else min(total, limit)

    async def _ask(
        self, verb: Callable[Concatenate[Client, Keys, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        return await self._queue.ask("the dead letters", verb, *args, **kwargs)

    def __repr__(self) -> str:
        return f"<DeadLetters of {self._queue.name!r}>"


class _Look(Protocol):
    async def __call__(
        self, span: Range, where: DeadLetterFilter, wanted: int, *, given: int, newest_first: bool = False
    ) -> tuple[builtins.list[Raw], Range | None]: ...


class _Each:
    """Letter by letter, read in pages. No generator: who leaves it early has nothing to close."""

    def __init__(
        self,
        look: _Look,
        span: Range,
        where: DeadLetterFilter,
        *,
        newest_first: bool = False,
        payload: bool = False,
        most: int = AT_ONCE,
    ) -> None:
        self._look = look
        self._rest: Range | None = span
        self._where = where
        self._newest_first = newest_first
        self._payload = payload
        self._most = min(most, AT_ONCE)
        self._page: Iterator[Raw] = iter(())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> DeadLetter:
        while (raw := next(self._page, None)) is None:
            if self._rest is None:
                raise StopAsyncIteration
            given = WHOLE if self._payload else HEAD
            found, self._rest = await self._look(
                self._rest, self._where, self._most, newest_first=self._newest_first, given=given
            )
            self._page = iter(found)
        return read(raw, payload=self._payload)


def _letter_id(value: object) -> bytes:
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise ValueError(f"a dead letter's id is like '1795355080786-0', not {value!r}")
    return value.encode()


def _range(where: DeadLetterFilter) -> Range:
    unknown = where.keys() - DeadLetterFilter.__annotations__.keys()
    if unknown:
        raise TypeError(f"dead letters have no condition {', '.join(sorted(unknown))}")
    conditions: dict[str, str] = {}
    for name, field in (("task", "n"), ("reason", "reason"), ("error", "error"), ("job", "job")):
        value = where.get(name)
        if value is None:
            continue
        if not isinstance(value, str):
            raise TypeError(f"{name} must be a string, not {value!r}")
        conditions[field] = value
    since, until = where.get("since"), where.get("until")
    return Range(
        b"-" if since is None else b"%d" % max(0, moment("since", since)),
        b"+" if until is None else b"%d" % max(0, moment("until", until)),
        conditions,
    )


__all__ = ["DeadLetter", "DeadLetterFilter", "DeadLetterGroup", "DeadLetters", "Replayed"]
