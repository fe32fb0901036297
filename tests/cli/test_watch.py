"""`anyq watch`: queues and single jobs, drawn on a terminal, in lines for a pipe, in objects for programs."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import attrs
import pytest
from anyio.to_thread import run_sync
from rich.console import Console
from tests.cli.programs import Program, worker
from tests.cli.terminal import on_a_terminal
from tests.support.servers import SECONDS, Server

from anyq import Queue, QueueStats, Unrecoverable, Worker, current_job
from anyq._core.dead_letters import DeadLetter
from anyq._core.notes import Progress
from anyq._core.workers import RunningJob, WorkerInfo
from anyq.cli.watch.looks import Look, _rates  # pyright: ignore[reportPrivateUsage]
from anyq.cli.watch.views import picture
from anyq.vitals import Rates

HOSTILE = "\x1b[2J\x1b]0;title\x07\u202eevil [bold red]\\[/]\n\t\x00\x9b1m"
NOW = datetime(2026, 11, 22, 20, tzinfo=UTC)
QUIET = Rates(added=0, ended=0, failed=0)


def stats(**some: Any) -> QueueStats:
    zeros = {field.name: 0 for field in attrs.fields(QueueStats) if field.type in {"int", int}}
    rest: dict[str, Any] = {
        "oldest": None,
        "next_due": None,
        "paused": False,
        "parked_by_task": {},
        "last_minute": QUIET,
        "last_five_minutes": QUIET,
    }
    return QueueStats(**{**zeros, **rest, **some})


def seen(**some: Any) -> Look:
    bare = {
        "queue": "emails", "where": "redis://localhost", "at": NOW, "stats": stats(), "workers": (), "runs": (),
        "progress": {}, "letters": (), "rates": QUIET,
    }  # fmt: skip
    return Look(**{**bare, **some})


def drawn(*looks: Look, trouble: str = "", width: int = 160) -> str:
    console = Console(width=width, highlight=False, markup=False, emoji=False, force_terminal=False)
    with console.capture() as captured:
        console.print(picture(looks, trouble, width))
    return captured.get()


def run(url: str, work: Callable[[Queue], Awaitable[Any]]) -> Any:
    queue = Queue("cli", url)

    async def main() -> Any:
        async with queue:
            return await work(queue)

    return anyio.run(main)


def test_the_view_shows_what_is_there_and_nothing_of_what_strangers_wrote() -> None:
    runs = [
        RunningJob(id="j1", task="pages", attempt=2, since=NOW, seconds=3.2),
        RunningJob(id=HOSTILE, task=HOSTILE, attempt=1, since=NOW, seconds=61),
    ]
    far = {
        "j1": Progress(3, 10, "three pages", NOW, 2),
        HOSTILE: Progress(float("nan"), -1.0, HOSTILE, NOW, 1),
    }
    letter = DeadLetter(
        id="1-1", job_id=HOSTILE, task="bad", reason="unrecoverable", detail="", error="ValueError", message=HOSTILE,
        traceback="", attempts=1, lost=0, created_at=None, died_at=NOW, worker="w", entry="", size=1,
    )  # fmt: skip
    one = seen(
        stats=stats(
            ready=12_345,
            dead=1,
            oldest=90.0,
            paused_tasks={"newsletter": None},
            parked=3,
            parked_by_task={"bad": 3},
        ),
        workers=[WorkerInfo(name=f"anyq-{number}", state="running", host="h", pid=7) for number in range(10)],
        runs=runs,
        progress=far,
        letters=[letter],
        rates=Rates(added=1234.5, ended=10, failed=0.25),
    )
    said = drawn(one)
    for words in ("emails", "12,345", "1 min 30 s", "1,234.5", "0.2", "anyq-0", "h:7", "and 2 more", "3 of 10",
                  "three pages", "paused: newsletter", "(3 jobs parked)", "unrecoverable", r"\x1b[2J"):  # fmt: skip
        assert words in said, words
    assert not [character for character in said if character != "\n" and not character.isprintable()]
    both = drawn(one, seen(queue="reports"), trouble=HOSTILE)
    assert "emails: j1" in both
    assert "reports" in both
    assert r"no answer: \x1b[2J" in both
    assert "anyq-" in drawn(one, width=40), "a narrow terminal cuts, and no more"
    assert "waiting" not in drawn()


def test_rates_are_those_since_the_look_before() -> None:
    lately = Rates(added=1, ended=2, failed=3)
    now = stats(added=30, replayed=2, done=20, given_up=4, cancelled=1, failed=8, last_minute=lately)
    before = seen(at=NOW - timedelta(seconds=2), stats=stats(added=20, done=20, failed=2))
    assert _rates(now, NOW, None) == lately
    assert _rates(now, NOW, before) == Rates(added=6, ended=2.5, failed=3)
    assert _rates(stats(last_minute=lately), NOW, before) == lately, "the counters began anew"
    assert _rates(now, before.at, before) == lately


@pytest.mark.parametrize("extra", [(), ("--json",)], ids=["lines", "objects"])
def test_queues_are_told_again_and_again_in_a_pipe(
    server: Server, redis_url: str, extra: tuple[str, ...]
) -> None:
    with worker(redis_url) as working:

        async def begin(queue: Queue) -> None:
            await queue.enqueue("long")

        run(redis_url, begin)
        working.until("begun long")
        asked = ("watch", "cli", "-q", "none", "--interval", "0.2", "--count", "6", *extra)
        with Program(*asked, url=redis_url) as program:
            assert program.exit_code() == 0
            lines = program.output.splitlines()
        working.process.kill()
    assert len(lines) == 12
    if extra:
        found = json.loads(lines[-2])
        assert (found["queue"], found["running"], found["workers"], found["added"]) == ("cli", 1, 1, 1)
        assert set(found["rates"]) == {"added", "ended", "failed"}
        assert found["given_up"] == []
        [job] = found["runs"]
        assert set(job) == {"job", "task", "attempt", "seconds", "progress"}
        assert (job["task"], job["attempt"], job["progress"]) == ("long", 1, None)
    else:
        time, *row = lines[-2].split("\t")
        assert datetime.fromisoformat(time).tzinfo is not None
        assert row[:8] == ["cli", "0", "1", "0", "0", "0", "0", ""]
        assert row[8:] == ["0.0", "0.0", "0.0", "1", ""]
        assert lines[-1].split("\t")[1:] == ["none", *"000000", "", "0.0", "0.0", "0.0", "0", ""]


def test_on_a_terminal_it_is_drawn(server: Server, redis_url: str) -> None:
    server.command("XADD", Queue("cli").keys.dead_letters, "*", "d", b"\xc1", "reason", "decode_failed")
    code, said = on_a_terminal("watch", "cli", "--count", "2", "--interval", "0.1", url=redis_url)
    assert code == 0
    assert "fail/s" in said
    assert "decode_failed" in said
    assert said.count("\x1b[2K") > 3, "it is drawn over what was there"
    assert said.rstrip().endswith("\x1b[?25h"), "and the cursor is shown again"


def test_a_job_is_watched_until_it_has_ended(redis_url: str) -> None:
    queue, seen = Queue("cli", redis_url), anyio.Event()

    @queue.task
    async def pages(how: str = "") -> None:
        current_job().log("begun")
        current_job().progress(1, 3, "page by page")
        await seen.wait()
        if how:
            raise Unrecoverable(how)
        current_job().progress(3, 3)

    async def watched(id: str, *extra: str) -> tuple[int, list[str]]:
        """Watch one that is over."""
        with Program("watch", "cli", "--job", id, *extra, url=redis_url) as program:
            return await run_sync(program.exit_code), program.output.splitlines()

    async def main() -> None:
        async with Worker(queue):
            await pages.options(id="good").enqueue()
            with Program("watch", "cli", "--job", "good", "-i", "0.1", "--json", url=redis_url) as program:
                [line] = await run_sync(program.until, '"current": 1')
                seen.set()
                assert await run_sync(program.exit_code) == 0
                last = json.loads(program.output.splitlines()[-1])
            found = json.loads(line)
            assert (found["job"], found["state"], found["attempt"], found["ended"]) == (
                "good",
                "running",
                1,
                False,
            )
            assert found["progress"] == {"current": 1, "total": 3, "message": "page by page"}
            assert (last["state"], last["task"], last["progress"]["current"], last["ended"]) == (
                "done", "pages", 3, True,
            )  # fmt: skip

            await pages.options(id="bad").enqueue(how=HOSTILE)
            with anyio.fail_after(SECONDS):
                async for _ in queue.events(after="0", job="bad", kinds=("dlq",)):
                    break
            code, [line] = await watched("bad")
            assert (code, line.split("\t")[1:5]) == (3, ["bad", "pages", "failed", "1"])
            code, [line] = await watched("nobody")
            assert (code, line.split("\t")[1:4]) == (3, ["nobody", "", "unknown"])
            code, said = await run_sync(lambda: on_a_terminal("watch", "cli", "--job", "good", url=redis_url))
            assert code == 0
            assert "begun" in said, "what it logged"
            assert "3 of 3" in said
            assert "done" in said

    anyio.run(main)


def test_what_makes_no_sense_is_refused(redis_url: str) -> None:
    for words, because in ((("watch",), "name a queue"), (("watch", "a", "b", "--job", "j"), "of one queue")):
        with Program(*words, url=redis_url) as program:
            assert program.exit_code() == 2
            assert because in program.output
    with Program("watch", "cli", url=redis_url.replace("unix://", "unix://nobody:wrong@")) as program:
        assert program.exit_code() == 1
        assert program.output.count("\n") == 1
        assert "does not let us in" in program.output
