"""Looking at a server once, at the start: what would surprise the user later is said now.

Facts come from ``INFO``, which a careful ACL may hide: what cannot be asked is no error and gives no warning.
"""

from __future__ import annotations

from collections.abc import Mapping

from .._redis.client import Client

#: Versions with a known flaw in what is used here, from and up to, and what it is.
_FLAWED = (
    ("redis", (8, 2, 0), (8, 2, 2), "its XACKDEL can overflow the stack (CVE-2025-62507), and is not used"),
)

_OLDEST = (6, 2)


async def misfits(client: Client, *, private: bool) -> list[str]:
    """Say what about the server would surprise somebody who trusts it with jobs, one sentence each.

    Args:
        client: A connection to it.
        private: Whether it is a private server in memory, which keeps nothing on purpose.
    """
    info = await client.call(b"INFO")
    return judge(_facts(info), private=private) if isinstance(info, bytes) else []


def judge(facts: Mapping[str, str], *, private: bool) -> list[str]:
    """Judge what ``INFO`` told."""
    said: list[str] = []
    server = "valkey" if "valkey_version" in facts else "redis"
    version = _version(facts.get("valkey_version") or facts.get("redis_version", ""))
    if version and server == "redis" and version < _OLDEST:
        said.append(f"Redis {facts['redis_version']} is older than 6.2, which AnyQ needs")
    for flawed, first, last, flaw in _FLAWED:
        if server == flawed and first <= version <= last:
            said.append(
                f"{server} {'.'.join(map(str, version))} has a known flaw: {flaw}; upgrade the server"
            )
    policy = facts.get("maxmemory_policy", "noeviction")
    if policy != "noeviction" and facts.get("maxmemory", "0") != "0":
        said.append(f"maxmemory-policy is {policy!r}: a full server will delete jobs; set it to noeviction")
    if facts.get("role", "master") != "master":
        said.append("the server is a replica: it refuses writes, unless it is promoted")
    if not private and facts.get("aof_enabled") == "0" and facts.get("rdb_last_save_time") is not None:
        said.append(
            "append-only persistence is off: jobs of the last seconds or minutes do not survive a restart of the "
            "server; set appendonly yes"
        )
    if facts.get("rdb_last_bgsave_status", "ok") != "ok" or facts.get("aof_last_write_status", "ok") != "ok":
        said.append("the server could not save its data last time: look at its log and its disk")
    return said


def _facts(info: bytes) -> dict[str, str]:
    lines = info.decode("utf-8", "replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line and not line.startswith("#"))


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())
