"""A real Redis without set-up: ``embedded://`` and ``embedded:///path/to/directory``.

The server is a child process on a unix socket. With a directory it keeps its data there, is shared by every process
that names the directory, lives while one of them lives, and is started again on the same data by whoever needs it
next. Without one it belongs to this process, lives in memory, and is gone with it, whatever ends it.

Everything here blocks (milliseconds when the server runs): asynchronous code calls it in a thread.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote, unquote, urlsplit

from ._embedded import locks, sharing
from ._embedded.directory import prepare, temporary
from ._embedded.process import DURABLE, ENDING, IN_MEMORY, Process, is_listening, use
from ._embedded.program import find_program as find_program
from .errors import ConfigurationError

__all__ = ["EmbeddedServer", "directory_of", "find_program", "resolve"]

SCHEME = "embedded://"


def resolve(url: str) -> str:
    """Turn an ``embedded://`` URL into the ``unix://`` URL of a server that runs.

    Call it before every connect and reconnect: it costs some 50 µs while the server is there, and starts it when it
    is not. The query (``?db=3``) is kept. Other URLs come back as they are.

    Args:
        url: Any URL of Redis; for a kept server ``embedded:///path/to/directory``, percent-encoded where needed.

    Returns:
        A URL that redis-py understands.

    Raises:
        ValueError: The URL is not one of the two forms.
        ServerNotFound: There is no server program; the message says how to get one.
        ConfigurationError: The directory cannot be used, and why.
        RedisUnavailable: The server did not start, with the last lines of its log.
    """
    if not url.startswith(SCHEME):
        return url
    path = directory_of(url)
    socket = sharing.join(os.path.realpath(path) if path else sharing.PRIVATE)
    query = urlsplit(url).query
    return _url_of(socket) + (f"?{query}" if query else "")


def directory_of(url: str) -> str:
    """Give the directory that an ``embedded://`` URL names, ``""`` for the private server; nothing is started.

    Raises:
        ValueError: The URL is not one of the two forms.
    """
    parts = urlsplit(url)
    path = unquote(parts.path)
    if parts.netloc or path == "/" or "\0" in path:
        raise ValueError(
            f"url is {url!r}: an embedded server is embedded:// (private, in memory) or embedded:///path/to/directory "
            "(three slashes, an absolute path)"
        )
    return path


class EmbeddedServer:
    """A server of one's own for the length of a block, for tests and tools.

    Example:
        >>> with EmbeddedServer() as server:
        ...     queue = Queue("emails", server.url)

    Unlike ``embedded://`` it has one owner who says when it ends. While it runs, other processes may still join it
    through ``embedded:///path``; after its end they start one of their own on the same data.

    Args:
        path: A directory that keeps its data; without one it lives in memory.
        program: The server program; ``None`` looks for it as `find_program` does.
        arguments: More arguments for the program; they win over AnyQ's.

    Raises:
        ServerNotFound: There is no server program.
        ConfigurationError: The directory cannot be used, or a server runs there already.
        RedisUnavailable: The server did not start, with the last lines of its log.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        program: str | os.PathLike[str] | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        self._path = path
        self._program = program
        self._arguments = tuple(arguments)
        self._users = -1
        self._process: Process | None = None
        self._socket: Path | None = None

    def __repr__(self) -> str:
        state = f"running, pid {self._process.pid}" if self._process and self.running else "not running"
        return f"<EmbeddedServer in {self._path or 'memory'}: {state}>"

    @property
    def socket(self) -> Path:
        """The path of its unix socket."""
        if self._socket is None:
            raise RuntimeError(
                "the embedded server was not started: use it inside 'with EmbeddedServer() as server:'"
            )
        return self._socket

    @property
    def url(self) -> str:
        """Its ``unix://`` URL."""
        return _url_of(self.socket)

    @property
    def pid(self) -> int:
        """The process id of the server itself."""
        if self._process is None:
            raise RuntimeError(
                "the embedded server was not started: use it inside 'with EmbeddedServer() as server:'"
            )
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the server was started and is still there."""
        return self._process is not None and self._process.running

    def start(self) -> Self:
        """Start the server; returns when it answers. Started again after its end, it has the data of its directory."""
        if self._process is not None and self._socket is not None and is_listening(self._socket):
            return self
        self.stop()
        kept = self._path is not None
        home = temporary() if self._path is None else prepare(self._path)
        program = Path(self._program) if self._program is not None else None
        arguments = (*(DURABLE if kept else IN_MEMORY), *self._arguments)
        users, process = use(home, program, arguments, discard=not kept)
        if process is None:
            locks.release(users)
            raise ConfigurationError(
                f"a server runs in {home.path} already: join it with embedded://{home.path}"
            )
        self._users, self._process, self._socket = users, process, home.socket
        return self

    def stop(self) -> None:
        """End the server and wait until it is gone; calling it again does nothing."""
        if self._users >= 0:
            locks.release(self._users)
            self._users = -1
        if self._process is not None:
            self._process.end(ENDING)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


def _url_of(socket: Path) -> str:
    return f"unix://{quote(os.fspath(socket))}"
