"""Published messages, on a connection of their own that comes back.

Rules. Publishing reaches who listens at that moment and nobody else: so a subscription says when it is in force
(:meth:`Subscription.ready`), and when it was interrupted it says so after it is in force again (``on_gap``), for its
user to look at what a message may have said. Callbacks are synchronous and short: they set an event, no more.
A silent link is asked for a sign of life; one that gives none is closed and made again.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import anyio
from redis.exceptions import RedisError

from ..errors import ConfigurationError, ConnectionLost, RedisUnavailable, ReplyTimeout
from . import locating
from .address import Address, check_client_name
from .connection import Connection
from .packing import pack
from .pauses import Pauses
from .replies import error_code, is_list
from .settings import TransportSettings
from .tasks import BlockTasks

Callback = Callable[[bytes, bytes], None]
OnGap = Callable[[], None]
OnChange = Callable[["Subscriber", RedisUnavailable | ConfigurationError | None], None]

_PING = b""
"""In the line of what was asked: no channel, a sign of life."""

_LASTING = frozenset({"NOPERM", "NOAUTH", "ERR"})
"""First words of refusals that waiting does not mend."""


class _Channel:
    """A channel that somebody listens to."""

    __slots__ = ("changed", "confirmed", "interrupted", "name", "refused", "subscriptions")

    def __init__(self, name: bytes) -> None:
        self.name: bytes = name
        self.subscriptions: list[Subscription] = []
        self.confirmed: bool = False
        self.interrupted: bool = False
        self.refused: ConfigurationError | ConnectionLost | None = None
        self.changed: anyio.Event = anyio.Event()

    def change(self) -> None:
        self.changed.set()
        self.changed = anyio.Event()


class Subscription:
    """One listener on one channel; ends with :meth:`close` or the ``with`` block."""

    def __init__(
        self, subscriber: Subscriber, channel: _Channel, callback: Callback, on_gap: OnGap | None
    ) -> None:
        self._subscriber = subscriber
        self._channel = channel
        self.callback = callback
        self.on_gap = on_gap

    @property
    def confirmed(self) -> bool:
        """Whether the server has confirmed it, on the connection of this moment."""
        return self._channel.confirmed

    async def ready(self, timeout: float | None = None) -> None:
        """Wait until it is in force: what is published after this returns arrives. Safe to cancel.

        Args:
            timeout: Seconds; the settings' ``reply_timeout`` if left out.

        Raises:
            ConfigurationError: The server refuses us or this channel.
            RedisUnavailable: Not confirmed in time, or refused for the moment; the last reason is chained.
        """
        await self._subscriber.wait_until_confirmed(self._channel, timeout)

    def close(self) -> None:
        """Stop listening. The second call does nothing."""
        self._subscriber.remove(self, self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


class Subscriber:
    """Listens to any number of channels over one connection, opened when the first is wanted.

    Args:
        address: A URL or an :class:`Address`.
        settings: How patient to be, and how often to ask for a sign of life.
        name: The connection's name in CLIENT LIST.
        on_gap: Called synchronously after an interruption, when all channels are in force again.
        on_change: Called synchronously with the error when the server is lost, with ``None`` when it is back.
        locate: Asked, in a thread, for the address before every connect, when it can change or must be made.
    """

    def __init__(
        self,
        address: Address | str,
        *,
        settings: TransportSettings | None = None,
        name: str | None = None,
        on_gap: OnGap | None = None,
        on_change: OnChange | None = None,
        locate: locating.Locate | None = None,
    ) -> None:
        self.address: Address = Address.parse(address)
        self.settings: TransportSettings = settings or TransportSettings()
        self._locate = locate
        self.generation: int = 0
        """How many times it was connected."""

        self._name = check_client_name(name)
        self._on_gap = on_gap
        self._on_change = on_change
        self._patience = self.address.reply_timeout or self.settings.reply_timeout
        self._pauses = Pauses(self.settings)
        self._channels: dict[bytes, _Channel] = {}
        self._connection: Connection | None = None
        self._asked: deque[bytes] = deque()  # what has an answer to come, in order
        self._pending: Counter[bytes] = Counter()  # how often each channel is among it
        self._heard = anyio.Event()
        self._wanted = anyio.Event()
        self._tasks: BlockTasks | None = None
        self._closed = False
        self._down = False
        self._gap = False
        self._last_error: RedisUnavailable | ConfigurationError | None = None

    async def __aenter__(self) -> Self:
        if self._tasks is not None or self._closed:
            raise RuntimeError("a Subscriber is entered once")
        self._tasks = BlockTasks()
        await self._tasks.open()
        self._tasks.start_soon(self._serve, name=f"subscriptions at {self.address.where}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        assert self._tasks is not None
        self._closed = True
        for channel in self._channels.values():
            channel.change()
        return await self._tasks.close(kind, error, traceback)

    @property
    def connected(self) -> bool:
        return self._connection is not None

    def subscribe(
        self, channel: bytes | str, callback: Callback, *, on_gap: OnGap | None = None
    ) -> Subscription:
        """Listen to a channel. Never suspends; ``await subscription.ready()`` to know that it is in force.

        Args:
            channel: Its name.
            callback: Called synchronously with (channel, message). What it raises is a bug and ends the subscriber.
            on_gap: Called synchronously when this channel is in force again after an interruption.
        """
        if self._closed:
            raise ConnectionLost(f"the subscriber of {self.address.where} was closed", sent=False)
        name = channel.encode() if isinstance(channel, str) else channel
        if not name:
            raise ValueError("channel must not be empty")
        known = self._channels.get(name)
        if known is None:
            known = self._channels[name] = _Channel(name)
            if self._connection is not None:
                self._ask_for(name)
            self._wanted.set()
        subscription = Subscription(self, known, callback, on_gap)
        known.subscriptions.append(subscription)
        return subscription

    # -- how it is done -------------------------------------------------------------------------------------------

    def remove(self, subscription: Subscription, channel: _Channel) -> None:
        if subscription not in channel.subscriptions:
            return
        channel.subscriptions.remove(subscription)
        if not channel.subscriptions and self._channels.get(channel.name) is channel:
            del self._channels[channel.name]
            if self._connection is not None and self._connection.closed is None:
                self._connection.tell(pack((b"UNSUBSCRIBE", channel.name)))

    async def wait_until_confirmed(self, channel: _Channel, timeout: float | None) -> None:
        patience = self._patience if timeout is None else timeout
        with anyio.move_on_after(patience):
            await anyio.lowlevel.checkpoint()
            while not channel.confirmed:
                if self._closed:
                    raise ConnectionLost(f"the subscriber of {self.address.where} was closed", sent=False)
                refused = channel.refused or self._last_error
                if isinstance(refused, ConfigurationError):
                    raise ConfigurationError(str(refused)) from refused
                if channel.refused is not None:
                    raise ConnectionLost(str(refused), sent=False) from refused
                await channel.changed.wait()
            return
        why = f": {self._last_error}" if self._last_error is not None else ""
        raise ConnectionLost(
            f"{self.address.where} did not confirm a subscription within {patience:g} s{why}"
        ) from self._last_error

    async def _serve(self) -> None:
        while True:
            if not self._channels:
                self._wanted = anyio.Event()
                await self._wanted.wait()
            await self._pauses.wait()
            try:
                if self._locate is not None:
                    self.address = await locating.ask(self._locate)
                connection = await Connection.open(
                    self.address, self.settings, name=self._name, on_push=self._take, listening=True
                )
            except (RedisUnavailable, ConfigurationError) as error:
                self._pauses.ended()
                self._lost(error)
                continue
            since = anyio.current_time()
            async with anyio.create_task_group() as tasks:
                connection.on_close = lambda _reason, scope=tasks.cancel_scope: scope.cancel()
                self._install(connection)
                tasks.start_soon(self._keep_asking, connection)
                await connection.run()
            self._connection = None
            self._pauses.ended(lasted=anyio.current_time() - since)
            if connection.closed is not None:
                self._lost(connection.closed)

    def _install(self, connection: Connection) -> None:
        self._connection = connection
        self._asked.clear()
        self._pending.clear()
        self._last_error = None
        self.generation += 1
        for name in self._channels:
            self._ask_for(name)
        if self._down:
            self._down = False
            if self._on_change is not None:
                self._on_change(self, None)

    def _lost(self, error: RedisUnavailable | ConfigurationError) -> None:
        self._last_error = error
        self._gap = self._gap or self.generation > 0
        for channel in self._channels.values():
            channel.interrupted = channel.interrupted or channel.confirmed
            channel.confirmed = False
            channel.refused = None
            channel.change()
        if not self._down:
            self._down = True
            if self._on_change is not None:
                self._on_change(self, error)

    async def _keep_asking(self, connection: Connection) -> None:
        """Ask for a sign of life, and again for what was refused for the moment; a silent link is closed."""
        while connection.closed is None:  # it may close in the very turn in which this begins or wakes
            self._heard = anyio.Event()
            self._asked.append(_PING)
            connection.tell(pack((b"PING",)))
            with anyio.move_on_after(self._patience) as patience:
                await self._heard.wait()
            if patience.cancelled_caught:
                connection.close(
                    ReplyTimeout(f"{self.address.where} gave no sign of life; the connection was closed")
                )
            await anyio.sleep(self.settings.ping_interval)
            for channel in self._channels.values():
                if isinstance(channel.refused, ConnectionLost) and not self._pending[channel.name]:
                    self._ask_for(channel.name)

    def _ask_for(self, channel: bytes) -> None:
        connection = self._connection
        if connection is not None and connection.closed is None:
            self._asked.append(channel)
            self._pending[channel] += 1
            connection.tell(pack((b"SUBSCRIBE", channel)))

    def _take(self, reply: Any) -> None:
        """Whatever the server sends: messages, confirmations, signs of life and refusals."""
        words = reply if is_list(reply) else [reply]
        kind = words[0] if len(words) == 3 else None
        if kind == b"message":
            channel = self._channels.get(words[1])
            if channel is not None:
                for subscription in tuple(channel.subscriptions):
                    subscription.callback(words[1], words[2])
        elif kind == b"subscribe":
            self._answered(words[1])
        elif kind == b"unsubscribe":
            pass
        elif self._asked:
            self._answered(self._asked[0], reply if isinstance(reply, RedisError) else None)
        else:
            self._out_of_step()

    def _answered(self, asked: bytes, refusal: RedisError | None = None) -> None:
        if not self._asked or self._asked.popleft() != asked:
            self._out_of_step()
            return
        if asked == _PING:
            self._heard.set()  # a refusal is a sign of life too
            return
        self._pending[asked] -= 1
        again = self._pending[asked] > 0
        if not again:
            del self._pending[asked]
        channel = self._channels.get(asked)
        if channel is None or again:
            return  # left meanwhile; or left and asked for again, and that confirmation is still to come
        if refusal is not None:
            channel.refused = self._refused(asked, refusal)
            channel.interrupted = True  # whoever listens missed what was said until it is confirmed
        else:
            channel.refused = None
            channel.confirmed = True
            if channel.interrupted:
                channel.interrupted = False
                for subscription in tuple(channel.subscriptions):
                    if subscription.on_gap is not None:
                        subscription.on_gap()
        channel.change()
        if self._gap and not any(name != _PING for name in self._asked):
            self._gap = False
            if self._on_gap is not None:
                self._on_gap()

    def _refused(self, channel: bytes, refusal: RedisError) -> ConfigurationError | ConnectionLost:
        """Tell a right that is missing from a server that is busy, or full (which Redis 8.6 refuses to let listen)."""
        code, where = error_code(refusal), self.address.where
        if code in _LASTING:
            return ConfigurationError(f"{where} does not let us listen to {channel!r}: {code} {refusal}")
        return ConnectionLost(
            f"{where} does not let us listen to {channel!r} now: {code} {refusal}", sent=False
        )

    def _out_of_step(self) -> None:
        assert self._connection is not None
        self._connection.close(ConnectionLost(f"{self.address.where} sent a reply that nobody asked for"))

    def __repr__(self) -> str:
        state = "closed" if self._closed else "connected" if self.connected else "not connected"
        return f"<Subscriber {self.address}, {state}, {len(self._channels)} channels>"
