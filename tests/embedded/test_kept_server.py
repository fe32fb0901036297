"""embedded:///path: one server for everybody, alive while somebody uses it, its data always there."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.embedded.users import User, Watch, url_of, wait_until_nobody_serves


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "jobs"


def starts(home: Path) -> int:
    return (home / "server.log").read_text().count("Server initialized")


def test_it_is_durable_and_reachable_by_its_socket_alone(home: Path, server_program: Path) -> None:
    with User(url_of(home), server_program) as user:
        assert user.resolve() == home / "redis.sock"
        for setting, value in {
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            "port": "0",
        }.items():
            assert user.ask(f"ask CONFIG GET {setting}") in (
                f"['{setting}', '{value}']",
                f"{{'{setting}': '{value}'}}",
            )


def test_nothing_of_it_reaches_the_terminal(home: Path, server_program: Path) -> None:
    with User(url_of(home), server_program) as user:
        user.resolve()
        assert user.ask("children") == "False"
        assert user.stderr_at_its_end() == ""


def test_processes_that_race_for_it_start_one(home: Path, server_program: Path) -> None:
    with ExitStack() as stack:
        users = [stack.enter_context(User(url_of(home), server_program)) for _ in range(4)]
        for user in users:
            user.tell("resolve")
        assert len({user.hear() for user in users}) == 1
        assert len({user.server_pid for user in users}) == 1
        assert starts(home) == 1


def test_threads_that_race_for_it_start_one(home: Path, server_program: Path) -> None:
    with User(url_of(home), server_program) as user:
        assert user.ask("resolve-in-threads") == f"unix://{home}/redis.sock"
        assert starts(home) == 1


def test_it_lives_on_when_its_starter_is_killed_and_another_uses_it(home: Path, server_program: Path) -> None:
    with User(url_of(home), server_program) as starter, User(url_of(home), server_program) as other:
        starter.ask("ask SET job 1")
        served_by = other.server_pid
        starter.kill()
        assert other.ask("ask GET job") == "1"
        assert other.server_pid == served_by


def test_it_ends_with_its_last_user_and_the_next_one_finds_the_data(home: Path, server_program: Path) -> None:
    with User(url_of(home), server_program) as user, Watch(user.resolve()) as watch:
        user.ask("ask SET job 1")
        user.kill()
        watch.wait_for_the_end()
    with User(url_of(home), server_program) as user:
        assert user.ask("ask GET job") == "1"


def test_whoever_comes_while_it_ends_waits_for_that(home: Path, server_program: Path) -> None:
    with User(url_of(home), server_program) as first, User(url_of(home), server_program) as second:
        first.ask("ask SET job 1")
        first.process.kill()
        assert second.ask("ask GET job") == "1"


def test_a_killed_server_is_started_again_on_its_data(home: Path, server_program: Path) -> None:
    with User(url_of(home), server_program) as one, User(url_of(home), server_program) as other:
        one.ask("ask SET job 1")
        other.resolve()
        killed = one.server_pid
        with Watch(home / "redis.sock") as watch:
            os.kill(killed, signal.SIGKILL)
            watch.wait_for_the_end()
        one.tell("resolve")
        other.tell("resolve")
        assert one.hear() == other.hear()
        assert one.server_pid == other.server_pid != killed
        assert other.ask("ask GET job") == "1"
        assert "ended by itself, by signal 9" in (home / "server.log").read_text()


def test_ctrl_c_leaves_it_to_the_program_that_drains(home: Path, server_program: Path) -> None:
    with User(url_of(home), server_program) as user, Watch(user.resolve()) as watch:
        user.press_ctrl_c()
        assert user.hear() == "drained"
        assert watch.is_served()
        assert starts(home) == 1


def test_a_service_manager_that_tells_every_process_to_end_costs_a_restart(
    home: Path, server_program: Path
) -> None:
    with User(url_of(home), server_program) as user, Watch(user.resolve()) as watch:
        user.ask("ask SET job 1")
        server = user.server_pid
        os.kill(parent_of(server), signal.SIGTERM)
        os.kill(server, signal.SIGTERM)
        watch.wait_for_the_end()
        assert user.ask("ask GET job") == "1"
        assert user.server_pid != server


def test_blocked_signals_of_its_starter_do_not_delay_its_end(home: Path, server_program: Path) -> None:
    with User(url_of(home), server_program) as user:
        user.ask("resolve-with-sigterm-blocked")
        user.kill()
    wait_until_nobody_serves(home)
    assert "scheduling shutdown" in (home / "server.log").read_text()


def test_a_locale_that_the_system_does_not_have_is_no_obstacle(home: Path, server_program: Path) -> None:
    with User(url_of(home), server_program, LC_ALL="xx_XX.UTF-8", LANG="xx_XX.UTF-8") as user:
        assert user.ask("ask PING") == "True"


def test_a_forked_child_uses_the_same_one(home: Path, server_program: Path) -> None:
    with User(url_of(home), server_program) as user:
        assert int(user.ask("pid")) == int(user.ask("fork"))


def test_a_directory_that_was_removed_is_made_again_and_its_old_server_ends(
    home: Path, server_program: Path
) -> None:
    with User(url_of(home), server_program) as user, Watch(user.resolve()) as old:
        user.ask("ask SET job 1")
        shutil.rmtree(home)
        assert user.ask("ask GET job") == "None"
        old.wait_for_the_end()
        assert user.ask("ask PING") == "True"


if sys.platform == "linux":  # elsewhere a server whose supervisor is killed goes on, and is joined

    def test_it_survives_even_the_kill_of_its_supervisor(home: Path, server_program: Path) -> None:
        with User(url_of(home), server_program) as user, Watch(user.resolve()) as watch:
            user.ask("ask SET job 1")
            os.kill(parent_of(user.server_pid), signal.SIGKILL)
            watch.wait_for_the_end()
            assert user.ask("ask GET job") == "1"


def parent_of(pid: int) -> int:
    """The supervisor of a server."""
    stat = Path(f"/proc/{pid}/stat")
    if stat.exists():
        return int(stat.read_text().rpartition(")")[2].split()[1])
    return int(subprocess.check_output(["ps", "-o", "ppid=", "-p", str(pid)]))
