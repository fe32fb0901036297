"""A server's home: what its files are called, that nobody else can enter it, and how to reach its socket.

Rule: a directory that holds something already is never chmod-ed, only refused.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

import attrs

from ..errors import ConfigurationError

SOCKET = "redis.sock"
LOG = "server.log"
LONGEST = 100  # bytes; a socket's address holds 108 on Linux and 104 on macOS, the closing zero included


@attrs.frozen
class Directory:
    """A directory with one server in it; every path is absolute."""

    path: Path

    @property
    def users(self) -> Path:
        return self.path / "users.lock"

    @property
    def server(self) -> Path:
        return self.path / "server.lock"

    @property
    def start(self) -> Path:
        return self.path / "start.lock"

    @property
    def log(self) -> Path:
        return self.path / LOG

    @property
    def socket(self) -> Path:
        """Where the server listens, by a path that is short enough to connect to.

        A longer one is reached through a symbolic link. The link's name follows from the directory's, so it is
        shared, needs no clean-up, and is made again when somebody swept it away.
        """
        direct = self.path / SOCKET
        if len(os.fsencode(direct)) <= LONGEST:
            return direct
        return _link_to(self.path) / SOCKET


def prepare(path: str | os.PathLike[str]) -> Directory:
    """Make the directory, for this user alone, or check that it is so.

    Raises:
        ConfigurationError: It cannot be made, is no directory, or holds files and is open to other users.
    """
    home = Path(os.path.realpath(path))
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        try:
            home.mkdir(mode=0o700)
        except FileExistsError:
            _make_private(home)
    except OSError as error:
        raise ConfigurationError(f"embedded: the directory {home} cannot be used: {error}") from error
    return Directory(home)


def temporary() -> Directory:
    """Make a directory of its own for a private server; whoever starts a server in it says who removes it."""
    return Directory(Path(os.path.realpath(tempfile.mkdtemp(prefix="anyq-"))))


def _make_private(home: Path) -> None:
    mode = home.stat().st_mode
    if not stat.S_ISDIR(mode):
        raise NotADirectoryError(f"{home} is a file")
    if not mode & 0o077:
        return
    if any(home.iterdir()):
        raise PermissionError(
            f"it holds files already and other users may enter it (mode {stat.S_IMODE(mode):04o}): "
            f"give a directory of its own, such as {home / 'anyq'}, or run: chmod 700 {home}"
        )
    home.chmod(0o700)


def _link_to(home: Path) -> Path:
    """The short name of a long directory, in a directory that no other user can write to."""
    links = Path(tempfile.gettempdir()) / f"anyq-{os.geteuid()}"
    if len(os.fsencode(links)) > LONGEST - len(SOCKET) - 20:
        links = Path(f"/tmp/anyq-{os.geteuid()}")  # noqa: S108 - checked below
    links.mkdir(mode=0o700, exist_ok=True)
    state = links.lstat()
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.geteuid() or state.st_mode & 0o077:
        raise ConfigurationError(
            f"embedded: {links} is not a directory of mode 0700 that belongs to you: remove it"
        )
    link = links / hashlib.sha256(os.fsencode(home)).hexdigest()[:16]
    if not link.is_symlink() or link.readlink() != home:
        fresh = links / f"{link.name}.{os.getpid()}"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(home)
        fresh.replace(link)
    return link
