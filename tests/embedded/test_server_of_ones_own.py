"""`EmbeddedServer`: one owner, who says when it ends; and what is said when a server does not start."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any, cast

import pytest
import redis
from tests.embedded.users import Watch, wait_until_nobody_serves

from anyq._embedded.process import Process
from anyq.embedded import EmbeddedServer, resolve
from anyq.errors import ConfigurationError, RedisUnavailable


def ask(url: str, *command: str) -> Any:
    with redis.Redis.from_url(url, decode_responses=True) as client:
        return cast(Any, client).execute_command(*command)


def test_it_runs_inside_the_block_only(server_program: Path) -> None:
    with EmbeddedServer(program=server_program) as server:
        with redis.Redis.from_url(server.url, decode_responses=True) as client:
            assert cast(Any, client).info("server")["process_id"] == server.pid
        home = server.socket.parent
        assert "running, pid" in repr(server)
    assert not home.exists()
    assert "not running" in repr(server)
    server.stop()


def test_before_its_start_it_has_no_address() -> None:
    for name in ("url", "socket", "pid"):
        with pytest.raises(RuntimeError, match="with EmbeddedServer"):
            getattr(EmbeddedServer(), name)


def test_its_directory_keeps_the_data(tmp_path: Path, server_program: Path) -> None:
    server = EmbeddedServer(tmp_path / "jobs", server_program)
    with server:
        ask(server.url, "SET", "job", "1")
    with server:
        assert ask(server.url, "GET", "job") == "1"
        os.kill(server.pid, signal.SIGKILL)
        wait_until_nobody_serves(tmp_path / "jobs")
        assert ask(server.start().url, "GET", "job") == "1"


def test_starting_it_twice_is_starting_it_once() -> None:
    with EmbeddedServer() as server:
        pid = server.pid
        assert server.start().pid == pid


def test_its_own_arguments_win(server_program: Path) -> None:
    arguments = ("--maxmemory-policy", "allkeys-lru", "--appendonly", "yes")
    with EmbeddedServer(program=server_program, arguments=arguments) as server:
        assert "allkeys-lru" in str(ask(server.url, "CONFIG", "GET", "maxmemory-policy"))
        assert "yes" in str(ask(server.url, "CONFIG", "GET", "appendonly"))


def test_a_directory_has_one_owner(tmp_path: Path) -> None:
    with (
        EmbeddedServer(tmp_path / "jobs") as server,
        pytest.raises(ConfigurationError, match=r"join it with embedded:///.*jobs"),
    ):
        EmbeddedServer(tmp_path / "jobs").start()
    wait_until_nobody_serves(tmp_path / "jobs")
    assert "not running" in repr(server)


def test_others_may_join_it_and_start_it_again_after_its_end(tmp_path: Path) -> None:
    url = f"embedded://{tmp_path}/jobs"
    with EmbeddedServer(tmp_path / "jobs") as server, Watch(server.socket) as watch:
        ask(resolve(url), "SET", "job", "1")
        server.stop()
        watch.wait_for_the_end()
    assert ask(resolve(url), "GET", "job") == "1"


def test_a_program_that_ends_at_once_is_quoted(tmp_path: Path) -> None:
    program = tmp_path / "redis-server"
    program.write_text("#!/bin/sh\necho it lacks a library >&2\nexit 3\n")
    program.chmod(0o755)
    with pytest.raises(RedisUnavailable, match=r"(?s)did not start in .*lacks a library.*exit status 3"):
        EmbeddedServer(tmp_path / "jobs", program).start()
    wait_until_nobody_serves(tmp_path / "jobs")


@pytest.mark.parametrize("kind", ["missing", "not-executable", "no-program"])
def test_a_program_that_cannot_be_run_is_named(kind: str, tmp_path: Path) -> None:
    program = tmp_path / kind
    if kind != "missing":
        program.write_bytes(b"\x00\x01nonsense")
    if kind == "no-program":
        program.chmod(0o755)
    with pytest.raises(RedisUnavailable, match=f"{kind} cannot be run"):
        EmbeddedServer(program=program).start()


def test_an_argument_that_the_program_does_not_know_is_quoted(server_program: Path) -> None:
    with pytest.raises(RedisUnavailable, match="no-such-option"):
        EmbeddedServer(program=server_program, arguments=("--no-such-option", "1")).start()


def test_damaged_data_is_not_overwritten_but_reported(tmp_path: Path, server_program: Path) -> None:
    home = tmp_path / "jobs"
    with EmbeddedServer(home, server_program) as server:
        ask(server.url, "SET", "job", "1")
        ask(server.url, "SET", "job", "2")
    [file] = [*home.glob("appendonly.aof"), *home.glob("appendonlydir/*.incr.aof")]
    damaged = file.read_bytes().replace(b"$3\r\njob", b"$9\r\njob")
    file.write_bytes(damaged)
    with pytest.raises(RedisUnavailable, match=r"(?s)its log ends:.*Bad file format"):
        EmbeddedServer(home, server_program).start()
    assert file.read_bytes() == damaged


def test_a_failed_start_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(RedisUnavailable):
        EmbeddedServer(arguments=("--no-such-option", "1")).start()
    assert [path.name for path in tmp_path.iterdir() if path.name != f"anyq-{os.geteuid()}"] == []


def test_a_frozen_application_does_not_start_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.frozen", True, raising=False)
    with pytest.raises(ConfigurationError, match="give its URL"):
        EmbeddedServer().start()


def test_one_that_ends_by_itself_while_it_is_told_to_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()

    def too_late(_pid: int, _number: int) -> None:
        os.close(writing)
        raise ProcessLookupError

    monkeypatch.setattr(os, "kill", too_late)
    process = Process(os.getpid(), reading)
    process.end(5)
    assert not process.running


def test_a_long_log_is_put_aside(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path / "jobs"):
        pass
    (tmp_path / "jobs" / "server.log").write_text("x" * 1_100_000)
    with EmbeddedServer(tmp_path / "jobs"):
        assert (tmp_path / "jobs" / "server.log").stat().st_size < 10_000
        assert (tmp_path / "jobs" / "server.log.old").stat().st_size == 1_100_000
