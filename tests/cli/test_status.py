"""`anyq status`, on a terminal, in a pipe and as JSON."""

from __future__ import annotations

import json
import re

import attrs
from tests.cli.programs import Program, enqueue
from tests.cli.terminal import on_a_terminal
from tests.support.servers import Server

from anyq import Minute
from anyq._core.keys import Keys


def test_status_counts_jobs_in_a_pipe_on_a_terminal_and_for_programs(server: Server, redis_url: str) -> None:
    enqueue(redis_url, "short", "short")
    with Program("status", "-q", "cli", "-q", "none", url=redis_url) as program:
        assert program.exit_code() == 0
        first, second = [line.split("\t") for line in program.output.splitlines()]
    assert first[:6] == ["cli", "2", "0", "0", "0", "0"]
    assert float(first[6]) >= 0
    assert first[8:14] == ["0", "0", "2", "0", "0", "0"]
    assert float(first[15]) > 0
    assert second == ["none", *"00000", "", "", *"0000000", "0.00", "0.00", "0.00", "0"]

    with Program("status", "-q", "cli", "--json", url=redis_url) as program:
        [found] = json.loads(program.output)["queues"]
        assert program.exit_code() == 0
    assert found.pop("oldest") >= 0
    for minutes in "last_minute", "last_five_minutes":
        rates = found.pop(minutes)
        assert rates.pop("added") > 0
        assert rates == {"ended": 0, "failed": 0}
    assert found == {
        "queue": "cli", "ready": 2, "running": 0, "delayed": 0, "due": 0, "aside": 0, "dead": 0, "trimmed": 0,
        "next_due": None, "paused": False, "paused_until": None, "paused_tasks": {},
        "workers": 0,
        "waiting": 0, "parked": 0, "parked_by_task": {}, "added": 2, "replayed": 0, "done": 0, "failed": 0,
        "retried": 0, "given_up": 0, "cancelled": 0, "lost": 0,
    }  # fmt: skip

    parked = Keys("anyq", "cli").parked
    server.command("ZADD", parked, 3, "all", 3, "task:\x1b[31m[red]x")
    code, said = on_a_terminal("status", "-q", "cli", url=redis_url)
    assert code == 0
    assert "\\x1b[31m[red]x' (3 jobs parked)" in said
    assert "ready" in said
    assert "cli" in said
    assert "in/s" in said
    assert server.command("DBSIZE") == 4, "to look changes nothing"


def test_the_history_is_shown_minute_by_minute(redis_url: str) -> None:
    enqueue(redis_url, "short", "short")
    with Program("status", "-q", "cli", "--history", "3", url=redis_url) as program:
        assert program.exit_code() == 0
        rows = [line.split("\t") for line in program.output.splitlines()]
    assert [len(row) for row in rows] == [9, 9, 9]
    assert {row[0] for row in rows} == {"cli"}
    assert sum(int(row[2]) for row in rows) == 2
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:00Z", rows[0][1])

    with Program("status", "-q", "cli", "--json", "--history", url=redis_url) as program:
        [found] = json.loads(program.output)["queues"]
        assert program.exit_code() == 0
    assert found["queue"] == "cli"
    assert len(found["history"]) == 60
    assert found["history"][0].keys() == {field.name for field in attrs.fields(Minute)}

    code, said = on_a_terminal("status", "-q", "cli", "--history=2", url=redis_url)
    assert code == 0
    assert "given up" in said


def test_on_a_terminal_it_says_why_nothing_runs_and_when_a_name_is_nobody_s(redis_url: str) -> None:
    enqueue(redis_url, "short")
    with Program("pause", "-q", "cli", url=redis_url) as program:
        assert program.exit_code() == 0
    code, said = on_a_terminal("status", "-q", "cli", "-q", "clj", url=redis_url, columns=80)
    assert code == 0
    assert "cli is paused until it is resumed" in said
    assert "cli: jobs wait, and nobody works on it" in said
    assert "clj: nothing was ever in this queue, and nobody works on it: is that its name?" in said
    assert "cli: nothing" not in said
