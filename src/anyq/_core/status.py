"""How a job is, and what cancelling it did: words that are strings too, for logs and for other programs."""

from __future__ import annotations

from enum import StrEnum


class JobStatus(StrEnum):
    """How a job is, as `JobHandle.status` found it.

    Attributes:
        DELAYED: It waits for its time: a delay, or a retry's backoff.
        WAITING: It waits for other jobs to end.
        PARKED: It waits for a worker that knows its task.
        QUEUED: It is ready, and no worker has it yet.
        ASIDE: It is ready, and set aside because its task is paused.
        RUNNING: A worker has it: it runs, or is about to.
        CANCELLING: A worker has it, and somebody cancelled it.
        DONE: It has ended, and its result is kept.
        FAILED: It was given up, and that is kept for whoever asks for the result.
        CANCELLED: It was cancelled; that is remembered for five minutes, or for as long as its result would have been.
        UNKNOWN: There is nothing under its id: it ended and nothing was kept, or it never was.
    """

    DELAYED = "delayed"
    WAITING = "waiting"
    PARKED = "parked"
    QUEUED = "queued"
    ASIDE = "aside"
    RUNNING = "running"
    CANCELLING = "cancelling"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


class Cancellation(StrEnum):
    """What `JobHandle.cancel` did.

    Attributes:
        CANCELLED: The job waited, for its time, for others or for a worker: it was taken away, and no worker will ever
            get it.
        CANCELLING: A worker has the job and is told to stop it.
        STOPPED: A worker had it; it has really stopped, and counts as cancelled. What ``wait=True`` waits for.
        OVER: The job had ended by itself, or ended so before the request reached it: it is done, or was given up.
        UNKNOWN: There is nothing under its id: it ended and nothing was kept, or it never was.
    """

    CANCELLED = "cancelled"
    CANCELLING = "cancelling"
    STOPPED = "stopped"
    OVER = "over"
    UNKNOWN = "unknown"
