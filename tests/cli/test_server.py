"""`anyq server`: it says where it is, and whatever ends it, nothing is left of it."""

from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path

import pytest
import redis
from tests.cli.programs import Program
from tests.support.servers import SECONDS


def is_gone(pid: int) -> bool:
    """Whether there is no such process; a supervisor ends a moment after its server."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_server_in_memory_says_its_url_and_is_gone_after_ctrl_c() -> None:
    with Program("server", "--port", "0") as program:
        [url] = program.until("redis://127.0.0.1:")
        with redis.Redis.from_url(url.strip()) as client:
            assert client.ping()
            pid = client.info("server")["process_id"]
        program.signal(signal.SIGINT)
        assert program.exit_code() == 0
        assert program.output == url, "it says nothing else"
    assert is_gone(pid)
    with pytest.raises(redis.ConnectionError), redis.Redis.from_url(url.strip()) as client:
        client.ping()


def test_a_server_with_a_directory_keeps_its_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    for home, arguments in (
        (tmp_path / "mine", ("--directory", str(tmp_path / "mine"))),
        (tmp_path / "anyq" / "server", ("--persist",)),
    ):
        for number in range(2):
            with Program("server", "--port", "0", "--json", *arguments) as program:
                [line] = program.until("redis://")
                found = json.loads(line)
                assert set(found) == {"url", "socket", "pid", "directory"}
                assert found["directory"] == str(home)
                for url in (found["url"], found["socket"]):
                    with redis.Redis.from_url(url) as client:
                        assert client.incr("count") == 2 * number + (1 if url == found["url"] else 2)
                program.signal(signal.SIGTERM)
                assert program.exit_code() == 0
            assert is_gone(found["pid"])


def test_what_prevents_it_is_said_and_one_that_dies_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        with Program("server", "--port", port) as program:
            assert program.exit_code() == 1
            assert f"port {port} of 127.0.0.1 cannot be had" in program.output
    with Program("server", "--persist", "--directory", "x") as program:
        assert program.exit_code() == 2
    with Program("server", "--port", "0", "--json") as program:
        [line] = program.until("redis://")
        os.kill(json.loads(line)["pid"], signal.SIGKILL)
        assert program.exit_code() == 1
        assert "has ended by itself" in program.output


def test_a_killed_one_takes_its_server_along() -> None:
    with Program("server", "--port", "0", "--json") as program:
        [line] = program.until("redis://")
        found = json.loads(line)
        program.signal(signal.SIGKILL)
        with (
            redis.Redis.from_url(found["url"], socket_timeout=SECONDS) as client,
            pytest.raises(redis.ConnectionError),
        ):
            client.blpop(["never"], timeout=SECONDS)
