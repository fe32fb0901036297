"""What the fault tests share: a view of what the server holds, a ledger of what ran, and worker processes to kill.

Rule: each test breaks something and ends in the ledger: every job whose ``enqueue`` returned was
run, is a dead letter, or is still stored; and what ran twice has a reason.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import anyio
import attrs
import pytest
from tests.support.proxy import FaultProxy, fault_proxy
from tests.support.servers import SECONDS, Server
from tests.support.working import AT_ONCE as AT_ONCE
from tests.support.working import working as working

from anyq import Queue

#: What leaving a worker may take beyond its ``drain_timeout``.
GRACE = 4.0

PROCESS = Path(__file__).with_name("process.py")


async def until(happened: Callable[[], object], *, within: float = SECONDS) -> None:
    """Look, again and again, whether something has happened that tells nobody, such as a change on the server."""
    with anyio.fail_after(within):
        while not happened():
            with anyio.move_on_after(0.005):
                await anyio.sleep_forever()


@attrs.define
class View:
    """What the server holds of one queue, asked on a connection that no fault touches."""

    server: Server
    queue: Queue

    def ask(self, *words: Any) -> Any:
        return self.server.command(*words)

    @property
    def stored(self) -> int:
        """Entries in the streams, those in workers' hands included."""
        return sum(self.ask("XLEN", lane) for lane in self.queue.keys.lanes)

    @property
    def delayed(self) -> int:
        return cast("int", self.ask("ZCARD", self.queue.keys.delayed))

    @property
    def consumers(self) -> dict[str, int]:
        """How much each consumer is said to hold."""
        held: Counter[str] = Counter()
        with self.server.client() as client:
            for lane in self.queue.keys.lanes:
                if client.exists(lane):
                    for row in cast("Any", client).xinfo_consumers(lane, "default"):
                        held[row["name"].decode()] += row["pending"]
        return dict(held)

    @property
    def pending(self) -> int:
        return sum(self.consumers.values())

    def letters(self) -> list[dict[str, bytes]]:
        with self.server.client() as client:
            rows: Any = client.xrange(self.queue.keys.dead_letters)
        return [{name.decode(): value for name, value in fields.items()} for _, fields in rows]

    def reasons(self) -> dict[str, str]:
        """Why each dead letter's job was given up, by the first bytes of what it carries."""
        return {letter["d"].decode("latin-1"): letter["reason"].decode() for letter in self.letters()}

    def assert_nobody_is_left(self) -> None:
        """No consumer, and so nothing pending."""
        assert self.consumers == {}


@pytest.fixture
def queue(redis_url: str) -> Queue:
    """A queue on an empty server."""
    return Queue("work", redis_url)


@pytest.fixture
def view(server: Server, queue: Queue) -> View:
    return View(server, queue)


@pytest.fixture
async def proxy(anyio_backend: object, server: Server, redis_url: str) -> AsyncGenerator[FaultProxy]:
    async with fault_proxy(server.socket) as proxy:
        yield proxy


@attrs.define
class Transitions:
    """How often a worker said that Redis was lost, and that it was back."""

    records: pytest.LogCaptureFixture

    def _count(self, *words: str) -> int:
        return sum(
            record.name == "anyq.redis"
            and "worker" in record.getMessage()
            and any(w in record.getMessage() for w in words)
            for record in self.records.records
        )

    @property
    def lost(self) -> int:
        return self._count("lost Redis")

    @property
    def back(self) -> int:
        return self._count("has Redis back")


@pytest.fixture
def transitions(caplog: pytest.LogCaptureFixture) -> Transitions:
    caplog.set_level(logging.INFO, logger="anyq")
    return Transitions(caplog)


@attrs.define(eq=False)
class Fleet:
    """Worker processes, and what they said."""

    queue: Queue
    url: str
    backend: str
    tasks: anyio.abc.TaskGroup
    said: list[dict[str, Any]] = attrs.field(factory=list)
    processes: list[anyio.abc.Process] = attrs.field(factory=list)
    _news: anyio.Event = attrs.field(factory=anyio.Event)

    async def start(self, **settings: Any) -> anyio.abc.Process:
        """Start a worker process; returns when it is ready."""
        command = [
            sys.executable,
            str(PROCESS),
            self.backend,
            self.url,
            self.queue.name,
            json.dumps(settings),
        ]
        process = await anyio.open_process(command, stderr=None)
        self.processes.append(process)
        self.tasks.start_soon(self._listen, process)
        await self.until(lambda: self.of("ready", process))
        return process

    async def _listen(self, process: anyio.abc.Process) -> None:
        assert process.stdout is not None
        rest = b""
        async for data in process.stdout:
            *lines, rest = (rest + data).split(b"\n")
            self.said += [json.loads(line) for line in lines]
            self._news.set()
            self._news = anyio.Event()
        await process.wait()
        self._news.set()
        self._news = anyio.Event()

    async def until(self, happened: Callable[[], object], *, within: float = 2 * SECONDS) -> None:
        """Wait until the processes have said something; asked whenever one of them speaks or ends."""
        with anyio.fail_after(within):
            while not happened():
                await self._news.wait()

    def of(self, kind: str, *processes: anyio.abc.Process) -> list[dict[str, Any]]:
        """What was said of one kind, by some processes or by all."""
        pids = {process.pid for process in processes}
        return [words for words in self.said if kind in words and (not pids or words["pid"] in pids)]

    def logged(self, words: str, *processes: anyio.abc.Process) -> list[dict[str, Any]]:
        return [one for one in self.of("log", *processes) if words in one["log"]]

    def runs(self, *processes: anyio.abc.Process) -> Counter[int]:
        """How often each job ran."""
        return Counter(words["ran"] for words in self.of("ran", *processes))

    def signal(self, process: anyio.abc.Process, number: signal.Signals) -> float:
        """Send a signal; the moment of it."""
        process.send_signal(number)
        return time.monotonic()

    async def kill(self) -> None:
        """End all at once, without a word."""
        for process in self.processes:
            process.kill()
            await process.wait()

    async def dismiss(self, process: anyio.abc.Process) -> None:
        """Let one leave in an orderly way, and wait until it has."""
        assert process.stdin is not None
        await process.stdin.aclose()
        with anyio.fail_after(SECONDS):
            await process.wait()

    async def leave(self) -> None:
        """End all that still run, in an orderly way."""
        for process in self.processes:
            if process.returncode is None and process.stdin is not None:
                await process.stdin.aclose()  # twice is fine
        for process in self.processes:
            with anyio.fail_after(SECONDS):
                await process.wait()


@asynccontextmanager
async def fleet_of(queue: Queue, url: str, backend: str) -> AsyncGenerator[Fleet]:
    async with anyio.create_task_group() as tasks:
        fleet = Fleet(queue, url, backend, tasks)
        try:
            yield fleet
            await fleet.leave()
        except Exception as error:
            error.add_note("\n".join(["The processes said:", *map(str, fleet.said[-50:])]))
            raise
        finally:
            for process in fleet.processes:
                if process.returncode is None:
                    process.kill()
            with anyio.CancelScope(shield=True):
                for process in fleet.processes:
                    await process.aclose()


@pytest.fixture
async def fleet(anyio_backend: tuple[str, Any], queue: Queue) -> AsyncGenerator[Fleet]:
    async with fleet_of(queue, queue.url, anyio_backend[0]) as fleet:
        yield fleet
