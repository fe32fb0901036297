"""`anyq worker --json`: whatever is said on standard error is an object a line, until the end and of the end too."""

from __future__ import annotations

import json
import logging
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.cli.programs import Program, enqueue, worker
from tests.support.servers import Server

from anyq.cli.logs import JsonLines

SIGTERM = signal.SIGTERM

SHAPE = ["time", "level", "logger", "process", "message", "exception"]

HOSTILE = "\x1b[2J\u202eevil [bold red]\\[/]\r\n\t\x00\x9b1m\ud800\u2028{}%s"

NOISY = f"""
import logging, warnings
from anyq import Queue

queue = Queue("cli")
logger = logging.getLogger("shop")

@queue.task
async def short() -> None:
    logger.info("%s", {HOSTILE!r})
    logger.info("%d of them", "not a number")
    warnings.warn("this is old", DeprecationWarning)
    try:
        raise ValueError({HOSTILE!r})
    except ValueError:
        logger.exception("it failed")
    logger.info("that is all")
"""


def objects(output: str) -> list[dict[str, Any]]:
    """What was said on standard error: whatever is no line of a task's."""
    found = [json.loads(line) for line in output.splitlines() if not line.startswith("begun ")]
    assert output.isascii()
    assert all(list(one)[: len(SHAPE)] == SHAPE for one in found)
    return found


def test_a_line_is_an_object_whatever_somebody_logs(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONWARNINGS", "always")
    (tmp_path / "noisy.py").write_text(NOISY)
    enqueue(redis_url, "short")
    with Program("worker", "noisy:queue", "--json", url=redis_url, folder=tmp_path) as program:
        program.until("that is all")
        program.signal(SIGTERM)
        assert program.exit_code() == 0
        said = objects(program.output)
    shop = [one for one in said if one["logger"] == "shop"]
    assert [list(one) for one in said] == [SHAPE] * len(said)
    assert [one["level"] for one in shop] == ["INFO", "INFO", "ERROR", "INFO"]
    assert shop[0]["message"] == HOSTILE
    assert shop[0]["exception"] is None
    assert "noisy.py:11 that cannot be put together: TypeError" in shop[1]["message"]
    assert shop[2]["message"] == "it failed"
    assert shop[2]["exception"].startswith("Traceback (most recent call last):\n")
    assert "ValueError: \x1b[2J\u202eevil" in shop[2]["exception"]
    [warning] = [one for one in said if one["logger"] == "py.warnings" and "old" in one["message"]]
    assert "DeprecationWarning: this is old" in warning["message"]
    [ready] = [one for one in said if one["message"].endswith("is ready")]
    assert (ready["logger"], ready["process"]) == ("anyq.worker", program.process.pid)
    assert ready["time"].endswith("+00:00")


def test_supervised_workers_say_objects_too(redis_url: str) -> None:
    with worker(redis_url, "--processes", "2", "--json") as program:
        program.until("is ready", 2)
        program.signal(SIGTERM)
        assert program.exit_code() == 0
        said = objects(program.output)
    assert len({one["process"] for one in said}) == 3


def test_what_is_left_behind_is_in_the_last_object(redis_url: str) -> None:
    [job] = enqueue(redis_url, "threaded")
    with worker(redis_url, "--drain-timeout", "0.2", "--json") as program:
        program.until("begun threaded")
        program.signal(SIGTERM)
        assert program.exit_code() == 3
        last = objects(program.output)[-1]
    assert last["left_behind"] == [{"job": job, "task": "threaded", "queue": "cli", "attempt": 1}]
    assert (last["level"], last["logger"]) == ("ERROR", "anyq.cli")
    assert last["message"] == "1 job is left behind; other workers take over what is left"
    assert list(last) == [*SHAPE, "left_behind"]


def test_a_process_that_ends_without_its_worker_says_so_in_objects(redis_url: str) -> None:
    [job] = enqueue(redis_url, "blocking")
    with worker(redis_url, "--drain-timeout", "0", "--json") as program:
        program.until("begun blocking")
        program.signal(SIGTERM)
        assert program.exit_code() == 3
        *_, reason, left = objects(program.output)
    assert reason["message"].startswith("the worker does not end, most likely")
    assert [one["job"] for one in left["left_behind"]] == [job]


def test_a_worker_that_cannot_start_says_why_in_an_object(server: Server, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import a_library_that_is_not_there\n")
    for words, code, answer in (
        (["nowhere:queue"], 2, "there is no module 'nowhere'"),
        (["broken:queue"], 1, "No module named 'a_library_that_is_not_there'"),
    ):
        with Program("worker", *words, "--json", folder=tmp_path) as program:
            assert program.exit_code() == code
            [said] = objects(program.output)
        assert answer in said["message"]
        if code == 1:
            assert "broken.py" in said["exception"], "a module's own error comes with its traceback"
        else:
            assert said["exception"] is None
    with worker(f"unix://{server.socket}.nowhere", "--outage-limit", "0.1", "--json") as program:
        assert program.exit_code() == 1
        assert "cannot be reached" in objects(program.output)[-1]["message"]


def record(message: object, *arguments: object, **more: Any) -> logging.LogRecord:
    return logging.LogRecord(
        "shop", logging.INFO, "shop.py", 7, message, arguments, more.pop("exc_info", None), **more
    )


def test_what_is_too_long_is_cut() -> None:
    try:
        raise ValueError("x" * 100_000 + " the end")
    except ValueError:
        said = json.loads(JsonLines().format(record("y" * 100_000, exc_info=sys.exc_info())))
    assert len(said["message"]) == 10_000
    assert said["message"].endswith("y…")
    assert len(said["exception"]) == 20_000
    assert said["exception"].endswith(" the end")


def test_an_object_that_fails_to_say_itself_breaks_no_line() -> None:
    class Mute:
        def __str__(self) -> str:
            raise RuntimeError

    assert "shop.py:7" in json.loads(JsonLines().format(record(Mute())))["message"]
    try:
        raise ValueError(Mute())
    except ValueError:
        said = json.loads(JsonLines().format(record("it failed", exc_info=sys.exc_info())))
    assert "ValueError" in said["exception"]


def test_a_stack_that_was_asked_for_is_kept() -> None:
    said = json.loads(JsonLines().format(record("here", sinfo="Stack (most recent call last): ...")))
    assert said["message"] == "here\nStack (most recent call last): ..."
