"""The server's clock jumps: jobs are early or late by it, and none is lost.

AnyQ reads no clock but the server's, in its scripts, so that is where it is moved here. What a real jump does besides,
which is to let all heartbeats run out at once, is what a stall of the server does too (`test_servers`).
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.faults.conftest import AT_ONCE, View, until, working
from tests.support.servers import Server
from tests.support.walk import Walk

from anyq import Queue
from anyq._redis.client import Client
from anyq._redis.scripts import Script
from anyq._store import scripts

pytestmark = pytest.mark.anyio

HOUR = 3600
CLOCK = "test:clock"

MOVED = b"""(function()
  local time = redis.call('TIME')
  return { time[1] + (redis.call('GET', 'test:clock') or 0), time[2] }
end)()"""


@pytest.fixture
def jump(server: Server, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Move the clock that the scripts see, so many seconds away from the true time."""
    moved = 0
    for name, script in list(vars(scripts).items()):
        if isinstance(script, Script) and b"redis.call('TIME')" in script.body:
            monkeypatch.setattr(
                scripts, name, Script(script.name, script.body.replace(b"redis.call('TIME')", MOVED))
            )
            moved += 1
    assert moved >= 4
    return lambda seconds: server.command("SET", CLOCK, seconds)


async def test_delayed_jobs_follow_the_clock_wherever_it_goes(
    queue: Queue, view: View, jump: Callable[[int], None]
) -> None:
    ran: list[str] = []

    @queue.task(attempts=2, backoff=AT_ONCE)
    async def job(name: str) -> None:
        ran.append(name)
        if ran == ["back"]:
            jump(-HOUR)  # the retry is put where the clock now is
            raise ValueError(name)

    async def until_runs(name: str) -> None:
        await until(lambda: ran[-1:] == [name] and not worker.statistics().held)

    async with queue, working(queue) as worker:
        await job.options(delay=HOUR).enqueue("in an hour")
        await job.options(delay=2 * HOUR).enqueue("in two")
        await job.enqueue("back")
        await until(lambda: ran == ["back", "back"])
        await job.enqueue("at once, an hour ago")
        await until_runs("at once, an hour ago")
        jump(HOUR + 1)
        await until_runs("in an hour")
        jump(0)
        await job.enqueue("at once")
        await until_runs("at once")
        jump(3 * HOUR)
        await until_runs("in two")
        await worker.wait_idle()
    assert len(ran) == 6
    assert view.stored == view.delayed == 0
    assert worker.statistics().dead == worker.statistics().lost == 0


class Jumping(Walk):
    """A walk on which the clock jumps now and then."""

    async def add_delayed(self) -> None:
        await self.client.call("SET", CLOCK, self.random.choice([-HOUR, -1, 0, 1, HOUR]))
        await super().add_delayed()


async def test_a_walk_under_a_clock_that_jumps_loses_nothing(
    redis_url: str, jump: Callable[[int], None]
) -> None:
    async with Client(redis_url) as client:
        walk = Jumping(client, 1)
        await walk.run(500)
    assert walk.counts["Jumping.add_delayed"] >= 5
