"""Reading what the scripts have counted: in bounded steps, however long the history is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from .._core.keys import Keys
from .._core.totals import MINUTE, Totals
from .._redis.client import Client
from . import scripts

#: Minutes that are read at once: a bounded time in which the server serves nobody else.
_PAGE = 200

#: Parked tasks that are named; their names come from anywhere.
_MOST_TASKS = 100


@attrs.frozen
class Counted:
    """What was counted, at one moment.

    Attributes:
        now_ms: The server's clock.
        totals: The totals.
        parked: Delayed jobs that are parked.
        parked_tasks: The tasks with the most of them, and how many each.
        rows: The newest of what was written down of minutes: the first millisecond of one, and the totals before it.
    """

    now_ms: int
    totals: Totals
    parked: int
    parked_tasks: dict[str, int]
    rows: list[tuple[int, Totals]]


async def read(client: Client, keys: Keys, minutes: int) -> Counted:
    """Read the totals, and the history of the last ``minutes``, the present one among them."""
    now_ms, totals, parked, *found = await client.run(
        scripts.TOTALS, (keys.counts, keys.history, keys.parked), (min(minutes, _PAGE), _MOST_TASKS)
    )
    first = (now_ms // MINUTE - minutes + 1) * MINUTE
    rows = _rows(found)
    # The next to be read is older than all these, and does not change any more.
    while len(found) == _PAGE and rows[-1][0] > first:
        found = await client.call(
            b"XREVRANGE", keys.history, b"(" + found[-1][0], max(0, first), b"COUNT", _PAGE
        )
        rows += _rows(found)
    return Counted(now_ms, Totals.read(totals), *_parked(parked), [row for row in rows if row[0] >= first])


def _rows(found: Sequence[Any]) -> list[tuple[int, Totals]]:
    return [(int(id.partition(b"-")[0]), Totals.read(flat)) for id, flat in found]


def _parked(flat: Sequence[bytes]) -> tuple[int, dict[str, int]]:
    numbers = {name: int(float(number)) for name, number in zip(flat[::2], flat[1::2], strict=True)}
    everything = numbers.pop(b"all", 0)
    named = list(numbers.items())[:_MOST_TASKS]
    return everything, {
        name.removeprefix(b"task:").decode("utf-8", "replace"): count for name, count in named
    }
