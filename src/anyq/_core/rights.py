"""Which commands a user of the server must be allowed to run, and how each is tried without doing anything.

A try has arguments that the server refuses after it has looked at the user's rights, or that find nothing in a key that
nobody uses. ``@`` stands for that key, ``#`` for a channel.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

Role = Literal["producer", "worker", "operator"]

ROLES: Final[tuple[Role, ...]] = ("worker", "producer", "operator")

_TRIES = """
    del @
    exists @
    expire @ x
    get @
    hdel @ f
    hget @ f
    hgetall @
    hincrby @ f x
    hkeys @
    hlen @
    hmget @ f
    hscan @ 0
    hset @ f v f
    incrby @ x
    llen @
    lpop @
    lrange @ 0 0
    mget @
    persist @
    pexpire @ x
    pttl @
    publish # x
    rpush @ x
    set @ x px x
    setrange @ x v
    time
    xack @ default 0-1
    xadd @ x f v
    xclaim @ default doctor 0 0-1
    xdel @ 0-1
    xgroup|create @ default 0
    xgroup|createconsumer @ default doctor
    xgroup|delconsumer @ default doctor
    xinfo|consumers @ default
    xinfo|groups @
    xinfo|stream @
    xlen @
    xpending @ default
    xrange @ 0 0
    xread streams @ 0
    xreadgroup group default doctor count 1 streams @ >
    xrevrange @ 0 0
    xtrim @ maxlen 0
    zadd @ x m
    zcard @
    zcount @ 0 0
    zincrby @ x m
    zmscore @ m
    zrange @ 0 0
    zrangebyscore @ 0 0
    zrem @ m
    zremrangebyscore @ 0 0
    zscan @ 0
    zscore @ m
"""

#: How each command is tried: its words, by the name that an ACL rule has for it.
TRIES: Final[Mapping[str, Sequence[str]]] = {
    line.split()[0]: (*line.split()[0].split("|"), *line.split()[1:]) for line in _TRIES.strip().splitlines()
}

_PRODUCER: Final = frozenset(
    "xadd xlen zadd zscore zmscore zrange zrem zremrangebyscore expire get set del time publish mget exists hget "
    "hgetall hset hincrby zincrby lrange".split()
)

#: What only those need who look at jobs and change them from outside.
_OPERATING: Final = frozenset({"xrevrange", "zscan", "hkeys", "hscan", "xinfo|stream", "xread", "pttl"})

#: Which of them who needs, besides EVAL and EVALSHA.
NEEDED: Final[Mapping[Role, frozenset[str]]] = {
    "producer": _PRODUCER,
    "worker": frozenset(TRIES) - _OPERATING,
    "operator": frozenset(TRIES),
}


def missing(denied: Iterable[str], role: Role) -> list[str]:
    """Name the commands that somebody in this role lacks, of those that were denied."""
    return sorted(NEEDED[role].intersection(denied))
