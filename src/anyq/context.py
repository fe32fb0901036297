"""What a handler can ask about the run that it is."""

from __future__ import annotations

from contextvars import ContextVar

from ._core.job import Job

#: The job of this run.
running_job: ContextVar[Job] = ContextVar("anyq_running_job")


def current_job() -> Job:
    """Give the job whose handler is running here: in the handler, in the tasks it starts, or in its thread.

    Returns:
        The `Job`: its ``id``, ``name``, ``attempt`` (counted from 1), ``attempts``, ``queue``, ``created_at``,
        ``scheduled_at``, ``deadline``, and ``cancelled``, which a plain function in a thread can look at to leave
        early.

    Raises:
        LookupError: No handler is running here.

    Example:
        >>> from anyq import current_job
        >>> async def handler() -> None:
        ...     job = current_job()
        ...     print(f"run {job.attempt} of {job.attempts} of {job.id}")
    """
    try:
        return running_job.get()
    except LookupError:
        raise LookupError("current_job() was called outside of a job's handler") from None
