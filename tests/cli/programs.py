"""Driving the command line as its users do: as a process with arguments, signals, two outputs and an exit code."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast

import anyio
from tests.support.limits import now
from tests.support.servers import Server

from anyq import Queue

HERE = Path(__file__).parent
SECONDS = 40.0

BACKENDS = ["asyncio", "trio"]


class Program:
    """One run of the command line.

    Args:
        arguments: What follows ``anyq``.
        url: What ``$ANYQ_URL`` says.
        module: Another program than AnyQ's.
        folder: Where it runs.
    """

    def __init__(
        self, *arguments: str, url: str = "", module: str = "anyq", folder: Path = HERE, **options: Any
    ) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
            env={**os.environ, **({"ANYQ_URL": url} if url else {})},
            **options,
        )
        self._said: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._lines: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=(stream,), daemon=True)
            for stream in (self.process.stdout, self.process.stderr)
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                self._said.put(line)

    def until(self, words: str, count: int = 1) -> list[str]:
        """Wait until it has said a line with these words, ``count`` times since its start; gives those lines."""
        ends = now(self.process.pid) + SECONDS
        while len(found := [line for line in self._lines if words in line]) < count:
            try:
                self._lines.append(self._said.get(timeout=0.5))
            except queue.Empty:
                if now(self.process.pid) < ends:
                    continue
                raise AssertionError(f"it never said {words!r}, but:\n{''.join(self._lines)}") from None
        return found

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def exit_code(self) -> int:
        """Wait for its end."""
        return self.process.wait(SECONDS)

    @property
    def output(self) -> str:
        """All that it said, both outputs together; after its end."""
        for reader in self._readers:
            reader.join(SECONDS)
        while not self._said.empty():
            self._lines.append(self._said.get())
        return "".join(self._lines)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for reader in self._readers:
            reader.join(SECONDS)


def ended(programs: Iterable[Program]) -> float:
    """Wait for the end of all; give the longest time that one took, less that in which somebody waited for a core."""
    left = {program: now(program.process.pid) for program in programs}
    took = 0.0
    while left:
        for program, began in list(left.items()):
            with suppress(subprocess.TimeoutExpired):
                program.process.wait(0.02)
                took = max(took, now(program.process.pid) - began)
                del left[program]
            if program in left:
                assert now(program.process.pid) - began < SECONDS, f"{program.process.args!r} does not end"
    return took


def worker(url: str, *arguments: str) -> Program:
    """A worker of the queue of `jobs.py`."""
    return Program("worker", "jobs:queue", *arguments, url=url)


def enqueue(url: str, *names: str) -> list[str]:
    """Enqueue jobs of `jobs.py`, and give their ids."""
    queue = Queue("cli", url)

    async def main() -> list[str]:
        async with queue:
            return [(await queue.enqueue(name)).id for name in names]

    return anyio.run(main)


def ready(server: Server) -> int:
    """How many jobs are ready, wherever they lie, and nobody's."""
    keys = Queue("cli").keys
    return sum(server.command("XLEN", lane) for lane in keys.lanes)


def left_behind(server: Server) -> list[object]:
    """Consumers and their pending entries."""
    keys = Queue("cli").keys
    with server.client() as client:
        commands = cast(Any, client)
        return [
            consumer
            for lane in keys.lanes
            if commands.exists(lane)
            for consumer in commands.xinfo_consumers(lane, "default")
        ]
