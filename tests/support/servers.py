"""Servers for the tests: real ones, which can be killed, paused and started again on their data.

They run under the embedded server's supervisor, so they end with the test process, whatever ends that.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Self, cast
from urllib.parse import quote

import attrs
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from tests.support.tls import Terminator, certificates

from anyq._embedded import locks
from anyq._embedded.directory import Directory, temporary
from anyq._embedded.process import DURABLE, IN_MEMORY, Process, start
from anyq.errors import RedisUnavailable

HOST = "127.0.0.1"
SECONDS = 20.0  # within which everything that a test waits for has happened

running: set[Server] = set()
"""Servers that were started and not yet stopped."""


@attrs.define(kw_only=True, eq=False, repr=False)
class Server:
    """One server in a directory of its own, on a unix socket, and on TCP when asked for.

    Attributes:
        program: The server program.
        aof: Keep the data through `kill` and `restart`; otherwise it lives in memory.
        tcp: Listen on a port of the loopback interface too; it stays the same through restarts.
        tls: Take TLS on a port too; what it holds stays open while the server restarts behind it.
        password: What the user ``default`` must say.
        users: More users, as rules of ACL SETUSER, such as ``"worker on >secret ~* &* +@all"``.
        arguments: More arguments of the program; they win.
    """

    program: Path
    aof: bool = False
    tcp: bool = False
    tls: bool = False
    password: str | None = None
    users: Sequence[str] = ()
    arguments: Sequence[str] = ()
    home: Directory = attrs.field(init=False, factory=temporary)
    port: int = attrs.field(init=False, default=0)
    _lock: int = attrs.field(init=False, default=-1)
    _process: Process | None = attrs.field(init=False, default=None)
    _tls: Terminator | None = attrs.field(init=False, default=None)

    def __repr__(self) -> str:
        return f"<Server {self.program.name} {'running' if self.is_running else 'down'} in {self.home.path}>"

    # -- where it is ------------------------------------------------------------------------------------------------

    @property
    def socket(self) -> Path:
        return self.home.socket

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server was not started"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether its process is there; a paused one is."""
        return self._process is not None and self._process.running

    @property
    def url(self) -> str:
        """Through the unix socket, as the user ``default``."""
        return f"unix://{self._password_part}{quote(str(self.socket))}"

    @property
    def tcp_url(self) -> str:
        assert self.port, "start it with tcp=True"
        return f"redis://{self._password_part}{HOST}:{self.port}/0"

    @property
    def tls_url(self) -> str:
        """With the certificate authority that signed the server's certificate."""
        assert self._tls is not None, "start it with tls=True"
        authority = quote(str(certificates() / "ca.pem"))
        return f"rediss://{self._password_part}localhost:{self._tls.port}/0?ssl_ca_certs={authority}"

    @property
    def version(self) -> tuple[str, int, int]:
        """Such as ``("redis", 8, 2)``."""
        return version_of(self.program)

    @property
    def log(self) -> str:
        return self.home.log.read_text(errors="replace")

    @property
    def _password_part(self) -> str:
        return f":{quote(self.password, safe='')}@" if self.password else ""

    # -- its life ---------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Start it, again on its data if it ran before; returns when it answers."""
        assert not self.is_running, "the server runs already"
        if self._lock < 0:
            self._lock = locks.take(
                self.home.users, shared=True, seconds=SECONDS, waiting_for="nobody should hold it"
            )
        if self.tcp and not self.port:
            self.port = free_port()
        running.add(self)
        try:
            self._process = start(self.home, self.program, self._all_arguments(), discard=True)
            if self.tls and self._tls is None:
                self._tls = Terminator(self.socket)
                self._tls.start()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End it for good; its directory goes too."""
        if self._tls is not None:
            self._tls.stop()
            self._tls = None
        if self._lock >= 0:
            locks.release(self._lock)
            self._lock = -1
        if self._process is not None:
            assert self._process.wait(SECONDS), f"{self!r} did not end"
        shutil.rmtree(self.home.path, ignore_errors=True)  # left by a server that ended before
        running.discard(self)

    def kill(self) -> None:
        """SIGKILL, as the kernel does when memory runs out; `start` brings it back."""
        self._signal(signal.SIGKILL)

    def shut_down(self) -> None:
        """SIGTERM, as an operator does; `start` brings it back."""
        self._signal(signal.SIGTERM)

    def restart(self) -> None:
        """Shut down and start, on the same data."""
        self.shut_down()
        self.start()

    def pause(self) -> None:
        """SIGSTOP: connections stay open, nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT, after `pause`."""
        os.kill(self.pid, signal.SIGCONT)

    @contextmanager
    def paused(self) -> Generator[None]:
        """Paused inside the block."""
        self.pause()
        try:
            yield
        finally:
            self.resume()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- talking to it ----------------------------------------------------------------------------------------------

    def client(self, **options: Any) -> redis.Redis:
        """A synchronous client on the unix socket; close it, or use it in a ``with``."""
        settings: dict[str, Any] = {
            "unix_socket_path": str(self.socket),
            "password": self.password,
            "socket_timeout": SECONDS,
            "driver_info": None,  # no CLIENT SETINFO: it only costs time here
            "retry": Retry(NoBackoff(), 0),  # a test wants to see what happens
            **options,
        }
        return redis.Redis(**settings)

    def command(self, *words: Any) -> Any:
        """One command on a connection of its own."""
        with self.client() as client:
            return cast(Any, client).execute_command(*words)

    def flush(self) -> None:
        """Remove all data; scripts stay."""
        self.command("FLUSHALL", "SYNC")

    def clients(self) -> list[dict[str, str]]:
        """The connections to it, but for the one that asks."""
        with self.client() as client:
            commands = cast(Any, client)
            me = str(commands.client_id())
            return [row for row in commands.client_list() if row["id"] != me]

    @contextmanager
    def configured(self, **settings: str | int) -> Generator[None]:
        """Change settings (``maxmemory=1``; dashes as underscores) inside the block.

        On one connection, which stays open: with such settings there might be no other.
        """
        names = {name.replace("_", "-"): value for name, value in settings.items()}
        with self.client(decode_responses=True) as client:
            commands = cast(Any, client)
            before = {name: commands.config_get(name)[name] for name in names}
            for name, value in names.items():
                commands.config_set(name, value)
            try:
                yield
            finally:
                for name, value in before.items():
                    commands.config_set(name, value)

    # -- the details ------------------------------------------------------------------------------------------------

    def _all_arguments(self) -> list[str]:
        arguments = [*(DURABLE if self.aof else IN_MEMORY)]
        if self.version >= ("redis", 7, 0):  # before, DEBUG was always there; "valkey" sorts after "redis"
            arguments += ["--enable-debug-command", "local"]
        if self.port:
            arguments += ["--port", str(self.port), "--bind", HOST]
        if self.password:
            arguments += ["--requirepass", self.password]
        for user in self.users:
            arguments += ["--user", *user.split()]
        return [*arguments, *self.arguments]

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "the server was not started"
        os.kill(self._process.pid, number)
        assert self._process.wait(SECONDS), f"{self!r} did not end"


@attrs.define(kw_only=True, eq=False, repr=False)
class Sentinel(Server):
    """A Sentinel that watches another server.

    Attributes:
        watches: That one, which listens on a port.
    """

    watches: Server

    def _all_arguments(self) -> list[str]:
        watched = f"sentinel monitor jobs {HOST} {self.watches.port} 1\n"
        (self.home.path / "sentinel.conf").write_text(watched, encoding="utf-8")
        port = ("--port", str(self.port), "--bind", HOST)
        return ["sentinel.conf", "--sentinel", "--unixsocket", self.socket.name, *port, *self.arguments]


@attrs.frozen
class Pair:
    """A primary and its replica, in step at the start."""

    primary: Server
    replica: Server

    def catch_up(self) -> None:
        """Wait until the replica has everything."""
        with self.primary.client() as client:
            commands = cast(Any, client)
            commands.set("pair:mark", 1)
            reached = commands.execute_command("WAIT", 1, int(SECONDS * 1000))
            commands.delete("pair:mark")
        assert reached == 1, f"{self.replica!r} did not follow"

    def fail_over(self) -> None:
        """The replica becomes the primary, the primary its replica: what it held alone is lost."""
        self.replica.command("REPLICAOF", "NO", "ONE")
        self.primary.command("REPLICAOF", HOST, self.replica.port)


@contextmanager
def replica_pair(program: Path, **options: Any) -> Generator[Pair]:
    """Two servers, the second a replica of the first and in step with it; ``options`` are those of `Server`."""
    extra = ("--repl-diskless-sync-delay", "0", *options.pop("arguments", ()))
    with Server(program=program, tcp=True, arguments=extra, **options) as primary:
        follow = ("--replicaof", HOST, str(primary.port), *extra)
        with Server(program=program, tcp=True, arguments=follow, **options) as replica:
            pair = Pair(primary, replica)
            pair.catch_up()
            yield pair


def free_port() -> int:
    """A port that nobody listens on; the kernel hands out others for a while before it comes back to this one."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


@cache
def version_of(program: Path) -> tuple[str, int, int]:
    """Such as ``("redis", 8, 2)``."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.match(r"(\w+) server v=(\d+)\.(\d+)", said)
    assert found is not None, f"{program} says {said!r}"
    return found[1].lower(), int(found[2]), int(found[3])


def cannot_start(server: Server) -> str:
    """Start a server that must not come up; what it said."""
    try:
        server.start()
    except RedisUnavailable as error:
        return str(error)
    server.stop()
    raise AssertionError(f"{server!r} came up")
