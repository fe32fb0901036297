"""What running jobs tell about themselves: how far they are, and lines of a log.

`Notes` gathers what one run has told and nobody has written down yet. Handlers add from any thread, the worker takes:
so it has a lock, which is held for moments only. What is gathered is bounded: of a log the last lines are kept.
"""

from __future__ import annotations

import math
from collections import deque
from datetime import datetime
from threading import Lock
from typing import Any

import attrs
import msgpack

from ..settings import from_milliseconds

#: The longest message of a progress, and the longest line of a log, in characters.
MESSAGE_LIMIT, LINE_LIMIT = 1000, 4000


@attrs.frozen
class Progress:
    """How far a job is, as it said last.

    Attributes:
        current: What is done.
        total: What there is to do, if the job said so.
        message: What it said about it.
        at: When it said so, by the worker's clock.
        attempt: In which of its runs, counted from 1.
    """

    current: float
    total: float | None
    message: str
    at: datetime
    attempt: int

    @property
    def fraction(self) -> float | None:
        """What part is done, from 0 to 1; ``None`` without a total."""
        return None if not self.total else min(max(self.current / self.total, 0.0), 1.0)


@attrs.frozen
class LogLine:
    """A line that a job logged.

    Attributes:
        text: The line.
        at: When it was logged, by the worker's clock.
        attempt: In which of the job's runs, counted from 1.
    """

    text: str
    at: datetime
    attempt: int


class Notes:
    """What one run of a job has told and is not written down yet.

    Args:
        lines: Lines of log kept at most.
        size: Bytes of log kept at most.

    Attributes:
        awaited: Whether somebody who writes knows that there is something to write.
        written: How many writings were taken so far: names the next one.
    """

    __slots__ = ("_lines", "_lock", "_most", "_progress", "_size", "_weight", "awaited", "written")

    def __init__(self, lines: int, size: int) -> None:
        self._lock = Lock()
        self._most, self._size = lines, size
        self._progress: bytes = b""
        self._lines: deque[bytes] = deque()
        self._weight = 0
        self.awaited: bool = False
        self.written: int = 0

    def tell(self, progress: bytes) -> bool:
        """Note how far the job is; give whether somebody must be told that there is something to write."""
        with self._lock:
            self._progress = progress
            return self._first()

    def log(self, line: bytes) -> bool:
        """Note a line; give whether somebody must be told that there is something to write."""
        with self._lock:
            self._lines.append(line)
            self._weight += len(line)
            while len(self._lines) > self._most or (self._weight > self._size and len(self._lines) > 1):
                self._weight -= len(self._lines.popleft())
            return self._first()

    def take(self) -> tuple[bytes, list[bytes]]:
        """Take what is not written down yet: the last progress (empty: none) and the lines."""
        with self._lock:
            taken = self._progress, list(self._lines)
            self._progress, self._weight, self.awaited = b"", 0, False
            self._lines.clear()
            self.written += 1
            return taken

    @property
    def fresh(self) -> bool:
        """Whether there is something that nobody has taken."""
        return bool(self._progress or self._lines)

    def _first(self) -> bool:
        before, self.awaited = self.awaited, True
        return not before


def pack_progress(current: object, total: object, message: object, now_ms: int, attempt: int) -> bytes:
    """Write a progress down.

    Raises:
        TypeError, ValueError: It is none; the message says why.
    """
    done = _number("current", current)
    whole = None if total is None else _number("total", total)
    if not isinstance(message, str):
        raise TypeError(f"message must be a string, not {message!r}")
    return msgpack.packb([done, whole, _cut(message, MESSAGE_LIMIT), now_ms, attempt])


def unpack_progress(data: bytes) -> Progress:
    """Read a progress."""
    current, total, message, at, attempt = msgpack.unpackb(data)
    return Progress(current, total, message, from_milliseconds(at), attempt)


def pack_line(text: object, size: int, now_ms: int, attempt: int) -> bytes:
    """Write a line of a log down, cut to ``size`` bytes."""
    if not isinstance(text, str):
        raise TypeError(f"a log line must be a string, not {text!r}")
    kept = _cut(text, LINE_LIMIT)
    line: bytes = msgpack.packb([kept, now_ms, attempt])
    if len(line) > size:
        kept = kept.encode()[: max(0, size - 20)].decode("utf-8", "ignore")
        line = msgpack.packb([kept, now_ms, attempt])
    return line


def unpack_line(data: bytes) -> LogLine:
    """Read a line of a log."""
    text, at, attempt = msgpack.unpackb(data)
    return LogLine(text, from_milliseconds(at), attempt)


def _number(what: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{what} must be a number, not {value!r}")
    if not math.isfinite(value) or abs(value) >= 2**63:
        raise ValueError(f"{what} must be a finite number below 2**63, not {value!r}")
    return value


def _cut(text: str, limit: int) -> str:
    """Text that any program can take in: no half characters, and not too much of it."""
    return text[:limit].encode("utf-8", "replace").decode()
