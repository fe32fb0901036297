"""A non-blocking socket as an AnyIO byte stream that can also send without a task switch.

AnyIO's own socket streams make a checkpoint of every send. That is right in general, and half of the price of a round
trip here, where the one who sends waits for the reply anyway: `SocketStream.send_nowait` is why this file is.
AnyIO still does TCP's connecting (happy eyeballs) and the waiting (``wait_readable``), on every backend.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import anyio
import anyio.lowlevel
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSStream

from ..errors import ConfigurationError
from .address import Address

_KEEPALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPALIVE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
"""A dead peer is noticed after half a minute even by a connection that asks for nothing."""

_FULL_QUEUE_PAUSE = 0.02
"""Seconds between two looks at a unix socket's full queue of new connections."""


class SocketStream(ByteStream):
    """A connected stream socket. Reading and writing may go on at once; each by one task."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock

    def send_nowait(self, data: bytes) -> int:
        """Send what the kernel takes at once; return how many bytes that were, perhaps none.

        Raises:
            OSError: The connection is broken.
        """
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0

    @property
    def quiet(self) -> bool:
        """Whether there is nothing to receive: neither bytes nor the connection's end."""
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    async def receive(self, max_bytes: int = 65536) -> bytes:
        # Waiting comes first: there is seldom anything to read right after a read, and every turn must yield.
        while True:
            await anyio.wait_readable(self._socket)
            try:
                data = self._socket.recv(max_bytes)
            except BlockingIOError:
                continue
            except OSError as error:
                raise anyio.BrokenResourceError from error
            if not data:
                raise anyio.EndOfStream
            return data

    async def send(self, item: bytes) -> None:
        rest = memoryview(item)
        while rest:
            await anyio.wait_writable(self._socket)
            try:
                rest = rest[self._socket.send(rest) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise anyio.BrokenResourceError from error

    async def send_eof(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    async def aclose(self) -> None:
        self._socket.close()

    def hang_up(self) -> None:
        """Receive no more: whoever waits for bytes meets the end of the stream."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close without a checkpoint. No task may be waiting in here any more."""
        self._socket.close()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return {SocketAttribute.raw_socket: lambda: self._socket}


async def dial(address: Address) -> SocketStream:
    """Connect to an address.

    Raises:
        OSError: It cannot be reached.
    """
    if address.path is not None:
        return await connect_unix(address.path)
    plain = await _connect_tcp(address)
    try:
        _tune(plain)
    except BaseException:
        plain.close()
        raise
    return plain


async def connect_unix(path: str) -> SocketStream:
    """Connect to a unix socket, trying again while the server's queue of new connections is full.

    Such a socket is connected at once or not at all, and nothing tells when there is room. AnyIO waits for it
    to be writable, which it always is: on asyncio that is a busy loop, on Trio a socket that is not connected.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        while True:
            await anyio.lowlevel.checkpoint()
            try:
                sock.connect(path)
            except BlockingIOError:
                await anyio.sleep(_FULL_QUEUE_PAUSE)
            else:
                return SocketStream(sock)
    except BaseException:
        sock.close()
        raise


async def _connect_tcp(address: Address) -> SocketStream:
    """Let AnyIO connect (happy eyeballs), and take the socket out of its hands."""
    opened = await anyio.connect_tcp(address.host, address.port)
    try:
        borrowed = opened.extra(SocketAttribute.raw_socket)
        ours = socket.fromfd(borrowed.fileno(), borrowed.family, borrowed.type)
    except BaseException:
        await anyio.aclose_forcefully(opened)
        raise
    try:
        await anyio.aclose_forcefully(opened)
    except BaseException:
        ours.close()
        raise
    return SocketStream(ours)


async def secure(plain: SocketStream, address: Address) -> ByteStream:
    """Give what to talk through: the socket itself, or TLS around it. It is not closed when that fails.

    Raises:
        ConfigurationError: The TLS settings cannot be used, or the server's certificate is not trusted.
        OSError, anyio.BrokenResourceError, anyio.EndOfStream: The other side broke it off.
    """
    if address.tls is None:
        return plain
    try:
        context = await anyio.to_thread.run_sync(address.tls_context, abandon_on_cancel=True)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"the TLS settings of {address} cannot be used: {error}") from error
    try:
        return await TLSStream.wrap(
            plain, server_side=False, hostname=address.host, ssl_context=context, standard_compatible=False
        )
    except ssl.SSLCertVerificationError as error:
        raise ConfigurationError(
            f"the certificate of {address.where} is not trusted: {error.verify_message}"
        ) from error


def _tune(stream: SocketStream) -> None:
    sock = stream.extra(SocketAttribute.raw_socket)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
