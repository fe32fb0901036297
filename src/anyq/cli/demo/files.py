"""What the demonstration works on: the text files under a path."""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path

#: Folders that hold no text of their own.
_PASSED_OVER = {"__pycache__", "node_modules", "site-packages", "dist-packages"}

#: How much of a file is looked at to tell whether it is text.
_GLANCE = 1024


def standard_library() -> Path:
    """Give where the running interpreter keeps its standard library: over a thousand real files, on every machine."""
    return Path(sysconfig.get_path("stdlib"))


def text_files(path: Path) -> list[Path]:
    """List the text files under a path, or the one that it is, in a fixed order; hidden folders are passed over.

    A file that cannot be read is listed: it makes a job that fails for a reason that nobody invented.
    """
    if path.is_file():
        return [path]
    return sorted(file for file in _walk(path) if _is_text(file))


def _walk(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in _PASSED_OVER and not name.startswith(".")]
        for name in names:
            file = Path(folder, name)
            if file.is_file():  # neither a pipe, which would block, nor a link to nowhere
                yield file


def _is_text(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            return b"\0" not in opened.read(_GLANCE)
    except OSError:
        return True
