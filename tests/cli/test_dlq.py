"""`anyq dlq`, as its users run it: on a terminal, in a pipe, and from programs that read its JSON."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import Any

import msgpack
import pytest
from click.testing import CliRunner
from tests.cli.programs import HERE
from tests.cli.terminal import on_a_terminal
from tests.support.servers import Server

from anyq import Queue
from anyq._core.codec import encode
from anyq.cli.commands import anyq as anyq_command
from anyq.cli.shown import clean, clean_lines

KEYS = Queue("letters").keys

#: Whatever a stranger may write: an escape sequence that clears the screen, one that sets the title, a mark that turns
#: the direction of writing, rich's markup, a new line, a tab, and more of it than a screen has.
HOSTILE = "\x1b[2J\x1b]0;title\x07\u202eevil [bold red]\\[/] \r\n\t\x00\x9b1m" + "long " * 200_000


def bury(server: Server, *ids: str, **fields: Any) -> list[str]:
    letters: list[str] = []
    for id in ids:
        values = {
            "d": encode(id, msgpack.packb({"to": "ada"}), 1_795_000_000_000, 2),
            "n": "welcome", "reason": "retries_exhausted", "error": "ConnectionError", "message": "no way",
            "traceback": "Traceback:\n  here", "attempts": "3", **fields,
        }  # fmt: skip
        words = [word for field in values.items() for word in field]
        letters.append(server.command("XADD", KEYS.dead_letters, "*", *words).decode())
    return letters


def anyq(*arguments: str, url: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run it in a pipe."""
    return subprocess.run(
        [sys.executable, "-m", "anyq", "dlq", *arguments],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=HERE, check=False, encoding="utf-8",
        env={**os.environ, "ANYQ_URL": url, "ANYQ_QUEUE": "letters", **options},
    )  # fmt: skip


def as_json(*arguments: str, url: str) -> Any:
    """Run it without a process, whose start takes a second."""
    given = {"ANYQ_URL": url, "ANYQ_QUEUE": "letters"}
    ran = CliRunner().invoke(anyq_command, ["dlq", *arguments, "--json"], env=given)
    assert ran.exit_code in {0, 3}, ran.output
    assert ran.stdout.isascii()
    return json.loads(ran.stdout)


def test_a_list_in_a_pipe_is_a_line_a_letter(server: Server, redis_url: str) -> None:
    a, b, c = bury(server, "a", "b", "c")
    ran = anyq("list", "--limit", "2", url=redis_url)
    assert ran.returncode == 0
    rows = [line.split("\t") for line in ran.stdout.splitlines()]
    assert [row[0] for row in rows] == [c, b], "those that died last first"
    assert rows[0][2:] == ["welcome", "retries_exhausted", "3", "c", "ConnectionError: no way"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", rows[0][1])
    assert ran.stderr == f"more: --after {b}\n"
    ran = anyq("list", "--after", b, url=redis_url)
    assert [line.split("\t")[0] for line in ran.stdout.splitlines()] == [a]
    assert ran.stderr == ""


def test_the_json_of_a_list_and_of_a_letter_has_its_documented_shape(server: Server, redis_url: str) -> None:
    [a] = bury(server, "a", worker="anyq-1", source_id="5-0")
    bury(server, "b", n="other")
    page = as_json("list", "--task", "welcome", "--since", "1h", url=redis_url)
    assert {name: value for name, value in page.items() if name != "letters"} == {
        "queue": "letters", "count": 2, "trimmed": 0, "next": None,
    }  # fmt: skip
    [letter] = page["letters"]
    died_at = letter.pop("died_at")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", died_at)
    assert letter == {
        "id": a, "job": "a", "task": "welcome", "reason": "retries_exhausted", "detail": "",
        "error": "ConnectionError", "message": "no way", "traceback": "Traceback:\n  here", "attempts": 3, "lost": 0,
        "created_at": "2026-11-18T11:06:40.000+00:00", "worker": "anyq-1", "entry": "5-0",
        "size": len(encode("a", msgpack.packb({"to": "ada"}), 1_795_000_000_000, 2)),
    }  # fmt: skip
    assert as_json("show", a, "--payload", url=redis_url) == {
        **letter, "died_at": died_at, "payload": {"to": "ada"},
    }  # fmt: skip
    assert as_json("show", "b", url=redis_url)["task"] == "other", "found by its job's id"


def test_errors_are_grouped_in_a_pipe_as_json_and_on_a_terminal(server: Server, redis_url: str) -> None:
    _, b = bury(server, "a", "b")
    bury(server, "c", error=HOSTILE, message=HOSTILE)
    ran = anyq("errors", "--error", "ConnectionError", url=redis_url)
    assert (ran.returncode, ran.stderr) == (0, "")
    [row] = [line.split("\t") for line in ran.stdout.splitlines()]
    assert row[:4] == ["2", "ConnectionError", "welcome", "retries_exhausted"]
    assert row[6:] == [b, "no way"]

    said = as_json("errors", "--limit", "1", url=redis_url)
    [group] = said.pop("errors")
    assert said == {"queue": "letters", "count": 3, "more": True}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT.*", group.pop("first_at"))
    assert group.pop("last_at")
    assert group == {
        "error": "ConnectionError", "task": "welcome", "reason": "retries_exhausted", "count": 2, "last": b,
        "message": "no way",
    }  # fmt: skip

    code, shown = on_a_terminal("dlq", "errors", "-q", "letters", url=redis_url)
    assert code == 0
    assert "3 dead letters in letters" in shown
    assert "ConnectionError" in shown
    assert "\x1b[2J" not in shown


def test_the_json_of_a_replay_and_a_deletion_says_what_is_left(server: Server, redis_url: str) -> None:
    a, _, c = bury(server, "a", "b", "c")
    [bad] = bury(server, "x", d="")
    assert as_json("replay", a, bad, "nobody", "--yes", url=redis_url) == {
        "replayed": 1, "left": [{"id": bad, "why": "it has no job: its entry had no field 'd'"}],
        "missing": ["nobody"],
    }  # fmt: skip
    assert server.command("XLEN", KEYS.stream) == 1
    assert as_json("delete", c, "1-1", "--yes", url=redis_url) == {"deleted": 1, "missing": ["1-1"]}
    every = ["--all", "--yes", "--error", "ConnectionError"]
    assert as_json("replay", *every, "--limit", "1", url=redis_url)["replayed"] == 1
    assert as_json("delete", *every, url=redis_url) == {"deleted": 1, "missing": []}


def test_exit_codes_say_how_it_went(server: Server, redis_url: str) -> None:
    [a] = bury(server, "a")
    assert anyq("show", a, url=redis_url).returncode == 0
    ran = anyq("show", "1-1", url=redis_url)
    assert (ran.returncode, ran.stderr) == (3, "anyq: there is no dead letter '1-1'\n")
    ran = anyq("list", url="unix:///nowhere.sock")
    assert ran.returncode == 1
    assert "Traceback" not in ran.stderr
    assert "anyq: " in ran.stderr


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["replay"], "name letters by their ids, or say --all"),
        (["replay", "1-1", "--all"], "not both"),
        (["delete", "1-1", "--task", "x"], "not both"),
        (["list", "--since", "yesterday"], "'yesterday' is no moment"),
        (["list", "--after", "x"], "'x' is no letter's id"),
        (["list", "--queue", "a{b"], "braces"),
        (["delete", "--all"], "Nobody can be asked here: say --yes"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_makes_no_sense_ends_with_2(
    server: Server, redis_url: str, arguments: list[str], answer: str
) -> None:
    bury(server, "a")
    given = {"ANYQ_URL": redis_url, "ANYQ_QUEUE": "letters"}
    ran = CliRunner().invoke(anyq_command, ["dlq", *arguments], env=given)
    assert ran.exit_code == 2
    assert answer in " ".join(ran.output.split())
    assert server.command("XLEN", KEYS.dead_letters) == 1


def test_on_a_terminal_a_table_is_shown_and_what_destroys_asks(server: Server, redis_url: str) -> None:
    a, b = bury(server, "a", "b")
    code, said = on_a_terminal("dlq", "list", "-q", "letters", url=redis_url)
    assert code == 0
    assert "2 dead letters in letters" in said
    assert a in said
    _, none = on_a_terminal("dlq", "list", "-q", "letters", "--task", "nobody's", url=redis_url)
    assert none.strip() == "2 dead letters in letters, and none is such a one"
    assert "ConnectionError: no way" in said

    code, said = on_a_terminal("dlq", "delete", "-q", "letters", "--all", url=redis_url, typed="n\n")
    assert code == 1
    assert "Delete 2 dead letters of queue 'letters'? [y/N]:" in said
    assert server.command("XLEN", KEYS.dead_letters) == 2

    code, said = on_a_terminal("dlq", "replay", "-q", "letters", a, b, url=redis_url, typed="y\n")
    assert code == 0
    assert "Replay 2 dead letters" in said
    assert "2 replayed" in said
    assert server.command("XLEN", KEYS.stream) == 2


@pytest.mark.parametrize("where", ["terminal", "pipe", "ascii pipe"])
def test_nothing_that_a_stranger_wrote_reaches_the_terminal_as_more_than_text(
    server: Server, redis_url: str, where: str
) -> None:
    [letter] = bury(
        server, HOSTILE[:100], n=HOSTILE, reason=HOSTILE, detail=HOSTILE, error=HOSTILE, message=HOSTILE,
        traceback=HOSTILE + "\n" + HOSTILE, worker=HOSTILE,
    )  # fmt: skip
    for arguments in (["list"], ["show", letter, "--payload"]):
        if where == "terminal":
            _, said = on_a_terminal("dlq", *arguments, "-q", "letters", url=redis_url, columns=300)
            # What rich itself sends: colours and styles of the table, and no more.
            said = re.sub(r"\x1b\[[0-9;]*m", "", said).replace("\r\n", "\n")
        else:
            encoding = {"PYTHONIOENCODING": "ascii"} if "ascii" in where else {}
            ran = anyq(*arguments, url=redis_url, **encoding)
            assert ran.returncode == 0, ran.stderr
            said = ran.stdout
        assert "evil" in said
        strange = {character for character in said if not character.isprintable()} - {"\n", "\t"}
        assert not strange
        assert len(said) < 50_000
        if arguments == ["list"]:
            assert len(said.splitlines()) < 10
            assert "[bold red]" in said or where == "terminal"


def test_a_text_is_cut_and_escaped() -> None:
    assert clean("plain", 10) == "plain"
    assert clean("a\x1b[1m\n\u202e", 100) == "a\\x1b[1m\\n\\u202e"
    assert clean("abcdef", 4) == "abc…"
    assert clean("\x1b" * 1000, 10) == "\\x1b\\x1b\\…"
    assert list(clean_lines("a\nb\tc\x1b\nd", 10, 2)) == ["... 1 lines before", "b   c\\x1b", "d"]
