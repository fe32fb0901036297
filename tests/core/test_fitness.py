"""Which server is fit for jobs: a case for each rule; what can be shown on a real server is shown in tests/cli."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import attrs
import pytest

import anyq
from anyq._core import soundness
from anyq._core.findings import Finding, gravest
from anyq._core.fitness import AT_START, RULES, Facts, examine, parse_info
from anyq._core.rights import NEEDED, TRIES
from anyq._core.soundness import QueueFacts

SOURCES = Path(anyq.__file__).parent

GOOD = {
    "redis_version": "8.6.6", "role": "master", "maxmemory_policy": "noeviction", "maxmemory": "0",
    "used_memory": "1000000", "aof_enabled": "1", "connected_clients": "3", "maxclients": "10000",
    "connected_slaves": "0", "cluster_enabled": "0",
}  # fmt: skip

EMPTY: frozenset[str] = frozenset()


def facts(*, without: str = "", **others: Any) -> Facts:
    info = {name: value for name, value in GOOD.items() if name != without} | others.pop("info", {})
    return Facts(**{"info": info, "scripts": "", "clock": 0.1, "user": "ada", "denied": EMPTY, **others})


def verdicts(facts: Facts) -> dict[str, str]:
    """Of the findings that are not as they should be."""
    return {found.check: found.verdict for found in examine(facts) if found.verdict != "ok"}


def test_a_good_server_has_no_fault() -> None:
    assert verdicts(facts()) == {}


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"info": {"redis_version": "6.0.16"}}, {"version": "problem"}),
        ({"info": {"redis_version": "8.2.2"}}, {"version": "warning", "security": "warning"}),
        ({"info": {"redis_version": "8.2.8"}}, {"security": "warning"}),
        ({"info": {"redis_version": "7.0.15"}}, {"security": "warning"}),
        ({"info": {"redis_version": "9.9.0"}}, {}),
        ({"info": {"redis_version": "7.2.4", "valkey_version": "8.1.1"}}, {"security": "warning"}),
        ({"info": {"redis_version": "7.2.4", "valkey_version": "9.1.2"}}, {}),
        ({"info": {"role": "slave", "master_host": "10.0.0.1", "master_port": "6379"}}, {"role": "problem"}),
        ({"info": {"min_slaves_good_slaves": "0"}}, {"role": "problem"}),
        ({"info": {"min_slaves_good_slaves": "1"}, "settings": {"min-replicas-to-write": "2"}}, {"role": "problem"}),
        ({"info": {"min_slaves_good_slaves": "1"}}, {}),
        ({"info": {"maxmemory_policy": "allkeys-lru"}}, {"eviction": "warning"}),
        ({"info": {"maxmemory_policy": "volatile-ttl", "maxmemory": "9000000"}}, {"eviction": "problem"}),
        ({"info": {"maxmemory": "1050000"}}, {"memory": "warning"}),
        ({"info": {"maxmemory": "900000"}}, {"memory": "problem"}),
        ({"info": {"aof_enabled": "0"}}, {"persistence": "warning"}),
        ({"info": {"aof_enabled": "0"}, "private": True}, {}),
        ({"settings": {"appendfsync": "no"}}, {"persistence": "warning"}),
        ({"info": {"aof_last_write_status": "err"}}, {"saving": "problem"}),
        ({"info": {"rdb_last_bgsave_status": "err"}}, {"saving": "problem"}),
        ({"info": {"connected_slaves": "1", "slave0": "ip=10.0.0.2,port=6379,state=online,lag=90"}},
         {"replicas": "warning"}),
        ({"info": {"connected_slaves": "1", "slave0": "ip=10.0.0.2,port=6379,state=wait_bgsave,lag=0"}},
         {"replicas": "warning"}),
        ({"info": {"connected_slaves": "1", "slave0": "ip=10.0.0.2,port=6379,state=online,lag=1"}}, {}),
        ({"info": {"cluster_enabled": "1"}}, {"cluster": "warning"}),
        ({"info": {"connected_clients": "9500"}}, {"connections": "warning"}),
        ({"scripts": "unknown command 'EVAL'"}, {"scripts": "problem"}),
        ({"clock": 61.0}, {"clock": "warning"}),
        ({"clock": -7200.0}, {"clock": "warning"}),
        ({"local": False, "password": False}, {"access": "warning", "encryption": "warning"}),
        ({"local": False, "encrypted": True}, {}),
        ({"local": False, "encrypted": True, "verified": False}, {"encryption": "warning"}),
        ({"denied": frozenset({"xclaim"})}, {"rights": "problem"}),
        ({"denied": frozenset({"xclaim"}), "role": "producer"}, {}),
        ({"denied": frozenset({"xrevrange"})}, {}),
        ({"denied": frozenset({"xrevrange"}), "role": "operator"}, {"rights": "problem"}),
        ({"denied": frozenset({"#"}), "role": "producer"}, {"rights": "problem"}),
        ({"deaf": "no permissions to run the 'subscribe' command"}, {"rights": "problem"}),
        ({"deaf": "No permissions to access a channel"}, {"rights": "problem"}),
        ({"denied": None}, {"rights": "unknown"}),
        ({"keyless": "No permissions to access a key"}, {"rights": "problem"}),
    ],
)  # fmt: skip
def test_a_fault_is_found_and_nothing_else(given: dict[str, Any], found: dict[str, str]) -> None:
    assert verdicts(facts(**given)) == found


def test_what_is_hidden_is_unknown_and_no_fault() -> None:
    hidden = Facts()
    assert set(verdicts(hidden).values()) == {"unknown"}
    assert gravest(examine(hidden)) == "ok"
    assert {found.verdict for found in examine(hidden, AT_START)} == {"unknown"}


def test_settings_tell_what_a_hidden_info_does_not() -> None:
    hidden = Facts(
        settings={"maxmemory-policy": "allkeys-lru", "maxmemory": "100", "appendonly": "no", "save": ""}
    )
    found = verdicts(hidden)
    assert (found["eviction"], found["persistence"]) == ("problem", "warning")


def test_each_fault_says_why_it_matters_and_what_mends_it() -> None:
    bad = [
        facts(info={
            "redis_version": "6.0.1", "role": "slave", "maxmemory_policy": "allkeys-lru", "maxmemory": "5",
            "aof_enabled": "0", "aof_last_write_status": "err", "cluster_enabled": "1", "connected_clients": "10000",
            "connected_slaves": "1", "slave0": "lag=99",
        }, scripts="NOPERM", clock=99.0, local=False, password=False, denied=frozenset({"xadd", "#"})),
        facts(info={"redis_version": "8.2.1"}),
    ]  # fmt: skip
    seen = {found.check: found for one in bad for found in examine(one) if found.verdict != "ok"}
    assert len(seen) == len(RULES), "each rule has found something"
    for found in seen.values():
        assert found.why
        assert found.mend
        assert found.sentence == f"{found.found}: {found.why}; {found.mend}"


def test_info_is_read_as_servers_write_it() -> None:
    assert parse_info(b"# Server\r\nredis_version:8.6.3\r\n\r\nexecutable:/a:b\r\n") == {
        "redis_version": "8.6.3", "executable": "/a:b",
    }  # fmt: skip


def test_every_command_that_is_used_is_tried() -> None:
    used: set[str] = set()
    for path in (SOURCES / "_store" / "lua").glob("*.lua"):
        calls = re.findall(r"redis\.p?call\('(\w+)'(?:, '(\w+)')?", path.read_text(encoding="utf-8"))
        used |= {_rule(command, word) for command, word in calls}
    for path in [
        *(SOURCES / "_store").glob("*.py"),
        *(SOURCES / "_services").glob("*.py"),
        *SOURCES.glob("*.py"),
    ]:
        calls = re.findall(r'call\(\s*b"([A-Z]+)"(?:, b"([A-Z]+)")?', path.read_text(encoding="utf-8"))
        used |= {_rule(command, word) for command, word in calls}
    optional = {"client|unblock", "info", "ping", "eval", "type"}
    shared = {"pexpireat"}  # a pause of a queue that is shared with chasquimq's programs
    assert used - optional - shared <= set(TRIES), (
        "add how it is tried to _core/rights.py, and the right to docs/running.md"
    )
    assert NEEDED["producer"] < NEEDED["worker"] < NEEDED["operator"]


def _rule(command: str, word: str) -> str:
    divided = {"XGROUP", "XINFO", "CLIENT"}
    return f"{command}|{word}".lower() if command in divided else command.lower()


# -- a queue ----------------------------------------------------------------------------------------------------------

WORKING = QueueFacts(
    queue="emails", wrong={}, entries=3, workers=1, consumers=1, ready=2, oldest=1.0, parked={}
)


def faults(**facts: Any) -> dict[str, str]:
    found = soundness.examine(attrs.evolve(WORKING, **facts))
    assert all(one.queue == "emails" for one in found)
    assert all((one.why and one.mend) for one in found if one.verdict in {"warning", "problem"})
    return {one.check: one.verdict for one in found if one.verdict != "ok"}


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, {}),
        ({"wrong": {"{anyq:emails}:stream": ("string", "stream")}}, {"keys": "problem"}),
        ({"wrong": None}, {"keys": "unknown"}),
        ({"groups": ("{anyq:emails}:stream",), "workers": 0}, {"group": "warning", "workers": "problem"}),
        ({"strangers": ("spy",)}, {"group": "warning"}),
        ({"workers": 0}, {"workers": "problem"}),
        ({"workers": 0, "ready": 0, "oldest": None}, {"workers": "warning"}),
        ({"workers": 0, "foreign": 1}, {}),
        ({"consumers": 5000, "foreign": 4999}, {"workers": "warning"}),
        ({"silent": 1, "held": 7}, {"held": "warning"}),
        ({"silent": 1, "held": 7, "workers": 0}, {"held": "problem", "workers": "problem"}),
        ({"vanished": 4}, {"entries": "problem"}),
        ({"oldest": 299.0}, {}),
        ({"oldest": 301.0}, {"age": "warning"}),
        ({"oldest": 301.0, "paused": True}, {"paused": "warning"}),
        ({"delayed": 5, "next_due": -31.0}, {"delayed": "problem"}),
        ({"delayed": 5, "next_due": -3.0}, {}),
        ({"next_run": -31.0}, {"schedules": "problem"}),
        ({"next_run": 3.0}, {}),
        ({"parked": None}, {"parked": "unknown"}),
        ({"parked": {"welcome": 3}}, {"parked": "warning"}),
        ({"tasks": ("welcome",), "aside": 3}, {"paused": "warning"}),
        ({"dead": 1}, {"dead-letters": "warning"}),
        ({"endless": ("{anyq:emails}:promoter:lock",)}, {"locks": "problem"}),
    ],
)
def test_what_is_wrong_with_a_queue_is_found_and_nothing_else(
    given: dict[str, Any], found: dict[str, str]
) -> None:
    assert faults(**given) == found


def test_the_gravest_verdict_counts_and_what_is_unknown_does_not() -> None:
    findings = [
        Finding(check="a", verdict=verdict, found="") for verdict in ("ok", "unknown", "warning", "problem")
    ]
    assert [gravest(findings[:count]) for count in range(5)] == ["ok", "ok", "ok", "warning", "problem"]
