"""The tasks of the demonstration: read a file, count its words, hash it; some fail on purpose.

What goes wrong is written into the jobs when they are enqueued, so that each run of the demonstration shows the same.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from codecs import getincrementaldecoder
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

#: Two small letters or more: of ASCII, which most texts are and which is found twice as fast, or of any script.
_ASCII_WORD, _WORD = re.compile(r"[a-z]{2,}"), re.compile(r"[^\W\d_]{2,}")


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


class Words:
    """Counts the words of a text that comes in pieces, cut anywhere: a word, and a letter, may be in two of them.

    Attributes:
        count: How often each word was there, in small letters.
    """

    def __init__(self) -> None:
        self.count: Counter[str] = Counter()
        self._decoder = getincrementaldecoder("utf-8")("replace")
        self._half = ""

    def feed(self, piece: bytes, *, final: bool = False) -> None:
        """Take the next bytes."""
        text = self._half + self._decoder.decode(piece, final)
        # As long as one piece a word can be; beyond, it is no word that anybody would miss.
        whole = len(text) if final or len(text) > 2 * _PIECE else _whole_words(text)
        ready = text[:whole].lower()
        self.count.update((_ASCII_WORD if ready.isascii() else _WORD).findall(ready))
        self._half = text[whole:]


def _whole_words(text: str) -> int:
    """Tell how much of a text is before what may be the first half of a word."""
    for at in range(len(text), 0, -1):
        if not text[at - 1].isalpha():
            return at
    return 0


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
        words, digest, size = Words(), hashlib.sha256(), 0
        async with await anyio.open_file(os.fsdecode(path), "rb") as file:
            while piece := await file.read(_PIECE):
                digest.update(piece)
                size += len(piece)
                words.feed(piece)
        words.feed(b"", final=True)
        return Survey(
            words=words.count.total(),
            bytes=size,
            sha256=digest.hexdigest(),
            commonest=dict(words.count.most_common(_WORDS_KEPT)),
            waited=waited,
            ended=time.monotonic(),
            attempt=attempt,
        )

    @queue.task(result_ttl=RESULT_TTL)
    async def ping(enqueued: float) -> float:
        """Say how long the way from `enqueue` to here took."""
        return time.monotonic() - enqueued

    return Tasks(survey, ping)
