"""The moves of the random walk that are about schedules, with a ledger of every planned time.

Decisions are taken by one worker and carried out later, perhaps after another's, perhaps twice, perhaps for a schedule
that is another one by then: each planned time of a definition makes its job once, or was passed over by a decision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from tests.support.hands import Hands

from anyq._core.job import Extras
from anyq._core.schedules import Every, Firing, Missed, Spec, first, judge, resumed
from anyq._store.schedules import LEFT_OUT, Known, Run

if TYPE_CHECKING:
    from tests.support.walk import Walk

NAMES = ["one", "two", "three"]


@attrs.define
class Decision:
    """What somebody found due, and has not done yet."""

    hands: Hands
    known: Known
    firing: Firing
    runs: list[Run]
    generation: int


class Timetable:
    """A queue's schedules, as the walk plays them."""

    def __init__(self, walk: Walk) -> None:
        self._walk = walk
        self._open: list[Decision] = []
        self._generations = dict.fromkeys(NAMES, 0)  # counts what planned times follow from anew
        self._came: set[tuple[str, int, int]] = set()
        self._jobs = 0

    async def plan(self) -> None:
        """Somebody writes a definition, now and then after another has."""
        random = self._walk.random
        hands = self._some_hands()
        name = random.choice(NAMES)
        spec = Spec(
            name=name,
            task="task",
            when=Every(random.choice([0.005, 0.01, 60])),
            body=b"\x80",
            limit=random.choice([None, None, 3, 20]),
            missed=random.choice([Missed.once(), Missed.all(4)]),
            jitter_ms=random.choice([0, 0, 15]),
            extras=Extras(unique=random.choice(["", self._walk.some_key()])),
        )
        now, found = await hands.scheduling.read([name])
        before = found[0] if found else None
        if before is not None and before.spec == spec:
            return
        stale = random.random() < 0.2
        if stale:
            await hands.scheduling.remove(name)
            self._generations[name] += 1
        planned = first(spec, now)
        assert planned is not None
        keep = before is not None and before.spec is not None and before.spec.timing == spec.timing
        put = hands.scheduling.put
        written = await put(spec, before, planned, keep=keep, anew=True)
        assert written == (before is None or not stale)
        if written and not (keep and before is not None and before.place != "ended"):
            self._generations[name] += 1
        if written and self._again():
            token = (await hands.scheduling.read([name]))[1][0].token
            assert await put(spec, before, planned, keep=keep, anew=True) == (
                before is not None and before.token == token
            )

    async def decide(self) -> None:
        """Somebody looks what is due, and takes a while."""
        hands = self._some_hands()
        look = await hands.scheduling.due(10)
        now, found = await hands.scheduling.read(look.names)
        for known in found:
            if known.place == "active" and known.planned_ms <= now:
                assert known.spec is not None
                firing = judge(known.spec, known.planned_ms, now, known.fired)
                runs = [self._run(known.spec, planned, now) for planned in firing.times]
                generation = self._generations[known.name]
                self._open.append(Decision(hands, known, firing, runs, generation))
        del self._open[:-6]

    async def fire(self) -> None:
        """A decision is carried out, once or twice; whoever comes late does nothing."""
        if not self._open:
            await self.decide()
        if not self._open:
            return
        decision = self._open.pop(self._walk.random.randrange(len(self._open)))
        known, scheduling = decision.known, decision.hands.scheduling
        _, present = await scheduling.read([known.name])
        due = bool(present) and (present[0].score, present[0].token, present[0].place) == (
            known.score,
            known.token,
            "active",
        )
        if self._walk.keys.shared:
            due = (
                due
                and await self._walk.client.call("GET", self._walk.keys.scheduler_lock) == decision.hands.name
            )
        assert known.spec is not None
        holder = self._walk.holders.get(known.spec.extras.unique, "") if decision.runs else ""
        left_out = bool(holder) and not self._walk.ended[holder]
        done = await scheduling.fire([(known, decision.firing, decision.runs)])
        assert done == [LEFT_OUT if due and left_out else due], f"{holder!r} has the key of {known}"
        if due and left_out:
            after = (await scheduling.read([known.name]))[1][0]
            assert (after.fired, after.left_out) == (known.fired, known.left_out + 1)
            assert after.place == ("active" if decision.firing.otherwise_ms else "ended")
        elif due:
            for planned, run in zip(decision.firing.times, decision.runs, strict=True):
                time = known.name, decision.generation, planned
                assert time not in self._came, f"{time} came twice"
                self._came.add(time)
                self._walk.added.add(run.job_id)
                self._walk.happened["added"] += 1
                if known.spec.extras.unique:
                    self._walk.holders[known.spec.extras.unique] = run.job_id
            after = (await scheduling.read([known.name]))[1][0]
            assert after.fired == known.fired + len(decision.runs)
            assert after.place == ("active" if decision.firing.next_ms else "ended")
        if self._again():
            assert await scheduling.fire([(known, decision.firing, decision.runs)]) == [False]

    async def redefine(self) -> None:
        """A definition is written over one that somebody has found due, and keeps its time: they do nothing."""
        hands, name = self._some_hands(), self._walk.random.choice(NAMES)
        await hands.scheduling.remove(name)
        self._generations[name] += 1
        spec = Spec(name=name, task="task", when=Every(60), body=b"\x80", limit=3)
        now, _ = await hands.scheduling.read([name])
        assert await hands.scheduling.put(spec, None, now, keep=False, anew=True)
        [known] = (await hands.scheduling.read([name]))[1]
        firing = judge(spec, now, now, known.fired)
        runs = [self._run(spec, planned, now) for planned in firing.times]
        assert runs
        changed = attrs.evolve(spec, limit=20)
        assert await hands.scheduling.put(changed, known, now, keep=True, anew=False)
        assert await hands.scheduling.fire([(known, firing, runs)]) == [False]

    async def pause(self) -> None:
        """A schedule is paused."""
        hands, name = self._some_hands(), self._walk.random.choice(NAMES)
        _, found = await hands.scheduling.read([name])
        assert await hands.scheduling.pause(name) == (bool(found) and found[0].place != "ended")

    async def resume(self) -> None:
        """A schedule goes on; the second time nothing happens."""
        hands = self._some_hands()
        now, found = await hands.scheduling.read(NAMES)
        for one in found:
            if one.spec is not None and await hands.scheduling.pause(one.name):
                [paused] = (await hands.scheduling.read([one.name]))[1]
                planned = resumed(one.spec, paused.planned_ms, now)
                assert await hands.scheduling.resume(paused, planned)
                assert not await hands.scheduling.resume(paused, planned)
                return

    async def remove(self) -> None:
        """A schedule is removed; the second time nothing happens."""
        hands, name = self._some_hands(), self._walk.random.choice(NAMES)
        _, found = await hands.scheduling.read([name])
        assert await hands.scheduling.remove(name) == bool(found)
        assert not await hands.scheduling.remove(name)
        self._generations[name] += 1

    async def remember(self) -> None:
        """Somebody still asks for a schedule, which may have ended."""
        hands, name = self._some_hands(), self._walk.random.choice(NAMES)
        before = await hands.scheduling.read([name])
        await hands.scheduling.remember(name)
        after = await hands.scheduling.read([name])
        assert [attrs.evolve(one, score=b"") for one in after[1]] == [
            attrs.evolve(one, score=b"") for one in before[1]
        ]

    async def lose_the_lock(self) -> None:
        """Whoever starts runs on time has died."""
        await self._walk.client.call("DEL", self._walk.keys.scheduler_lock)

    def _run(self, spec: Spec, planned: int, now: int) -> Run:
        self._jobs += 1
        job_id = f"planned-{self._jobs}"
        due = planned + self._walk.random.randint(0, spec.jitter_ms)
        return Run(job_id, due, spec.envelope(job_id, planned, now))

    def _some_hands(self) -> Hands:
        return self._walk.random.choice([*self._walk.consumers, *self._walk.zombies]).hands

    def _again(self) -> bool:
        return self._walk.random.random() < 0.25
