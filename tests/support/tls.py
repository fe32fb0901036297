"""TLS in front of a server: not every server program was built with it, and to a client it is the same.

One thread with a loop of its own; what it holds is closed when it stops.
"""

from __future__ import annotations

import asyncio
import ssl
import tempfile
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

import attrs
import trustme


@attrs.define(eq=False)
class Terminator:
    """Takes TLS connections on a port of the loopback interface and passes them on to a unix socket.

    Attributes:
        target: The server's socket.
        port: Where it listens.
        certificate: Which of its certificates it shows.
        wants_certificates: Whether clients must show one too.
    """

    target: Path
    port: int = 0
    certificate: str = "server"
    wants_certificates: bool = False
    _thread: threading.Thread | None = attrs.field(init=False, default=None)
    _stop: Callable[[], object] = attrs.field(init=False, default=int)

    def start(self) -> None:
        """Listen."""
        listening = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(listening)), name="TLS")
        self._thread.start()
        listening.wait()

    def stop(self) -> None:
        """Close everything."""
        if self._thread is not None:
            self._stop()
            self._thread.join()
            self._thread = None

    async def _serve(self, listening: threading.Event) -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificates() / "ca.pem")
        mine = certificates() / self.certificate
        context.load_cert_chain(mine.with_suffix(".pem"), mine.with_suffix(".key"))
        if self.wants_certificates:
            context.verify_mode = ssl.CERT_REQUIRED
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._stop = lambda: loop.call_soon_threadsafe(stopped.set)
        try:
            # TLS begins in the task of each connection: one in the midst of its handshake is closed with that task.
            server = await asyncio.start_server(partial(self._accept, context), "127.0.0.1", self.port)
            self.port = server.sockets[0].getsockname()[1]
        finally:
            listening.set()
        await stopped.wait()
        server.close()  # asyncio.run cancels the connections, and each closes what it holds

    async def _accept(
        self, context: ssl.SSLContext, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            with suppress(OSError, asyncio.CancelledError):
                await writer.start_tls(context)
                await self._pass_on(reader, writer)
        finally:
            writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_unix_connection(str(self.target))
        pumps = [
            asyncio.create_task(_pump(reader, inner_writer)),
            asyncio.create_task(_pump(inner_reader, writer)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            inner_writer.transport.abort()
            await asyncio.gather(*pumps, return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


@contextmanager
def terminator(target: Path, **options: Any) -> Generator[int]:
    """One with such options, for the length of a block; gives its port."""
    running = Terminator(target, **options)
    running.start()
    try:
        yield running.port
    finally:
        running.stop()


@cache
def certificates() -> Path:
    """A folder with ``ca.pem``, and a certificate (``.pem``) and its ``.key`` for each of these; made once a session.

    ``server``: for ``localhost``; ``elsewhere``: for another host; ``client``: for who connects.
    """
    folder = Path(_folder().name)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    for name, hosts in {
        "server": ["localhost", "127.0.0.1"],
        "elsewhere": ["redis.elsewhere.example"],
        "client": ["worker@example.com"],
    }.items():
        issued = authority.issue_cert(*hosts)
        issued.private_key_pem.write_to_path(str(folder / f"{name}.key"))
        for number, part in enumerate(issued.cert_chain_pems):
            part.write_to_path(str(folder / f"{name}.pem"), append=number > 0)
    return folder


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="anyq-tls-")
