"""The tasks of the demonstration: read a file, count its words, hash it; some fail on purpose.

What goes wrong is written into the jobs when they are enqueued, so that each run of the demonstration shows the same.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections import Counter
from typing import TypedDict

import anyio
import attrs

from ...context import current_job
from ...queue import Queue
from ...settings import Backoff
from ...tasks import Task

#: Seconds for which results wait to be fetched.
RESULT_TTL = 600.0

#: Bytes that are read and counted at a time: a handler that computes for long keeps all others waiting.
_PIECE = 128 * 1024

#: Only the commonest words of a file travel in its result; a word that leads overall is among them.
_WORDS_KEPT = 500

_WORD = re.compile(rb"[A-Za-z]{2,}")


class Survey(TypedDict):
    """What a file came to: the result of a job, as MessagePack carries it."""

    words: int
    bytes: int
    sha256: str
    commonest: dict[str, int]
    waited: float
    ended: float
    attempt: int


class OnPurpose(Exception):
    """The demonstration fails here because it was told to."""


@attrs.frozen
class Tasks:
    """The tasks of one demonstration."""

    survey: Task[[bytes, float, int], Survey]
    ping: Task[[float], float]


def register(queue: Queue) -> Tasks:
    """Make the functions below tasks of a queue."""

    @queue.task(attempts=3, backoff=Backoff.exponential(0.1, maximum=1), timeout=60, result_ttl=RESULT_TTL)
    async def survey(path: bytes, enqueued: float, failures: int) -> Survey:
        """Count the words of a file and hash it; fail the first ``failures`` runs. A file's name need not be UTF-8."""
        waited = time.monotonic() - enqueued
        attempt = current_job().attempt
        if attempt <= failures:
            raise OnPurpose(f"run {attempt} of this job was told to fail")
        words: Counter[bytes] = Counter()
        digest = hashlib.sha256()
        size, rest = 0, b""
        async with await anyio.open_file(os.fsdecode(path), "rb") as file:
            while piece := await file.read(_PIECE):
                digest.update(piece)
                size += len(piece)
                lines = rest + piece.lower()
                # A word that two pieces share is on an unfinished line.
                whole = lines.rfind(b"\n") + 1 or len(lines)
                words.update(_WORD.findall(lines, 0, whole))
                rest = lines[whole:]
        words.update(_WORD.findall(rest))
        return Survey(
            words=words.total(),
            bytes=size,
            sha256=digest.hexdigest(),
            commonest={word.decode(): count for word, count in words.most_common(_WORDS_KEPT)},
            waited=waited,
            ended=time.monotonic(),
            attempt=attempt,
        )

    @queue.task(result_ttl=RESULT_TTL)
    async def ping(enqueued: float) -> float:
        """Say how long the way from `enqueue` to here took."""
        return time.monotonic() - enqueued

    return Tasks(survey, ping)
