"""Putting items into groups that gather: one script that takes effect once, however often the batch is sent."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from .._core.groups import Gathering, Mould
from .._core.keys import Keys
from . import scripts
from .publish import REMEMBERED
from .tally import Tally


@attrs.define
class Group:
    """Items for one group.

    Attributes:
        gathering: How the task's items become calls.
        key: What keeps groups of the task apart.
        items: The items, encoded: one at least.
        job_id: The id of a job that begins with them, if none is open.
        mould: That job.
        expected: The job that is expected to be open; ``""`` for none.
    """

    gathering: Gathering
    key: str
    items: Sequence[bytes]
    job_id: str
    mould: Mould
    expected: str = ""


@attrs.frozen
class Gathered:
    """What became of the items of one group.

    Attributes:
        job_id: The job that took some; or, when none were taken, the one that is open and was not expected; ``""`` when
            a group would have become ready for which there is no room.
        new: Whether the job began with them.
        taken: How many it took, from the first on.
    """

    job_id: str
    new: bool
    taken: int


async def gather(
    tally: Tally,
    keys: Keys,
    producer: bytes,
    batch: int,
    lowest: int,
    groups: Sequence[Group],
    max_length: int,
) -> list[Gathered]:
    """Put items into groups; tell for each group what became of them.

    Args:
        tally: Where the groups that begin are counted.
        keys: The queue's keys.
        producer: The producer's random name: batches are counted per producer.
        batch: The number of this batch.
        lowest: The lowest batch not yet answered.
        groups: The items; a group at most once.
        max_length: How many jobs may be ready in all; 0 for any number.
    """
    counted = (keys.pauses, *keys.all_lanes) if max_length else ()
    places = [keys.delayed, keys.sent(producer), *counted]
    args: list[bytes | str | int] = [
        batch,
        lowest,
        max_length,
        REMEMBERED,
        keys.due,
        keys.widened,
        len(counted),
    ]
    for group in groups:
        rule, mould = group.gathering, group.mould
        places += (
            keys.gather(rule.task, group.key, rule.priority),
            keys.lane(rule.priority),
            keys.delayed_member(group.job_id),
        )
        if group.expected:
            places.append(keys.delayed_member(group.expected))
        args += group.job_id, group.expected, mould.head, mould.inner, mould.tail
        args += rule.delay_ms, rule.maximum_ms, rule.size, rule.most, len(group.items), *group.items
    reply = await tally.run(scripts.GATHER, places, args)
    return [
        Gathered(reply[place].decode(), reply[place + 1] == 1, reply[place + 2])
        for place in range(0, len(reply), 3)
    ]
