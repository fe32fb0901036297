"""`anyq schedules`: what makes jobs by itself, looked at and changed in a pipe, on a terminal and for programs."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest
from click.testing import CliRunner, Result
from tests.cli.programs import Program, ready
from tests.cli.terminal import on_a_terminal
from tests.support.servers import Server

from anyq import Cron, Every, Queue
from anyq.cli.commands import anyq

HOSTILE = "evil\x9b1m[bold]"
START = datetime(2099, 1, 1, tzinfo=UTC)


@pytest.fixture
def url(redis_url: str) -> str:
    """A server with three schedules in the queue ``cli``."""

    async def make(queue: Queue) -> None:
        await queue.schedules.upsert(
            "nightly", "tidy", Cron("0 2 * * *", tz="Europe/Berlin"), {"key": "s3cret"}
        )
        await queue.schedules.upsert("often", "look", Every(90), start=START, limit=2, attempts=3, timeout=5)
        # A name that a foreign program chose.
        await queue.redis.hset(queue.keys.schedule("strange"), "spec", b"\x01")

    run(redis_url, make)
    return redis_url


def run(url: str, work: Callable[[Queue], Awaitable[Any]]) -> Any:
    queue = Queue("cli", url)

    async def main() -> Any:
        async with queue:
            return await work(queue)

    return anyio.run(main)


def invoke(url: str, *words: str) -> Result:
    """Without a process."""
    return CliRunner().invoke(anyq, ["schedules", words[0], "-q", "cli", "--url", url, *words[1:]])


def as_json(url: str, *words: str, code: int = 0) -> Any:
    ran = invoke(url, *words, "--json")
    assert ran.exit_code == code, ran.output
    return json.loads(ran.stdout)


def test_schedules_are_listed(server: Server, url: str) -> None:
    with Program("schedules", "list", "-q", "cli", url=url) as program:
        first, second = [line.split("\t") for line in program.output.splitlines()]
        assert program.exit_code() == 0
    assert first[:4] == ["nightly", "tidy", "0 2 * * * Europe/Berlin", "active"]
    assert first[4].endswith(("T00:00:00Z", "T01:00:00Z"))
    assert first[5:] == ["", "0", ""]
    assert second == ["often", "look", "every 90 s", "active", "2099-01-01T00:00:00Z", "", "0/2", ""]

    found = as_json(url, "list", "--task", "look")
    assert found == {
        "queue": "cli",
        "schedules": [
            {
                "name": "often", "task": "look", "when": {"every": 90.0}, "state": "active",
                "next_at": "2099-01-01T00:00:00.000+00:00", "last_at": None, "fired": 0, "limit": 2,
                "start": "2099-01-01T00:00:00.000+00:00", "end": None, "jitter": 0.0, "deadline": None,
                "missed": {"kind": "once", "most": 1, "grace": 60.0}, "declared": False, "priority": 5,
                "unique": None, "left_out": 0,
                "attempts": 3, "backoff": None, "timeout": 5.0, "result_ttl": None,
            }
        ],
    }  # fmt: skip
    assert "s3cret" not in invoke(url, "list", "--json").output
    [nightly] = as_json(url, "list", "--task", "tidy", "--payload")["schedules"]
    assert (nightly["payload"], nightly["when"]) == (
        {"key": "s3cret"},
        {"cron": "0 2 * * *", "tz": "Europe/Berlin"},
    )
    assert as_json(url, "list", "--state", "paused")["schedules"] == []

    code, said = on_a_terminal("schedules", "list", "-q", "cli", url=url)
    assert code == 0
    assert "0 2 * * * Europe/Berlin" in said
    assert "schedule" in said


def test_what_is_started_next_is_shown(url: str) -> None:
    ran = invoke(url, "next", "often")
    assert ran.stdout == "2099-01-01T00:00:00Z\toften\tlook\n2099-01-01T00:01:30Z\toften\tlook\n"
    assert as_json(url, "next", "often", "--count", "1") == {
        "queue": "cli",
        "runs": [{"at": "2099-01-01T00:00:00.000+00:00", "schedule": "often", "task": "look"}],
    }
    assert {run["schedule"] for run in as_json(url, "next", "-n", "3")["runs"]} == {"nightly"}
    ran = invoke(url, "next", "nobody")
    assert (ran.exit_code, ran.stderr) == (3, "anyq: there is no schedule 'nobody'\n")


def test_a_schedule_is_run_paused_and_resumed(server: Server, url: str) -> None:
    found = as_json(url, "run", "often", "nobody", code=3)
    [job] = found["jobs"]
    assert found == {"queue": "cli", "jobs": [job], "missing": ["nobody"]}
    assert (job["schedule"], job["task"]) == ("often", "look")
    assert ready(server) == 1
    name, _, task = invoke(url, "run", "often").stdout.rstrip("\n").split("\t")
    assert (name, task, ready(server)) == ("often", "look", 2)

    assert invoke(url, "pause", "often").stdout == "often\tpaused\t2099-01-01T00:00:00Z\n"
    assert as_json(url, "list", "--state", "paused")["schedules"][0]["name"] == "often"
    assert invoke(url, "next", "often").stdout == ""
    assert as_json(url, "resume", "often") == {
        "queue": "cli",
        "schedules": [{"schedule": "often", "state": "active", "next_at": "2099-01-01T00:00:00.000+00:00"}],
        "missing": [],
    }
    ran = invoke(url, "pause", HOSTILE)
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert "control characters" in ran.stderr
    assert "\x9b" not in ran.stderr


def test_removing_says_how_many_and_asks(url: str) -> None:
    ran = invoke(url, "remove", "often", "nobody")
    assert ran.exit_code == 2
    assert "Remove 1 schedule of queue 'cli'? Nobody can be asked here: say --yes" in ran.stderr
    code, said = on_a_terminal("schedules", "remove", "-q", "cli", "often", "nightly", url=url, typed="n\n")
    assert code == 1
    assert "Remove 2 schedules of queue 'cli'? [y/N]:" in said
    assert len(as_json(url, "list")["schedules"]) == 2
    code, said = on_a_terminal("schedules", "remove", "-q", "cli", "often", url=url, typed="y\n")
    assert code == 0
    assert "often is removed" in said
    found = as_json(url, "remove", "nightly", "often", "--yes", code=3)
    assert found == {"queue": "cli", "removed": ["nightly"], "missing": ["often"]}
    assert as_json(url, "list")["schedules"] == []


def test_one_that_code_declares_is_said_to_come_back(redis_url: str) -> None:
    async def declare(queue: Queue) -> None:
        from anyq import Worker

        @queue.every(3600)
        async def hourly() -> None: ...

        async with Worker(queue):
            pass

    run(redis_url, declare)
    ran = invoke(redis_url, "remove", "hourly", "--yes")
    assert (ran.exit_code, ran.stdout) == (0, "hourly\tremoved\n")
    assert "hourly is declared by code, and comes back" in ran.stderr
