"""The aside relocator: sets jobs of paused tasks aside until these are resumed. It ends because its input ended."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from .._core.outcome import Aside
from .channels import Channel
from .relocator import Desk, Relocator


class AsideRelocator(Relocator[Aside]):
    """Sets jobs of one queue aside.

    Args:
        desk: What it works with.
        arriving: The jobs.
        outdated: Told when a task turns out not to be paused any more, and this worker has not heard of it.
    """

    service = "aside relocator"
    largest_batch = 100

    def __init__(self, desk: Desk, arriving: Channel[Aside], outdated: Callable[[], None]) -> None:
        super().__init__(desk, arriving)
        self._outdated = outdated

    async def settle(self, lane: bytes, group: Sequence[Aside]) -> None:
        """Set jobs aside."""
        tasks: dict[str, list[tuple[bytes, int]]] = defaultdict(list)
        for aside in group:
            tasks[aside.job.name].append((aside.entry, aside.job.priority))
        for task, entries in tasks.items():
            reply = await self.patience(self.settling.set_aside, lane, task, entries)
            for entry, _ in entries:
                self.ledger.settled(lane, entry)
            self.counts.set_aside += reply.count(1)
            if 2 in reply:
                self._outdated()
