"""A private Redis server for one run: loopback TCP, nothing persisted, ended with the run."""

from __future__ import annotations

import re
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple


class Server(NamedTuple):
    """A running server."""

    port: int

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=5)

    def version(self) -> str:
        with self.connect() as connection:
            connection.sendall(b"INFO server\r\n")
            said = b""
            while not (found := re.search(rb"(?:valkey|redis)_version:(\S+)\r\n", said)):
                said += connection.recv(65536) or _closed()
        return found[1].decode()


@contextmanager
def serve(program: Path) -> Iterator[Server]:
    """Start the program on a free port, and end exactly that process at the end of the block."""
    with tempfile.TemporaryDirectory(prefix="anyq-bench-") as folder:
        port = _free_port()
        command = [str(program), "--port", str(port), "--bind", "127.0.0.1", "--dir", folder]
        log = Path(folder) / "log"
        command += ["--save", "", "--appendonly", "no", "--loglevel", "warning", "--logfile", str(log)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            server = Server(port)
            _wait_until_it_answers(server, process, log)
            yield server
        finally:
            process.kill()
            process.wait()


class Monitor:
    """Counts what clients send, from when it is made until ``commands_of_others`` is asked.

    INFO's counters cannot tell a command that a client sent from one that a script called; MONITOR marks the latter.
    """

    _LINE = re.compile(rb'^\+[\d.]+ \[\d+ ([^\]]+)\] "([^"]+)"', re.MULTILINE)

    def __init__(self, server: Server) -> None:
        self._seen = bytearray()
        self._connection = server.connect()
        self._connection.sendall(b"MONITOR\r\n")
        self._connection.recv(5)  # +OK\r\n
        self._connection.settimeout(None)
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        while said := self._connection.recv(1 << 20):
            self._seen += said

    def commands_of_others(self, observer: str) -> dict[str, int]:
        """What everybody but the observer sent: how often, by name.

        Args:
            observer: The address (``host:port``) whose commands are left out.
        """
        time.sleep(0.2)  # the rest of the stream is still on its way
        self._connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._connection.close()
        counts: dict[str, int] = {}
        for sender, command in self._LINE.findall(bytes(self._seen)):
            if sender not in {b"lua", observer.encode()}:
                name = command.decode().lower()
                counts[name] = counts.get(name, 0) + 1
        return counts


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_it_answers(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(500):
        if process.poll() is not None:
            break
        try:
            with server.connect() as connection:
                connection.sendall(b"PING\r\n")
                if connection.recv(5) == b"+PONG":
                    return
        except OSError:
            pass
        time.sleep(0.01)
    said = log.read_text() if log.exists() else ""
    raise SystemExit(f"the server {process.args!r} did not come up: {said}")


def _closed() -> bytes:
    raise ConnectionError("the server closed the connection")
