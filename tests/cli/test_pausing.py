"""`anyq pause` and `anyq resume`, on a terminal, in a pipe and as JSON; and how status shows what is paused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import click
import pytest
from click.testing import CliRunner
from tests.cli.programs import Program, enqueue
from tests.cli.terminal import on_a_terminal
from tests.support.servers import Server

from anyq.cli.commands import anyq
from anyq.cli.moments import a_length, a_time
from anyq.cli.shown import lasting


def said(url: str, *words: str) -> str:
    """What a process says in a pipe."""
    with Program(*words, "-q", "cli", url=url) as program:
        output = program.output
        assert program.exit_code() == 0, output
    return output


def answer(url: str, *words: str) -> str:
    """The same without a process."""
    ran = CliRunner().invoke(anyq, [*words, "-q", "cli", "--url", url])
    assert ran.exit_code == 0, ran.output
    return ran.output


def test_a_queue_is_paused_and_resumed_in_a_pipe(server: Server, redis_url: str) -> None:
    enqueue(redis_url, "short")
    assert said(redis_url, "pause") == "cli\t\tpaused\t\n"
    assert answer(redis_url, "status").split("\t")[7:8] == ["paused"]
    assert said(redis_url, "resume") == "cli\t\tresumed\n"
    assert answer(redis_url, "resume") == "cli\t\tnot paused\n"
    assert server.command("EXISTS", "{anyq:cli}:pauses") == 0


def test_a_task_is_paused_for_a_while_as_json(redis_url: str) -> None:
    before = datetime.now(UTC)
    found = json.loads(answer(redis_url, "pause", "--task", "short", "--for", "10m", "--json"))
    until = datetime.fromisoformat(found.pop("until"))
    assert found == {"queue": "cli", "task": "short", "paused": True}
    assert timedelta(minutes=9, seconds=59) < until - before < timedelta(minutes=11)
    [status] = json.loads(answer(redis_url, "status", "--json"))["queues"]
    assert (status["paused"], status["paused_until"]) == (False, None)
    assert datetime.fromisoformat(status["paused_tasks"]["short"]) == until
    assert json.loads(answer(redis_url, "resume", "--task", "short", "--json")) == {
        "queue": "cli", "task": "short", "paused": False, "was_paused": True,
    }  # fmt: skip


def test_on_a_terminal_a_sentence_says_until_when(redis_url: str) -> None:
    code, words = on_a_terminal(
        "pause", "-q", "cli", "--task", "short", "--until", "2099-01-01T00:00Z", url=redis_url
    )
    assert (code, words) == (0, "task short of cli is paused until 2099-01-01T00:00:00Z\r\n")
    code, words = on_a_terminal("status", "-q", "cli", url=redis_url)
    assert code == 0
    assert "paused: short" in words


@pytest.mark.parametrize(
    ("words", "because"),
    [
        (("pause", "--until", "2099-01-01", "--for", "1h"), "either --until or --for"),
        (("pause", "--until", "soon"), "'soon' is no moment"),
        (("pause", "--for", "\x1b[2J"), "is no length of time"),
        (("pause", "--task", "\x1b[2J"), "must not contain braces or control characters"),
        (("resume", "--task", ""), "must not be empty"),
    ],
)
def test_what_makes_no_sense_is_refused(redis_url: str, words: tuple[str, ...], because: str) -> None:
    ran = CliRunner().invoke(anyq, [*words, "-q", "cli", "--url", redis_url])
    assert ran.exit_code == 2
    assert because in ran.output
    assert "\x1b" not in ran.output


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("1.5h", 5400), ("2d", 172_800), ("1w", 604_800), ("10m", 600)]
)
def test_a_length_of_time_has_a_unit_or_is_seconds(text: str, seconds: float) -> None:
    assert a_length(text).total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "-1", "1y", "h", "1 h", "1e5", "\uff19"])
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        a_length(text)


def test_a_time_without_an_offset_is_local() -> None:
    assert a_time("2099-01-01T00:00+01:00") == datetime(2098, 12, 31, 23, tzinfo=UTC)
    assert a_time("2099-01-01T00:00") == datetime(2099, 1, 1).astimezone(UTC)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, ""), (3.14, "3.1 s"), (75, "1 min 15 s"), (3720, "1 h 02 min"), (200_000, "2 d 7 h")],
)
def test_how_long_something_has_lasted_is_readable(seconds: float | None, shown: str) -> None:
    assert lasting(seconds) == shown
