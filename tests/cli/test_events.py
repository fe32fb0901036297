"""`anyq events`: a line an event, in a pipe, on a terminal and for programs."""

from __future__ import annotations

import json
import signal

from tests.cli.programs import Program
from tests.cli.terminal import on_a_terminal
from tests.support.servers import Server

from anyq import Queue

KEY = Queue("cli").keys.events


def tell(server: Server, *fields: object) -> str:
    id: bytes = server.command("XADD", KEY, "*", *fields)
    return id.decode()


def test_events_are_lines_for_people_and_for_programs(server: Server, redis_url: str) -> None:
    job = "mean\x1b]0;title\x07\n[red]"
    first = tell(server, "e", "active", "id", "one", "ts", 1795355080744, "n", "welcome", "attempt", 1)
    second = tell(
        server,
        "e",
        "completed",
        "id",
        "one",
        "ts",
        1795355080745,
        "n",
        "welcome",
        "attempt",
        1,
        "duration_us",
        15,
    )
    last = tell(server, "e", "dlq", "id", job, "ts", 1795355080746, "attempt", 3, "reason", "tab\there")

    with Program("events", "-q", "cli", "--after", "0", "--no-follow", url=redis_url) as program:
        assert program.exit_code() == 0
        rows = [line.split("\t") for line in program.output.splitlines()]
    assert rows == [
        [first, "2026-11-22T13:44:40.744+00:00", "active", "welcome", "one", "1"],
        [second, "2026-11-22T13:44:40.745+00:00", "completed", "welcome", "one", "1", "duration_us=15"],
        [
            last,
            "2026-11-22T13:44:40.746+00:00",
            "dlq",
            "",
            r"mean\x1b]0;title\x07\n[red]",
            "3",
            r"reason=tab\there",
        ],
    ]

    asked = (
        "events",
        "-q",
        "cli",
        "--after",
        first,
        "--kind",
        "completed",
        "--kind",
        "dlq",
        "-n",
        "1",
        "--json",
    )
    with Program(*asked, url=redis_url) as program:
        assert program.exit_code() == 0
        assert [json.loads(line) for line in program.output.splitlines()] == [
            {
                "id": second, "at": "2026-11-22T13:44:40.745+00:00", "kind": "completed", "task": "welcome",
                "job": "one", "attempt": 1, "fields": {"duration_us": 15}, "missed": False,
            }
        ]  # fmt: skip

    code, said = on_a_terminal("events", "-q", "cli", "--after", "2h", "--no-follow", url=redis_url)
    assert code == 0
    assert "completed" in said
    assert r"mean\x1b]0;title\x07\n[red]" in said
    assert "\x1b]0;title" not in said
    assert server.command("DBSIZE") == 1, "to look changes nothing"


def test_following_goes_on_until_it_is_told_to_end(server: Server, redis_url: str) -> None:
    gone = "1-1"  # an event that was there and is not any more
    tell(server, "e", "active", "id", "one")
    with Program("events", "-q", "cli", "--after", gone, url=redis_url) as program:
        program.until("\tone\t")
        tell(server, "e", "completed", "id", "two")
        program.until("\ttwo\t")
        program.signal(signal.SIGINT)
        assert program.exit_code() == 0
        assert program.output.count("events before this one are gone") == 1


def test_what_is_wrong_is_said_in_a_sentence(redis_url: str) -> None:
    with Program("events", "-q", "cli", "--after", "yesterday", url=redis_url) as program:
        assert program.exit_code() == 2
        assert "no moment" in program.output
    with Program(
        "events", "-q", "cli", "--after", "1-2", url=redis_url.replace("unix://", "unix://nobody:wrong@")
    ) as program:
        assert program.exit_code() == 1
        assert program.output.count("\n") == 1
        assert "does not let us in" in program.output
