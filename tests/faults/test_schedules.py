"""Schedules while workers die and replies are lost: each planned time has one job, and none is left out."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable
from itertools import pairwise

import pytest
from tests.faults.conftest import Fleet, until, working
from tests.support.proxy import FaultProxy

from anyq import Every, Missed, Queue, current_job

pytestmark = pytest.mark.anyio

STEP = 50  # milliseconds; what is made up at most is then most of a minute
EACH = Missed.all(1000)


def assert_one_job_for_each_planned_time(made: Iterable[tuple[int, str]]) -> None:
    """A job may have run again, as it was in the hands of a worker that died; it is still that job."""
    jobs = dict(made)
    assert len(set(jobs.values())) == len(jobs)
    assert jobs.items() == set(made), "a planned time has two jobs"
    times = sorted(jobs)
    assert {two - one for one, two in pairwise(times)} == {STEP}


async def test_workers_are_killed_whenever_it_may_be(queue: Queue, fleet: Fleet) -> None:
    """The one that makes the jobs is killed without a word, again and again."""
    async with queue:
        await fleet.start(lease=1)
        await queue.schedules.upsert("s", "planned", Every(STEP / 1000), missed=EACH)
        for _ in range(3):
            told = len(fleet.of("planned"))
            await fleet.until(lambda told=told: len(fleet.of("planned")) >= told + 5)  # type: ignore[misc]
            fleet.signal(fleet.processes[-1], signal.SIGKILL)
            await fleet.start(lease=1)
        told = len(fleet.of("planned"))
        await fleet.until(lambda: len(fleet.of("planned")) >= told + 5)
        await queue.schedules.pause("s")
        stopped = await queue.schedules.get("s")
        assert stopped is not None
        await fleet.until(lambda: len({words["id"] for words in fleet.of("planned")}) == stopped.fired)
    assert_one_job_for_each_planned_time({(words["planned"], words["id"]) for words in fleet.of("planned")})


async def test_workers_are_killed_with_a_run_that_excludes_the_next(queue: Queue, fleet: Fleet) -> None:
    """What a killed worker ran goes on elsewhere, and until then the schedule starts nothing beside it."""
    async with queue:
        await fleet.start(lease=1)
        await queue.schedules.upsert("s", "alone", Every(STEP / 1000), unique="alone")
        for _ in range(3):
            ended = len(fleet.of("was_alone"))
            await fleet.until(lambda ended=ended: len(fleet.of("was_alone")) > ended + 1)  # type: ignore[misc]
            began = len(fleet.of("alone"))
            await fleet.until(lambda began=began: len(fleet.of("alone")) > began)  # type: ignore[misc]
            fleet.signal(fleet.processes[-1], signal.SIGKILL)
            await fleet.start(lease=1)
        ended = len(fleet.of("was_alone"))
        await fleet.until(lambda: len(fleet.of("was_alone")) > ended + 1)
        await queue.schedules.pause("s")
        stopped = await queue.schedules.get("s")
        assert stopped is not None
        await fleet.until(
            lambda: len({words["was_alone"] for words in fleet.of("was_alone")}) == stopped.fired
        )
    assert stopped.left_out > 3
    current = ""
    for words in sorted(fleet.said, key=lambda words: words["at"]):  # each process has a pipe of its own
        if "alone" in words:
            assert current in {"", words["alone"]}, "another run began beside one that goes on"
            current = words["alone"]
        elif "was_alone" in words:
            assert current in {"", words["was_alone"]}
            current = ""
    assert max(words["attempt"] for words in fleet.of("alone")) > 1, (
        "a worker was killed with a run in its hands"
    )


@pytest.mark.parametrize("fault", ["lost replies", "lost commands", "broken connections"])
async def test_a_network_that_fails(queue: Queue, proxy: FaultProxy, fault: str) -> None:
    made: list[tuple[int, str]] = []
    faulty = Queue(queue.name, proxy.url)

    @faulty.task
    async def planned() -> None:
        job = current_job()
        assert job.scheduled_at is not None
        made.append((round(job.scheduled_at.timestamp() * 1000), job.id))

    async with queue:
        await queue.schedules.upsert("s", "planned", Every(STEP / 1000), missed=EACH)
        async with working(faulty, lease=10):
            for _ in range(4):
                before = len(made)
                await until(lambda before=before: len(made) > before + 3)  # type: ignore[misc]
                if fault != "broken connections":
                    way = proxy.down if fault == "lost replies" else proxy.up
                    dropped = way.dropped
                    proxy.drop("down" if fault == "lost replies" else "up")
                    await proxy.until(lambda _, way=way, dropped=dropped: way.dropped > dropped)  # type: ignore[misc]
                proxy.reset()
                proxy.heal()
            await queue.schedules.pause("s")
            stopped = await queue.schedules.get("s")
            assert stopped is not None
            await until(lambda: len({job for _, job in made}) == stopped.fired)
    assert_one_job_for_each_planned_time(set(made))


async def test_a_server_that_was_away_is_caught_up_with(queue: Queue, proxy: FaultProxy) -> None:
    """What the outage took is missed, and made up as the schedule says."""
    times: list[int] = []
    faulty = Queue(queue.name, proxy.url)

    @faulty.task
    async def planned() -> None:
        moment = current_job().scheduled_at
        assert moment is not None
        times.append(round(moment.timestamp() * 1000))

    async with queue:
        await queue.schedules.upsert("s", "planned", Every(STEP / 1000), missed=Missed.all(5))
        async with working(faulty):
            await until(lambda: len(times) > 3)
            proxy.refuse()
            proxy.reset()
            began = time.monotonic()
            await until(lambda: time.monotonic() > began + 1)
            proxy.heal()
            told = len(times)
            await until(lambda: len(times) > told + 10)
    gaps = [two - one for one, two in pairwise(sorted(times))]
    assert all(gap % STEP == 0 and gap > 0 for gap in gaps)
    away = gaps.index(max(gaps))
    assert gaps[away] > 500
    assert gaps[away + 1 : away + 5] == [STEP] * 4, "the latest five were made up, and no others"
