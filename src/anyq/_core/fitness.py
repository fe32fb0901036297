"""Whether a server is fit to be trusted with jobs: one list of rules, each a plain function over facts.

A worker looks at some of them when it starts, and logs what would surprise its user later; `anyq doctor` looks at all.
Rule: what a server would not tell is unknown, and never an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from .findings import Finding, Rule, by_rules, ok, problem, unknown, warning
from .rights import Role, missing
from .words import lasting

_OLDEST: Final = (6, 2)

#: Versions with a flaw within reach of whoever may run commands, from and up to, and what it is.
_FLAWED: Final = (("redis", (8, 2, 0), (8, 2, 2), "its XACKDEL can overflow the stack (CVE-2025-62507)"),)

#: The last version of each line that mends a security flaw within reach of somebody who may run scripts, or read.
_SECURE: Final[Mapping[str, Mapping[tuple[int, ...], tuple[int, ...]]]] = {
    "redis": {
        (6, 2): (6, 2, 20), (7, 2): (7, 2, 16), (7, 4): (7, 4, 11), (8, 0): (8, 0, 4), (8, 2): (8, 2, 9),
        (8, 6): (8, 6, 6), (8, 8): (8, 8, 2),
    },
    "valkey": {(7, 2): (7, 2, 11), (8, 0): (8, 0, 6), (8, 1): (8, 1, 4)},
}  # fmt: skip

#: Seconds by which clocks may differ before somebody wonders.
_CLOCKS_APART: Final = 5.0

#: What of a limit may be used before it is worth a word.
_NEARLY: Final = 0.9

#: Seconds by which a replica may lag behind.
_LAG: Final = 10


@attrs.frozen(kw_only=True)
class Facts:
    """What is known about a server.

    Attributes:
        info: What ``INFO`` told, by its names; empty if it is hidden.
        settings: What ``CONFIG GET`` told; what is hidden is left out.
        scripts: What a script answered that says nothing: ``""`` if it ran, or the error; ``None`` if nobody tried.
        clock: Seconds by which the server's clock is ahead of this machine's; ``None`` if nobody asked.
        user: The user as whom we speak; ``""`` if it is not known.
        denied: Commands that this user may not run; ``None`` if nobody tried.
        keyless: Why the tries of commands were refused as a whole; ``""`` if they were not.
        deaf: Why this user may not listen on the queues' channels; ``""`` if it may, or nobody tried.
        role: What this user is for.
        private: Whether it is a private server in memory, which keeps nothing on purpose.
        local: Whether it is on this machine.
        encrypted: Whether we speak TLS with it.
        verified: Whether its certificate was looked at.
        password: Whether we gave a password, or the like.
        keys: The keys and channels that this user should be allowed, as a pattern of ACL rules.
    """

    info: Mapping[str, str] = attrs.field(factory=dict[str, str])
    settings: Mapping[str, str] = attrs.field(factory=dict[str, str])
    scripts: str | None = None
    clock: float | None = None
    user: str = ""
    denied: frozenset[str] | None = None
    keyless: str = ""
    deaf: str = ""
    role: Role = "worker"
    private: bool = False
    local: bool = True
    encrypted: bool = False
    verified: bool = True
    password: bool = True
    keys: str = "{anyq:*"

    @property
    def server(self) -> str:
        """``redis`` or ``valkey``."""
        return "valkey" if "valkey_version" in self.info else "redis"

    @property
    def version(self) -> str:
        """Its version, ``""`` if it is hidden."""
        return self.info.get("valkey_version") or self.info.get("redis_version", "")

    def number(self, name: str) -> int:
        """A number of ``INFO``'s; 0 if it is not there."""
        text = self.info.get(name, "")
        return int(text) if text.lstrip("-").isdecimal() else 0


def _version(facts: Facts) -> Finding:
    if not facts.version:
        return _hidden("INFO")
    version = _numbers(facts.version)
    named = f"{facts.server.capitalize()} {facts.version}"
    if facts.server == "redis" and version < _OLDEST:
        return problem(
            f"{named} is older than 6.2",
            why="AnyQ needs commands that came with it",
            mend="upgrade the server",
        )
    for flawed, first, last, flaw in _FLAWED:
        if facts.server == flawed and first <= version <= last:
            return warning(
                f"{named} has a known flaw",
                why=flaw,
                mend="upgrade the server",
            )
    return ok(named)


def _security(facts: Facts) -> Finding:
    if not facts.version:
        return _hidden("INFO")
    version = _numbers(facts.version)
    secure = _SECURE[facts.server].get(version[:2])
    if facts.server == "redis" and version[:2] == (7, 0):
        return warning(
            f"Redis {facts.version} is of a line that is not maintained any more",
            why="who may run scripts on it, as every producer and worker does, may be able to take over the server",
            mend="upgrade to a maintained line, unless your distribution mends this one",
        )
    if secure is not None and version < secure:
        return warning(
            f"{facts.server.capitalize()} {facts.version} lacks security releases of its line",
            why="who may run scripts on it, as every producer and worker does, may be able to take over the server",
            mend=f"upgrade to {'.'.join(map(str, secure))} or later, unless your distribution has mended it",
        )
    return ok("no flaw of this version is known here")


def _scripts(facts: Facts) -> Finding:
    if facts.scripts is None:
        return _hidden("EVAL")
    if facts.scripts:
        return problem(
            f"scripts do not run ({facts.scripts})",
            why="every change of a job is a Lua script",
            mend="allow EVAL and EVALSHA: undo a rename-command, load Valkey's module lua, or grant +eval +evalsha",
        )
    return ok("Lua scripts run")


def _role(facts: Facts) -> Finding:
    if not facts.info:
        return _hidden("INFO")
    if facts.info.get("role", "master") != "master":
        master = f"{facts.info.get('master_host', '')}:{facts.info.get('master_port', '')}".strip(":")
        return problem(
            "the server is a replica" + (f" of {master}" if master else ""),
            why="it refuses writes, unless it is promoted",
            mend=f"point the URL to {master or 'the primary'}, or promote this one: redis-cli REPLICAOF NO ONE",
        )
    if "min_slaves_good_slaves" in facts.info:
        good, wanted = facts.number("min_slaves_good_slaves"), facts.settings.get("min-replicas-to-write", "")
        if good < (int(wanted) if wanted.isdecimal() else 1):
            return problem(
                f"{good} replicas are in step, and min-replicas-to-write wants {wanted or 'more'}",
                why="the server refuses writes meanwhile (NOREPLICAS): nothing is enqueued, and nothing ends",
                mend="start the replicas, or redis-cli CONFIG SET min-replicas-to-write 0",
            )
    return ok("it is a primary")


def _replicas(facts: Facts) -> Finding:
    if not facts.info:
        return _hidden("INFO")
    number = facts.number("connected_slaves")
    late: list[str] = []
    for place in range(number):
        told = (part.partition("=") for part in facts.info.get(f"slave{place}", "").split(","))
        row = {name: value for name, _, value in told}
        lag = row.get("lag", "0")
        if row.get("state", "online") != "online" or (lag.isdecimal() and int(lag) > _LAG):
            late.append(f"{row.get('ip', '?')}:{row.get('port', '?')}")
    if late:
        return warning(
            f"of {number} replicas these lag behind: {', '.join(late)}",
            why="a failover to one of them loses what it does not have yet, also jobs that were confirmed",
            mend="look at the replica's log, its disk and the network between them",
        )
    return ok(f"{number or 'no'} replica{'s' * (number != 1)}")


def _eviction(facts: Facts) -> Finding:
    policy = facts.info.get("maxmemory_policy") or facts.settings.get("maxmemory-policy")
    if policy is None:
        return _hidden("INFO")
    limit = facts.info.get("maxmemory") or facts.settings.get("maxmemory", "0")
    if policy == "noeviction":
        return ok("maxmemory-policy is noeviction")
    limited = limit != "0"
    return (problem if limited else warning)(
        f"maxmemory-policy is {policy!r}" + ("" if limited else ", and no maxmemory is set yet"),
        why="a full server will delete jobs",
        mend="redis-cli CONFIG SET maxmemory-policy noeviction, and the same in redis.conf",
    )


def _memory(facts: Facts) -> Finding:
    if not facts.info:
        return _hidden("INFO")
    used, limit = facts.number("used_memory"), facts.number("maxmemory")
    if not limit:
        return ok(f"{_size(used)} used; no maxmemory is set")
    found = f"{_size(used)} of {_size(limit)} (maxmemory) used"
    if used >= _NEARLY * limit:
        return (problem if used >= limit else warning)(
            found,
            why="a full server takes no new job; running jobs still end",
            mend="give it more (redis-cli CONFIG SET maxmemory ...), or less to keep: see anyq status, anyq dlq delete",
        )
    return ok(found)


def _persistence(facts: Facts) -> Finding:
    if facts.private:
        return ok("a private server: its data ends with its program")
    append = facts.info.get("aof_enabled", {"yes": "1", "no": "0"}.get(facts.settings.get("appendonly", "")))
    if append is None:
        return _hidden("INFO")
    mend = "redis-cli CONFIG SET appendonly yes, and the same in redis.conf"
    if append == "0":
        nothing = facts.settings.get("save") == ""
        return warning(
            "nothing is kept on disk: no append-only file, and no snapshots"
            if nothing
            else "append-only persistence is off",
            why="jobs do not survive a restart of the server"
            if nothing
            else "jobs of the last seconds or minutes do not survive a restart of the server",
            mend=mend,
        )
    every = facts.settings.get("appendfsync", "")
    if every == "no":
        return warning(
            "the append-only file is written whenever the kernel likes (appendfsync no)",
            why="a power failure loses jobs of the last half minute or so",
            mend="redis-cli CONFIG SET appendfsync everysec, and the same in redis.conf",
        )
    return ok(
        "the append-only file is on" + (f" (appendfsync {every})" if every else ""),
    )


def _saving(facts: Facts) -> Finding:
    if not facts.info:
        return _hidden("INFO")
    failed = [
        name
        for name in ("rdb_last_bgsave_status", "aof_last_write_status", "aof_last_bgrewrite_status")
        if facts.info.get(name, "ok") != "ok"
    ]
    if failed:
        return problem(
            "the server could not save its data last time",
            why="it may refuse all writes (MISCONF), and does not survive a restart with all jobs",
            mend="look at its log and its disk; redis-cli BGSAVE tries again",
        )
    return ok("the last save went well")


def _cluster(facts: Facts) -> Finding:
    if not facts.info:
        return _hidden("INFO")
    if facts.info.get("cluster_enabled") == "1":
        return warning(
            "the server is a node of a Cluster",
            why="AnyQ talks to one server: a queue whose keys lie on another node is refused (MOVED)",
            mend="use a server without cluster-enabled, or make sure that this node owns the slots of all its queues",
        )
    return ok("it stands alone")


def _connections(facts: Facts) -> Finding:
    if not facts.info:
        return _hidden("INFO")
    now, most = facts.number("connected_clients"), facts.number("maxclients")
    found = f"{now} connection{'s' * (now != 1)}" + (f" of {most} (maxclients)" if most else "")
    if most and now >= _NEARLY * most:
        return warning(
            found,
            why="a full server lets nobody in, and no worker comes back after an outage; each needs five a queue",
            mend="redis-cli CONFIG SET maxclients ..., or find out who leaves connections open: redis-cli CLIENT LIST",
        )
    return ok(found)


def _clock(facts: Facts) -> Finding:
    if facts.clock is None:
        return _hidden("TIME")
    apart = abs(facts.clock)
    if apart >= _CLOCKS_APART:
        return warning(
            f"the server's clock is {lasting(apart)} {'ahead of' if facts.clock > 0 else 'behind'} ours",
            why="jobs go by the server's clock: delays are right, but moments that a program gives (at=..., deadlines, "
            "schedules) are early or late, and so are the times that it shows",
            mend="let both set their clocks by NTP",
        )
    return ok("the clocks agree")


def _access(facts: Facts) -> Finding:
    if facts.password or facts.private:
        return ok(
            f"we are the user {facts.user!r}" if facts.user else "we are let in",
        )
    if facts.local:
        return ok("no password is asked for; it is on this machine")
    return warning(
        "the server asks for no password",
        why="whoever reaches it can run any task with any arguments, and read and delete all jobs",
        mend="make a user with a password: see docs/operating/secure.md",
    )


def _encryption(facts: Facts) -> Finding:
    if facts.encrypted and not facts.verified:
        return warning(
            "TLS, but the server's certificate is not verified (ssl_cert_reqs)",
            why="who stands in between can read and change everything",
            mend="take ssl_cert_reqs=none out of the URL; name the authority with ssl_ca_certs=...",
        )
    if facts.encrypted or facts.local:
        return ok("TLS" if facts.encrypted else "it is on this machine")
    return warning(
        "the connection is not encrypted",
        why="arguments, results and the password can be read on the way",
        mend="rediss:// instead of redis://, unless the network is trusted",
    )


def _rights(facts: Facts) -> Finding:
    user = facts.user or "this user"
    grant = f"redis-cli ACL SETUSER {user if facts.user else '...'}"
    if facts.keyless:
        return problem(
            f"{user} may not run scripts on the keys {facts.keys} ({facts.keyless})",
            why="nothing can be done with such a queue",
            mend=f"{grant} +eval +evalsha '~{facts.keys}'",
        )
    if facts.denied is None:
        return unknown("which commands are allowed could not be tried")
    lacking = missing(facts.denied, facts.role)
    if "to run the" in facts.deaf:
        lacking += "subscribe", "unsubscribe"
    channels = "#" in facts.denied or (facts.deaf and "subscribe" not in lacking)
    if lacking or channels:
        what, words = [", ".join(lacking)] if lacking else [], [f"+{name}" for name in lacking]
        if channels:
            what.append("the channels of the queues")
            words.append(f"'&{facts.keys}'")
        return problem(
            f"{user} may not use {'; '.join(what)}",
            why=f"{_a(facts.role)} needs them",
            mend=f"{grant} {' '.join(words)}",
        )
    return ok(f"{user} may do all that {_a(facts.role)} does")


#: All rules by their names, in the order in which they are told.
RULES: Final[Mapping[str, Rule[Facts]]] = {
    "version": _version,
    "security": _security,
    "scripts": _scripts,
    "role": _role,
    "cluster": _cluster,
    "eviction": _eviction,
    "memory": _memory,
    "persistence": _persistence,
    "saving": _saving,
    "replicas": _replicas,
    "connections": _connections,
    "clock": _clock,
    "access": _access,
    "encryption": _encryption,
    "rights": _rights,
}

#: Those that a worker looks at when it starts: what would lose jobs, or let nothing work.
AT_START: Final[Mapping[str, Rule[Facts]]] = {
    name: RULES[name] for name in ("version", "role", "eviction", "persistence", "saving")
}


def examine(facts: Facts, rules: Mapping[str, Rule[Facts]] = RULES) -> list[Finding]:
    """Look at a server by rules; a finding for each."""
    return by_rules(facts, rules)


def parse_info(text: bytes) -> dict[str, str]:
    """Read ``INFO``'s answer."""
    lines = text.decode("utf-8", "replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line and not line.startswith("#"))


def _hidden(command: str) -> Finding:
    return unknown(f"this user may not ask: +{command.lower()} would let it")


def _a(role: Role) -> str:
    return f"an {role}" if role == "operator" else f"a {role}"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())


def _size(count: int) -> str:
    amount, unit = float(count), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
