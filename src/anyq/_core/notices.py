"""The catalogue of events: what happened to jobs, in chasquimq's words and fields.

A notice becomes one entry of the events stream: ``e`` (what), ``id``, ``ts`` (milliseconds), ``n`` (task, if it has a
name), then what the event has of its own. Attempts are counted from 1; numbers are written in decimal.
"""

from __future__ import annotations

from typing import Final

import msgpack

from .job import Job
from .outcome import Dead, Error, Retry

#: A notice is an array of fields and values, in MessagePack from the start: two are made per job and thousands may
#: wait, and the garbage collector has no need to look at bytes.
Notice = bytes

# Bytes and text are one to Redis, and to its Lua, which reads them.
_pack = msgpack.Packer(use_bin_type=False).pack

ACTIVE: Final = b"active"
COMPLETED: Final = b"completed"
FAILED: Final = b"failed"
RETRY_SCHEDULED: Final = b"retry-scheduled"
DEAD: Final = b"dlq"
CANCELLED: Final = b"cancelled"
WAITING: Final = b"waiting"
PROGRESS: Final = b"progress"
DRAINED: Final = b"drained"

_REASON_LIMIT = 1000


def active(job: Job, now_ms: int) -> Notice:
    """A run begins."""
    return _of(ACTIVE, job.id, job.name, now_ms, b"attempt", job.attempt)


def completed(job: Job, now_ms: int) -> Notice:
    """A job is done, and the server has confirmed it."""
    duration = round(job.seconds * 1_000_000)
    return _of(COMPLETED, job.id, job.name, now_ms, b"attempt", job.attempt, b"duration_us", duration)


def failed(job: Job, error: Error, duration_us: int, now_ms: int) -> Notice:
    """A run raised."""
    reason = (error.message or error.type)[:_REASON_LIMIT]
    return _of(
        FAILED,
        job.id,
        job.name,
        now_ms,
        b"attempt",
        job.attempt,
        b"reason",
        reason,
        b"duration_us",
        duration_us,
    )


def retry_scheduled(retry: Retry, now_ms: int) -> Notice:
    """A job will come back."""
    job = retry.job
    return _of(
        RETRY_SCHEDULED,
        job.id,
        job.name,
        now_ms,
        b"attempt",
        retry.failed + 1,
        b"backoff_ms",
        round(retry.delay * 1000),
    )


def dead(job_id: str, name: str, attempt: int, reason: str, now_ms: int) -> Notice:
    """A job was given up; without an id when its bytes were no job."""
    return _of(DEAD, job_id, name, now_ms, b"attempt", attempt, b"reason", reason)


def cancelled(job: Job, now_ms: int) -> Notice:
    """A job was cancelled, and has ended."""
    return _of(CANCELLED, job.id, job.name, now_ms, b"attempt", job.attempt)


def progress(job: Job, current: float, total: float | None, message: str, now_ms: int) -> Notice:
    """A run said how far it is."""
    told: tuple[bytes | str | int, ...] = (b"attempt", job.attempt, b"current", repr(current))
    if total is not None:
        told += b"total", repr(total)
    if message:
        told += b"message", message
    return _of(PROGRESS, job.id, job.name, now_ms, *told)


def waiting(job_id: str, name: str, now_ms: int) -> Notice:
    """A delayed job is ready."""
    return _of(WAITING, job_id, name, now_ms)


def drained(now_ms: int) -> Notice:
    """The queue ran empty."""
    return _of(DRAINED, "", "", now_ms)


def _of(event: bytes, job_id: str, name: str, now_ms: int, *extras: bytes | str | int) -> Notice:
    if name:
        return _pack((b"e", event, b"id", job_id, b"ts", now_ms, b"n", name, *extras))
    return _pack((b"e", event, b"id", job_id, b"ts", now_ms, *extras))


def dead_outcome(outcome: Dead, now_ms: int) -> Notice:
    """A job was given up."""
    job = outcome.job
    return dead(job.id, job.name, job.attempt, outcome.reason, now_ms)
