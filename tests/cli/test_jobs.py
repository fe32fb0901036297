"""`anyq jobs`, `anyq job` and `anyq enqueue`, in a pipe, on a terminal and for programs."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from click.testing import CliRunner, Result
from tests.cli.programs import Program, worker
from tests.cli.terminal import on_a_terminal
from tests.support.servers import Server

from anyq import Queue, Unrecoverable, Worker
from anyq._core.codec import delayed_member, encode
from anyq._core.job import Extras
from anyq.cli.commands import anyq

HOSTILE = "\x1b[2J\x1b]0;title\x07\u202eevil [bold red]\\[/] \r\n\t\x00\x9b1m"


def invoke(url: str, *words: str, stdin: str | None = None) -> Result:
    """Without a process."""
    given = {"ANYQ_URL": url, "ANYQ_QUEUE": "cli"}
    return CliRunner().invoke(anyq, words, env=given, input=stdin)


def as_json(url: str, *words: str, code: int = 0) -> Any:
    ran = invoke(url, *words, "--json")
    assert ran.exit_code == code, ran.output
    assert ran.stdout.isascii()
    return json.loads(ran.stdout)


def made(url: str, work: Callable[[Queue], Awaitable[Any]]) -> Any:
    queue = Queue("cli", url)

    async def main() -> Any:
        async with queue:
            return await work(queue)

    return anyio.run(main)


def given_up(url: str, *names: str) -> list[str]:
    """Jobs that were given up."""

    async def work(queue: Queue) -> list[str]:
        @queue.task
        async def die(name: str) -> None:
            raise Unrecoverable(f"no way, {name}")

        handles = await die.enqueue_many([(name,) for name in names])
        async with Worker(queue) as worker:
            await worker.wait_idle()
        return [handle.id for handle in handles]

    found: list[str] = made(url, work)
    return found


def test_a_job_is_enqueued_listed_shown_and_cancelled_in_a_pipe(server: Server, redis_url: str) -> None:
    words = ("welcome", "-p", "to=ada", "-p", "times=3", "--id", "mine", "--delay", "1h", "--priority", "8")
    with Program("enqueue", "-q", "cli", *words, url=redis_url) as program:
        assert program.output == "mine\n"
        assert program.exit_code() == 0
    assert invoke(redis_url, "enqueue", *words).output == "mine\tthere\n"
    assert invoke(redis_url, "enqueue", "other").exit_code == 0

    with Program("jobs", "-q", "cli", "--limit", "1", url=redis_url) as program:
        output = program.output
        assert program.exit_code() == 0
    more = next(line for line in output.splitlines() if line.startswith("more: "))
    [row] = [line.split("\t") for line in output.splitlines() if line != more]
    assert row[1:6] == ["queued", "other", "1", "5", row[5]]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", row[5])
    rest = invoke(redis_url, "jobs", *more.split()[1:])
    [row] = [line.split("\t") for line in rest.stdout.splitlines()]
    assert row[:5] == ["mine", "delayed", "welcome", "1", "8"]
    assert rest.stderr == ""

    shown = invoke(redis_url, "job", "show", "mine", "--payload").output
    assert re.search(r"^state: +delayed$", shown, re.MULTILINE)
    assert re.search(r"^payload: +\{'to': 'ada', 'times': 3\}$", shown, re.MULTILINE)
    assert "ada" not in invoke(redis_url, "job", "show", "mine").output

    with Program("job", "cancel", "-q", "cli", "mine", "nobody", "--yes", url=redis_url) as program:
        output = program.output
        assert program.exit_code() == 3
    assert {*output.splitlines()} == {"mine\tcancelled", "nobody\tunknown", "anyq: nobody is not there"}


def test_the_json_of_a_list_and_of_a_job_has_its_documented_shape(redis_url: str) -> None:
    as_json(
        redis_url, "enqueue", "welcome", '{"to": "ada"}', "--id", "a", "--attempts", "4", "--unique", "key"
    )
    as_json(redis_url, "enqueue", "other", "--delay", "1h")
    found = as_json(redis_url, "jobs", "--task", "welcome", "--payload")
    [job] = found["jobs"]
    assert (found["queue"], found["next"]) == ("cli", None)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", job.pop("created_at"))
    assert re.fullmatch(r"\d+-\d+", job.pop("entry"))
    assert job.pop("size") > 0
    assert job == {
        "id": "a", "task": "welcome", "state": "queued", "attempt": 1, "attempts": 4, "lost": 0, "priority": 5,
        "due_at": None, "deadline": None, "scheduled_at": None, "after": [], "unique": "key", "worker": "",
        "reason": "", "error": "", "message": "", "ended_at": None, "payload": {"to": "ada"},
    }  # fmt: skip
    whole = as_json(redis_url, "job", "show", "a")
    del job["payload"]
    assert {name: whole.pop(name) for name in job} == job
    for name in ("created_at", "entry", "size"):
        del whole[name]
    assert whole == {"started_at": None, "waits_for": [], "progress": None, "log": []}
    assert as_json(redis_url, "job", "show", "nobody", code=3)["state"] == "unknown"
    assert as_json(redis_url, "jobs", "-n", "1")["next"].startswith("queued/stream/")
    assert [
        one["state"] for one in as_json(redis_url, "jobs", "--state", "delayed", "--state", "aside")["jobs"]
    ] == ["delayed"]


def test_a_result_is_waited_for_and_what_failed_says_so(redis_url: str) -> None:
    with worker(redis_url) as running:
        running.until("is ready")
        ran = invoke(redis_url, "enqueue", "add", "-p", "a=1", "-p", "b=2", "--wait-result")
        assert ran.exit_code == 0, ran.output
        assert re.fullmatch(r"\w{26}\n3\n", ran.stdout)
        found = as_json(redis_url, "enqueue", "add", '{"a": "x", "b": "y"}', "--wait-result")
        assert (found["result"], found["failure"], found["new"], found["task"]) == ("xy", None, True, "add")
        ran = invoke(
            redis_url, "enqueue", "add", "-p", "a=1", "-p", "b=x", "--attempts", "1", "--wait-result"
        )
        assert ran.exit_code == 3
        assert "TypeError" in ran.stderr
        ran = invoke(redis_url, "enqueue", "long", "--wait-result", "--wait-timeout", "0.1")
        assert (ran.exit_code, "has not ended yet" in ran.stderr) == (3, True)

        job = ran.stdout.strip()
        running.until("begun long")
        assert as_json(redis_url, "job", "run", job, code=3)["jobs"] == [
            {"id": job, "what": "running", "done": False}
        ]
        assert as_json(redis_url, "job", "retry", job, code=3)["jobs"][0]["what"] == "running"
        assert as_json(redis_url, "job", "cancel", job, "--yes", "--wait", "--timeout", "20s") == {
            "queue": "cli", "jobs": [{"id": job, "what": "stopped", "done": True}],
        }  # fmt: skip


def test_jobs_are_retried_wherever_they_are(redis_url: str) -> None:
    dead, gone = given_up(redis_url, "a", "b")
    as_json(redis_url, "enqueue", "later", "--id", "later", "--delay", "1h")
    made(redis_url, lambda queue: queue.dead_letters.delete_all(job=gone))
    assert as_json(redis_url, "job", "retry", dead, "later", gone, code=3)["jobs"] == [
        {"id": dead, "what": "replayed", "done": True},
        {"id": "later", "what": "run", "done": True},
        {"id": gone, "what": "unknown", "done": False},
    ]
    assert [job["id"] for job in as_json(redis_url, "jobs", "--state", "queued")["jobs"]] == [dead]


def test_delayed_jobs_are_given_another_time(redis_url: str) -> None:
    as_json(redis_url, "enqueue", "later", "--id", "later", "--delay", "1h")
    as_json(redis_url, "enqueue", "now", "--id", "now")
    moved = invoke(redis_url, "job", "reschedule", "later", "--at", "2099-01-01T00:00+00:00")
    assert (moved.exit_code, moved.stdout) == (0, "later\trescheduled\n")
    assert as_json(redis_url, "job", "show", "later")["due_at"] == "2099-01-01T00:00:00.000+00:00"
    moved = invoke(redis_url, "job", "reschedule", "now", "--delay", "5m")
    assert (moved.exit_code, moved.stdout) == (3, "now\tqueued\n")
    assert moved.stderr == "anyq: now is queued: it does not wait for its time\n"
    assert invoke(redis_url, "job", "run", "later").output == "later\trun\n"


def test_a_job_is_explained(redis_url: str) -> None:
    as_json(redis_url, "enqueue", "welcome", "--id", "mine")
    with Program("job", "explain", "-q", "cli", "mine", url=redis_url) as program:
        assert program.output == (
            "Job mine of task 'welcome' is queued, run 1.\nNo worker of this queue lives.\n"
        )
        assert program.exit_code() == 0
    found = as_json(redis_url, "job", "explain", "mine")
    assert found["job"] == as_json(redis_url, "job", "show", "mine")
    assert found["reasons"] == [
        {
            "kind": "no_worker", "text": "No worker of this queue lives.", "at": None, "jobs": {}, "count": None,
            "workers": [],
        }
    ]  # fmt: skip
    assert as_json(redis_url, "job", "explain", "nobody", code=3)["reasons"][0]["kind"] == "unknown"


def test_on_a_terminal_there_are_tables_and_cancelling_asks(redis_url: str) -> None:
    given_up(redis_url, "a")
    code, said = on_a_terminal("enqueue", "-q", "cli", "short", "--id", "mine", url=redis_url)
    assert (code, said.strip()) == (0, "job mine is enqueued")
    code, said = on_a_terminal("jobs", "-q", "cli", "--state", "failed", "--state", "queued", url=redis_url)
    assert code == 0
    assert "mine" in said
    assert "Unrecoverable: no way, a" in said
    code, said = on_a_terminal("job", "cancel", "-q", "cli", "mine", url=redis_url, typed="n\n")
    assert code == 1
    assert "Cancel job 'mine' of queue 'cli'? [y/N]:" in said
    code, said = on_a_terminal("job", "cancel", "-q", "cli", "mine", url=redis_url, typed="y\n")
    assert code == 0
    assert "mine is cancelled, before it began" in said


def test_nothing_that_a_stranger_wrote_reaches_the_terminal_as_more_than_text(redis_url: str) -> None:
    long = HOSTILE + "long " * 20_000

    async def work(queue: Queue) -> None:
        @queue.task(name="die")
        async def die() -> None:
            from anyq import current_job

            current_job().log(long)
            current_job().progress(1, 2, long)
            raise Unrecoverable(long)

        await queue.enqueue("welcome", {"evil": long}, id="mine", delay=60)
        # A foreign program's names are any.
        envelope = encode(HOSTILE, b"", 1000, 1, extras=Extras(unique=HOSTILE, error=(HOSTILE, HOSTILE)))
        await queue.redis.zadd(queue.keys.delayed, {delayed_member(HOSTILE, envelope): 2**45})
        await die.options(id="dead").enqueue()
        async with Worker(queue):
            while not await queue.dead_letters.count():
                pass

    made(redis_url, work)
    for words in (
        ["jobs", "--state", "delayed", "--state", "failed"],
        ["job", "show", "mine", "--payload"],
        ["job", "show", "dead"],
        ["job", "explain", "dead"],
    ):
        ran = invoke(redis_url, *words)
        assert ran.exit_code == 0, ran.output
        assert "evil" in ran.output
        assert not {one for one in ran.output if not one.isprintable()} - {"\n", "\t"}
        assert len(ran.output) < 20_000
    _, said = on_a_terminal("jobs", "-q", "cli", "--state", "delayed", "--state", "failed", url=redis_url)
    said = re.sub(r"\x1b\[[0-9;]*m", "", said).replace("\r\n", "\n")
    assert not {one for one in said if not one.isprintable()} - {"\n"}


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["jobs", "--state", "done"], "'done' is not one of"),
        (["jobs", "--after", "x"], "'x' is no place in a list of jobs"),
        (["jobs", "--state", "queued", "--after", "failed//1-1"], "the place of another list"),
        (["job", "cancel", "x"], "Nobody can be asked here: say --yes"),
        (["job", "cancel", "x", "--timeout", "1s"], "--timeout is about --wait"),
        (["job", "cancel"], "Missing argument"),
        (["job", "show", ""], "id"),
        (["job", "reschedule", "x"], "give either --delay or --at"),
        (["enqueue", "t", "{"], "the payload is no JSON"),
        (["enqueue", "t", "[1]"], "a JSON object"),
        (["enqueue", "t", "-p", "x"], "-p takes NAME=VALUE"),
        (["enqueue", "t", "--delay", "1s", "--at", "2099-01-01"], "exclude each other"),
        (["enqueue", "t", "--wait-timeout", "1s"], "--wait-timeout is about --wait-result"),
        (["enqueue", "t", "--priority", "10"], "10"),
        (["enqueue", "x" * 300], "name"),
    ],
    ids=lambda value: " ".join(value)[:30] if isinstance(value, list) else "",
)
def test_what_makes_no_sense_ends_with_2(
    server: Server, redis_url: str, words: list[str], answer: str
) -> None:
    ran = invoke(redis_url, *words)
    assert ran.exit_code == 2, ran.output
    assert answer in " ".join(ran.output.split())
    assert server.command("DBSIZE") == 0


def test_a_payload_may_come_on_standard_input(redis_url: str) -> None:
    ran = invoke(redis_url, "enqueue", "t", "-", "-p", "b=[2]", "--id", "mine", stdin='{"a": 1, "b": 1}')
    assert ran.exit_code == 0
    assert as_json(redis_url, "job", "show", "mine", "--payload")["payload"] == {"a": 1, "b": [2]}


def test_an_argument_that_cannot_be_carried_is_said_and_nothing_is_added(
    server: Server, redis_url: str
) -> None:
    ran = invoke(redis_url, "enqueue", "t", "-p", f"a={10**30}")
    assert (ran.exit_code, "64" in ran.stderr) == (1, True)
    assert server.command("DBSIZE") == 0
