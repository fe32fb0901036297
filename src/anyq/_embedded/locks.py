"""``flock`` with a deadline. The kernel lets a lock go when its holder ends, whatever ended it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from ..errors import RedisUnavailable

_exclusive: set[int] = set()
"""What this process holds for the moment. A child that another thread forks just now must not go on holding it."""


def take(
    path: Path, *, shared: bool, seconds: float, waiting_for: str, unless: Callable[[], bool] | None = None
) -> int:
    """Open ``path`` and lock it.

    It polls, with growing pauses, because a thread that is blocked inside ``flock`` can be told nothing any more.

    Args:
        path: The lock file; made when it is missing.
        shared: Others may hold it (shared) too.
        seconds: How long to wait for it.
        waiting_for: What the holder is doing, for the message.
        unless: Give up, without an error, as soon as this says so.

    Returns:
        The open file descriptor that holds the lock until `release`, or -1 when ``unless`` came true.

    Raises:
        RedisUnavailable: Somebody else held it all the time.
    """
    import fcntl  # not on Windows, where find_program has already said so

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    operation = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB
    until = time.monotonic() + seconds
    pause = 0.001
    try:
        while True:
            try:
                fcntl.flock(descriptor, operation)
            except BlockingIOError:
                pass
            else:
                if not shared:
                    _exclusive.add(descriptor)
                return descriptor
            if unless is not None and unless():
                os.close(descriptor)
                return -1
            if time.monotonic() > until:
                raise RedisUnavailable(f"{path} was locked for {seconds:g} s: {waiting_for}")
            time.sleep(pause)
            pause = min(pause * 2, 0.05)
    except BaseException:
        os.close(descriptor)
        raise


@contextmanager
def held(path: Path, *, seconds: float, waiting_for: str) -> Generator[None]:
    """Hold ``path`` exclusively inside the block."""
    descriptor = take(path, shared=False, seconds=seconds, waiting_for=waiting_for)
    try:
        yield
    finally:
        release(descriptor)


def release(descriptor: int) -> None:
    """Let go of what `take` returned; a program that inherited it goes on holding it."""
    _exclusive.discard(descriptor)
    os.close(descriptor)


def _after_fork() -> None:
    while _exclusive:
        os.close(_exclusive.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
