"""Which servers this process uses, and starting them for everybody when they are not there.

Rule: what a process uses it uses until its end. So the lock that says so is never given back, only taken again.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

import attrs

from . import locks
from .directory import Directory, prepare, temporary
from .process import DURABLE, IN_MEMORY, is_listening
from .process import use as use_server

PRIVATE = ""  # the key of the server without a path: one a process


@attrs.define(eq=False)
class _Use:
    """This process's use of one server."""

    socket: Path | None = None
    home: Directory | None = None
    lock: int = -1
    guard: threading.Lock = attrs.field(factory=threading.Lock)


_uses: dict[str, _Use] = {}


def join(path: str) -> Path:
    """Make sure that the server of ``path`` runs and that this process counts among its users.

    Args:
        path: Its directory; ``PRIVATE`` for the one of this process alone.

    Returns:
        Its socket.

    Raises:
        ServerNotFound: There is no server program.
        ConfigurationError: The directory cannot be used.
        RedisUnavailable: The server did not start.
    """
    use = _uses.setdefault(path, _Use())
    if use.socket is not None and is_listening(use.socket):
        return use.socket
    with use.guard:
        return _join(path, use)


def _join(path: str, use: _Use) -> Path:
    private = path == PRIVATE
    if private and use.home is not None and use.home.path.exists():
        home = use.home
    else:
        home = temporary() if private else prepare(path)
    users, process = use_server(home, None, IN_MEMORY if private else DURABLE, discard=private)
    if process is not None:
        process.detach()
    # Only now the old one: it may belong to a directory that somebody removed, whose server ends with it.
    before, use.lock = use.lock, users
    if before >= 0:
        locks.release(before)
    use.home, use.socket = home, home.socket
    return use.socket


def _after_fork() -> None:
    """The child shares the parent's open files: of a kept server it is a user too, a private one is not its own."""
    private = _uses.pop(PRIVATE, None)
    if private is not None and private.lock >= 0:
        locks.release(private.lock)
    for use in _uses.values():
        use.guard = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
