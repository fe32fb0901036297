"""A loopback proxy with faults: what a network does to a connection, on purpose and by the test's word.

It runs inside the test's own loop. Every fault is counted, so that a test can show that it happened, and
:meth:`FaultProxy.until` waits for one to have happened. Faults apply to the connections there are and to those to come.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import anyio
import attrs
from anyio.abc import AnyByteStream, SocketAttribute, TaskGroup

from anyq._redis.stream import connect_unix

HOST = "127.0.0.1"
GONE = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)

Send = Callable[[bytes], Awaitable[None]]

Which = Literal["both", "up", "down"]
"""Up is what the client sends, down is what the server answers."""


@attrs.define(eq=False, kw_only=True)
class Direction:
    """What happens to the bytes that go one way."""

    name: str
    passable: anyio.Event = attrs.field(factory=anyio.Event)
    drop: bool = False
    chunk: int = 0
    delay: float = 0.0
    mangle: Callable[[bytes], bytes] | None = None
    passed: int = 0
    """Bytes that came through."""

    held: int = 0
    """How often bytes had to wait in front of a freeze."""

    dropped: int = 0
    """Bytes that were swallowed."""

    mangled: int = 0
    """How often bytes were changed."""

    pieces: int = 0
    """How many pieces bytes were cut into."""

    def __attrs_post_init__(self) -> None:
        self.passable.set()


@attrs.define(eq=False)
class Link:
    """A client's connection and the one to the server that belongs to it."""

    client: AnyByteStream
    server: AnyByteStream
    scope: anyio.CancelScope = attrs.field(factory=anyio.CancelScope)
    _talking: anyio.Lock = attrs.field(factory=anyio.Lock)

    async def tell_client(self, data: bytes) -> None:
        """Send to the client; the pump and a test's own words must not meet in the middle of a write."""
        async with self._talking:
            await self.client.send(data)


@attrs.define(eq=False, kw_only=True)
class FaultProxy:
    """See :func:`fault_proxy`."""

    target: Path | int
    front: Path | None = None
    port: int = 0
    up: Direction = attrs.field(factory=lambda: Direction(name="up"))
    down: Direction = attrs.field(factory=lambda: Direction(name="down"))
    refusing: bool = False
    accepted: int = 0
    refused: int = 0
    resets: int = 0
    closes: int = 0
    gone: int = 0
    """Clients whose sockets are closed."""

    links: set[Link] = attrs.field(factory=set)
    _changed: anyio.Event = attrs.field(factory=anyio.Event)

    @property
    def url(self) -> str:
        """How to reach the server through here."""
        return f"unix://{quote(str(self.front))}" if self.front else f"redis://{HOST}:{self.port}/0"

    async def until(self, happened: Callable[[FaultProxy], bool]) -> None:
        """Wait until something has happened; it is looked at whenever bytes moved or a fault struck."""
        while not happened(self):
            await self._changed.wait()

    # -- faults ---------------------------------------------------------------------------------------------------

    def freeze(self, which: Which = "both") -> None:
        """Hold all bytes back, as behind a firewall that forgot the connection."""
        for direction in self._directions(which):
            if direction.passable.is_set():
                direction.passable = anyio.Event()

    def unfreeze(self, which: Which = "both") -> None:
        """Let what was held back pass, and all after it."""
        for direction in self._directions(which):
            direction.passable.set()

    def drop(self, which: Which = "down") -> None:
        """Swallow bytes: of ``down``, the server did what it was told, and nobody hears of it."""
        for direction in self._directions(which):
            direction.drop = True

    def heal(self) -> None:
        """No fault any more, for new bytes and new connections."""
        self.refusing = False
        self.unfreeze()
        for direction in (self.up, self.down):
            direction.drop, direction.chunk, direction.delay, direction.mangle = False, 0, 0.0, None

    def split(self, chunk: int, which: Which = "both") -> None:
        """Pass bytes on in pieces of this size, each in a packet of its own."""
        for direction in self._directions(which):
            direction.chunk = chunk

    def slow(self, delay: float, which: Which = "down") -> None:
        """Pass each piece on only after so many seconds."""
        for direction in self._directions(which):
            direction.delay = delay

    def mangle(self, change: Callable[[bytes], bytes], which: Which = "down") -> None:
        """Change what passes."""
        for direction in self._directions(which):
            direction.mangle = change

    def refuse(self) -> None:
        """Hang up on whoever connects from now on."""
        self.refusing = True

    def reset(self) -> None:
        """Break all connections with RST: no goodbye, and what was under way is gone."""
        for link in self.links:
            for stream in (link.client, link.server):
                stream.extra(SocketAttribute.raw_socket).setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )
            self.resets += 1
            link.scope.cancel()
        self._notice()

    def close(self) -> None:
        """End all connections in an orderly way."""
        for link in self.links:
            self.closes += 1
            link.scope.cancel()
        self._notice()

    async def inject(self, data: bytes) -> None:
        """Say something to every client that the server did not say."""
        for link in tuple(self.links):
            await link.tell_client(data)

    # -- how it is done -------------------------------------------------------------------------------------------

    def _directions(self, which: Which) -> list[Direction]:
        return [direction for direction in (self.up, self.down) if which in ("both", direction.name)]

    def _notice(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def serve(self, client: AnyByteStream) -> None:
        """Pass bytes on between a new client and the server until either leaves."""
        try:
            async with client:
                await self._serve(client)
        finally:
            self.gone += 1
            self._notice()

    async def _serve(self, client: AnyByteStream) -> None:
        if self.refusing:
            self.refused += 1
            self._notice()
            return
        self.accepted += 1
        try:
            server = await self._dial()
        except OSError:
            return
        async with server:
            link = Link(client, server)
            self.links.add(link)
            self._notice()
            try:
                with link.scope:
                    async with anyio.create_task_group() as pumps:
                        pumps.start_soon(self._pump, link, client, server.send, self.up)
                        await self._pump(link, server, link.tell_client, self.down)
            finally:
                self.links.discard(link)
                self._notice()

    async def _dial(self) -> AnyByteStream:
        if isinstance(self.target, Path):
            # AnyIO's own stream breaks asyncio's loop when a receive is cancelled just as there is something to read.
            return await connect_unix(str(self.target))
        return await anyio.connect_tcp(HOST, self.target)

    async def _pump(self, link: Link, source: AnyByteStream, send: Send, way: Direction) -> None:
        try:
            while True:
                data = await source.receive()
                if not way.passable.is_set():
                    way.held += 1
                    self._notice()
                    await way.passable.wait()
                if way.drop:
                    way.dropped += len(data)
                else:
                    await self._pass_on(data, send, way)
                    way.passed += len(data)
                self._notice()
        except GONE:
            link.scope.cancel()

    async def _pass_on(self, data: bytes, send: Send, way: Direction) -> None:
        if way.mangle is not None:
            changed = way.mangle(data)
            way.mangled += changed != data
            data = changed
        start = 0
        while start < len(data):
            if way.delay:
                with anyio.move_on_after(way.delay):
                    await anyio.sleep_forever()
            size = way.chunk or len(data)
            await send(data[start : start + size])
            start += size
            if way.chunk:
                way.pieces += 1
                self._notice()


@asynccontextmanager
async def fault_proxy(target: Path | int, *, front: Path | None = None) -> AsyncGenerator[FaultProxy]:
    """Run a proxy in front of a server.

    Args:
        target: The server's unix socket, or its port.
        front: Listen on this unix socket; on a port of the loopback interface if left out.
    """
    proxy = FaultProxy(target=target, front=front)
    async with anyio.create_task_group() as tasks:
        await _listen(proxy, tasks)
        try:
            yield proxy
        finally:
            tasks.cancel_scope.cancel()


async def _listen(proxy: FaultProxy, tasks: TaskGroup) -> None:
    if proxy.front is not None:
        listener = await anyio.create_unix_listener(str(proxy.front))
        tasks.start_soon(_serve, proxy, listener)
        return
    listeners = await anyio.create_tcp_listener(local_host=HOST)
    proxy.port = listeners.extra(SocketAttribute.local_port)
    tasks.start_soon(_serve, proxy, listeners)


async def _serve(proxy: FaultProxy, listener: anyio.abc.Listener[AnyByteStream]) -> None:
    async with listener:
        await listener.serve(proxy.serve)


def flip_bits(data: bytes) -> bytes:
    """Every byte another one."""
    return bytes(byte ^ 0x55 for byte in data)
