"""Following what happens to jobs: the events stream as a loop over it.

Rule: nothing runs between two events: the connection is used by whoever waits for the next one, by nobody else. So an
iteration that is forgotten leaves no task behind, and its connection is closed with it.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, TypeVar

import anyio.lowlevel

from ._core.events import Event, Wanted, pairs, read
from ._redis.solo import Solo
from ._services.patience import Patience
from ._session import Session
from ._store import events as store
from .settings import moment

if TYPE_CHECKING:
    from ._operating import Operating

T = TypeVar("T")

#: Events that are fetched at once, and milliseconds for which one read waits for the first of them.
_PAGE, _BLOCK_MS = 500, 1000

_LAST_OF_A_MILLISECOND = 2**64 - 1

_ID = re.compile(r"(\d{1,20})(?:-(\d{1,20}))?", re.ASCII)

_START: Final = b"0-0"


class Events:
    """Events of a queue, in the order in which they were written: what `Queue.events` gives.

    An asynchronous iterator, and an asynchronous context manager that says where "now" is and closes its connection at
    the end; without ``async with`` it is closed when the loop is left and nobody holds it any more, and with the queue.
    """

    def __init__(
        self,
        queue: Operating,
        *,
        after: str | datetime | None,
        kinds: Collection[str] | None,
        job: str | None,
        follow: bool,
    ) -> None:
        if isinstance(kinds, str):
            raise TypeError(f"kinds must be a collection of strings, such as ({kinds!r},), not a string")
        self._queue = queue
        self._wanted = Wanted(
            frozenset(kind.encode() for kind in kinds or ()), None if job is None else job.encode()
        )
        self._after = None if after is None else _place(after)
        self._known = isinstance(after, str) and "-" in after and self._after != _START
        self._follow = follow
        self._end: bytes | None = None  # without following: the last one there was
        self._missed = False
        self._ahead: deque[tuple[bytes, dict[bytes, bytes]]] = deque()
        self._session: Session | None = None
        self._solo: Solo | None = None
        self._asking = False
        self._hung_up = False  # while somebody was asking, who closes the connection then
        self._closed = False

    @property
    def position(self) -> str | None:
        """The id after which it goes on: of the last event that was looked at, given or passed over.

        ``None`` before the first step of an iteration that begins now.
        """
        return None if self._after is None else self._after.decode()

    async def __aenter__(self) -> Self:
        """Begin: what happens from here on is given, unless ``after`` says otherwise. Safe to cancel."""
        await self._ask(self._begin)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the iteration and close its connection; the second call does nothing."""
        self._closed = True
        self._ahead.clear()
        self._hang_up()
        await anyio.lowlevel.checkpoint()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        """Wait for the next event.

        Raises:
            StopAsyncIteration: It was closed; or, without following, there are no more.
            ConfigurationError: The server refuses it, and will again.
            NotOpen: The queue is not open here, or not any more.

        Safe to cancel: no event is lost, the next call goes on where this one was.
        """
        await anyio.lowlevel.checkpoint_if_cancelled()
        while not self._closed:
            while self._ahead:
                id, fields = self._ahead.popleft()
                self._after, self._known = id, True
                if self._wanted.has(fields):
                    missed, self._missed = self._missed, False
                    return read(id, fields, missed=missed)
            if self._end is not None and self._after is not None and _order(self._after) >= _order(self._end):
                break
            if not await self._ask(self._fetch) and not self._follow:
                break
        self._close()
        raise StopAsyncIteration

    def hang_up(self, session: Session) -> None:
        """The session closes: so does the connection that is made by it, here or by whoever waits for it."""
        if session is self._session:
            self._hang_up()

    # -- how it is done -------------------------------------------------------------------------------------------

    async def _ask(self, what: Callable[[Solo], Awaitable[T]]) -> T:
        if self._asking:
            raise RuntimeError("another task waits for the next event of this iteration already")
        self._asking = True
        try:
            return await self._queue.with_session(
                lambda session: Patience("events", session.outages)(what, self._connection(session))
            )
        finally:
            self._asking = False
            if self._hung_up:
                self._close()

    def _connection(self, session: Session) -> Solo:
        """Give the connection, a new one if the last was another session's."""
        if session is not self._session or self._solo is None:
            self._close()
            self._session, self._hung_up = session, False
            self._solo = Solo(session.address, locate=session.locate)
            session.host(self)
        return self._solo

    async def _begin(self, solo: Solo) -> None:
        """Find out where "now" is, if that is where it begins."""
        if self._after is None:
            self._after = await store.newest(solo, self._queue.keys)

    async def _fetch(self, solo: Solo) -> bool:
        """Read on; tell whether there was anything."""
        await self._begin(solo)
        assert self._after is not None
        if not self._follow and self._end is None:
            self._end = await store.newest(solo, self._queue.keys)
        page = await store.read(
            solo, self._queue.keys, self._after, count=_PAGE, block_ms=_BLOCK_MS if self._follow else 0
        )
        if self._known and not page.unbroken:
            if page.rows:
                self._missed = True
            elif _order(await store.newest(solo, self._queue.keys)) < _order(self._after):
                # The stream was made anew, by a server whose clock is behind: it begins before where we were.
                self._after, self._known, self._missed = _START, False, True
                return True
        rows = page.rows
        if self._end is not None and rows and _order(rows[-1][0]) > (end := _order(self._end)):
            rows = [row for row in rows if _order(row[0]) <= end]
        self._ahead.extend((id, pairs(words)) for id, words in rows)
        return bool(rows)

    def _hang_up(self) -> None:
        if self._asking:
            self._hung_up = True
        else:
            self._close()

    def _close(self) -> None:
        solo, self._solo, self._session = self._solo, None, None
        if solo is not None:
            solo.close()

    def __repr__(self) -> str:
        return f"<Events of {self._queue.name!r} after {self.position or 'now'}>"


def _place(after: object) -> bytes:
    """The id after which to read."""
    if isinstance(after, datetime):  # that moment is part of it
        return f"{max(1, moment('after', after)) - 1}-{_LAST_OF_A_MILLISECOND}".encode()
    if not isinstance(after, str):
        raise TypeError(f"after must be an event's id or an aware datetime, not {after!r}")
    found = _ID.fullmatch(after)
    if found is None or any(int(part) > _LAST_OF_A_MILLISECOND for part in found.groups("0")):
        raise ValueError(f"after must be an event's id, such as '1795355080786-0', or '0', not {after!r}")
    return f"{int(found[1])}-{int(found[2] or 0)}".encode()


def _order(id: bytes) -> tuple[int, int]:
    """Ids in the order of time."""
    milliseconds, _, number = id.partition(b"-")
    return int(milliseconds), int(number)
