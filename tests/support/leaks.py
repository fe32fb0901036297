"""What a test leaves behind fails it: tasks, threads, child processes, sockets. Each check compares before and after.

Rule: a check waits for an end that is under way, by an event, and costs a test well under a millisecond.
"""

from __future__ import annotations

import asyncio
import gc
import os
import select
import sys
import threading
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sniffio
import trio
from tests.support import servers

GRACE = 2.0  # seconds for what is ending anyway


@pytest.fixture
async def no_task_is_left_behind(anyio_backend: object) -> AsyncGenerator[None]:
    """Runs in the test's own loop, around all of its other asynchronous fixtures."""
    if sniffio.current_async_library() == "trio":
        before = trio.lowlevel.current_statistics().tasks_living
        yield
        left = trio.lowlevel.current_statistics().tasks_living - before
        assert left <= 0, f"{left} tasks left running"
    else:
        known = asyncio.all_tasks()
        yield
        tasks = {task for task in asyncio.all_tasks() - known if not _is_the_runner(task)}
        assert not tasks, f"tasks left running: {tasks}"


@contextmanager
def no_thread_leaks() -> Generator[None]:
    """Daemon threads do not count: caches of idle threads (Trio's) are made of them."""
    known = set(threading.enumerate())
    yield
    until = time.monotonic() + GRACE
    for thread in set(threading.enumerate()) - known:
        if not thread.daemon:
            thread.join(max(0.0, until - time.monotonic()))
            assert not thread.is_alive(), f"thread left running: {thread}"


@contextmanager
def no_process_leaks() -> Generator[None]:
    """Neither children nor servers, which are nobody's children."""
    known, known_servers = child_processes(), set(servers.running)
    yield
    left = {child for child in child_processes() - known if not _ends(child)}
    assert not left, f"child processes left running: {[_name(child) for child in left]}"
    forgotten = servers.running - known_servers
    for server in forgotten:
        server.stop()
    assert not forgotten, f"servers left running: {forgotten}"


@contextmanager
def no_socket_leaks() -> Generator[None]:
    """A socket that is only waiting for the collector was leaked too: its ResourceWarning is an error."""
    known = open_sockets()
    yield
    left = open_sockets() - known
    if left:
        gc.collect()
        left = open_sockets() - known
    assert not left, f"sockets left open: {sorted(left)}"


def child_processes() -> set[int]:
    """The children of this process, zombies included; empty where there is no /proc to look at."""
    if sys.platform != "linux":
        return set()
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return set()  # nearly always, and a hundred times cheaper than looking around
    me = os.getpid()
    return {
        int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _parent(entry) == me
    }


def open_sockets() -> set[tuple[int, str]]:
    """Descriptor and identity of each open socket of this process."""
    found: set[tuple[int, str]] = set()
    if sys.platform == "linux":
        for entry in Path("/proc/self/fd").iterdir():
            try:
                target = str(entry.readlink())
            except FileNotFoundError:
                continue  # the listing's own
            if target.startswith("socket:"):
                found.add((int(entry.name), target))
    return found


def _is_the_runner(task: asyncio.Task[object]) -> bool:
    """AnyIO's test runner makes a task for each fixture and test that it calls."""
    return "TestRunner." in getattr(task.get_coro(), "__qualname__", "")


def _parent(process: Path) -> int:
    try:
        stat = (process / "stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(stat.rpartition(b")")[2].split()[1])


def _ends(pid: int) -> bool:
    """Whether a child ends within the grace; a zombie has ended, but its parent forgot to wait for it."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        select.select([descriptor], [], [], GRACE)
    finally:
        os.close(descriptor)
    return pid not in child_processes()


def _name(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except FileNotFoundError:
        return str(pid)
    return f"{pid} {words or '(zombie)'}"
