"""`anyq status`, on a terminal, in a pipe and as JSON."""

from __future__ import annotations

import json

from tests.cli.programs import Program, enqueue
from tests.cli.terminal import on_a_terminal
from tests.support.servers import Server


def test_status_counts_jobs_in_a_pipe_on_a_terminal_and_for_programs(server: Server, redis_url: str) -> None:
    enqueue(redis_url, "short", "short")
    with Program("status", "-q", "cli", "-q", "none", url=redis_url) as program:
        assert program.exit_code() == 0
        first, second = [line.split("\t") for line in program.output.splitlines()]
    assert first[:6] == ["cli", "2", "0", "0", "0", "0"]
    assert float(first[6]) >= 0
    assert second == ["none", "0", "0", "0", "0", "0", "", ""]

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
        "waiting": 0, "added": 2, "replayed": 0, "done": 0, "failed": 0, "retried": 0, "given_up": 0, "cancelled": 0,
        "lost": 0,
    }  # fmt: skip

    code, said = on_a_terminal("status", "-q", "cli", url=redis_url)
    assert code == 0
    assert "ready" in said
    assert "cli" in said
    assert server.command("DBSIZE") == 3, "to look changes nothing"
