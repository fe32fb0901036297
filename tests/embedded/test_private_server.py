"""embedded://: in memory, one a process, gone with it whatever ends it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from tests.embedded.users import SECONDS, User, Watch

URL = "embedded://"


@pytest.mark.parametrize("ending", ["normal", "exit", "raise", "SIGTERM", "SIGKILL"])
def test_it_is_gone_with_its_process(ending: str, server_program: Path) -> None:
    with User(URL, server_program) as user, Watch(user.resolve()) as watch:
        home = user.resolve().parent
        assert home.stat().st_mode & 0o777 == 0o700
        match ending:
            case "normal":
                assert user.stderr_at_its_end() == ""
            case "exit" | "raise":
                user.tell(ending)
            case number:
                user.process.send_signal(signal.Signals[number])
        user.process.wait(SECONDS)
        watch.wait_for_the_end()
    assert not home.exists()


def test_it_lives_in_memory_and_is_reachable_by_its_socket_alone(server_program: Path) -> None:
    with User(URL, server_program) as user:
        assert user.ask("ask CONFIG GET appendonly").count("no") == 1
        assert "noeviction" in user.ask("ask CONFIG GET maxmemory-policy")
        assert user.ask("ask CONFIG GET port").count("'0'") == 1
        assert user.ask("ask CONFIG GET save").count("''") == 1


def test_a_process_has_one(server_program: Path) -> None:
    with User(URL, server_program) as one, User(URL, server_program) as other:
        assert one.server_pid == one.server_pid
        assert one.server_pid != other.server_pid


def test_a_killed_one_is_started_again_empty(server_program: Path) -> None:
    with User(URL, server_program) as user, Watch(user.resolve()) as watch:
        user.ask("ask SET job 1")
        os.kill(user.server_pid, signal.SIGKILL)
        watch.wait_for_the_end()
        assert user.ask("ask GET job") == "None"


def test_a_forked_child_has_its_own_and_does_not_hold_its_parents(server_program: Path) -> None:
    with User(URL, server_program) as user, Watch(user.resolve()) as watch:
        parents = user.server_pid
        assert int(user.ask("fork")) != parents
        user.kill()
        watch.wait_for_the_end()
