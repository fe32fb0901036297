"""A connection that comes back: what everything above talks to Redis with.

Rules. A command is sent at most once: whether a lost one is worth sending again is for those to know who made it
idempotent. Nothing waits without an end. The connection is made when somebody wants it, and made again, with backoff
and jitter, for as long as somebody does; what a caller sees of an outage is how long its own patience was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self

import anyio
from redis.commands import AsyncCoreCommands
from redis.exceptions import RedisError, ResponseError

from ..errors import ConfigurationError, ConnectionLost, RedisUnavailable, another
from . import locating
from .address import Address, check_client_name
from .blocking import blocking_seconds
from .compat import EMPTY_RESPONSE, NEVER_DECODE, encoder, response_callbacks
from .connection import Connection, OnPush, Waiter
from .handshake import Greeting
from .packing import Argument as Argument
from .packing import pack
from .pauses import Pauses
from .replies import error_code
from .scripts import Script
from .settings import TransportSettings
from .tasks import BlockTasks

#: A script, its keys and its arguments.
ScriptCall = tuple[Script, Sequence[Argument], Sequence[Argument]]

OnChange = Callable[["Client", RedisUnavailable | ConfigurationError | None], None]


class _Attempt:
    """What everybody waits for who wants a connection: one, or the reason why there will be none."""

    __slots__ = ("error", "over")

    def __init__(self) -> None:
        self.over = anyio.Event()
        self.error: ConfigurationError | ConnectionLost | None = None


class Client(AsyncCoreCommands):
    """A client of one server, over one connection that pipelines by itself.

    Any number of tasks may call at the same time; what they put down in one turn of the event loop leaves in one
    write. redis-py's whole command surface is there (``await client.xlen("key")``) beside the short ways
    :meth:`call`, :meth:`call_many` and :meth:`run`. A blocking command blocks all who share the client: give
    it a client of its own.

    ::

        async with Client("redis://localhost") as client:
            await client.call("PING")

    All methods are safe to cancel: a command that was cancelled while its reply was under way may have run,
    its reply is dropped, and nobody else notices.

    Args:
        address: A URL or an :class:`Address`.
        settings: How patient to be.
        name: The connection's name in CLIENT LIST, if not the address's own.
        on_change: Called synchronously with this client and the error when the server is lost (or not there at first),
            and with ``None`` when it is back: once each, however many tries it took.
        on_push: Called synchronously with each RESP3 push message.
        locate: Asked, in a thread, for the address before every connect, when it can change or must be made.
    """

    _is_async_client: Literal[True] = True  # which of redis-py's overloads are meant
    _event_dispatcher: Any = None  # redis-py's protocol names it; its commands do not use it

    def __init__(
        self,
        address: Address | str,
        *,
        settings: TransportSettings | None = None,
        name: str | None = None,
        on_change: OnChange | None = None,
        locate: locating.Locate | None = None,
        on_push: OnPush | None = None,
    ) -> None:
        self.address: Address = Address.parse(address)
        self.settings: TransportSettings = settings or TransportSettings()
        self._locate = locate
        self.generation: int = 0
        """How many times it was connected: another number than last time means that replies may have been lost."""

        self._name = check_client_name(name)
        self._on_change = on_change
        self._on_push = on_push
        self._patience = self.address.reply_timeout or self.settings.reply_timeout
        self._connection_patience = self.settings.connection_patience
        self._connection: Connection | None = None
        self._callbacks: Mapping[str, Callable[..., Any]] = {}
        self._tasks: BlockTasks | None = None
        self._closed = False
        self._attempt: _Attempt | None = None
        self._wanting = 0
        self._pauses = Pauses(self.settings)
        self._connected_at = 0.0
        self._last_error: RedisUnavailable | ConfigurationError | None = None
        self._down = False

    # -- life -----------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Open the client. It connects when it is first used."""
        if self._tasks is not None or self._closed:
            raise RuntimeError("a Client is entered once")
        self._tasks = BlockTasks()
        await self._tasks.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        """Close the connection; whoever still waits for a reply gets `ConnectionLost`."""
        assert self._tasks is not None
        self._hang_up()
        return await self._tasks.close(kind, error, traceback)

    async def close(self) -> None:
        """Close for good, ahead of the block's end: when this returns the socket is closed.

        Whoever still waits for a reply gets `ConnectionLost`, and so does every later call. Cancelled, it is closed a
        moment later.
        """
        connection = self._connection
        self._hang_up()
        if connection is not None:
            await connection.gone.wait()

    def _hang_up(self) -> None:
        self._closed = True
        reason = ConnectionLost(f"the client of {self.address.where} was closed", sent=False)
        if self._connection is not None:
            self._connection.close(ConnectionLost(str(reason)))
        if self._attempt is not None:
            self._end_attempt(reason)

    @property
    def connected(self) -> bool:
        """Whether there is a connection now, as far as anybody knows."""
        return self._connection is not None

    @property
    def greeting(self) -> Greeting | None:
        """What the server said about itself when this connection was made; ``None`` without a connection."""
        return self._connection.greeting if self._connection is not None else None

    @property
    def connection_id(self) -> int | None:
        """The server's CLIENT ID of the present connection, for CLIENT UNBLOCK; ``None`` if it is not known."""
        return self._connection.greeting.connection_id if self._connection is not None else None

    async def connect(self, timeout: float | None = None) -> None:
        """Make sure that there is a connection.

        Args:
            timeout: Seconds to wait for it; the connect timeout if left out.

        Raises:
            ConfigurationError: The server refuses us, and would again.
            RedisUnavailable: It could not be reached in time; the last reason is chained.
        """
        if self._connection is None:
            await self._wait_for_connection(
                timeout or self.address.connect_timeout or self.settings.connect_timeout
            )

    # -- asking ---------------------------------------------------------------------------------------------------

    async def call(self, *args: Argument, timeout: float | None = None) -> Any:
        """Send one command and return its reply as it came (bytes, no callbacks).

        Args:
            *args: The command's words, one argument each.
            timeout: Seconds for the reply, and before that for a connection to ask on;
                the settings' ``reply_timeout`` if left out. A blocking command needs its own time on top.

        Raises:
            redis.exceptions.ResponseError: The server said no; :func:`error_code` has the first word.
            ConnectionLost: The connection broke, or could not be had; ``sent`` says whether the command may have run.
            ReplyTimeout: No reply in time; the connection was closed.
            ConfigurationError: The server does not let us in.
        """
        reply = (await self._ask(pack(args), 1, timeout)).reply
        if isinstance(reply, RedisError):
            raise reply
        return reply

    async def call_many(
        self, commands: Iterable[Sequence[Argument]], *, timeout: float | None = None
    ) -> list[Any]:
        """Send commands in one write and return their replies, in order; error replies are elements, not raised."""
        packed = [pack(command) for command in commands]
        return await self.call_packed(b"".join(packed), len(packed), timeout=timeout)

    async def call_packed(self, packed: bytes, replies: int, *, timeout: float | None = None) -> list[Any]:
        """Send bytes that are ``replies`` commands already; return their replies, error replies as elements."""
        if replies < 1:
            return []
        waiter = await self._ask(packed, replies, timeout)
        return waiter.replies if replies > 1 else [waiter.reply]

    async def run(
        self,
        script: Script,
        keys: Sequence[Argument] = (),
        args: Sequence[Argument] = (),
        *,
        timeout: float | None = None,
    ) -> Any:
        """Run a script by its hash; a server that does not know it is sent the body, once, by the same call."""
        reply = (await self._ask(pack((b"EVALSHA", script.sha, len(keys), *keys, *args)), 1, timeout)).reply
        if isinstance(reply, RedisError):
            if error_code(reply) != "NOSCRIPT":
                raise reply
            return await self.call(b"EVAL", script.body, len(keys), *keys, *args, timeout=timeout)
        return reply

    def begin(self, script: Script, keys: Sequence[Argument], args: Sequence[Argument]) -> Waiter | None:
        """Send a script's call and do not wait: for who has more to do meanwhile, and then asks `ended`.

        Returns:
            Its place in line; ``None`` when nothing was sent, since there is no connection now.
        """
        connection = self._connection
        if connection is None:
            return None
        waiter = Waiter(time.monotonic() + self._patience)
        try:
            connection.put(pack((b"EVALSHA", script.sha, len(keys), *keys, *args)), waiter)
        except ConnectionLost:
            return None
        return waiter

    async def ended(self, waiter: Waiter) -> Any:
        """Wait for what `begin` sent, and give its reply as it came, an error reply too.

        Raises:
            ConnectionLost, ReplyTimeout: As `call` does.
        """
        await waiter.done.wait()
        if waiter.error is not None:
            raise waiter.error
        return waiter.reply

    async def run_many(self, calls: Sequence[ScriptCall], *, timeout: float | None = None) -> list[Any]:
        """Run scripts, each with its keys and its arguments, in one write; error replies are elements.

        The calls that met NOSCRIPT did nothing, and are sent again: the first of a script with the body, its others by
        the hash.
        """
        words = [(len(keys), *keys, *args) for _, keys, args in calls]
        replies = await self.call_many(
            [(b"EVALSHA", script.sha, *rest) for (script, *_), rest in zip(calls, words, strict=True)],
            timeout=timeout,
        )
        missed = [place for place, reply in enumerate(replies) if error_code(reply) == "NOSCRIPT"]
        if missed:
            again: list[Sequence[Argument]] = []
            told: set[bytes] = set()
            for place in missed:
                script = calls[place][0]
                name = (b"EVALSHA", script.sha) if script.sha in told else (b"EVAL", script.body)
                again.append((*name, *words[place]))
                told.add(script.sha)
            for place, reply in zip(missed, await self.call_many(again, timeout=timeout), strict=True):
                replies[place] = reply
        return replies

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command as redis-py's own client would, and return what that would return.

        This is what redis-py's command methods call. A command that blocks (XREADGROUP BLOCK, BLPOP...) is given
        its time on top of the reply timeout.
        """
        command = args[0]
        words = command.encode() if isinstance(command, str) else bytes(command)
        packed = pack((*words.split(), *args[1:]))
        reply = (await self._ask(packed, 1, self._patience + blocking_seconds(args))).reply
        options.pop(NEVER_DECODE, None)
        options.pop("keys", None)
        empty = options.pop(EMPTY_RESPONSE, _NOTHING)
        if isinstance(reply, RedisError):
            if empty is not _NOTHING and isinstance(reply, ResponseError):
                return empty
            raise reply
        callback = self._callbacks.get(command)
        return reply if callback is None else callback(reply, **options)

    def get_encoder(self) -> Any:
        """For redis-py's own helpers."""
        return encoder()

    # -- how it is done -------------------------------------------------------------------------------------------

    async def _ask(self, packed: bytes, replies: int, timeout: float | None) -> Waiter:
        patience = self._patience if timeout is None else timeout
        connection = self._connection
        if connection is None:
            connection = await self._wait_for_connection(min(patience, self._connection_patience))
        waiter = Waiter(time.monotonic() + patience, replies)
        connection.put(packed, waiter)
        await waiter.done.wait()
        if waiter.error is not None:
            raise waiter.error
        return waiter

    async def _wait_for_connection(self, patience: float) -> Connection:
        if self._tasks is None:
            raise RuntimeError("the client is not open: use it inside 'async with Client(...)'")
        self._wanting += 1
        try:
            with anyio.move_on_after(patience):
                while True:
                    if self._closed:
                        raise ConnectionLost(f"the client of {self.address.where} was closed", sent=False)
                    if self._connection is not None:
                        return self._connection
                    attempt = self._attempt
                    if attempt is None:
                        attempt = self._attempt = _Attempt()
                        self._tasks.start_soon(self._connect, name=f"connect to {self.address.where}")
                    await attempt.over.wait()
                    if attempt.error is not None:
                        raise another(attempt.error)
        finally:
            self._wanting -= 1
        cause = self._last_error
        if isinstance(cause, ConfigurationError):
            raise another(cause)
        why = f": {cause}" if cause is not None else ""
        raise ConnectionLost(
            f"no connection to {self.address.where} within {patience:g} s{why}", sent=False
        ) from cause

    async def _connect(self) -> None:
        """Try until there is a connection, nobody wants it any more, or trying is no use."""
        error: ConfigurationError | ConnectionLost | None = None
        try:
            while self._wanting and not self._closed:
                await self._pauses.wait()
                try:
                    if self._locate is not None:
                        self.address = await locating.ask(self._locate)
                    connection = await Connection.open(
                        self.address,
                        self.settings,
                        name=self._name,
                        on_push=self._on_push,
                        known=self.generation > 0,
                    )
                except ConfigurationError as refused:
                    error = refused
                    self._pauses.ended()
                    self._went(refused)
                    return
                except RedisUnavailable as failed:
                    self._pauses.ended()
                    self._went(failed)
                else:
                    self._install(connection)
                    return
        finally:
            self._end_attempt(error)

    def _install(self, connection: Connection) -> None:
        assert self._tasks is not None
        if self._closed:  # while it was being made
            connection.discard()
            return
        connection.on_close = self._lost
        self._callbacks = response_callbacks(asked=self.address.protocol, spoken=connection.greeting.protocol)
        self._connection = connection
        self._connected_at = anyio.current_time()
        self._last_error = None
        self.generation += 1
        self._tasks.start_soon(connection.run, name=f"connection to {self.address.where}")
        if self._down:
            self._down = False
            if self._on_change is not None:
                self._on_change(self, None)

    def _lost(self, reason: ConnectionLost) -> None:
        self._connection = None
        if self._closed:
            return
        self._pauses.ended(lasted=anyio.current_time() - self._connected_at)
        self._went(reason)

    def _went(self, error: RedisUnavailable | ConfigurationError) -> None:
        self._last_error = error
        if not self._down:
            self._down = True
            if self._on_change is not None:
                self._on_change(self, error)

    def _end_attempt(self, error: ConfigurationError | ConnectionLost | None) -> None:
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.error = error
            attempt.over.set()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "connected" if self.connected else "not connected"
        return f"<Client {self.address}, {state}>"


_NOTHING = object()
