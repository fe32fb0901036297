"""The runners by themselves, without Redis: who takes which job, and when there is one runner more."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import anyio
import msgpack
import pytest
from tests.worker.conftest import until

from anyq import Limits, current_job
from anyq._core.job import NO_EXTRAS, NO_OVERRIDE, Job, ordinary
from anyq._core.runnable import Policy, Runnable
from anyq._services.channels import Bulletin, Channel, Outcomes
from anyq._services.clock import ServerClock
from anyq._services.counts import Counts
from anyq._services.home import Home
from anyq._services.ledger import Ledger
from anyq._services.processes import Processes
from anyq._services.room import Crew, Room
from anyq._services.runners import Runners

pytestmark = pytest.mark.anyio


class Hesitant(Channel[Job]):
    """A channel before which whoever wants to wait for a job can be held up."""

    __slots__ = ("gate",)

    def __init__(self) -> None:
        super().__init__()
        self.gate = anyio.Event()
        self.gate.set()

    async def take(self) -> list[Job]:
        await self.gate.wait()
        return await super().take()


class Rig:
    """A crew of runners, and the queue that they serve."""

    def __init__(self, size: int) -> None:
        self.crew = Crew(size)
        self.jobs = Hesitant()
        self.outcomes = Outcomes()
        self.home = Home(
            queue="q", source={}, fallback=None, limits=Limits(), grace=1.0, outcomes=self.outcomes,
            bulletin=Bulletin(events=None, metrics=False), room=Room(self.crew, 100), ledger=Ledger([b"lane"]),
            journal=None, counts=Counts(), clock=ServerClock(),  # type: ignore[arg-type]
        )  # fmt: skip
        self.runners = Runners(self.crew, self.jobs, 1, Processes(1))
        self.at_work: list[str] = []
        self.release: dict[str, anyio.Event] = {}
        self.add(self.hold)

    def add(self, function: Callable[..., Any], policy: Policy | None = None) -> None:
        name = function.__name__
        self.home.take_in({name: Runnable.of(name, function, policy or Policy())})

    async def hold(self) -> None:
        job_id = current_job().id
        self.at_work.append(job_id)
        await self.release[job_id].wait()

    def send(self, *jobs: tuple[str, str], lost: int = 0, body: bytes = b"\x80") -> None:
        made: list[Job] = []
        for job_id, task in jobs:
            self.release[job_id] = anyio.Event()
            entry = job_id.encode()
            if lost:
                made.append(
                    Job(
                        "q", job_id, task, 1, 0, NO_OVERRIDE, NO_EXTRAS, body, b"lane", entry, lost, self.home
                    )
                )
            else:
                made.append(ordinary("q", job_id, task, 1, 0, body, b"lane", entry, self.home))
        self.home.room.buffered += len(made)
        self.jobs.send.send_nowait(made)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.runners.run)
                await anyio.wait_all_tasks_blocked()
                yield
                self.jobs.send.close()
                for event in self.release.values():
                    event.set()
        assert self.crew.idle == self.crew.size
        assert self.home.room.buffered == 0

    def close(self) -> None:
        for channel in (self.jobs, self.outcomes, self.home.bulletin):
            channel.close()


@pytest.fixture
async def make_rig() -> AsyncGenerator[Callable[[int], Rig]]:
    """Makes rigs, and closes them."""
    made: list[Rig] = []

    def make(size: int) -> Rig:
        made.append(Rig(size))
        return made[-1]

    yield make
    for rig in made:
        rig.close()


async def test_what_comes_while_a_runner_is_about_to_look_lies_idle_behind_nobody(
    make_rig: Callable[[int], Rig],
) -> None:
    rig = make_rig(3)
    async with rig.running():
        rig.jobs.gate = anyio.Event()
        rig.send(("first", "hold"))
        await until(lambda: rig.at_work == ["first"])
        await anyio.wait_all_tasks_blocked()  # the next one stands before the channel by now
        rig.send(("second", "hold"), ("third", "hold"))
        rig.release["first"].set()
        await anyio.wait_all_tasks_blocked()
        rig.jobs.gate.set()
        await until(lambda: rig.at_work == ["first", "second", "third"])


async def test_jobs_behind_one_that_holds_up_the_loop_have_their_runners(
    make_rig: Callable[[int], Rig],
) -> None:
    rig = make_rig(20)

    async def busy() -> None:
        ends = time.monotonic() + 0.01  # longer than a turn
        while time.monotonic() < ends:
            pass

    rig.add(busy)
    async with rig.running():
        rig.send(("busy", "busy"), *((f"{number}", "hold") for number in range(10)))
        await until(lambda: len(rig.at_work) == 10)
        assert len(rig.runners.runners) == 11


async def test_runs_that_are_cut_do_not_make_more_runners_than_there_may_be(
    make_rig: Callable[[int], Rig],
) -> None:
    rig = make_rig(5)
    most = 0

    async def slow() -> None:
        nonlocal most
        most = max(most, len(rig.runners.running))
        await anyio.sleep_forever()

    rig.add(slow, Policy(timeout=0.001, attempts=1))
    async with rig.running():
        rig.send(*((f"{number}", "slow") for number in range(50)))
        await until(lambda: rig.crew.finished == 50)
        assert most == len(rig.runners.runners) == 5


async def test_nobody_is_added_once_the_runners_are_cancelled(make_rig: Callable[[int], Rig]) -> None:
    rig = make_rig(10)
    begun = 0

    async def stubborn() -> None:
        nonlocal begun
        begun += 1
        if begun == 2:
            rig.runners.around[-1].cancel()
        with anyio.CancelScope(shield=True):
            await rig.release[current_job().id].wait()

    rig.add(stubborn)
    async with rig.running():
        rig.send(("0", "stubborn"))
        await until(lambda: begun == 1)
        rig.send(*((f"{number}", "stubborn") for number in range(1, 8)))
        await until(lambda: begun >= 2)
        await anyio.wait_all_tasks_blocked()
        assert begun <= 3  # the one that was on its way may have taken one
        assert len(rig.runners.runners) == 3


async def test_a_suspect_that_cannot_run_or_fails_is_in_nobodys_way(make_rig: Callable[[int], Rig]) -> None:
    rig = make_rig(1)
    good: list[str] = []

    async def fails() -> None:
        raise ValueError("no")

    async def works() -> None:
        good.append(current_job().id)

    rig.add(fails, Policy(attempts=3))
    rig.add(works, Policy(attempts=3))
    async with rig.running():
        rig.send(("broken", "works"), lost=2, body=b"\xc1")
        rig.send(("misfit", "works"), lost=2, body=msgpack.packb({"a": 1}))
        rig.send(("failing", "fails"), lost=2)
        rig.send(("good", "works"), ("better", "works"), lost=2)
        await until(lambda: rig.crew.finished == 5)
    assert good == ["good", "better"]
    assert [dead.reason for dead in rig.outcomes.dead.take_nowait()] == ["decode_failed", "bad_payload"]
    assert [(retry.job.id, retry.quiet) for retry in rig.outcomes.retries.take_nowait()] == [
        ("failing", False)
    ]


async def test_what_it_takes_to_pack_a_result_is_not_the_next_runs(
    make_rig: Callable[[int], Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    class Large(dict[str, int]):
        def items(self) -> Any:
            nonlocal now
            now += 100.0
            return super().items()

    async def large() -> Any:
        return Large(a=1)

    async def small() -> None: ...

    monkeypatch.setattr("anyq._services.runners.time", SimpleNamespace(monotonic=lambda: now))
    rig = make_rig(1)
    rig.add(large, Policy(result_ttl=60))
    rig.add(small)
    async with rig.running():
        rig.send(("large", "large"), ("small", "small"))
        await until(lambda: rig.crew.finished == 2)
    done = rig.outcomes.acks.take_nowait()
    assert [(job.id, job.seconds) for job in done] == [("large", 0.0), ("small", 0.0)]
    assert now >= 100.0


async def test_a_queues_home_knows_the_names_of_its_tasks_as_they_come_from_redis(
    make_rig: Callable[[int], Rig],
) -> None:
    rig = make_rig(1)

    async def late() -> None: ...

    rig.home.source = {"late": Runnable.of("late", late, Policy())}
    assert rig.home.names == {b"hold": "hold"}
    assert rig.home.find("late") is rig.home.tasks["late"]
    assert rig.home.find("never") is None
    assert rig.home.names == {b"hold": "hold", b"late": "late"}
