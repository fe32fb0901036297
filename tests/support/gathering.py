"""What the walk of `walk.py` does with groups that gather: puts items in, and has some answers lost.

What the ledger asserts of it: a job that began with items, or was joined by some, carries exactly those, in order, for
as long as nobody has written it anew; whatever else happens to it is what happens to any job.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgpack
import pytest
from redis.exceptions import ResponseError

from anyq._core.codec import decode
from anyq._core.groups import Gathering
from anyq._core.job import Extras
from anyq._services.patience import reply_code
from anyq._store.gather import Gathered, Group, gather
from anyq._store.tally import Tally

if TYPE_CHECKING:
    from tests.support.walk import Walk

#: The payload that the walk gives a job that it writes anew.
ANEW = b"\x80"

PRODUCER = b"gatherer"


def rule(**changed: Any) -> Gathering:
    """How items become calls."""
    settings: dict[str, Any] = {
        "task": "task",
        "parameter": "items",
        "size": 4,
        "delay_ms": 20,
        "maximum_ms": 40,
    }
    return Gathering(**{**settings, "limit": 100_000, **changed})


def group(
    job_id: str, *items: Any, key: str = "", expected: str = "", gathering: Gathering | None = None
) -> Group:
    """Items for a group, and the job that they begin if none is open."""
    gathering = gathering or rule()
    mould = gathering.mould(job_id, 1000, Extras(priority=gathering.priority))
    return Group(gathering, key, [msgpack.packb(item) for item in items], job_id, mould, expected)


def items_of(body: bytes) -> list[Any]:
    """What a job gathered."""
    try:
        payload = msgpack.unpackb(body)
    except ValueError as error:
        raise AssertionError("what was gathered cannot be read") from error
    assert payload.keys() == {"items"}
    items: list[Any] = payload["items"]
    return items


class Gatherings:
    """The groups of a walk.

    Attributes:
        items: What each job gathered, as the ledger knows it.
    """

    def __init__(self, walk: Walk) -> None:
        self.walk = walk
        self.items: dict[str, list[int]] = {}
        self._batch = 0
        self._item = 0
        self._hints: dict[str, str] = {}
        self._tally = Tally(walk.client, walk.keys)
        self._unanswered: dict[int, tuple[list[Group], list[Gathered]]] = {}

    async def add(self) -> None:
        """Items for a few groups, until all are taken; the reply may be lost, and come too late."""
        walk = self.walk
        keys = walk.random.sample(["a", "b", "c"], walk.random.randint(1, 2))
        limit = walk.random.choice([0, 0, 40])
        left = {key: self._some_items() for key in keys}
        for round in range(20):
            groups = [self._group(key, left[key], guess=round == 0) for key in left]
            answers = await self._send(groups, limit)
            for group, answer in zip(groups, answers, strict=True):
                self._account(group, left[group.key], answer)
                del left[group.key][: answer.taken]
                if not left[group.key] or not answer.job_id:
                    del left[group.key]
            if not left:
                return
        raise AssertionError(f"nobody took {left}")

    async def overfill(self) -> None:
        """A group has no room for the next item: it is let go, and that item begins another."""
        key, priority, expected = f"full-{self._batch}", self.walk.random.choice(self.walk.priorities), ""
        for limit in (100_000, 1):
            item = self._some_items()[0]
            rules: dict[str, Any] = {"priority": priority, "delay_ms": 1000, "limit": limit}
            group = self._group(key, [item], expected=expected, **rules)
            [answer] = await self._send([group], 0)
            assert (answer.job_id, answer.new, answer.taken) == (group.job_id, True, 1)
            self._account(group, [item], answer)
            expected = answer.job_id
        await self.walk.look()

    async def send_again(self) -> None:
        """A batch whose reply was lost: it has the same answer."""
        if self._unanswered:
            number = self.walk.random.choice(list(self._unanswered))
            groups, answers = self._unanswered[number]
            assert await self._gather(number, groups, 0) == answers
            if self.walk.random.random() < 0.5:
                del self._unanswered[number]

    async def refuse(self) -> None:
        """A full server takes no items, whole."""
        before = await self.walk.table.everything()
        with pytest.raises(ResponseError) as caught:
            await gather(
                Tally(self.walk.client, self.walk.keys),
                self.walk.keys,
                b"p",
                1,
                1,
                [self._group("a", [1])],
                0,
            )
        assert reply_code(caught.value) == "OOM"
        assert await self.walk.table.everything() == before

    def look(self, envelope: bytes) -> None:
        """A job lies somewhere."""
        job_id, body, *_ = decode(envelope)
        if body != ANEW:
            assert items_of(body) == self.items[job_id]

    def _some_items(self) -> list[int]:
        first, self._item = self._item, self._item + self.walk.random.randint(1, 6)
        return [*range(first, self._item)]

    def _group(
        self, key: str, items: list[int], *, guess: bool = True, expected: str | None = None, **changed: Any
    ) -> Group:
        walk = self.walk
        self._batch += 1
        gathering = rule(
            **{
                "size": walk.random.choice([3, 4]),
                "delay_ms": walk.random.choice([5, 500]),
                "maximum_ms": 1000,
                "priority": walk.random.choice(walk.priorities),
                "limit": walk.random.choice([80, 100_000]),
                **changed,
            }
        )
        if expected is None:
            known = self._hints.get(key, "")
            expected = walk.random.choice([known, *self._hints.values(), ""]) if guess else known
        return group(f"group-{self._batch}", *items, key=key, expected=expected, gathering=gathering)

    async def _send(self, groups: list[Group], limit: int) -> list[Gathered]:
        self._batch += 1
        number = self._batch
        self._unanswered[number] = groups, []
        answers = await self._gather(number, groups, limit)
        self._unanswered[number] = groups, answers
        if self.walk.random.random() < 0.25:
            assert await self._gather(number, groups, limit) == answers, "the same batch has another answer"
        if self.walk.random.random() < 0.7:
            del self._unanswered[number]
        return answers

    async def _gather(self, number: int, groups: list[Group], limit: int) -> list[Gathered]:
        lowest = min(self._unanswered, default=number)
        return await gather(
            Tally(self.walk.client, self.walk.keys), self.walk.keys, PRODUCER, number, lowest, groups, limit
        )

    def _account(self, group: Group, items: list[int], answer: Gathered) -> None:
        self._hints[group.key] = answer.job_id
        if not answer.taken:
            assert not answer.new
            return
        if answer.new:
            assert answer.job_id == group.job_id
            self.walk.added.add(answer.job_id)
            self.walk.happened["added"] += 1
            self.items[answer.job_id] = []
        assert not self.walk.ended[answer.job_id], f"{answer.job_id} has ended, and was joined"
        self.items[answer.job_id] += items[: answer.taken]
