"""Nothing is lost and nothing ends twice, whatever happens in whatever order: seeded walks with a ledger.

``ANYQ_WALK_STEPS=20000 ANYQ_WALK_SEEDS=1,2,3 pytest tests/store/test_conservation.py`` walks farther; a failure prints
how to walk the same way again. The second half shows that the ledger has teeth: with one line of a script changed, a
walk fails.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Awaitable, Sequence
from typing import Any

import pytest
from redis.exceptions import ResponseError
from tests.support.walk import Walk, describe

from anyq._core.keys import CHASQUI
from anyq._redis.client import Client, ScriptCall
from anyq._redis.scripts import Script
from anyq._store import scripts

pytestmark = pytest.mark.anyio

STEPS = int(os.environ.get("ANYQ_WALK_STEPS", "1000"))
SEEDS = [int(seed) for seed in os.environ.get("ANYQ_WALK_SEEDS", "").split(",") if seed]


async def walk(client: Client, seed: int, steps: int, **options: str) -> Walk:
    found = Walk(client, seed, **options)  # type: ignore[arg-type]
    try:
        await found.run(steps)
    except BaseException as error:
        error.add_note(f"walk again with {describe(seed, steps)}")
        raise
    return found


#: Scripts that change something, and that no walk runs.
NOT_WALKED = {
    "rights": "it tries what a user may, on a key that nobody uses",
}

#: What a script says that only looks: a new command is taken for one that changes something.
LOOKS = frozenset(
    "EXISTS GET HGET HGETALL HLEN HMGET HVALS LLEN LRANGE MGET PTTL PUBLISH STRLEN TIME XINFO XLEN XPENDING XRANGE "
    "XREVRANGE ZCARD ZCOUNT ZMSCORE ZRANGE ZRANGEBYSCORE ZREVRANGE ZREVRANGEBYSCORE ZSCORE HSCAN ZSCAN".split()
)


def changing() -> set[str]:
    """The scripts that change something."""
    found = [script for script in vars(scripts).values() if isinstance(script, Script)]
    said = {script.name: set(re.findall(rb"call\('(\w+)'", script.body)) for script in found}
    return {name for name, words in said.items() if {word.decode() for word in words} - LOOKS}


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The names of the scripts that any client has run."""
    names: set[str] = set()
    one, many = Client.run, Client.run_many

    def run(client: Client, script: Script, *args: Any, **options: Any) -> Awaitable[Any]:
        names.add(script.name)
        return one(client, script, *args, **options)

    def run_many(client: Client, calls: Sequence[ScriptCall], **options: Any) -> Awaitable[list[Any]]:
        names.update(script.name for script, _, _ in calls)
        return many(client, calls, **options)

    monkeypatch.setattr(Client, "run", run)
    monkeypatch.setattr(Client, "run_many", run_many)
    return names


@pytest.mark.parametrize("prefix", ["anyq", CHASQUI])
async def test_every_job_is_in_one_place_at_any_moment_and_ends_once(client: Client, prefix: str) -> None:
    for seed in SEEDS or [random.randrange(10**6)]:
        found = await walk(client, seed, STEPS, prefix=prefix)
        assert found.added
        assert min(found.counts.values()) > 0, f"never happened: {found.counts}"


@pytest.mark.parametrize("anyio_backend", [pytest.param("asyncio")])
async def test_each_verb_that_changes_something_is_met_by_walks(client: Client, ran: set[str]) -> None:
    for seed in range(20):  # the first meets nearly all of them
        await walk(client, seed, 600)
        if changing() - ran == NOT_WALKED.keys():
            return
    raise AssertionError(f"no walk meets {changing() - ran - NOT_WALKED.keys()}")


MUTATIONS = {
    "nobody checks the owner": ("_owner", "pending[2] == consumer and", ""),
    "an entry is not deleted": ("_owner", "  redis.call('XDEL', stream, entry)\n", ""),
    "a full server is not reckoned with": (
        "_owner",
        "if count then redis.call('XCLAIM'",
        "if false then redis.call('XCLAIM'",
    ),
    "what is handed back is not added again": (
        "_owner",
        "redis.call('XADD', target",
        "redis.call('XRANGE', target",
    ),
    "lost deliveries are not counted": ("take_over", "pending[4])", "0)"),
    "the living are robbed": ("take_over", "== 1 then return -1", "== 2 then return -1"),
    "a worker is forgotten with entries in hand": ("take_over", "if moved == 0 then", "if true then"),
    "AnyQ's own are swept": ("sweep", "~= ARGV[4] then", "~= '' then"),
    "a full server does not promote": ("promote", "redis.call('XDEL', KEYS[2], '0-0')", ""),
    "a burial deletes first": (
        "bury",
        "    redis.call('XADD', KEYS[2],",
        "    settle(KEYS[1], group, entry)\n    redis.call('XADD', KEYS[2],",
    ),
    "what is set aside is aside and in its lane": (
        "set_aside",
        "    settle(KEYS[1], group, entry)\n",
        "",
    ),
    "jobs are set aside after their task was resumed": (
        "set_aside",
        "paused and KEYS[3] or KEYS[4]",
        "KEYS[3]",
    ),
    "what is paused comes back": (
        "readmit",
        "ends > server_ms()) then return -1",
        "ends > server_ms()) then ends = 0",
    ),
    "what came back is aside still": ("readmit", "  redis.call('XDEL', KEYS[2], row[1])\n", ""),
    "a batch is not remembered": ("publish", "remember(KEYS[2],", "effected(KEYS[2],"),
    "a delayed batch is not remembered": ("schedule", "remember_answers(KEYS[3],", "effected(KEYS[3],"),
    "a cancelled job is promoted": ("withdraw", "redis.call('ZREM', KEYS[1], ARGV[4]) == 0", "false"),
    "a cancelled job stays queued": ("cancel", "redis.call('XDEL', KEYS[1], entry)\n", ""),
    "what a worker has is deleted": ("cancel", "#pending > 0 then", "#pending > 9 then"),
    "a cancelled job comes back as a retry": ("retry", "if cancels and", "if false and"),
    "a request outlives its job": ("end_cancelled", "redis.call('ZREM', KEYS[2], id)", ""),
    "a request is inherited": ("_afresh", "redis.call('ZREM', cancels,", "redis.call('ZSCORE', cancels,"),
    "what is delayed cannot be found": (
        "_delay",
        "redis.call('SET', index, member",
        "redis.call('PING', index, member",
    ),
    "an id is not taken": ("schedule", "redis.call('SET', KEYS[taken]", "redis.call('GET', KEYS[taken]"),
    "a batch sent again has forgotten whom it found": (
        "_once",
        "if answer ~= 1 then redis",
        "if false then redis",
    ),
    "a unique key is not taken": ("schedule", "redis.call('SET', unique,", "redis.call('GET', unique,"),
    "what was replaced is run as well": ("schedule", "redis.call('ZREM', KEYS[2], replaced)", ""),
    "the last one replaces whoever is there": ("schedule", "holder ~= expected then", "false then"),
    "a job's claims outlive it": ("_ending", "redis.call('DEL', KEYS[key])", ""),
    "a job ends the claims of others": ("_ending", "mine = by == owner", "mine = true"),
    "a job is replaced beside the one that waits": (
        "schedule",
        "waits = waits and redis",
        "waits = false and redis",
    ),
    "who comes too late ends claims": (
        "complete",
        "skip_belongings(key + 1, i + 4)",
        "end_belongings(key + 1, i + 4)",
    ),
    "who is let go waits on": ("_ending", "redis.call('HDEL', waiting, name)", ""),
    "who waits for two is let go by the first": ("_ending", "or left == 0 then", "or left <= 1 then"),
    "nobody is let go": ("_ending", "follow_up(key, owner, outcome, keep)", ""),
    "failure is not passed on": ("_ending", "mode == 'f' and outcome ~= 'done'", "false"),
    "a job that waits takes no key": ("await", "redis.call('SET', unique,", "redis.call('GET', unique,"),
    "who comes after the end waits": ("await", "elseif state == 'alive' then", "elseif state then"),
    "what is told is written by whoever comes": (
        "note",
        "if hold(KEYS[1], ARGV[1], ARGV[2], entry) then",
        "if true then",
    ),
    "what is told is written as often as it is sent": ("note", "~= writing then", "~= '' then"),
    "a replayed letter stays": ("replay", "redis.call('XDEL', KEYS[1], id)", ""),
    "a replay is not remembered": ("replay", "redis.call('SET', KEYS[3],", "redis.call('GET', KEYS[3]) --"),
    "a promoted job stays delayed": ("promote", "redis.call('ZREM', KEYS[1], member)", ""),
    "a result is written by whoever comes": ("complete", "entry, 1) > 0 then", "entry, 1) >= 0 then"),
    "a planned time is not looked at": ("fire_schedule", "name) ~= ARGV[2] then", "name) == '' then"),
    "a definition is not looked at": ("fire_schedule", "~= ARGV[3] then", "== '' then"),
    "a schedule is not planned anew": (
        "fire_schedule",
        "redis.call('ZADD', KEYS[1], following, name)",
        "redis.call('XLEN', KEYS[4])",
    ),
    "a schedule's job takes no key": (
        "fire_schedule",
        "redis.call('SET', unique,",
        "redis.call('GET', unique,",
    ),
    "a run starts beside the one that goes on": (
        "fire_schedule",
        "redis.call('EXISTS', unique) == 1",
        "redis.call('EXISTS', unique) == 2",
    ),
    "a group's items are not counted": ("gather", "redis.call('SETRANGE', index, list, four(count))", ""),
    "items are put in as often as they are sent": ("gather", "remember(sent, batch, ARGV[2], ARGV[4])", ""),
    "an answer to items is forgotten": (
        "gather",
        "redis.call('ZADD', sent, batch, table",
        "local _ = tostring(table",
    ),
    "a group is there as it was, too": (
        "gather",
        "if member then redis.call('ZREM', KEYS[1], member) end",
        "",
    ),
    "a group that is full stays delayed": ("gather", "        redis.call('ZREM', KEYS[1], full)\n", ""),
    "what was parked is parked for ever": (
        "promote",
        "if parked then count_parked(KEYS[5], member, -1) end",
        "",
    ),
    "what is acknowledged twice is counted twice": (
        "ack",
        "done = done + ended",
        "done = done + 1",
    ),
    "a duplicate is counted": ("schedule", "if answer == 1 then added", "if true then added"),
    "a retry without a failure is counted": ("retry", "if ARGV[i + 4] == '1' then", "if true then"),
    "what is lost is not counted": ("take_over", "tally('lost', lost)", ""),
    "a definition is written over another": ("put_schedule", "if known ~= ARGV[2] then", "if false then"),
}


@pytest.mark.parametrize("anyio_backend", [pytest.param("asyncio")])
@pytest.mark.parametrize("mutation", MUTATIONS)
async def test_a_walk_notices(client: Client, monkeypatch: pytest.MonkeyPatch, mutation: str) -> None:
    name, old, new = MUTATIONS[mutation]
    changed = 0
    for attribute, script in list(vars(scripts).items()):
        if (
            isinstance(script, Script)
            and (name.startswith("_") or name == script.name)
            and old.encode() in script.body
        ):
            body = script.body.replace(old.encode(), new.encode())
            monkeypatch.setattr(scripts, attribute, Script(script.name, body))
            changed += 1
    assert changed, f"{name}.lua has no {old!r} any more"
    with pytest.raises((AssertionError, ResponseError)):
        # The first, nearly always: what few walks would meet by chance is a move of its own, which each of them makes.
        for seed in range(40):
            await walk(client, seed, 600)
