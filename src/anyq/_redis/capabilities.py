"""What a server can do beyond the base that all have: asked, never guessed from a version.

The one thing a version is used for is to distrust: XACKDEL of Redis 8.2.0 to 8.2.2 overflows the server's stack
(CVE-2025-62507). What an ACL hides is taken as absent: the base does the same, only slower.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

import attrs

from .handshake import Greeting
from .replies import is_list

_ASKED = ("XACKDEL",)

#: How they are asked for, in one round trip.
QUESTIONS: Final[tuple[tuple[str, ...], ...]] = (("COMMAND", "INFO", *_ASKED), ("INFO", "server"))

_XACKDEL_SAFE_SINCE = (8, 2, 3)


@attrs.frozen(kw_only=True)
class Capabilities:
    """Facts about the server behind one connection."""

    server: str = ""
    """``"redis"``, ``"valkey"``, or ``""`` when it would not tell."""

    version: tuple[int, ...] = ()
    """Its own version, such as ``(8, 2, 3)``; empty when it would not tell."""

    commands: frozenset[str] = frozenset()
    """Which of the commands beyond the base may be used."""

    @property
    def xackdel(self) -> bool:
        """Whether XACKDEL is there, is safe, and was not switched off."""
        return "XACKDEL" in self.commands


def read_capabilities(
    answers: Sequence[Any], greeting: Greeting | None, avoid: Collection[str]
) -> Capabilities:
    """Read the answers to `QUESTIONS`.

    Args:
        answers: The replies.
        greeting: What the server said when the connection was made.
        avoid: Commands to do without, though the server has them.
    """
    command_info, info = answers
    server, version = _server(info, greeting)
    there = _names(command_info)
    commands = {name for name in _ASKED if name.lower().encode() in there and name not in avoid}
    if server != "valkey" and version < _XACKDEL_SAFE_SINCE:
        commands.discard("XACKDEL")
    return Capabilities(server=server, version=version, commands=frozenset(commands))


def _names(command_info: Any) -> set[bytes]:
    """The commands that COMMAND INFO knows: a list of descriptions, empty places for what is unknown."""
    if not is_list(command_info):
        return set()
    return {description[0].lower() for description in command_info if description}


def _server(info: Any, greeting: Greeting | None) -> tuple[str, tuple[int, ...]]:
    """Name and version from INFO, or from HELLO when an ACL hides that. Valkey's redis_version is a disguise."""
    lines = info.decode("utf-8", "replace").splitlines() if isinstance(info, bytes) else []
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    if "valkey_version" in facts:
        return "valkey", version_tuple(facts["valkey_version"])
    if "redis_version" in facts:
        return facts.get("server_name") or "redis", version_tuple(facts["redis_version"])
    return (greeting.server, version_tuple(greeting.version)) if greeting is not None else ("", ())


def version_tuple(text: str) -> tuple[int, ...]:
    """``"8.2.3"`` as ``(8, 2, 3)``; what is no number ends it."""
    numbers: list[int] = []
    for part in text.strip().split("."):
        if not part.isdecimal():
            break
        numbers.append(int(part))
    return tuple(numbers)
