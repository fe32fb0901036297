"""A queue in which strangers wrote whatever they could: every command that reads it prints text, and nothing more.

Where a name is refused at the door, here it went in by another one: any program that has the server's password may
write to its keys. A new command belongs into one of the two lists below.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from typing import Any

import anyio
import click
import pytest
from click.testing import CliRunner
from rich.cells import cell_len
from tests.support.hands import Table
from tests.support.servers import Server

from anyq import Queue
from anyq._core.codec import delayed_member, encode
from anyq._core.job import Extras
from anyq._core.keys import Keys
from anyq._core.schedules import Cron, Spec
from anyq._core.workers import Portrait, pack_record
from anyq._redis.client import Client
from anyq.cli.commands import anyq

KEYS = Keys("anyq", "cli")

EVIL = "\x1b[2J\x1b]0;title\x07\u202eevil\u2066 [bold red]x[/bold red]\\[/] :smile: \r\n\t\x00\x7f\x9b1m"
LONG = EVIL + "long " * 200_000

#: What reads and shows what is there, and how it is asked here.
READS: dict[str, list[str]] = {
    "status": ["-q", "cli"],
    "status --history": ["-q", "cli", "--history=3"],
    "jobs": ["-q", "cli", "--limit", "50", "--payload"],
    "jobs --state": ["-q", "cli", "--state", "failed", "--state", "aside", "--state", "parked"],
    "job show": ["-q", "cli", "mine", "--payload"],
    "job explain": ["-q", "cli", "mine"],
    "workers": ["-q", "cli", "--runs"],
    "events": ["-q", "cli", "--after", "0", "--no-follow"],
    "dlq list": ["-q", "cli", "--payload"],
    "dlq errors": ["-q", "cli"],
    "dlq show": ["-q", "cli", "1-1", "--payload"],
    "dlq replay": ["-q", "cli", "1-1", "mine", "--yes"],
    "dlq delete": ["-q", "cli", "1-1", "--yes"],
    "schedules list": ["-q", "cli", "--payload"],
    "schedules next": ["-q", "cli"],
    "doctor": ["-q", "cli"],
    "watch": ["cli", "--count", "1"],
    "watch --job": ["-q", "cli", "--job", "mine", "--count", "1"],
    "drain": ["-q", "cli", "--timeout", "0.1s"],
}

#: Those that show tables and nothing but.
TABLES = {
    "status --history", "jobs", "jobs --state", "workers", "dlq list", "dlq errors", "schedules list",
    "schedules next",
}  # fmt: skip

#: What prints nothing of what others wrote, but for what its own line named.
OTHERS = {
    "completion", "demo", "enqueue", "job cancel", "job reschedule", "job retry", "job run", "pause", "resume",
    "schedules pause", "schedules remove", "schedules resume", "schedules run", "server", "worker",
}  # fmt: skip


def leaves(group: click.Group, path: str = "") -> Iterator[str]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        whole = f"{path} {name}".strip()
        if isinstance(command, click.Group):
            yield from leaves(command, whole)
        else:
            yield whole


def test_every_command_is_in_one_of_the_lists() -> None:
    reading = {re.sub(r" --\S+", "", name) for name in READS}
    assert reading | OTHERS == set(leaves(anyq))
    assert not reading & OTHERS


@pytest.fixture
def haunted(server: Server, redis_url: str) -> str:
    """A queue full of such texts."""
    evil, envelope = EVIL.encode(), encode(EVIL, b"", 1000, 1, extras=Extras(unique=EVIL, error=(EVIL, LONG)))
    command = server.command
    command("XGROUP", "CREATE", KEYS.stream, "default", "0", "MKSTREAM")
    command("XADD", KEYS.stream, "*", "d", envelope, "n", evil, EVIL, LONG[:1000])
    command("XADD", KEYS.stream, "*", "d", b"\xc1" + evil, "n", LONG[:100_000])
    command("XREADGROUP", "GROUP", "default", EVIL, "COUNT", "1", "STREAMS", KEYS.stream, ">")
    command("XADD", KEYS.stream, "*", "d", envelope, "n", evil)
    command("XGROUP", "CREATE", KEYS.stream, EVIL.replace("\0", ""), "0")
    portrait = Portrait(
        name="anyq-2", host=LONG[:5000], pid=7, version=EVIL, python=EVIL, backend=EVIL, concurrency=10
    )
    record = pack_record(
        portrait, runs=[(EVIL, EVIL, 1, 1000, False)], state=EVIL, started_ms=1000, now_ms=2000, busy=2, running=1,
        tasks=[EVIL], fallback=False, paused=True, paused_tasks=[EVIL], loop_lag=float("nan"),
    )  # fmt: skip
    command("XGROUP", "CREATECONSUMER", KEYS.stream, "default", "anyq-2")
    command("SET", KEYS.heartbeat(b"anyq-2"), record)
    command("ZADD", KEYS.delayed, 2**45, delayed_member(EVIL, envelope))
    command("ZADD", KEYS.delayed, 2**45, b"\x00\x00\x00\x40" + evil)
    command("HSET", KEYS.waiting, evil, b"1a" + delayed_member(EVIL, envelope))
    command("HSET", KEYS.pauses, "task:" + EVIL, 0, "aside:" + EVIL, 1, "number", 1)
    command("XADD", KEYS.aside(EVIL), "*", "d", envelope, "n", evil)
    command("ZADD", KEYS.parked, 3, "all", 3, b"task:" + evil)
    letter = dict.fromkeys(
        ("n", "reason", "detail", "error", "message", "worker", "attempts", "died_at"), LONG
    )
    flat = [word for pair in letter.items() for word in pair]
    command("XADD", KEYS.dead_letters, "1-1", "d", evil, "traceback", LONG + "\n" + LONG, *flat)
    command("XADD", KEYS.events, "*", "e", EVIL, "id", EVIL, "n", EVIL, "ts", 1, EVIL, LONG[:10_000])
    command("XADD", KEYS.events, "*", "e", "dlq", "id", "mine", "n", "die", "reason", EVIL)

    async def main() -> None:
        async with Client(redis_url) as client:
            hands = await Table(client, KEYS).hands(b"anyq-1")
            spec = Spec(name=EVIL, task=EVIL, when=Cron("0 2 * * *", tz="Europe/Berlin"), body=b"\xa1x")
            await hands.scheduling.put(spec, None, 2**41, keep=False, anew=True)
        async with Queue("cli", redis_url) as queue:
            await queue.enqueue("die", {"evil": EVIL, EVIL: LONG[:1000]}, id="mine", delay=3600)

    anyio.run(main)
    return redis_url


def harmless(text: str) -> set[str]:
    """What of a text is more than text."""
    return {one for one in text if not one.isprintable()} - {"\n", "\t"}


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process of its own would end at once, whichever threads there are."""
    monkeypatch.setattr("anyq.cli.endings.end_now", sys.exit)


@pytest.mark.usefixtures("ended")
def test_in_a_pipe_they_are_lines_of_text(haunted: str) -> None:
    for name, words in READS.items():
        ran = CliRunner().invoke(anyq, [*name.partition(" --")[0].split(), "--url", haunted, *words])
        assert not isinstance(ran.exception, Exception), f"{name}: {ran.exception!r}"
        assert not harmless(ran.output), f"{name}: {harmless(ran.output)}"
        assert len(ran.output) < 60_000, name


@pytest.mark.usefixtures("ended")
def test_as_json_they_are_ascii(haunted: str) -> None:
    for name, words in READS.items():
        ran = CliRunner().invoke(
            anyq, [*name.partition(" --")[0].split(), "--url", haunted, "--json", *words]
        )
        assert not isinstance(ran.exception, Exception), f"{name}: {ran.exception!r}"
        assert ran.stdout.isascii(), name
        assert not harmless(ran.stderr), name
        values: list[Any] = [json.loads(line) for line in ran.stdout.splitlines()]
        assert values, name


@pytest.mark.usefixtures("ended")
def test_on_a_terminal_they_are_text_within_its_width(haunted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _: True)
    for columns in ("60", "100", "250"):
        environment = {"COLUMNS": columns, "LINES": "50", "TERM": "xterm-256color"}
        for name, words in READS.items():
            ran = CliRunner(env=environment).invoke(
                anyq, [*name.partition(" --")[0].split(), "--url", haunted, *words], color=True
            )
            assert not isinstance(ran.exception, Exception), f"{name}: {ran.exception!r}"
            # What is drawn with: styles, and of `watch` the cursor's way back.
            drawn = re.sub(r"\x1b\[(?:[\d;]*m|\d*A|2K|\?25[lh])", "", ran.output).replace("\r", "")
            assert not harmless(drawn), f"{name}: {harmless(drawn)}"
            assert len(drawn) < 60_000, name
            if name in TABLES:
                wide = [
                    line
                    for line in drawn.splitlines()
                    if line.startswith(" ") and cell_len(line) > int(columns)
                ]
                assert not wide, name
