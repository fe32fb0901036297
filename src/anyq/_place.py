"""Where a queue lies, and being open there: the ground that `Queue` stands on.

A queue is a cheap, importable thing, so where it is is said by its constructor (or, later, by `redirect`), and nothing
is opened before it is entered. Who enters it owns what that opened, and leaves nothing else.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar

import anyio
import attrs
from anyio.lowlevel import RunVar
from redis.credentials import CredentialProvider

from . import embedded
from ._core.keys import Keys
from ._redis.address import Address
from ._redis.client import Client
from ._services import child
from ._session import Session, open_session
from .errors import NotOpen
from .settings import Retention, name

P = ParamSpec("P")
T = TypeVar("T")


@attrs.define
class _Entered:
    """One task's ``async with queue``."""

    task: int
    context: AbstractAsyncContextManager[Session]
    session: Session


class Place:
    """A name on a server, that can be entered.

    Args:
        called: The queue's name.
        url: Where Redis or Valkey is.
        prefix: What its keys begin with.
        credential_provider: Asked for user and password at every connect.
        outage_timeout: Seconds for which calls wait through an outage; ``None`` for ever.
        max_length: Jobs that the queue may hold ready; ``None`` for any number.
        retention: How long what is kept.
    """

    def __init__(
        self,
        called: str,
        url: str,
        *,
        prefix: str,
        credential_provider: CredentialProvider | None,
        outage_timeout: float | None,
        max_length: int | None,
        retention: Retention,
    ) -> None:
        self.name: str = name("the queue's name", called)
        self.max_length: int | None = max_length
        self.retention: Retention = retention
        if credential_provider is not None and not isinstance(credential_provider, CredentialProvider):
            raise TypeError(
                "credential_provider must be one of redis-py's (a redis.credentials.CredentialProvider), not a "
                f"{type(credential_provider).__name__}"
            )
        self._credentials = credential_provider
        self._outage_timeout = outage_timeout
        self._place(url, name("prefix", prefix))
        self._entered: RunVar[list[_Entered]] = RunVar(f"anyq queue {id(self)}")

    # -- being open -----------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Open the queue; it connects when it is first used.

        It may be entered again, here or in other tasks of the same loop.
        """
        if child.importing_main:
            raise RuntimeError(
                f"queue {self.name!r} is opened while a worker's process imports the main program: start the program "
                "behind 'if __name__ == \"__main__\":'"
            )
        context = open_session(
            queue=self.name,
            keys=self.keys,
            locate=self.locate,
            relocates=self._embedded,
            outage_timeout=self._outage_timeout,
            max_length=self.max_length or 0,
            retention=self.retention,
        )
        session = await context.__aenter__()
        entered: list[_Entered] | None = self._entered.get(None)
        if entered is None:
            entered = []
            self._entered.set(entered)
        entered.append(_Entered(anyio.get_current_task().id, context, session))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        """Close what this ``async with`` opened; bounded, also when it is cancelled."""
        entered = self._entered.get([])
        task = anyio.get_current_task().id
        mine = next((one for one in reversed(entered) if one.task == task), None)
        if mine is None:
            raise RuntimeError(f"queue {self.name!r} is left by a task that did not enter it")
        entered.remove(mine)
        mine.session.leave()
        return await mine.context.__aexit__(kind, error, traceback)

    @asynccontextmanager
    async def entered(self) -> AsyncGenerator[Session]:
        """Enter, and give the session that this opened: it stays, whoever else enters and leaves meanwhile."""
        async with self:
            yield self._entered.get()[-1].session

    @property
    def is_open(self) -> bool:
        """Whether the queue is open in the running event loop."""
        return bool(self._entered_here())

    @property
    def session(self) -> Session:
        """What this queue works with in the running event loop; `NotOpen` outside of its ``async with``."""
        entered = self._entered_here()
        if not entered:
            raise NotOpen(self.name)
        return entered[0].session

    @property
    def redis(self) -> Client:
        """The queue's Redis client, with redis-py's whole command surface; it shares the queue's connection.

        Example:
            >>> await queue.redis.xlen(queue.keys.stream)
        """
        return self.session.client

    async def with_session(self, work: Callable[[Session], Awaitable[T]]) -> T:
        """Do something with the session; when whoever opened it leaves meanwhile, begin again with the next one.

        Args:
            work: What is to be done; safe to begin again wherever it was cancelled.

        Raises:
            NotOpen: The queue is not open here, or not any more.
        """
        while True:
            session = self.session
            with session.until_left():
                return await work(session)

    async def ask(
        self,
        about: str,
        verb: Callable[Concatenate[Client, Keys, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run a verb of ``_store`` until Redis takes it.

        Args:
            about: What is asked about, for an error: ``the workers``.
            verb: The verb; safe to send again.
            *args: Its arguments, after the connection and the keys.
            **kwargs: The named ones.

        Raises:
            RedisUnavailable: Redis was away for longer than ``outage_timeout``.
            NotOpen: The queue is not open here, or not any more.
        """

        async def work(session: Session) -> T:
            patience = session.patience.of(f"{about} of {self.name!r}")
            return await patience(verb, session.client, self.keys, *args, **kwargs)

        return await self.with_session(work)

    async def server_ms(self) -> float:
        """Give the server's time of day; it is asked once in a while."""
        return await self.with_session(Session.server_ms)

    # -- where it is ----------------------------------------------------------------------------------------------

    def redirect(self, url: str, *, prefix: str | None = None) -> Callable[[], None]:
        """Send the queue to another server, for a program that learns late where its server is, and for tests.

        Args:
            url: Where Redis or Valkey is, as for the constructor.
            prefix: What the keys begin with from now on; left out, it stays.

        Returns:
            A function that sends it back.

        Raises:
            ValueError, TypeError: A setting is wrong; the message names it, its value and what is allowed.
            RuntimeError: The queue is open here.

        Example:
            >>> queue.redirect("embedded://")
        """
        if self._entered_here():
            raise RuntimeError(f"queue {self.name!r} is open: redirect it before 'async with queue:'")
        before = self._url, self.prefix
        self._place(url, self.prefix if prefix is None else name("prefix", prefix))
        return lambda: self._place(*before)

    def locate(self) -> Address:
        """Give the server's address; starts an embedded server if none runs there. Blocks, so call it in a thread."""
        if self._address is not None:
            return self._address
        return Address.parse(embedded.resolve(self._url), credential_provider=self._credentials)

    @property
    def relocates(self) -> bool:
        """Whether the address must be asked for at every connect."""
        return self._embedded

    @property
    def url(self) -> str:
        """The URL, its password masked."""
        return self._url if self._address is None else str(self._address)

    def _place(self, url: str, prefix: str) -> None:
        """Say where the queue lies; nothing is changed unless all of it is right."""
        if not isinstance(url, str):
            raise TypeError(f"url must be a string, not {url!r}")
        in_house = url.startswith(embedded.SCHEME)
        if in_house:
            embedded.directory_of(url)  # refused here, not at the first use
        address = None if in_house else Address.parse(url, credential_provider=self._credentials)
        self._url, self._embedded, self._address = url, in_house, address
        self.prefix: str = prefix
        self.keys: Keys = Keys(prefix, self.name)

    def _entered_here(self) -> list[_Entered]:
        try:
            return self._entered.get([])
        except RuntimeError:  # no event loop runs here
            return []
