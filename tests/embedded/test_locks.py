"""The locks under everything: let go by whatever ends their holder, and never kept by a bystander."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from anyq._embedded import locks
from anyq.errors import RedisUnavailable


def take(path: Path, *, shared: bool = False) -> int:
    return locks.take(path, shared=shared, seconds=0.05, waiting_for="somebody is busy")


def test_an_exclusive_lock_keeps_everybody_out_until_it_is_released(tmp_path: Path) -> None:
    lock = take(tmp_path / "lock")
    for shared in (True, False):
        with pytest.raises(RedisUnavailable, match=r"lock was locked for 0\.05 s: somebody is busy"):
            take(tmp_path / "lock", shared=shared)
    locks.release(lock)
    locks.release(take(tmp_path / "lock"))


def test_shared_locks_keep_out_the_exclusive_one_only(tmp_path: Path) -> None:
    one, other = take(tmp_path / "lock", shared=True), take(tmp_path / "lock", shared=True)
    with pytest.raises(RedisUnavailable):
        take(tmp_path / "lock")
    locks.release(one)
    locks.release(other)
    locks.release(take(tmp_path / "lock"))


def test_waiting_for_a_lock_can_become_pointless(tmp_path: Path) -> None:
    lock = take(tmp_path / "lock")
    given_up = locks.take(tmp_path / "lock", shared=False, seconds=60, waiting_for="", unless=lambda: True)
    assert given_up == -1
    locks.release(lock)


def test_only_its_user_can_open_a_lock_file(tmp_path: Path) -> None:
    locks.release(take(tmp_path / "lock"))
    assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600


def test_a_child_that_is_forked_meanwhile_does_not_go_on_holding_it(tmp_path: Path) -> None:
    program = """if True:
        import os, sys
        from pathlib import Path
        from anyq._embedded import locks
        lock = locks.take(Path(sys.argv[1]), shared=False, seconds=1, waiting_for="")
        until_the_parent_ends, parents = os.pipe()
        if os.fork() == 0:
            os.close(parents)
            os.read(until_the_parent_ends, 1)
            os._exit(0)
        locks.release(lock)
        print("released", flush=True)
        sys.stdin.read()
    """
    with subprocess.Popen(
        [sys.executable, "-c", program, tmp_path / "lock"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "released\n"
        locks.release(take(tmp_path / "lock"))
