"""Functions that run in worker processes, which import this module; and, as a program, a worker to be killed.

``python functions.py BACKEND URL`` works for ever, and its processes say their numbers on its stdout.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from anyq import Queue, RetryLater, Unrecoverable, Worker, current_job

LOCK = threading.Lock()


class Odd(Exception):
    """Cannot be made again from its arguments."""

    def __init__(self, number: int, *, word: str) -> None:
        super().__init__(f"{word} {number}")


def add(a: int, b: int = 0, /, *, c: int = 0) -> int:
    return a + b + c


def pid() -> int:
    return os.getpid()


def note(path: str, go: str | None = None) -> int:
    """Leave this process's number in a file, and wait until another file is there."""
    Path(path).with_suffix(".new").write_text(str(os.getpid()))
    Path(path).with_suffix(".new").rename(path)
    while go is not None and not Path(go).exists():
        time.sleep(0.005)
    return os.getpid()


def hold(path: str) -> None:
    """Never let go of the interpreter: no other thread of the process runs any more."""
    note(path)
    re.match(r"(a+)+$", "a" * 60 + "b")


def with_child(path: str) -> None:
    """Start a process that would outlive this one."""
    child = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(1000)"], stdin=subprocess.DEVNULL
    )
    Path(path).with_suffix(".new").write_text(str(child.pid))
    Path(path).with_suffix(".new").rename(path)
    child.wait()


def fork_and_die() -> None:
    """Die, and leave a fork behind that keeps all pipes open."""
    if os.fork() == 0:
        signal.sigwait({signal.SIGUSR1})
    os._exit(3)


def segfault() -> None:
    ctypes.string_at(0)


def end(code: int) -> None:
    os._exit(code)


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leave() -> None:
    sys.exit("enough")


def fail(what: str) -> None:
    errors: dict[str, Exception] = {
        "value": ValueError("wrong"),
        "odd": Odd(7, word="odd"),
        "unrecoverable": Unrecoverable("never"),
        "later": RetryLater(3600),
        "local": type("Local", (Exception,), {})("from here"),
    }
    raise errors[what]


def unpicklable() -> Any:
    return LOCK


def about() -> list[Any]:
    job = current_job()
    print("said in a process")
    return [job.id, job.name, job.attempt, job.attempts, job.queue, job.payload, job.deadline is not None]


def tell() -> None:
    job = current_job()
    job.log("first")
    job.progress(1, 2, "half")
    job.log("second")
    with contextlib.suppress(TypeError):
        job.progress("half")  # type: ignore[arg-type]
    job.progress(2, 2)


def sockets() -> list[str]:
    """What the sockets of this process lead to."""
    found: list[str] = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            if not str(entry.readlink()).startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(entry.name))) as one:
                found.append(repr(one.getpeername()))
        except OSError:
            continue
    return found


class Namespace:
    @staticmethod
    def inside() -> str:
        return "inside"


made = Queue("made elsewhere").task(executor="process")(add)


@Queue("decorated").task(executor="process")
def decorated(word: str) -> str:
    return word.upper()


async def work(url: str) -> None:
    queue = Queue("killed", url)
    for function in (note, hold):
        queue.task(function, executor="process")
    await Worker(queue, processes=2).run()


if __name__ == "__main__":
    import anyio

    anyio.run(work, sys.argv[2], backend=sys.argv[1])
