"""The server's directory: nobody else can enter it, and nothing that is there already is touched."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from anyq._embedded.directory import Directory, prepare
from anyq.embedded import EmbeddedServer
from anyq.errors import ConfigurationError


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_it_and_its_socket_are_private_under_any_umask(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        with EmbeddedServer(tmp_path / "deep" / "jobs") as server:
            assert mode(tmp_path / "deep" / "jobs") == 0o700
            assert mode(server.socket) == 0o700
    finally:
        os.umask(before)


def test_an_empty_directory_is_made_private(tmp_path: Path) -> None:
    home = tmp_path / "volume"
    home.mkdir(mode=0o755)
    prepare(home)
    assert mode(home) == 0o700


def test_an_open_directory_with_files_is_refused_with_advice_and_left_alone(tmp_path: Path) -> None:
    home = tmp_path / "project"
    home.mkdir(mode=0o755)
    (home / "file").touch()
    with pytest.raises(
        ConfigurationError, match=r"a directory of its own, such as .*/project/anyq, or run: chmod 700"
    ):
        prepare(home)
    assert mode(home) == 0o755


def test_a_private_directory_with_files_is_accepted(tmp_path: Path) -> None:
    home = tmp_path / "mine"
    home.mkdir(mode=0o700)
    (home / "file").touch()
    assert prepare(home).path == home


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ConfigurationError, match="cannot be used"):
            prepare(path)


@pytest.fixture
def links(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where short names of long directories are made; pytest's own temporary folder may be too long for it."""
    with tempfile.TemporaryDirectory(prefix="anyq-", dir="/tmp") as folder:
        monkeypatch.setattr("tempfile.tempdir", folder)
        yield Path(folder) / f"anyq-{os.geteuid()}"


def test_a_long_directory_has_a_short_name_that_comes_back_when_swept_away(
    tmp_path: Path, links: Path
) -> None:
    home = Directory(tmp_path / ("x" * 120))
    home.path.mkdir()
    short = home.socket
    assert short.parent.parent == links
    assert mode(links) == 0o700
    assert short.parent.resolve() == home.path
    short.parent.unlink()
    assert home.socket == short
    assert short.parent.resolve() == home.path


def test_a_short_name_that_points_elsewhere_is_put_right(tmp_path: Path, links: Path) -> None:
    home = Directory(tmp_path / ("x" * 120))
    home.path.mkdir()
    short = home.socket.parent
    short.unlink()
    short.symlink_to(tmp_path)
    assert home.socket.parent.resolve() == home.path


def test_a_folder_of_short_names_that_others_can_write_to_is_refused(tmp_path: Path, links: Path) -> None:
    home = Directory(tmp_path / ("x" * 120))
    home.path.mkdir()
    home.socket.parent.unlink()
    links.chmod(0o777)
    try:
        with pytest.raises(ConfigurationError, match="remove it"):
            home.socket.exists()
    finally:
        links.chmod(0o700)


def test_a_long_temporary_folder_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("t" * 120)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    with EmbeddedServer() as server:
        assert len(str(server.socket)) <= 100
