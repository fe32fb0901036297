"""A connection for one caller who asks, waits and asks again: without a task of its own.

Rules. Between two questions nothing runs on its behalf, so whoever forgets it leaves a socket behind and nothing else,
and that is closed with the object. A caller who is cancelled while a reply is under way, and then asks the same again,
gets that reply; who asks for something else gets a new connection. So does who finds that it broke since the last
reply: nobody was asking then, so nothing was lost, and it is no outage.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import anyio
from redis.exceptions import RedisError

from ..errors import ConnectionLost, ReplyTimeout
from . import locating
from .address import Address
from .connection import Connection, second_chance
from .packing import Argument, pack
from .replies import error_code
from .scripts import Script
from .settings import TransportSettings

#: Seconds after which the watch looks again at the latest: less than the timeout of a question that comes meanwhile.
_LONGEST_NAP = 1.0


class Solo:
    """Asks one question at a time, over a connection that is made when it is needed, and made again by the next one.

    Args:
        address: Where the server is.
        settings: How patient to be.
        name: The connection's name in CLIENT LIST, if not the address's own.
        locate: Asked, in a thread, for the address before every connect, when it can change or must be made.
    """

    def __init__(
        self,
        address: Address,
        *,
        settings: TransportSettings | None = None,
        name: str | None = None,
        locate: locating.Locate | None = None,
    ) -> None:
        self.generation: int = 0
        """How many times it was connected: another number than last time means that replies may have been lost.

        Of those that were lost with a connection, it tells with the next question.
        """

        self._connection: Connection | None = None
        self._address = address
        self._settings = settings or TransportSettings()
        self._name = name
        self._locate = locate
        self._asked = b""  # what there are replies to come for
        self._replies: list[Any] = []  # those of them that came
        self._watched = False
        self._until = math.inf  # when a watched question has waited too long
        self._overdue = False

    async def ask(self, *commands: Sequence[Argument], timeout: float) -> list[Any]:
        """Send commands in one write and give their replies, in order; error replies are elements, not raised.

        Args:
            *commands: Such as may be sent again, or whose caller finds out by `generation` what a lost reply brought.
            timeout: Seconds for the replies; connecting has its own.

        Raises:
            ConfigurationError: The server refuses us, and would again.
            RedisUnavailable: It cannot be reached, or was lost, or did not answer in time.

        Safe to cancel.
        """
        packed = pack(commands[0]) if len(commands) == 1 else b"".join(map(pack, commands))
        connection = self._connection
        if connection is None or (self._asked != packed if self._asked else not connection.quiet):
            connection = await self._connect()
        if not self._asked:
            await self._send(connection, packed)
        if self._watched:
            await self._receive_watched(connection, len(commands), timeout)
        else:
            await self._receive_timed(connection, len(commands), timeout)
        replies, self._replies, self._asked = self._replies, [], b""
        return replies

    async def call(self, *words: Argument, timeout: float | None = None) -> Any:
        """Send one command and give its reply; as :meth:`ask`, but an error reply is raised.

        Args:
            *words: The command.
            timeout: Seconds for the reply; the address's or the settings' ``reply_timeout`` if left out.
        """
        patience = self._address.reply_timeout or self._settings.reply_timeout if timeout is None else timeout
        [reply] = await self.ask(words, timeout=patience)
        if isinstance(reply, RedisError):
            raise reply
        return reply

    async def run(
        self,
        script: Script,
        keys: Sequence[Argument],
        args: Sequence[Argument],
        *,
        timeout: float | None = None,
    ) -> Any:
        """Run a script by its hash; a server that does not know it is sent the body. Else as :meth:`call`."""
        words = (len(keys), *keys, *args)
        try:
            return await self.call(b"EVALSHA", script.sha, *words, timeout=timeout)
        except RedisError as error:
            if error_code(error) != "NOSCRIPT":
                raise
        return await self.call(b"EVAL", script.body, *words, timeout=timeout)

    async def watch(self) -> None:
        """Keep the time of all questions by one timer while this runs; else each has one of its own.

        For who asks thousands: to set a timer and to take it back costs time, and Trio keeps it until it would be due.
        """
        self._watched = True
        try:
            while True:
                now, until = time.monotonic(), self._until
                if now < until:
                    await anyio.sleep(min(until - now, _LONGEST_NAP))
                    continue
                await anyio.sleep(second_chance(now - until))
                if self._until == until and self._connection is not None:  # nobody took the reply meanwhile
                    self._overdue = True
                    self._connection.hang_up()
        finally:
            self._watched = False

    @property
    def connection_id(self) -> int | None:
        """The server's CLIENT ID of the present connection, for CLIENT UNBLOCK; ``None`` if it is not known."""
        return self._connection.greeting.connection_id if self._connection is not None else None

    def close(self) -> None:
        """Close the connection, if there is one; nobody may be waiting in :meth:`ask`. Never suspends."""
        connection, self._connection = self._connection, None
        self._asked, self._replies = b"", []
        if connection is not None:
            connection.discard()

    def __del__(self) -> None:
        self.close()

    # -- how it is done -------------------------------------------------------------------------------------------

    async def _connect(self) -> Connection:
        self.close()
        if self._locate is not None:
            patience = self._settings.connection_patience
            with anyio.move_on_after(patience) as scope:
                self._address = await locating.ask(self._locate)
            if scope.cancelled_caught:
                raise ConnectionLost(f"it took more than {patience:g} s to find the server", sent=False)
        self._connection = await Connection.open(
            self._address, self._settings, name=self._name, known=self.generation > 0
        )
        self.generation += 1
        return self._connection

    async def _send(self, connection: Connection, packed: bytes) -> None:
        sent = False
        try:
            await connection.send_alone(packed)
            self._asked = packed
            sent = True
        finally:
            if not sent:
                self.close()

    async def _receive_timed(self, connection: Connection, count: int, timeout: float) -> None:
        with anyio.move_on_after(timeout) as patience:
            await self._receive(connection, count)
        if len(self._replies) < count and patience.cancelled_caught:
            with anyio.move_on_after(second_chance(anyio.current_time() - patience.deadline)):
                await self._receive(connection, count)
            if len(self._replies) < count:
                self.close()
                raise self._frozen()

    async def _receive_watched(self, connection: Connection, count: int, timeout: float) -> None:
        self._until = time.monotonic() + timeout
        try:
            await self._receive(connection, count)
        except ConnectionLost:
            if self._overdue:
                raise self._frozen() from None
            raise
        finally:
            self._until, self._overdue = math.inf, False

    def _frozen(self) -> ReplyTimeout:
        return ReplyTimeout(
            f"{self._address.where} did not answer in time; the connection was closed as frozen"
        )

    async def _receive(self, connection: Connection, count: int) -> None:
        try:
            while len(self._replies) < count:
                self._replies.append(await connection.receive_alone())
        finally:
            if connection.closed is not None:
                self.close()
