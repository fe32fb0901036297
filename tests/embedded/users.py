"""Driving `user.py`: processes that share a server, race for it, and die."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from urllib.parse import quote, unquote, urlsplit

SECONDS = 20.0
PROGRAM = Path(__file__).with_name("user.py")


class User:
    """A process of its own that uses the embedded server of one URL.

    It leads a process group, as a program does that a shell started, so that a test can press Ctrl-C on it.
    """

    def __init__(self, url: str, program: Path, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, PROGRAM, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "ANYQ_SERVER": str(program), **environment},
            process_group=0,
        )

    def __enter__(self) -> Self:
        assert self.hear() == "ready"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def tell(self, words: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(words + "\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        """Its next line; pytest's time limit watches over it."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def ask(self, words: str) -> str:
        self.tell(words)
        return self.hear()

    def resolve(self) -> Path:
        """The socket of its server."""
        answer = self.ask("resolve")
        assert answer.startswith("unix://"), answer
        return socket_of(answer)

    @property
    def server_pid(self) -> int:
        return int(self.ask("pid"))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(SECONDS)

    def press_ctrl_c(self) -> None:
        """What a terminal does: SIGINT for the whole group in the foreground."""
        os.killpg(self.process.pid, signal.SIGINT)

    def stderr_at_its_end(self) -> str:
        """Close its input and wait for it."""
        return self.process.communicate(timeout=SECONDS)[1]


class Watch:
    """A connection to a server that notices its end, and the lock that says that its supervisor is gone too."""

    def __init__(self, path: Path) -> None:
        self._lock = (path.parent / "server.lock").open("r+b")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(SECONDS)
        self._socket.connect(str(path))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._socket.close()
        self._lock.close()

    def wait_for_the_end(self) -> None:
        with suppress(ConnectionResetError):
            assert self._socket.recv(1) == b""
        wait_for_lock(self._lock)

    def is_served(self) -> bool:
        self._socket.sendall(b"PING\r\n")
        return self._socket.recv(100) == b"+PONG\r\n"


def wait_until_nobody_serves(home: Path) -> None:
    """Wait for the end of a kept server and its supervisor."""
    with (home / "server.lock").open("r+b") as lock:
        wait_for_lock(lock)


def wait_for_lock(lock: IO[bytes]) -> None:
    """A server and its supervisor hold it until they are gone; pytest's time limit watches over it."""
    fcntl.flock(lock, fcntl.LOCK_EX)
    fcntl.flock(lock, fcntl.LOCK_UN)


def url_of(directory: Path) -> str:
    return f"embedded://{quote(str(directory))}"


def socket_of(url: str) -> Path:
    return Path(unquote(urlsplit(url).path))
