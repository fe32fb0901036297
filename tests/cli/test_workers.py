"""`anyq workers`, on a terminal, in a pipe and as JSON, with workers that say whatever a stranger may."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner
from tests.cli.programs import Program
from tests.cli.terminal import on_a_terminal
from tests.support.servers import Server

from anyq import Queue
from anyq._core.workers import Portrait, pack_record
from anyq.cli.commands import anyq

KEYS = Queue("cli").keys

HOSTILE = "\x1b[2J\u202eevil [bold red]\\[/]\r\n\t\x00\x9b1m"


@pytest.fixture
def told(server: Server, redis_url: str) -> str:
    """A worker that tells all, one that writes what a stranger may, one that is silent, one of another program."""
    seconds, _ = server.command("TIME")
    now = int(seconds) * 1000
    server.command("XGROUP", "CREATE", KEYS.stream, "default", "0", "MKSTREAM")
    for number in range(3):
        server.command("XADD", KEYS.stream, "*", "d", str(number))
    facts: dict[str, Any] = {
        "state": "running", "started_ms": now - 60_000, "now_ms": now, "busy": 2, "running": 1, "tasks": ["short"],
        "fallback": False, "paused": False, "paused_tasks": (), "loop_lag": 0.25,
    }  # fmt: skip
    for name, word, run in (
        ("anyq-1", "here", ("j1", "short", 2, now - 10_000, True)),
        ("anyq-2", HOSTILE, (HOSTILE, HOSTILE, 1, now - 200_000, False)),
    ):
        portrait = Portrait(
            name=name, host=word, pid=7, version="1.0", python="3.11.7", backend="trio", concurrency=10
        )
        record = pack_record(portrait, runs=[run], **facts)
        server.command("XGROUP", "CREATECONSUMER", KEYS.stream, "default", name)
        server.command("SET", KEYS.heartbeat(name.encode()), record)
    server.command("XREADGROUP", "GROUP", "default", "anyq-3", "COUNT", "2", "STREAMS", KEYS.stream, ">")
    server.command("XGROUP", "CREATECONSUMER", KEYS.stream, "default", HOSTILE)
    return redis_url


def said(url: str, *words: str) -> str:
    with Program("workers", "-q", "cli", *words, url=url) as program:
        output = program.output
        assert program.exit_code() == 0, output
    return output


def test_workers_are_listed_in_a_pipe_a_line_each(told: str) -> None:
    rows = [line.split("\t") for line in said(told).splitlines()]
    by_name = {row[0]: row for row in rows}
    assert by_name["anyq-1"][:10] == [
        "anyq-1",
        "here",
        "7",
        "1.0",
        "trio",
        "running",
        "2",
        "10",
        "0",
        "0.250",
    ]
    assert 10 <= float(by_name["anyq-1"][10]) < 60
    assert by_name["anyq-3"][1:] == ["", "", "", "", "silent", "", "", "2", "", ""]
    [foreign] = [row for row in rows if row[5] == "foreign"]
    assert foreign[0].startswith("\\x1b[2J\\u202eevil")
    assert {len(row) for row in rows} == {11}


def test_what_they_run_is_listed_a_line_a_run(told: str) -> None:
    output = CliRunner().invoke(anyq, ["workers", "-q", "cli", "--runs", "--url", told]).output
    rows = [line.split("\t") for line in output.splitlines()]
    assert [row[0] for row in rows] == ["anyq-2", "anyq-1"]
    assert (rows[1][1:4], rows[1][5]) == (["j1", "short", "2"], "waiting")
    assert "\x1b" not in output
    assert "\u202e" not in output


def test_the_json_has_its_documented_shape(told: str) -> None:
    output = said(told, "--runs", "--json")
    assert output.isascii()
    found = json.loads(output)
    assert found["queue"] == "cli"
    first = next(one for one in found["workers"] if one["name"] == "anyq-1")
    [run] = first.pop("runs")
    assert list(run) == ["job", "task", "attempt", "since", "seconds", "waits"]
    assert (run["job"], run["task"], run["attempt"], run["waits"]) == ("j1", "short", 2, True)
    for moment in ("started_at", "idle", "oldest", "age"):
        assert first.pop(moment) is not None
    assert first == {
        "name": "anyq-1", "state": "running", "host": "here", "pid": 7, "version": "1.0", "python": "3.11.7",
        "backend": "trio", "concurrency": 10, "busy": 2, "running": 1, "held": 0, "loop_lag": 0.25,
        "tasks": ["short"], "fallback": False, "paused": False, "paused_tasks": [],
    }  # fmt: skip


def test_on_a_terminal_there_are_tables_and_nothing_of_a_stranger_s_reaches_it(told: str) -> None:
    code, output = on_a_terminal("workers", "-q", "cli", "--runs", url=told, columns=200)
    assert code == 0
    for words in ("loop lag", "here:7", "2/10", "250 ms", "silent", "foreign", "3 min 2", "waiting", "j1"):
        assert words in output
    assert "\\x1b[2J" in output
    assert "\x1b[2J" not in output
    assert "\u202e" not in output
    assert "[bold red]" in output


def test_a_queue_without_workers_has_an_empty_list(redis_url: str) -> None:
    for words, output in (([], ""), (["--json"], '{"queue": "cli", "workers": []}\n')):
        ran = CliRunner().invoke(anyq, ["workers", "-q", "cli", "--url", redis_url, *words])
        assert (ran.exit_code, ran.output) == (0, output)
