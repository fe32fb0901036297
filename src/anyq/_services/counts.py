"""What a worker has done so far, counted where it happens."""

from __future__ import annotations

import attrs


@attrs.define
class Counts:
    """Numbers since the worker's start.

    Attributes:
        started: Runs that began.
        done: Jobs finished and confirmed.
        failed: Runs that raised.
        retried: Jobs that will come back, after a failure or `RetryLater`.
        dead: Jobs given up.
        cancelled: Jobs that ended because somebody cancelled them.
        released: Jobs handed back.
        lost: Jobs that another worker has now.
        late: Finished jobs that had been settled already: by a repeated ack, or by a worker that took them over.
        parked: Times that a job was put aside because no task had its name.
        set_aside: Times that a job was set aside because its task was paused.
    """

    started: int = 0
    done: int = 0
    failed: int = 0
    retried: int = 0
    dead: int = 0
    cancelled: int = 0
    released: int = 0
    lost: int = 0
    late: int = 0
    parked: int = 0
    set_aside: int = 0
