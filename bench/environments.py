"""One virtual environment for each peer, from pinned requirements: made once, made again when they change."""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).parent
KEPT = HERE.parent / ".nox" / "peers"
STAMP = "made-from"


def python_of(peer: str, folder: Path = KEPT) -> Path:
    """The interpreter of a peer's environment, which is made if it is not there.

    An environment without a stamp was made by somebody else, and is taken as it is.

    Args:
        peer: ``anyq``, ``chasquimq`` or ``streaq``.
        folder: Where the environments are kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{peer}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second process waits until it is whole
        return _python_of(peer, folder)


def _python_of(peer: str, folder: Path) -> Path:
    home = folder / peer
    python = home / "bin" / "python"
    requirements = HERE / f"requirements-{peer}.txt"
    wanted = f"{hashlib.sha256(requirements.read_bytes()).hexdigest()} {sys.version}"
    stamp = home / STAMP
    if python.exists() and (not stamp.exists() or stamp.read_text() == wanted):
        return python

    print(f"making an environment for {peer}", flush=True)
    venv.create(home, clear=True, with_pip=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--requirement", str(requirements)], check=True)
    if peer == "anyq":  # the work tree itself, with the pinned dependencies from above
        subprocess.run([*pip, "--no-deps", "--editable", str(HERE.parent)], check=True)
    stamp.write_text(wanted)
    return python
