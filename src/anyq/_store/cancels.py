"""Requests to cancel jobs that workers have, and how a cancelled job is remembered."""

from __future__ import annotations

from collections.abc import Iterable

import msgpack

from .._core.keys import Keys
from .._redis.client import Argument, Client
from . import scripts

#: The reason of a failure that is none: somebody cancelled the job.
REASON = "cancelled"

#: Seconds for which it is remembered at least that a job was cancelled, for those who ask how it is.
REMEMBERED = 300.0

#: Milliseconds for which a request lasts unless a worker that has the job renews it: what nobody renews for so long has
#: no job any more, or no worker, and was forgotten by who asked.
LASTS_MS = 24 * 3600 * 1000

#: Requests that are read at once.
_PAGE = 10_000


def _story(message: str, *, held: bool) -> bytes:
    """Write down how a job ended that was cancelled, as failures are kept; and whether a worker had it."""
    fields = {"reason": REASON, "type": "", "message": message, "traceback": "", "held": held}
    packed: bytes = msgpack.packb(fields)
    return packed


#: What is kept of a job that was cancelled while it waited, and of one that a worker had.
WITHDRAWN: bytes = _story("it was cancelled before it began", held=False)
STOPPED: bytes = _story("it was cancelled while a worker had it", held=True)


def kept_ms(result_ttl: float | None) -> int:
    """Give the milliseconds for which it is kept that a job was cancelled."""
    return max(1, round(max(result_ttl or 0.0, REMEMBERED) * 1000))


async def read(client: Client, keys: Keys, held: Iterable[str]) -> set[str]:
    """Read the ids of all jobs in workers' hands that are to be cancelled; renew the requests for those held here."""
    found: set[str] = set()
    args: list[Argument] = list(held)
    while True:
        page = await client.run(
            scripts.CANCELS, (keys.cancels,), (LASTS_MS, len(found), len(found) + _PAGE - 1, *args)
        )
        found.update(job_id.decode("utf-8", "replace") for job_id in page)
        if len(page) < _PAGE:
            return found
        args = []


async def overtaken(client: Client, keys: Keys, job_ids: Iterable[str]) -> None:
    """Forget requests whose jobs ended by themselves, and wake who waits for that."""
    args: list[Argument] = []
    for job_id in job_ids:
        args += job_id, keys.finished(job_id)
    await client.run(scripts.OVERTAKEN, (keys.cancels,), args)
