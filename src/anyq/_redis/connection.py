"""One connection: bytes out, replies in, in the order of asking.

Rules. A command and its place in line are put down together, without a suspension in between, so nobody can be
cancelled between the two and everybody's reply finds its owner. A caller who leaves keeps its place: the reply is read
and dropped. Whatever is out of step (a reply that nobody waits for, bytes that are no reply, a reply overdue) ends the
connection for all, at once: there is no way to find the step again. (Where one asks alone, nobody runs it: see `Solo`.)

Writing: on an idle connection the caller itself sends, which saves a task switch each way. While replies are
under way commands gather, and the writer task sends what one turn of the event loop put down in one write.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NoReturn, cast

import anyio
import hiredis
from anyio.abc import ByteStream

from ..errors import ConfigurationError, ConnectionLost, RedisUnavailable, ReplyTimeout
from .address import Address
from .handshake import Command, Greeting, shake_hands
from .mismatch import hint
from .packing import pack
from .replies import error_code, reply_error
from .settings import TransportSettings
from .stream import SocketStream, dial, secure

OnPush = Callable[[Any], None]

#: Bytes from which a command leaves at once.
_LARGE = 8192

_MORE = object()
"""hiredis has no complete reply yet."""


class _ProtocolError(Exception):
    """hiredis: these bytes are no reply."""


_NO_REPLY = (_ProtocolError, TypeError, ValueError)
"""What hiredis raises for garbage; the last two when it makes a map whose key cannot be one."""

_NO_CONNECTION = (OSError, anyio.EndOfStream, anyio.BrokenResourceError, *_NO_REPLY)
"""What a try to connect may end in; a host name that cannot be one is a ValueError."""


class Waiter:
    """A place in line: who waits for the next reply, or the next ``count`` replies, and until when.

    Until a moment of ``time.monotonic()``, which is asked at every command: AnyIO would first have to find out where it
    runs.
    """

    __slots__ = ("count", "deadline", "done", "error", "replies", "reply")

    def __init__(self, deadline: float, count: int = 1) -> None:
        self.deadline: float = deadline
        self.count: int = count
        self.done: anyio.Event = anyio.Event()
        self.error: ConnectionLost | None = None
        self.reply: Any = None
        self.replies: list[Any] = []


class Connection:
    """An open connection, hands shaken. Serves as long as :meth:`run` runs.

    Args:
        on_push: Called synchronously with each push message (RESP3).
        listening: Nobody stands in line here: whatever comes goes to ``on_push``, for on RESP2 what was published
            comes as a plain reply, and SUBSCRIBE has no reply of its own on RESP3.
    """

    def __init__(
        self,
        plain: SocketStream,
        stream: ByteStream,
        *,
        address: Address,
        on_push: OnPush | None = None,
        listening: bool = False,
    ) -> None:
        self.address = address
        self.greeting = Greeting(protocol=2, connection_id=None)
        self.closed: ConnectionLost | None = None
        """Why it is closed; ``None`` while it is open."""
        self.gone = anyio.Event()
        """Set when the socket is closed."""

        self.on_close: Callable[[ConnectionLost], None] | None = None
        """Called once, synchronously, when it closes."""

        self._plain = plain
        self._stream = stream
        self._direct = stream is plain
        self._on_push = on_push
        self._listening = listening
        self._reader = hiredis.Reader(
            protocolError=_ProtocolError, replyError=reply_error, notEnoughData=_MORE
        )
        self._waiting: deque[Waiter] = deque()
        self._outgoing: list[bytes] = []
        self._unsent = 0  # how many at the end of the line have not left a byte yet
        self._writing = False
        self._wake_writer = anyio.Event()
        self._watch_until = math.inf
        self._watch_scope: anyio.CancelScope | None = None
        self._tasks: anyio.CancelScope | None = None

    @classmethod
    async def open(
        cls,
        address: Address,
        settings: TransportSettings,
        *,
        name: str | None = None,
        on_push: OnPush | None = None,
        listening: bool = False,
        known: bool = True,
    ) -> Connection:
        """Connect and shake hands, within the connect timeout. Safe to cancel: nothing stays open.

        Of a server that is not ``known``, since it has never answered, it is guessed whether it speaks TLS.

        Raises:
            ConfigurationError: The server refuses us, and would again.
            RedisUnavailable: It could not be reached, or did not answer in time.
        """
        patience = address.connect_timeout or settings.connect_timeout
        plain: SocketStream | None = None
        stream: ByteStream | None = None
        try:
            with anyio.fail_after(patience):
                plain = await dial(address)
                stream = await secure(plain, address)
                connection = cls(plain, stream, address=address, on_push=on_push, listening=listening)
                connection.greeting = await shake_hands(
                    connection._exchange, address, name=name or address.client_name
                )
                return connection
        except BaseException as error:
            tls, more = address.tls is not None, ""
            if plain is not None:
                plain.close()
                if address.path is None:
                    more = hint(error, tls=tls, secured=tls and stream is not None, known=known)
            if isinstance(error, TimeoutError):
                raise ConnectionLost(
                    f"{address.where} did not answer within {patience:g} s{more}", sent=False
                ) from error
            if isinstance(error, ConfigurationError | RedisUnavailable):
                raise
            if "certificate required" in _say(error).lower().replace("_", " "):
                # Since TLS 1.3 that is said only after the client has taken its own handshake for done.
                raise ConfigurationError(
                    f"{address.where} wants a certificate of ours: give ssl_certfile and ssl_keyfile in the URL"
                ) from error
            if isinstance(error, _NO_CONNECTION):
                raise ConnectionLost(
                    f"{address.where} cannot be reached: {_say(error)}{more}", sent=False
                ) from error
            raise

    # -- asking ---------------------------------------------------------------------------------------------------

    def put(self, packed: bytes, waiter: Waiter) -> None:
        """Put a command (or several, packed together) in line. Never suspends.

        Raises:
            ConnectionLost: Closed already; nothing was sent.
        """
        if self.closed is not None:
            raise ConnectionLost(str(self.closed), sent=False) from self.closed
        waiting = self._waiting
        # What is large enough gains nothing by waiting for company, and the server could be at work on it.
        idle = self._direct and not self._outgoing and not self._writing
        idle = idle and (not waiting or len(packed) >= _LARGE)
        waiting.append(waiter)
        if waiter.deadline < self._watch_until:
            self._watch_from(waiter.deadline)
        if idle:
            self._send_now(packed)
        else:
            self._unsent += 1
            self._outgoing.append(packed)
            if not self._writing:
                self._wake_writer.set()

    def tell(self, packed: bytes) -> None:
        """Send what gets no reply of its own (SUBSCRIBE). Never suspends."""
        if self.closed is not None:
            raise ConnectionLost(str(self.closed), sent=False) from self.closed
        self._outgoing.append(packed)
        if not self._writing:
            self._wake_writer.set()

    # -- asking alone ---------------------------------------------------------------------------------------------

    @property
    def quiet(self) -> bool:
        """Whether nothing came since the last reply, its end neither: one that is not broke while nobody looked."""
        return self._plain.quiet and not self._reader.has_data()

    async def send_alone(self, packed: bytes) -> None:
        """Send where :meth:`run` does not run, by the only one who asks. Cancelled, it must be discarded.

        Raises:
            ConnectionLost: It broke, and was closed.
        """
        try:
            sent = self._plain.send_nowait(packed) if self._direct else 0
            if sent < len(packed):
                await self._stream.send(packed[sent:])
        except _NO_CONNECTION as error:
            self._broke(error)

    async def receive_alone(self) -> Any:
        """Give the next reply where :meth:`run` does not run; safe to cancel: the reply is still to come.

        Raises:
            ConnectionLost: It broke, or sent bytes that are no reply, and was closed.
        """
        try:
            return await self._next_reply()
        except _NO_CONNECTION as error:
            self._broke(error)

    def hang_up(self) -> None:
        """End the connection for the one who waits in `receive_alone`: that raises now. Never suspends."""
        self._plain.hang_up()

    def _broke(self, error: BaseException) -> NoReturn:
        self._lost(error)
        assert self.closed is not None
        reason = self.closed
        self.discard()
        raise reason from error

    async def _next_reply(self) -> Any:
        while True:
            reply = self._reader.gets()
            if reply is _MORE:
                self._reader.feed(await self._stream.receive(65536))
            elif type(reply) is not hiredis.PushNotification:
                return reply

    # -- life -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until closed. Cancelling it closes the connection. Raises nothing of its own."""
        try:
            if self.closed is None:
                async with anyio.create_task_group() as tasks:
                    self._tasks = tasks.cancel_scope
                    tasks.start_soon(self._write)
                    tasks.start_soon(self._watch)
                    await self._read()
        finally:
            self.close(ConnectionLost(f"the connection to {self.address.where} was closed"))
            self._plain.close()
            self.gone.set()

    def discard(self) -> None:
        """Close one that :meth:`run` never ran."""
        self.close(
            ConnectionLost(f"the connection to {self.address.where} was not wanted any more", sent=False)
        )
        self._plain.close()
        self.gone.set()

    def close(self, reason: ConnectionLost, *, overdue: frozenset[Waiter] = frozenset()) -> None:
        """Close now; everybody in line learns why. Never suspends; the second call does nothing."""
        if self.closed is not None:
            return
        self.closed = reason
        if self._tasks is not None:
            self._tasks.cancel()
        waiting = list(self._waiting)
        self._waiting.clear()
        first_unsent = len(waiting) - self._unsent
        for place, waiter in enumerate(waiting):
            kind = ReplyTimeout if waiter in overdue else ConnectionLost
            waiter.error = kind(str(reason), sent=place < first_unsent)
            waiter.error.__cause__ = reason.__cause__
            waiter.done.set()
        if self.on_close is not None:
            self.on_close(reason)

    # -- the three tasks ------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        receive = self._stream.receive
        take = self._pass_on if self._listening else self._take
        try:
            if self._reader.has_data():
                take(b"")
            while self.closed is None:
                take(await receive(65536))
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError) as error:
            self._lost(error)

    async def _write(self) -> None:
        try:
            while True:
                if not self._outgoing:
                    self._writing = False
                    self._wake_writer = anyio.Event()
                    await self._wake_writer.wait()
                self._writing = True
                data = self._outgoing[0] if len(self._outgoing) == 1 else b"".join(self._outgoing)
                self._outgoing.clear()
                self._unsent = 0
                sent = self._plain.send_nowait(data) if self._direct else 0
                if sent < len(data):
                    await self._stream.send(data[sent:])
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError) as error:
            self._lost(error)

    async def _watch(self) -> None:
        """Close the connection when a reply is overdue.

        One timer serves everybody: it is set to the earliest deadline known when it was set, and looks again then.
        """
        while True:
            with anyio.CancelScope(deadline=_on_anyios_clock(self._watch_until)) as self._watch_scope:
                await anyio.sleep_forever()
            looked = time.monotonic()
            if any(waiter.deadline <= looked for waiter in self._waiting):
                await anyio.sleep(second_chance(looked - self._watch_until))
            overdue = frozenset(waiter for waiter in self._waiting if waiter.deadline <= looked)
            if overdue:
                reason = f"{self.address.where} did not answer in time; the connection was closed as frozen"
                self.close(ReplyTimeout(reason), overdue=overdue)
                return
            self._watch_until = min((waiter.deadline for waiter in self._waiting), default=math.inf)

    def _watch_from(self, deadline: float) -> None:
        self._watch_until = deadline
        if self._watch_scope is not None:
            self._watch_scope.deadline = _on_anyios_clock(deadline)

    # -- the hot path ---------------------------------------------------------------------------------------------

    def _send_now(self, data: bytes) -> None:
        try:
            sent = self._plain.send_nowait(data)
        except OSError as error:
            self._lost(error)
            return
        if sent < len(data):
            self._outgoing.append(data[sent:])
            self._wake_writer.set()

    def _take(self, data: bytes) -> None:
        waiting = self._waiting
        reader = self._reader
        reader.feed(data)
        while True:
            try:
                reply = reader.gets()
            except _NO_REPLY as error:
                self._out_of_step(f"bytes that are no reply ({error})")
                return
            if reply is _MORE:
                return
            if type(reply) is hiredis.PushNotification:
                if self._on_push is not None:
                    self._on_push(reply)
                continue
            if not waiting:
                self._out_of_step(
                    "a reply that nobody asked for" + (f" ({reply})" if error_code(reply) else "")
                )
                return
            waiter = waiting[0]
            if waiter.count == 1:
                waiter.reply = reply
                waiting.popleft()
                waiter.done.set()
            else:
                waiter.replies.append(reply)
                if len(waiter.replies) == waiter.count:
                    waiting.popleft()
                    waiter.done.set()

    def _pass_on(self, data: bytes) -> None:
        assert self._on_push is not None
        self._reader.feed(data)
        while self.closed is None:
            try:
                reply = self._reader.gets()
            except _NO_REPLY as error:
                self._out_of_step(f"bytes that are no reply ({error})")
                return
            if reply is _MORE:
                return
            self._on_push(reply)

    # -- endings --------------------------------------------------------------------------------------------------

    def _lost(self, error: BaseException) -> None:
        reason = ConnectionLost(f"the connection to {self.address.where} broke: {_say(error)}")
        reason.__cause__ = error
        self.close(reason)

    def _out_of_step(self, what: str) -> None:
        self.close(ConnectionLost(f"{self.address.where} sent {what}; the connection was closed"))

    async def _exchange(self, commands: list[Command]) -> list[Any]:
        """Ask before :meth:`run` runs: the handshake."""
        await self._stream.send(b"".join(pack(command) for command in commands))
        return [await self._next_reply() for _ in commands]


def second_chance(overdue: float) -> float:
    """Seconds more to read what has come by now: a handler that blocked the loop so long is no frozen server."""
    return min(max(overdue, 0.01), 1.0)


def _on_anyios_clock(moment: float) -> float:
    """Give a moment of ``time.monotonic()`` as the running event loop tells it."""
    return anyio.current_time() + (moment - time.monotonic())


def _say(error: BaseException) -> str:
    """An error in a few words; AnyIO's wrappers say what is beneath them."""
    if isinstance(error, BaseExceptionGroup):
        return _say(cast("BaseExceptionGroup[BaseException]", error).exceptions[0])
    if error.__cause__ is not None and (not str(error) or "connection attempts failed" in str(error)):
        return _say(error.__cause__)
    if isinstance(error, anyio.EndOfStream):
        return "the server closed it"
    return str(error) or type(error).__name__
