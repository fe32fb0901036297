"""The catalogue of events: what happened to jobs, in chasquimq's words and fields.

A notice becomes one entry of the events stream: ``e`` (what), ``id``, ``ts`` (milliseconds), ``n`` (task, if it has a
name), then what the event has of its own. Attempts are counted from 1; numbers are written in decimal.

Notices are written as Redis reads them. The two that every run leaves have a template each, which is filled in: to pack
a dozen words one by one takes three times as long.
"""

from __future__ import annotations

from typing import Final

from .job import Job
from .outcome import Dead, Error, Retry

#: An XADD in RESP, the protocol of Redis, without its first three words (``XADD``, the stream, ``*``): how many words
#: it has, and those behind the three. Each character is a byte.
Notice = tuple[str, str]

ACTIVE: Final = "active"
COMPLETED: Final = "completed"
FAILED: Final = "failed"
RETRY_SCHEDULED: Final = "retry-scheduled"
DEAD: Final = "dlq"
CANCELLED: Final = "cancelled"
WAITING: Final = "waiting"
PROGRESS: Final = "progress"
DRAINED: Final = "drained"

_REASON_LIMIT = 1000


def active(job: Job, now_ms: int) -> Notice:
    """A run begins."""
    job_id, name, attempt, now = job.id, job.name, str(job.attempt), str(now_ms)
    if not (name and name.isascii() and job_id.isascii()):
        return _of(ACTIVE, job_id, name, now_ms, attempt=attempt)
    return "*13\r\n", (
        f"$1\r\ne\r\n$6\r\nactive\r\n"
        f"$2\r\nid\r\n${len(job_id)}\r\n{job_id}\r\n"
        f"$2\r\nts\r\n${len(now)}\r\n{now}\r\n"
        f"$1\r\nn\r\n${len(name)}\r\n{name}\r\n"
        f"$7\r\nattempt\r\n${len(attempt)}\r\n{attempt}\r\n"
    )


def completed(job: Job, now_ms: int) -> Notice:
    """A job is done, and the server has confirmed it."""
    job_id, name, attempt, now = job.id, job.name, str(job.attempt), str(now_ms)
    duration = str(round(job.seconds * 1_000_000))
    if not (name and name.isascii() and job_id.isascii()):
        return _of(COMPLETED, job_id, name, now_ms, attempt=attempt, duration_us=duration)
    return "*15\r\n", (
        f"$1\r\ne\r\n$9\r\ncompleted\r\n"
        f"$2\r\nid\r\n${len(job_id)}\r\n{job_id}\r\n"
        f"$2\r\nts\r\n${len(now)}\r\n{now}\r\n"
        f"$1\r\nn\r\n${len(name)}\r\n{name}\r\n"
        f"$7\r\nattempt\r\n${len(attempt)}\r\n{attempt}\r\n"
        f"$11\r\nduration_us\r\n${len(duration)}\r\n{duration}\r\n"
    )


def failed(job: Job, error: Error, duration_us: int, now_ms: int) -> Notice:
    """A run raised."""
    reason = (error.message or error.type)[:_REASON_LIMIT]
    return _of(FAILED, job.id, job.name, now_ms, attempt=job.attempt, reason=reason, duration_us=duration_us)


def retry_scheduled(retry: Retry, now_ms: int) -> Notice:
    """A job will come back."""
    job = retry.job
    pause = round(retry.delay * 1000)
    return _of(RETRY_SCHEDULED, job.id, job.name, now_ms, attempt=retry.failed + 1, backoff_ms=pause)


def dead(job_id: str, name: str, attempt: int, reason: str, now_ms: int) -> Notice:
    """A job was given up; without an id when its bytes were no job."""
    return _of(DEAD, job_id, name, now_ms, attempt=attempt, reason=reason)


def cancelled(job: Job, now_ms: int) -> Notice:
    """A job was cancelled, and has ended."""
    return _of(CANCELLED, job.id, job.name, now_ms, attempt=job.attempt)


def progress(job: Job, current: float, total: float | None, message: str, now_ms: int) -> Notice:
    """A run said how far it is."""
    told: dict[str, str] = {"current": repr(current)}
    if total is not None:
        told["total"] = repr(total)
    if message:
        told["message"] = message
    return _of(PROGRESS, job.id, job.name, now_ms, attempt=job.attempt, **told)


def waiting(job_id: str, name: str, now_ms: int) -> Notice:
    """A delayed job is ready."""
    return _of(WAITING, job_id, name, now_ms)


def drained(now_ms: int) -> Notice:
    """The queue ran empty."""
    return _of(DRAINED, "", "", now_ms)


def dead_outcome(outcome: Dead, now_ms: int) -> Notice:
    """A job was given up."""
    job = outcome.job
    return dead(job.id, job.name, job.attempt, outcome.reason, now_ms)


def begin(stream: bytes) -> str:
    """Give the three words that stand between the two parts of each notice for this stream."""
    return "".join(map(_word, ("XADD", stream.decode("latin-1"), "*")))


def _of(event: str, job_id: str, name: str, now_ms: int, **own: str | int) -> Notice:
    words = ["e", event, "id", job_id, "ts", str(now_ms)]
    if name:
        words += "n", name
    for field, value in own.items():
        words += field, str(value)
    return f"*{3 + len(words)}\r\n", "".join(_word(_octets(word)) for word in words)


def _word(octets: str) -> str:
    return f"${len(octets)}\r\n{octets}\r\n"


def _octets(text: str) -> str:
    """Give a text's bytes, each as a character."""
    return text if text.isascii() else text.encode(errors="replace").decode("latin-1")
