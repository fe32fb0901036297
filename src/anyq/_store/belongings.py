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
from .._core.keys import PRIORITIES, Keys
from .._redis.client import Argument
from ..settings import Retention


@attrs.frozen
class Belonging:
    """A key that ends with its job.

    Attributes:
        key: The key.
        owner: Who must still hold the claim; ``""`` when the key is the job's alone.
        keep_ms: Milliseconds for which it stays after the job's end.
        track: The job's id, when the key is its track: how it ended is written there, and who waits for it is let go.
        beside: The keys that takes, besides.
    """

    key: bytes
    owner: str = ""
    keep_ms: int = 0
    track: str = ""
    beside: tuple[bytes, ...] = ()

    @property
    def kind(self) -> str:
        """What it is, in the words of ``_ending.lua``."""
        return f"t{self.track}" if self.track else f"c{self.owner}" if self.owner else "o"


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
    if extras.tracked:
        outcome = round(retention.outcomes * 1000)
        beside = keys.waiting, keys.children, *(keys.lane(priority) for priority in PRIORITIES)
        owned += (Belonging(keys.track(job_id), "", outcome, job_id, beside),)
    return owned


def waited_for(owned: Sequence[Belonging]) -> bool:
    """Tell whether somebody may wait for the end of a job though its result is not kept: who found its place taken."""
    return any(one.owner for one in owned)


def as_words(owned: Sequence[Belonging]) -> tuple[list[bytes], list[Argument]]:
    """Write belongings down for a script that begins with ``_ending.lua``: their keys, and their arguments."""
    words: list[Argument] = [len(owned)]
    for one in owned:
        words += one.kind, one.keep_ms
    return [key for one in owned for key in (one.key, *one.beside)], words
