"""What the four relocators share: take outcomes in batches, settle them lane by lane, end because the input ended.

Each of them says what settling is, in a file of its own: `acks`, `retries`, `dead_letters`, `releases`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from typing import ClassVar, Generic, Protocol, TypeVar, cast

import attrs

from .._core.entry import Spoiled
from .._core.job import Job
from .._core.outcome import Outcome
from .._store.belongings import Belonging
from .._store.settle import Settling
from .batches import batches
from .cancels import Cancels
from .channels import Bulletin, Channel
from .counts import Counts
from .journal import Journal
from .ledger import Ledger
from .patience import Patience

#: Bytes of the jobs that are moved at once, at most.
_LARGEST_BYTES = 4 * 1024 * 1024

_lane_of = attrgetter("lane")


class Ended(Protocol):
    """The end of a delivery, wherever it came from."""

    @property
    def lane(self) -> bytes:
        """The stream of its entry."""
        ...


E = TypeVar("E", bound=Ended)


@attrs.frozen(kw_only=True)
class Desk:
    """What the relocators of a queue work with.

    Attributes:
        queue: The queue's name.
        worker: The worker's name.
        settling: The verbs.
        owned: Tells what a job owns that ends with it.
        journal: Where the last that a run told is written before its end is.
        patience: Gives a service its way to meet trouble.
        ledger: Where held entries are struck out once Redis has confirmed.
        bulletin: Where it is said what happened.
        counts: The worker's numbers.
        cancels: What is to be cancelled.
    """

    queue: str
    worker: str
    settling: Settling
    owned: Callable[[Job], Sequence[Belonging]]
    journal: Journal
    patience: Callable[[str], Patience]
    ledger: Ledger
    bulletin: Bulletin
    counts: Counts
    cancels: Cancels


class Relocator(ABC, Generic[E]):
    """Settles what arrives until nothing more can.

    Args:
        desk: What it works with.
        arriving: The ends of deliveries.
    """

    service: ClassVar[str]
    """What logs and errors call it."""

    largest_batch: ClassVar[int]
    """How many are settled at once: a bounded time in which the server serves nobody else."""

    moves_jobs: ClassVar[bool] = True
    """Whether whole jobs are moved: then their bytes bound a batch too, or it would never get through a slow link."""

    def __init__(self, desk: Desk, arriving: Channel[E]) -> None:
        self.queue = desk.queue
        self.worker = desk.worker
        self.settling = desk.settling
        self.owned = desk.owned
        self.journal = desk.journal
        self.patience = desk.patience(self.service)
        self.ledger = desk.ledger
        self.bulletin = desk.bulletin
        self.counts = desk.counts
        self.cancels = desk.cancels
        self._arriving = arriving

    async def run(self) -> None:
        """Settle until the input ends."""
        async for batch in batches(self._arriving, self.largest_batch):
            for lane, group in _by_lane(batch):
                for part in _parts(group) if self.moves_jobs else (group,):
                    await self.settle(lane, part)

    @abstractmethod
    async def settle(self, lane: bytes, group: Sequence[E]) -> None:
        """Settle the ends of deliveries from one lane, and strike them out of the ledger."""


def _by_lane(batch: list[E]) -> Iterable[tuple[bytes, list[E]]]:
    lanes = set(map(_lane_of, batch))
    if len(lanes) == 1:  # as nearly always
        return [(lanes.pop(), batch)]
    groups: dict[bytes, list[E]] = defaultdict(list)
    for end in batch:
        groups[end.lane].append(end)
    return groups.items()


def _parts(group: Sequence[E]) -> Iterator[Sequence[E]]:
    start = size = 0
    for place, end in enumerate(group):
        weight = len(end.data) if isinstance(end, Spoiled) else len(cast("Outcome", end).job.body)
        if place > start and size + weight > _LARGEST_BYTES:
            yield group[start:place]
            start, size = place, 0
        size += weight
    yield group[start:]
