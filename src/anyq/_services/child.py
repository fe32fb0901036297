"""The program of a worker process: runs one plain function at a time for the worker that started it, and dies with it.

It reads requests from the pipe that was its standard input and answers on the one that was its standard output; what
functions print goes where the worker's own output goes. A second pipe, which nobody ever writes to, is its lifeline:
the kernel closes the other end however the worker ends, and that kills this process and what it started, also in the
middle of a call that never lets go of the interpreter.
"""

from __future__ import annotations

import os
import pickle
import signal
import struct
import sys
import threading
import traceback
import types
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import attrs

from .._core.job import NO_OVERRIDE, Job
from .._core.notes import pack_line, pack_progress
from ..context import running_job
from .clock import wall_ms

#: Length of a message, and its kind.
HEADER = struct.Struct(">QB")

#: Kinds of messages: to the child,
RUN, QUIT = 0, 1
#: and from it.
BEGUN, TOLD, RETURNED, RAISED, UNPICKLABLE = 2, 3, 4, 5, 6

#: Whether the user's main program is being imported here, for the sake of a function in it.
importing_main: bool = False


@attrs.frozen(kw_only=True)
class Request:
    """What a child is asked to run. The arguments are pickled by themselves: to read them, the module must be there.

    Attributes:
        module: The function's module.
        name: Its qualified name there.
        main: How to import the main program, if that is the module: by ``name`` or ``path``, and which.
        arguments: The positional and the named arguments and the payload, pickled.
        job: What `current_job` is made of.
        timeout: Seconds that the run may take, or ``None``.
    """

    module: str
    name: str
    main: tuple[str, str] | None
    arguments: bytes
    job: dict[str, Any]
    timeout: float | None


@attrs.frozen
class Failure:
    """What a run raised.

    Attributes:
        exception: The exception, pickled; ``None`` if it could not be.
        type: The name of its type.
        message: Its text.
        traceback: Its formatted traceback.
    """

    exception: bytes | None
    type: str
    message: str
    traceback: str


class _Relay:
    """Passes on what a job tells about itself, until its run has ended; stands where a job has its queue."""

    def __init__(self, say: Callable[[int, bytes], None]) -> None:
        self.journal = self
        self._say = say
        self._lock = threading.Lock()
        self._ended = False

    def progress(self, job: Job, current: object, total: object, message: object) -> None:
        """Pass a progress on; a wrong one is refused here, where it was made."""
        pack_progress(current, total, message, 0, job.attempt)
        self._pass_on("progress", (current, total, message))

    def log(self, job: Job, text: object) -> None:
        """Pass a line on."""
        pack_line(text, sys.maxsize, 0, job.attempt)
        self._pass_on("log", (text,))

    def begun(self) -> None:
        """Say that the run begins."""
        self._say(BEGUN, b"")

    def end(self, answer: tuple[int, bytes]) -> None:
        """Say what came of the run; what a thread that it left behind tells is nobody's business."""
        with self._lock:
            self._ended = True
            self._say(*answer)

    def _pass_on(self, what: str, words: tuple[object, ...]) -> None:
        with self._lock:
            if not self._ended:
                self._say(TOLD, pickle.dumps((what, words)))


def main(lifeline: int, output: int) -> None:
    """Serve until told to quit.

    Args:
        lifeline: The pipe that ends with the worker.
        output: The worker's standard output.
    """
    _hold_on_to(lifeline)
    source, sink = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.close(nothing)
    os.close(output)
    while True:
        kind, body = _read(source)
        if kind == QUIT:
            return
        relay = _Relay(partial(_write, sink))
        answer = _run(pickle.loads(body), relay)
        with suppress(OSError, ValueError):
            sys.stdout.flush()
        relay.end(answer)


def _hold_on_to(lifeline: int) -> None:
    """See to it that this process ends when the other end of the pipe is closed."""
    if sys.platform == "linux":  # the kernel itself, whatever this process is doing
        import fcntl

        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)

    def wait() -> None:
        os.read(lifeline, 1)
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=wait, name="anyq lifeline", daemon=True).start()


def _run(request: Request, relay: _Relay) -> tuple[int, bytes]:
    try:
        function = _find(request)
        args, kwargs, payload = pickle.loads(request.arguments)
        known: dict[str, Any] = {**request.job, "payload": payload, "home": relay}
        job = Job(**known, override=NO_OVERRIDE, body=b"", lane=b"", entry=b"", lost=0)
        if request.timeout is not None:
            job.deadline_ms = wall_ms() + round(request.timeout * 1000)
        running_job.set(job)
        relay.begun()
        value = function(*args, **kwargs)
    except BaseException as error:  # noqa: BLE001 - whatever it is, it ends the run and not this process
        return RAISED, pickle.dumps(_failure(error))
    try:
        return RETURNED, pickle.dumps(value)
    except Exception as error:  # noqa: BLE001 - a user's object may do anything when it is pickled
        return UNPICKLABLE, f"{type(error).__name__}: {error}".encode("utf-8", "replace")


def _failure(error: BaseException) -> Failure:
    inner = error.__traceback__ and error.__traceback__.tb_next  # without this file's own frame
    text = "".join(traceback.format_exception(type(error), error, inner))
    try:
        message = str(error)
        pickled: bytes | None = pickle.dumps(error.with_traceback(None))
        pickle.loads(pickled or b"")  # many an exception can be written, and not read again
    except Exception as problem:  # noqa: BLE001 - a user's exception may do anything too
        return Failure(None, type(error).__name__, f"{error.args!r} ({problem!r})", text)
    return Failure(pickled, type(error).__name__, message, text)


def _find(request: Request) -> Callable[..., Any]:
    """Import a task's function; under its name there may be the task that was made of it."""
    if request.main is not None:
        module = _import_main(*request.main)
    else:
        __import__(request.module)
        module = sys.modules[request.module]
    found: Any = module
    for part in request.name.split("."):
        found = getattr(found, part)
    function = found if isinstance(found, types.FunctionType) else getattr(found, "function", None)
    if not isinstance(function, types.FunctionType):
        raise TypeError(f"{request.module}.{request.name} is {found!r}, and neither a function nor a task")
    return function


def _import_main(how: str, where: str) -> types.ModuleType:
    """Import the worker's main program, not as the main program, as multiprocessing does."""
    global importing_main
    import runpy

    name = "__mp_main__"
    if name not in sys.modules:
        importing_main = True
        try:
            if how == "name":
                names = runpy.run_module(where, run_name=name, alter_sys=True)
            else:
                names = runpy.run_path(where, run_name=name)
        finally:
            importing_main = False
        module = types.ModuleType(name)
        module.__dict__.update(names)
        sys.modules["__main__"] = sys.modules[name] = module
    return sys.modules[name]


def _read(source: int) -> tuple[int, bytes]:
    size, kind = HEADER.unpack(_exactly(source, HEADER.size))
    return kind, _exactly(source, size)


def _exactly(source: int, size: int) -> bytes:
    parts: list[bytes] = []
    while size:
        part = os.read(source, min(size, 1 << 20))
        if not part:
            os.killpg(os.getpgrp(), signal.SIGKILL)  # the worker is gone
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _write(sink: int, kind: int, body: bytes) -> None:
    rest = memoryview(HEADER.pack(len(body), kind) + body)
    while rest:
        rest = rest[os.write(sink, rest) :]
