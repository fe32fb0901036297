"""The servers of the other tests keep their promises, whichever program they run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import redis
from tests.embedded.users import SECONDS, Watch
from tests.support.servers import Server, cannot_start, replica_pair

StartServer = Callable[..., Server]


def ask(url: str, *command: str) -> Any:
    with redis.Redis.from_url(url, decode_responses=True) as client:
        return cast(Any, client).execute_command(*command)


@pytest.mark.parametrize("ending", ["kill", "shut_down"])
def test_data_on_disk_outlives_the_server(ending: str, start_server: StartServer) -> None:
    server = start_server(aof=True, tcp=True)
    server.command("SET", "job", 1)
    before = (server.pid, server.port)
    getattr(server, ending)()
    assert not server.is_running
    server.start()
    assert server.command("GET", "job") == b"1"
    assert (server.pid != before[0], server.port) == (True, before[1])


def test_data_in_memory_does_not(start_server: StartServer) -> None:
    server = start_server()
    server.command("SET", "job", 1)
    server.restart()
    assert server.command("GET", "job") is None


def test_a_paused_server_keeps_its_connections_and_is_silent(start_server: StartServer) -> None:
    server = start_server()
    with server.client(socket_timeout=0.05) as client:
        assert client.ping()
        with server.paused(), pytest.raises(redis.TimeoutError):
            client.ping()
    assert server.is_running
    assert server.command("PING")


def test_a_paused_server_can_be_stopped(start_server: StartServer) -> None:
    server = start_server()
    server.pause()
    server.stop()
    assert not server.is_running
    assert not server.home.path.exists()


def test_a_flushed_server_is_empty(start_server: StartServer) -> None:
    server = start_server()
    server.command("SET", "job", 1)
    server.flush()
    assert server.command("DBSIZE") == 0


def test_settings_come_back_after_the_block(start_server: StartServer) -> None:
    server = start_server()
    with server.configured(maxmemory="100mb", maxmemory_policy="allkeys-lru"):
        assert "allkeys-lru" in str(server.command("CONFIG", "GET", "maxmemory-policy"))
    assert "noeviction" in str(server.command("CONFIG", "GET", "maxmemory-policy"))
    assert "100" not in str(server.command("CONFIG", "GET", "maxmemory"))


def test_debug_commands_are_there(start_server: StartServer) -> None:
    assert start_server().command("DEBUG", "SLEEP", "0") in (b"OK", True)


def test_passwords_and_users_are_asked_for(start_server: StartServer) -> None:
    server = start_server(password="p@ss/word", users=["worker on >secret ~* &* +@all -flushall"], tcp=True)
    assert ask(server.url, "ACL", "WHOAMI") == ask(server.tcp_url, "ACL", "WHOAMI") == "default"
    assert ask(f"redis://worker:secret@127.0.0.1:{server.port}", "ACL", "WHOAMI") == "worker"
    with pytest.raises(redis.AuthenticationError):
        ask(f"redis://127.0.0.1:{server.port}", "PING")


def test_the_password_is_needed_on_the_socket_too(start_server: StartServer) -> None:
    server = start_server(password="secret")
    with pytest.raises(redis.AuthenticationError):
        ask(f"unix://{server.socket}", "PING")


def test_tls_is_spoken_with_a_certificate_to_check(start_server: StartServer) -> None:
    server = start_server(tls=True)
    assert ask(server.tls_url, "PING") is True
    server.restart()
    assert ask(server.tls_url, "PING") is True
    with pytest.raises(redis.ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
        ask(server.tls_url.partition("?")[0], "PING")


def test_a_replica_follows_and_takes_over(server_program: Path) -> None:
    with replica_pair(server_program) as pair:
        pair.primary.command("SET", "job", 1)
        pair.catch_up()
        assert pair.replica.command("GET", "job") == b"1"
        with pytest.raises(redis.ReadOnlyError):
            pair.replica.command("SET", "job", 2)
        pair.fail_over()
        assert pair.replica.command("SET", "job", 2)
        with pytest.raises(redis.ReadOnlyError):
            pair.primary.command("SET", "job", 3)


def test_a_server_that_does_not_start_says_why_and_leaves_nothing(server_program: Path) -> None:
    server = Server(program=server_program, arguments=("--no-such-option", "1"))
    assert "no-such-option" in cannot_start(server)
    assert not server.home.path.exists()


def test_it_ends_with_the_test_process_even_by_sigkill(server_program: Path) -> None:
    program = f"""if True:
        from pathlib import Path
        from tests.support.servers import Server
        server = Server(program=Path({str(server_program)!r}), aof=True).start()
        server.pause()
        print(server.socket, flush=True)
        input()
    """
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as tests:
        assert tests.stdout is not None
        path = Path(tests.stdout.readline().strip())
        with Watch(path) as watch:
            tests.kill()
            tests.wait(SECONDS)
            watch.wait_for_the_end()
        assert not path.parent.exists()


def test_the_shared_server_is_empty_for_each_test(redis_url: str, server: Server) -> None:
    assert redis_url == server.url
    assert ask(redis_url, "DBSIZE") == 0
    ask(redis_url, "SET", "job", "1")


def test_and_again(redis_url: str) -> None:
    assert ask(redis_url, "DBSIZE") == 0
