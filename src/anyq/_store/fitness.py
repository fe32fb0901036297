"""The facts about a server by which `_core.fitness` judges it.

Rule: to ask changes nothing, and what is refused is left out.
"""

from __future__ import annotations

import re
import time
from typing import Any, Final

import attrs
from redis.exceptions import RedisError

from .._core.findings import Finding
from .._core.fitness import AT_START, Facts, examine, parse_info
from .._core.keys import Keys
from .._core.rights import TRIES, Role
from .._redis.address import Address
from .._redis.client import Argument, Client
from .._redis.replies import pairs
from .._redis.subscriber import Subscriber
from ..errors import ConfigurationError, RedisUnavailable
from . import scripts

_SETTINGS: Final = (
    b"maxmemory-policy", b"maxmemory", b"appendonly", b"appendfsync", b"save", b"min-replicas-to-write",
)  # fmt: skip

#: Seconds for a channel to be confirmed.
_PATIENCE: Final = 1.0

#: How servers say that a user may not, in a script and outside of one, before Redis 7 and since.
_DENIED = re.compile(r"permissions to|The user executing the script can't|NOPERM")
_NOT_HERE = re.compile(r"permissions? to access|can't (access|publish)|one of the keys")
_CHANNEL = re.compile(r"channel")


async def misfits(client: Client, *, private: bool) -> list[str]:
    """Say what about the server would surprise somebody who trusts it with jobs, one sentence each.

    Args:
        client: A connection to it.
        private: Whether it is a private server in memory, which keeps nothing on purpose.
    """
    [info] = await client.call_many([(b"INFO",)])
    facts = Facts(info=_info(info), private=private)
    return [found.sentence for found in worth_a_word(examine(facts, AT_START))]


def worth_a_word(findings: list[Finding]) -> list[Finding]:
    """Leave out what is as it should be, and what could not be asked."""
    return [found for found in findings if found.verdict in {"warning", "problem"}]


async def facts_of(
    client: Client, subscriber: Subscriber, keys: Keys, *, role: Role, private: bool, whole: bool
) -> Facts:
    """Ask all that is told about a server.

    Args:
        client: A connection to it.
        subscriber: Another one.
        keys: Keys that its user should be allowed: some queue's.
        role: What the user is for.
        private: Whether it is a private server in memory, which keeps nothing on purpose.
        whole: Whether these keys are really wanted; else a user who may not use them tells nothing.
    """
    before = time.time()
    now, info, user, script, _, *settings = await client.call_many(
        [
            (b"TIME",), (b"INFO",), (b"ACL", b"WHOAMI"), (b"EVAL", b"return 1", 0), (b"PING",),
            *((b"CONFIG", b"GET", name) for name in _SETTINGS),
        ]
    )  # fmt: skip
    clock = None
    if not isinstance(now, RedisError):
        clock = int(now[0]) + int(now[1]) / 1_000_000 - (before + time.time()) / 2
    address = client.address
    facts = Facts(
        info=_info(info),
        settings=_settings(settings),
        scripts=str(script) if isinstance(script, RedisError) else "",
        clock=clock,
        user="" if isinstance(user, RedisError) else user.decode("utf-8", "replace"),
        role=role,
        private=private,
        keys=keys.pattern,
        local=_local(address),
        encrypted=address.tls is not None,
        verified=dict(address.tls or ()).get("ssl_cert_reqs", "required") != "none",
        password=address.password is not None or address.credential_provider is not None,
    )
    if facts.scripts:
        return facts
    denied, refused = await denied_to_us(client, keys)
    return attrs.evolve(
        facts,
        denied=denied,
        keyless=refused if whole else "",
        deaf="" if denied is None else await _deaf(subscriber, keys),
    )


async def denied_to_us(client: Client, keys: Keys) -> tuple[frozenset[str] | None, str]:
    """Try all commands in one script; which are refused, or why the script is."""
    key, channel = keys.doctor, keys.doctor
    words: list[Argument] = []
    for tried in TRIES.values():
        words.append(len(tried))
        words += [{"@": key, "#": channel}.get(word, word) for word in tried]
    try:
        answers = await client.run(scripts.RIGHTS, (key,), words)
    except RedisError as error:
        return None, str(error) if _DENIED.search(str(error)) else ""
    denied: set[str] = set()
    for name, answer in zip(TRIES, answers, strict=True):
        text = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else str(answer)
        if not _DENIED.search(text):
            continue
        if not _NOT_HERE.search(text):
            denied.add(name)
        elif _CHANNEL.search(text):
            denied.add("#")
    return frozenset(denied), ""


async def _deaf(subscriber: Subscriber, keys: Keys) -> str:
    with subscriber.subscribe(keys.doctor, lambda _channel, _message: None) as subscription:
        try:
            await subscription.ready(_PATIENCE)
        except ConfigurationError as error:
            return str(error) if _DENIED.search(str(error)) else ""
        except RedisUnavailable:
            return ""
    return ""


def _info(reply: Any) -> dict[str, str]:
    return parse_info(reply) if isinstance(reply, bytes) else {}


def _settings(replies: list[Any]) -> dict[str, str]:
    """What was told; an error stands where a right is missing."""
    return {
        name.decode(): value.decode("utf-8", "replace") for reply in replies for name, value in pairs(reply)
    }


def _local(address: Address) -> bool:
    host = address.host
    return address.path is not None or host in {"localhost", "::1"} or host.startswith("127.")
