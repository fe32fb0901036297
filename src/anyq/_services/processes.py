"""Worker processes: plain functions that can be killed.

A few processes are kept, each runs one function at a time, and one whose run was cut short, for whatever reason, is
killed at once and not used again. Processes that nobody needs are not started; what they are told and answer goes
through pipes of their own, and nothing else of this process is inherited (Python's descriptors are not).

They are started by a command and not forked: a fork of a process with threads, an event loop and connections is none of
the three.
"""

from __future__ import annotations

import logging
import math
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FunctionType
from typing import Any, cast

import anyio
import attrs
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from .._core.job import Job
from .._core.outcome import BAD_RESULT, Error, Hopeless
from ..errors import ProcessDied
from .child import BEGUN, HEADER, QUIT, RAISED, RETURNED, RUN, TOLD, Failure, Request

logger = logging.getLogger("anyq.processes")

#: Seconds in which a process must have imported what it needs.
_PATIENCE = 60.0

#: Seconds in which a process that was killed is gone, and one that was asked to leave has left.
_GONE = 2.0

#: Seconds between two looks whether idle processes are still there.
_LOOK = 1.0

#: Seconds in which what a process said last is on its way.
_LAST_WORDS = 0.2

_BROKEN = (
    anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError, anyio.ClosedResourceError, ConnectionError
)  # fmt: skip

_PROGRAM = """\
import sys
sys.path[:], sys.argv[:] = {path!r}, {argv!r}
from anyq._services.child import main
main({lifeline}, {output})
"""


@attrs.define(eq=False)
class _Child:
    """A process, and what connects us to it.

    Attributes:
        process: The process.
        inbox: What it says.
        lifeline: Closing it kills the process and whatever it started.
        used: Whether it has served before.
        begun: Whether the present run has begun.
    """

    process: Process
    inbox: BufferedByteReceiveStream
    lifeline: int
    used: bool = False
    begun: bool = False

    async def say(self, kind: int, body: bytes = b"") -> None:
        assert self.process.stdin is not None
        await self.process.stdin.send(HEADER.pack(len(body), kind) + body)

    async def hear(self) -> tuple[int, bytes]:
        size, kind = HEADER.unpack(await self.inbox.receive_exactly(HEADER.size))
        return kind, await self.inbox.receive_exactly(size) if size else b""

    def kill(self) -> None:
        """Kill it, and whatever it started; without waiting."""
        if self.process.returncode is None or self.begun:  # just now: its number is not somebody else's yet
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        if self.lifeline >= 0:
            os.close(self.lifeline)
            self.lifeline = -1


class Processes:
    """The processes of a worker.

    Args:
        limit: How many there are at most.
    """

    def __init__(self, limit: int) -> None:
        self._limiter = anyio.CapacityLimiter(limit)
        self._idle: list[_Child] = []

    async def run(
        self,
        function: Callable[..., Any],
        job: Job,
        args: list[Any],
        kwargs: dict[str, Any],
        timeout: float | None,
        begun: Callable[[], None],
    ) -> Any:
        """Run a function in a process, and give what it returns or raise what it raises.

        Args:
            function: A function that can be imported.
            job: The job.
            args: Positional arguments.
            kwargs: Named ones.
            timeout: Seconds that the run may take: for the function to know. Cancelling is the caller's business.
            begun: Called when the run begins, in the process.

        Raises:
            ProcessDied: The process ended in the middle of the run.
            TypeError: An argument cannot be pickled.

        Cancelled, it kills the process, and what that started, before it returns.
        """
        request = _request(function, job, args, kwargs, timeout)
        async with self._limiter:
            while True:
                child = self._idle.pop() if self._idle else await self._start()
                try:
                    answer = await self._converse(child, job, request, begun)
                except _BROKEN:
                    await self._bury(child)
                    if child.begun or not child.used:
                        raise ProcessDied(job.id, job.name, child.process.returncode) from None
                    logger.debug("an idle process had died; another one takes its place")
                except BaseException:
                    await self._bury(child)
                    raise
                else:
                    child.used, child.begun = True, False
                    self._idle.append(child)
                    return _open(answer)

    async def mind(self) -> None:
        """Put idle processes away that have died, until cancelled: on Trio they stay zombies until somebody asks."""
        while True:
            await anyio.sleep(_LOOK)
            for child in [one for one in self._idle if one.process.returncode is not None]:
                if child in self._idle:  # while another one was put away, a run may have met it
                    self._idle.remove(child)
                    await self._bury(child)

    async def close(self, deadline: float) -> None:
        """Let idle processes leave by themselves until the deadline, then kill them."""
        async with anyio.create_task_group() as nursery:
            while self._idle:
                nursery.start_soon(self._dismiss, self._idle.pop(), deadline)

    async def _converse(
        self, child: _Child, job: Job, request: bytes, begun: Callable[[], None]
    ) -> tuple[int, bytes]:
        """Ask and wait for the answer, or for the process's end: a pipe may be kept open by what it started."""
        answer: tuple[int, bytes] | None = None
        with anyio.CancelScope() as patience:
            async with anyio.create_task_group() as nursery:
                nursery.start_soon(self._watch, child, nursery.cancel_scope)
                with suppress(*_BROKEN):
                    patience.deadline = anyio.current_time() + _PATIENCE
                    await child.say(RUN, request)
                    answer = await child.hear()
                    patience.deadline = math.inf
                    if answer[0] == BEGUN:
                        child.begun, answer = True, None
                        begun()
                        while (heard := await child.hear())[0] == TOLD:
                            what, words = pickle.loads(heard[1])
                            getattr(job, what)(*words)
                        answer = heard
                nursery.cancel_scope.cancel()
        if patience.cancelled_caught:
            raise TimeoutError(f"task {job.name!r} was not imported by its process in {_PATIENCE:g} s")
        if answer is None:
            raise anyio.EndOfStream
        return answer

    async def _watch(self, child: _Child, conversation: anyio.CancelScope) -> None:
        await child.process.wait()
        await anyio.sleep(_LAST_WORDS)
        conversation.cancel()

    async def _start(self) -> _Child:
        ours = theirs = output = -1
        # What the main program defines is found there under this name (multiprocessing does the same).
        sys.modules.setdefault("__mp_main__", sys.modules["__main__"])
        try:
            theirs, ours = os.pipe()
            output = _output()
            program = _PROGRAM.format(path=sys.path, argv=sys.argv, lifeline=theirs, output=output)
            process = await anyio.open_process(
                [sys.executable, *_flags(), "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=None,
                start_new_session=True, pass_fds=(theirs, output),
            )  # fmt: skip
            lifeline, ours = ours, -1
            assert process.stdout is not None
            return _Child(process, BufferedByteReceiveStream(process.stdout), lifeline)
        finally:
            for descriptor in (ours, theirs, output):
                if descriptor >= 0:
                    os.close(descriptor)

    async def _dismiss(self, child: _Child, deadline: float) -> None:
        try:
            with anyio.CancelScope(deadline=deadline), suppress(*_BROKEN):
                await child.say(QUIT)
                await child.process.wait()
        finally:
            await self._bury(child)

    async def _bury(self, child: _Child) -> None:
        """Kill a process and wait until it is gone."""
        child.kill()
        with anyio.move_on_after(_GONE, shield=True):
            await child.process.aclose()


def _request(
    function: Callable[..., Any], job: Job, args: list[Any], kwargs: dict[str, Any], timeout: float | None
) -> bytes:
    try:
        arguments = pickle.dumps((args, kwargs, job.payload))
    except Exception as error:
        raise TypeError(
            f"task {job.name!r} runs in a process, and its arguments cannot be pickled: {error}"
        ) from error
    named = ("queue", "id", "name", "attempt", "created_ms", "extras", "attempts", "result_ttl")
    known = {name: getattr(job, name) for name in named}
    module = function.__module__
    request = Request(
        module=module, name=cast("FunctionType", function).__qualname__, main=_main() if module == "__main__" else None,
        arguments=arguments, job=known, timeout=timeout,
    )  # fmt: skip
    return pickle.dumps(request)


def _open(answer: tuple[int, bytes]) -> Any:
    """Give what a run returned, or raise what it raised."""
    kind, body = answer
    if kind == RAISED:
        failure: Failure = pickle.loads(body)
        raise _exception(failure) from _Remote(failure.traceback)
    if kind == RETURNED:
        try:
            return pickle.loads(body)
        except Exception as error:  # noqa: BLE001 - a user's object may do anything when it is read
            problem = f"{type(error).__name__}: {error}"
    else:
        problem = body.decode()
    message = f"the result cannot be brought here from its process: {problem}"
    raise Hopeless(BAD_RESULT, Error("PicklingError", message))


class _Remote(Exception):
    """The traceback of an exception in a process, as its cause."""

    def __str__(self) -> str:
        return f"\n\n{self.args[0]}"


def _exception(failure: Failure) -> BaseException:
    if failure.exception is not None:
        with suppress(Exception):  # it could be read over there; here its module may be another one
            found = pickle.loads(failure.exception)
            if isinstance(found, BaseException):
                return found
    # One that cannot travel is told by its name and text.
    stand_in: type[Exception] = type(failure.type, (Exception,), {"__module__": "anyq"})
    return stand_in(failure.message)


def _output() -> int:
    """Give a descriptor of this process's standard output, or of nothing."""
    try:
        return os.dup(1)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY)


def _main() -> tuple[str, str] | None:
    """Say how to import the main program."""
    main: Any = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name:
        return "name", spec.name
    path = getattr(main, "__file__", None)
    if path is None:
        raise TypeError("a function that was typed in cannot be imported by a process: put it into a module")
    return "path", str(Path(path).absolute())


def _flags() -> list[str]:
    """Give the interpreter's own options."""
    options = [f"-W{option}" for option in sys.warnoptions]
    xoptions: dict[str, Any] = getattr(sys, "_xoptions", {})
    options += [f"-X{name}" if value is True else f"-X{name}={value}" for name, value in xoptions.items()]
    flags = {"-I": sys.flags.isolated, "-E": sys.flags.ignore_environment, "-s": sys.flags.no_user_site}
    options += [option for option, on in flags.items() if on]
    return [*options, *("-O" for _ in range(sys.flags.optimize))]


def default_limit(concurrency: int) -> int:
    """Give how many processes a worker has if nothing was said: one a core."""
    return max(1, min(concurrency, os.cpu_count() or 1))
