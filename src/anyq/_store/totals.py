"""Reading what the scripts have counted: in bounded steps, however long the history is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from .._core.keys import Keys
from .._core.totals import MINUTE, Totals
from .._redis.client import Client, ScriptCall
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


def asking(keys: Keys, minutes: int) -> ScriptCall:
    """Give the call that asks for the totals, and for so many minutes of the history, or the first of their pages."""
    return scripts.TOTALS, (keys.counts, keys.history, keys.parked), (min(minutes, _PAGE), _MOST_TASKS)


def counted(reply: Any, minutes: int) -> Counted:
    """Read what was answered to that; of the history no more than was asked for."""
    now_ms, totals, parked, *found = reply
    first = _first(now_ms, minutes)
    return Counted(
        now_ms, Totals.read(totals), *_parked(parked), [row for row in _rows(found) if row[0] >= first]
    )


async def read(client: Client, keys: Keys, minutes: int) -> Counted:
    """Read the totals, and the history of the last ``minutes``, the present one among them."""
    found = counted(await client.run(*asking(keys, minutes)), minutes)
    page, first = found.rows, _first(found.now_ms, minutes)
    # The next to be read is older than all these, and does not change any more.
    while len(page) == _PAGE and page[-1][0] > first:
        older = (b"XREVRANGE", keys.history, page[-1][0] - 1, max(0, first), b"COUNT", _PAGE)
        page = _rows(await client.call(*older))
        found.rows.extend(page)
    return found


def _first(now_ms: int, minutes: int) -> int:
    """When the first of so many minutes began."""
    return (now_ms // MINUTE - minutes + 1) * MINUTE


def _rows(found: Sequence[Any]) -> list[tuple[int, Totals]]:
    return [(int(id.partition(b"-")[0]), Totals.read(flat)) for id, flat in found]


def _parked(flat: Sequence[bytes]) -> tuple[int, dict[str, int]]:
    numbers = {name: int(float(number)) for name, number in zip(flat[::2], flat[1::2], strict=True)}
    everything = numbers.pop(b"all", 0)
    named = list(numbers.items())[:_MOST_TASKS]
    return everything, {
        name.removeprefix(b"task:").decode("utf-8", "replace"): count for name, count in named
    }
