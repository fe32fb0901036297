"""`anyq drain`, on a terminal, in a pipe and as JSON; and the worker's options about where functions run."""

from __future__ import annotations

import json

import attrs
import pytest
from click.testing import CliRunner
from tests.cli.programs import Program, enqueue
from tests.cli.terminal import on_a_terminal
from tests.support.servers import Server

from anyq import Queue
from anyq.cli import worker as module
from anyq.cli.commands import anyq

KEYS = Queue("cli").keys


def test_in_a_pipe_it_says_one_line_when_the_queue_is_empty(server: Server, redis_url: str) -> None:
    enqueue(redis_url, "short")
    with Program("drain", "-q", "cli", url=redis_url) as program:
        program.until("no worker is at work on queue cli")
        server.command("XADD", KEYS.dead_letters, "*", "d", "x")
        server.command("DEL", KEYS.stream)
        assert program.exit_code() == 0
        assert program.output.splitlines()[-1] == "cli\tempty\t0\t0\t0\t0\t1\t0"


def test_at_the_timeout_it_ends_with_3_and_what_is_left(redis_url: str) -> None:
    enqueue(redis_url, "short", "short")
    with Program("drain", "-q", "cli", "--timeout", "0.1s", "--json", url=redis_url) as program:
        output = program.output
        assert program.exit_code() == 3
    found = json.loads(next(line for line in output.splitlines() if line.startswith("{")))
    assert found["seconds"] >= 0.1
    assert (found["queue"], found["empty"], found["ready"], found["running"]) == ("cli", False, 2, 0)
    code, said = on_a_terminal("drain", "-q", "cli", "--timeout", "0.2", url=redis_url)
    assert code == 3
    assert "cli is not empty after 0." in said
    assert " s: 2 ready" in said


def test_delayed_jobs_are_waited_for_only_if_asked(server: Server, redis_url: str) -> None:
    server.command("ZADD", KEYS.delayed, 2**45, "later")
    ran = CliRunner().invoke(anyq, ["drain", "-q", "cli", "--url", redis_url])
    assert (ran.exit_code, ran.output) == (0, "cli\tempty\t0\t0\t1\t0\t0\t0\n")
    with Program("drain", "-q", "cli", "--delayed", "--timeout", "0.1", url=redis_url) as program:
        assert program.output == "cli\tnot empty\t0\t0\t1\t0\t0\t0\n"
        assert program.exit_code() == 3


@pytest.mark.parametrize("timeout", ["0", "soon", "-1"])
def test_a_timeout_that_makes_no_sense_is_refused(redis_url: str, timeout: str) -> None:
    ran = CliRunner().invoke(anyq, ["drain", "-q", "cli", "--url", redis_url, f"--timeout={timeout}"])
    assert ran.exit_code == 2


@pytest.mark.parametrize(
    ("words", "expected"), [(["--threads", "3", "--executor-processes", "2"], (3, 2)), (["-c", "1"], (1, 1))]
)
def test_a_worker_s_threads_and_processes_are_as_many_as_its_options_say(
    words: list[str], expected: tuple[int, int]
) -> None:
    given = module.worker.make_context("worker", ["jobs:queue", *words]).params
    settings = module.Settings(**{field.name: given[field.name] for field in attrs.fields(module.Settings)})
    made = module._make([Queue("cli")], settings, None)
    assert (made._threads, made._process_limit) == expected
