"""A connection for one caller who asks, waits and asks again: without a task of its own.

Rules. Between two questions nothing runs on its behalf, so whoever forgets it leaves a socket behind and nothing else,
and that is closed with the object. A caller who is cancelled while a reply is under way, and then asks the same again,
gets that reply; who asks for something else gets a new connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio

from ..errors import ReplyTimeout
from . import locating
from .address import Address
from .connection import Connection
from .packing import Argument, pack
from .settings import TransportSettings


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
        self._connection: Connection | None = None
        self._address = address
        self._settings = settings or TransportSettings()
        self._name = name
        self._locate = locate
        self._asked = b""  # what there are replies to come for
        self._replies: list[Any] = []  # those of them that came

    async def ask(self, *commands: Sequence[Argument], timeout: float) -> list[Any]:
        """Send commands in one write and give their replies, in order; error replies are elements, not raised.

        Args:
            *commands: Such as may be sent again.
            timeout: Seconds for the replies; connecting has its own.

        Raises:
            ConfigurationError: The server refuses us, and would again.
            RedisUnavailable: It cannot be reached, or was lost, or did not answer in time.

        Safe to cancel.
        """
        packed = b"".join(pack(command) for command in commands)
        connection = self._connection
        if connection is None or self._asked not in (b"", packed):
            connection = await self._connect()
        if not self._asked:
            await self._send(connection, packed)
        with anyio.move_on_after(timeout) as patience:
            await self._receive(connection, len(commands))
        if len(self._replies) < len(commands) and patience.cancelled_caught:
            self.close()
            raise ReplyTimeout(
                f"{self._address.where} did not answer in time; the connection was closed as frozen"
            )
        replies, self._replies, self._asked = self._replies, [], b""
        return replies

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
            self._address = await locating.ask(self._locate)
        self._connection = await Connection.open(self._address, self._settings, name=self._name)
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

    async def _receive(self, connection: Connection, count: int) -> None:
        try:
            while len(self._replies) < count:
                self._replies.append(await connection.receive_alone())
        finally:
            if connection.closed is not None:
                self.close()
