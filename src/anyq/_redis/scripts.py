"""A Lua script and its name on the server.

The hash is computed here, once: nothing is loaded ahead of time, and a server that forgot its scripts
(restart, failover, SCRIPT FLUSH) is told the body again by the call that met NOSCRIPT.
"""

from __future__ import annotations

from hashlib import sha1
from importlib.resources import files

import attrs


def _bytes(body: bytes | str) -> bytes:
    return body.encode() if isinstance(body, str) else body


def _sha(script: Script) -> bytes:
    return sha1(script.body, usedforsecurity=False).hexdigest().encode()


@attrs.frozen
class Script:
    """One Lua file."""

    name: str
    """What logs and errors call it."""

    body: bytes = attrs.field(repr=False, converter=_bytes)

    sha: bytes = attrs.field(init=False, repr=False, default=attrs.Factory(_sha, takes_self=True))
    """What EVALSHA calls it."""

    @classmethod
    def load(cls, package: str, name: str) -> Script:
        """Read ``<name>.lua`` from the package's folder ``package`` (a dotted name such as ``anyq._store.lua``)."""
        return cls(name, files(package).joinpath(f"{name}.lua").read_bytes())
