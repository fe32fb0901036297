"""Starting a server and knowing when it is there, or why it is not.

Rule: whoever starts one holds ``users.lock`` already; otherwise the supervisor finds nobody and ends it at once.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import attrs

from ..errors import ConfigurationError, RedisUnavailable
from . import locks
from .directory import SOCKET, Directory
from .program import find_program

_ALWAYS = (
    *("--port", "0", "--unixsocket", SOCKET, "--unixsocketperm", "700"),
    *("--daemonize", "no", "--logfile", "", "--maxmemory-policy", "noeviction", "--save", ""),
)
DURABLE = (*_ALWAYS, "--appendonly", "yes", "--appendfsync", "everysec")
"""The arguments of a server that keeps its data; every version since 6.2 and Valkey knows them."""
IN_MEMORY = (*_ALWAYS, "--appendonly", "no")
"""The arguments of a server that writes nothing down."""

STARTING = 10.0  # seconds from the program's start to the first answer, reading the data back not counted
LOADING = 5.0  # seconds to wait while it reads its data back; clients meet LOADING replies after that, and know them
ENDING = 15.0  # seconds for the server before this one to write its data down; its supervisor gives it 10
LOG_LIMIT = 1_000_000  # bytes; a longer log is put aside at the next start


@attrs.define(eq=False)
class Process:
    """A server as its starter sees it.

    Attributes:
        pid: The server's process id.
    """

    pid: int
    _report: int

    @property
    def running(self) -> bool:
        """Whether the server is still there."""
        return not self.wait(0)

    def wait(self, seconds: float) -> bool:
        """Wait for the end of the server and of its supervisor; ``False`` when they are still there."""
        if self._report < 0:
            return True
        if not select.select([self._report], [], [], seconds)[0]:
            return False
        self.detach()
        return True

    def end(self, seconds: float) -> None:
        """Tell it to end, though others may use it, and wait for that; afterwards it is certainly gone."""
        if self.wait(0.2):  # the ordinary case: its supervisor saw the last user go
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):  # it ended by itself a moment ago
                os.kill(self.pid, number)
            if self.wait(seconds):
                return

    def detach(self) -> None:
        """Forget about it; it goes on as long as it has users."""
        if self._report >= 0:
            os.close(self._report)
            self._report = -1


def is_listening(path: Path) -> bool:
    """Whether a server takes connections at this socket; a busy one does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(os.fspath(path))
        except TimeoutError:
            return True  # it has a queue of callers, so it lives
        except OSError:
            return False
        return True


def use(
    directory: Directory, program: Path | None, arguments: Sequence[str], *, discard: bool
) -> tuple[int, Process | None]:
    """Become a user of the server in a directory, and start it when it is not there.

    Args:
        directory: Where it runs.
        program: The server program; ``None`` looks for one, when it is needed.
        arguments: What a server that has to be started is told; see ``DURABLE`` and ``IN_MEMORY``.
        discard: Such a server leaves nothing behind; see `start`.

    Returns:
        The open file that makes this process a user until it is closed, and the server, if this call started it.

    Raises:
        ServerNotFound: There is no server program.
        RedisUnavailable: It did not start.
    """
    users = locks.take(
        directory.users,
        shared=True,
        seconds=ENDING,
        waiting_for="its last user left, and the server is still writing",
    )
    try:
        with locks.held(
            directory.start,
            seconds=STARTING + LOADING + ENDING,
            waiting_for="another process is starting the server",
        ):
            process = None
            if not is_listening(directory.socket):
                process = start(directory, program or find_program(), arguments, discard=discard)
            if process is None:
                _wait_while_it_loads(directory.socket)  # its starter may have been killed before it could
            return users, process
    except BaseException:
        locks.release(users)
        if discard:
            shutil.rmtree(directory.path, ignore_errors=True)
        raise


def start(directory: Directory, program: Path, arguments: Sequence[str], *, discard: bool) -> Process | None:
    """Start a server and wait until it answers.

    Args:
        directory: Where it runs; the caller holds its ``users.lock`` and ``start.lock``.
        program: The server program.
        arguments: What it is told; see ``DURABLE`` and ``IN_MEMORY``.
        discard: At its end kill it and remove the directory, instead of writing everything down.

    Returns:
        The process, or ``None`` when another server turned out to be listening already.

    Raises:
        RedisUnavailable: It did not start; the message has the last lines of its log.
    """
    lock = locks.take(
        directory.server,
        shared=False,
        seconds=ENDING,
        waiting_for="a server has this data, but does not listen; see server.log beside it, and end that server",
        unless=lambda: is_listening(directory.socket),
    )
    if lock < 0:
        return None
    try:
        said_before = _trim_log(directory.log)
        process = _launch(directory, program, arguments, lock, discard=discard)
    finally:
        locks.release(lock)  # the server has it now
    try:
        _wait_until_it_answers(process, directory, program, said_before)
    except BaseException:
        process.detach()
        raise
    return process


def _launch(
    directory: Directory, program: Path, arguments: Sequence[str], lock: int, *, discard: bool
) -> Process:
    if getattr(sys, "frozen", False):  # sys.executable is the application: it would start itself again
        raise ConfigurationError(
            "embedded:// needs a Python interpreter to watch over its server, and a frozen application has none: "
            "start redis-server by other means and give its URL"
        )
    supervisor = Path(__file__).with_name("supervisor.py")
    ending = "discard" if discard else "keep"
    command = [sys.executable, "-I", "-S", str(supervisor), ending, str(program), *arguments]
    with directory.log.open("ab") as log:
        try:
            launcher = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=directory.path,
                pass_fds=[lock],
                start_new_session=True,
            )
        except OSError as error:
            raise RedisUnavailable(
                f"the embedded server cannot be started through {sys.executable!r}: {error}"
            ) from error
    assert launcher.stdout is not None
    with launcher.stdout as pipe:
        report = os.dup(pipe.fileno())
    launcher.wait()
    process = Process(0, report)
    try:
        process.pid = int(os.read(report, 32) or b"0")
    except BaseException:
        process.detach()
        raise
    return process


def _wait_until_it_answers(process: Process, directory: Directory, program: Path, said_before: int) -> None:
    began = time.monotonic()
    pause = 0.001
    while True:
        answer = _ping(directory.socket)
        waited = time.monotonic() - began
        if answer.startswith(b"-LOADING"):
            if waited > LOADING:
                return
        elif answer:
            return
        if process.wait(pause):
            reason = "did not start"
        elif waited > STARTING:
            reason = f"does not answer after {STARTING:g} s"
        else:
            pause = min(pause * 1.5, 0.004)
            continue
        raise RedisUnavailable(
            f"the embedded server {program} {reason} in {directory.path}; its log ends:\n"
            f"{_tail(directory.log, said_before)}"
        )


def _wait_while_it_loads(path: Path) -> None:
    until = time.monotonic() + LOADING
    while _ping(path).startswith(b"-LOADING") and time.monotonic() < until:
        time.sleep(0.005)


def _ping(path: Path) -> bytes:
    """Ask whether it is there; any answer says so, even one that wants a password. Nothing: not yet."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(os.fspath(path))
            probe.sendall(b"PING\r\n")
            return probe.recv(256)
        except OSError:
            return b""


def _trim_log(log: Path) -> int:
    """Put a long log aside; the position where this start's lines will begin."""
    try:
        size = log.stat().st_size
        if size > LOG_LIMIT:
            log.replace(log.with_suffix(".log.old"))
            return 0
    except FileNotFoundError:
        return 0
    return size


def _tail(log: Path, since: int, lines: int = 8) -> str:
    with log.open("rb") as file:
        file.seek(since)
        said = file.read().decode(errors="replace").splitlines()
    return "\n".join(f"  {line}" for line in said[-lines:]) or "  (it said nothing)"
