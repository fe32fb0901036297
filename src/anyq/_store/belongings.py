"""What a job owns besides its entry: keys that end with it, in the very script that ends it.

A *claim* (a chosen id, a unique key) is a string ``<until>:<owner>``, or ``<until>~<owner>`` when a later job may
replace its owner (debounce): whoever ends a job deletes its claims unless they
are somebody else's by now, and not before ``until`` (an epoch millisecond, 0 for at once). Everything else that a job
owns is named after its id and belongs to nobody else.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from .._core.job import Extras
from .._core.keys import Keys
from .._redis.client import Argument
from ..settings import Retention


@attrs.frozen
class Belonging:
    """A key that ends with its job.

    Attributes:
        key: The key.
        owner: Who must still hold the claim; ``""`` when the key is the job's alone.
        keep_ms: Milliseconds for which it stays after the job's end.
    """

    key: bytes
    owner: str = ""
    keep_ms: int = 0


def belongings(
    keys: Keys, job_id: str, extras: Extras, retention: Retention, *, noted: bool = False
) -> tuple[Belonging, ...]:
    """List what a job owns; for most jobs nothing.

    Args:
        keys: The queue's keys.
        job_id: The job's id.
        extras: What travels with it.
        retention: What is kept for a while after its end.
        noted: Whether this run of the job told its progress, or logged.
    """
    owned: tuple[Belonging, ...] = ()
    if extras.claim:
        owned += (Belonging(keys.taken_id(job_id), extras.claim, round(retention.ids * 1000)),)
    if extras.unique:
        owned += (Belonging(keys.unique(extras.unique), job_id),)
    if noted or extras.noted:
        kept = round(retention.logs * 1000)
        owned += (Belonging(keys.progress(job_id), "", kept), Belonging(keys.log(job_id), "", kept))
    return owned


def as_words(owned: Sequence[Belonging]) -> tuple[list[bytes], list[Argument]]:
    """Write belongings down for a script that begins with ``_ending.lua``: their keys, and their arguments."""
    words: list[Argument] = [len(owned)]
    for one in owned:
        words += one.owner, one.keep_ms
    return [one.key for one in owned], words
