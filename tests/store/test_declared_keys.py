"""Every key that a script touches is among its KEYS, and all keys of a queue lie in one slot: fit for a Cluster."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence

import pytest
from tests.support.gathering import group, rule
from tests.support.hands import Hands, Table, addition, claiming, member
from tests.support.servers import HOST, Server, free_port

from anyq._core.codec import encode
from anyq._core.dead_letters import Revived, revive
from anyq._core.job import Extras
from anyq._core.keys import CHASQUI, Keys
from anyq._core.schedules import Every, Firing, Spec
from anyq._redis.client import Client
from anyq._redis.scripts import Script
from anyq._store import cancels, dead_letters, fitness, inspect, jobs, pauses, scripts, totals
from anyq._store.belongings import Belonging, belongings
from anyq._store.control import Batch, Delayed, Lying
from anyq._store.dead_letters import Mending, Range
from anyq._store.gather import Gathered, gather
from anyq._store.notes import Note, Noting
from anyq._store.publish import Obstacle
from anyq._store.schedules import Run
from anyq._store.settle import Cut, Kept, Letter
from anyq._store.tally import Tally
from anyq.settings import Retention

pytestmark = pytest.mark.anyio

#: Commands of our scripts that name no key, and those whose key is not their first word.
KEYLESS = {b"TIME", b"PUBLISH"}
PLACES = {b"XGROUP": 2, b"XINFO": 2, b"XREAD": 2, b"XREADGROUP": 7}

ALL_SCRIPTS = {value.sha: value.name for value in vars(scripts).values() if isinstance(value, Script)}


async def do_everything(client: Client, keys: Keys) -> None:
    """Each verb once, with something to do for each of its branches."""
    table = Table(client, keys)
    producer, hands, other = (
        table.producer(),
        await table.hands(b"anyq-1"),
        await table.hands(b"anyq-2", alive=False),
    )
    foreign = await table.hands(b"c-foreign")
    await producer.publish(1, 1, [addition(str(number)) for number in range(9)], 100)
    await producer.schedule(
        2,
        2,
        [
            addition("now", job_id="now"),
            addition("later", job_id="later", delay_ms=0),
            addition("x", delay_ms=0),
            claiming("u", unique="u", chosen=True),
            claiming("d", unique="d", delay_ms=1000, replaces=""),
            claiming("d", unique="d", delay_ms=1000, replaces="d"),
            claiming("e", unique="d", delay_ms=1000, replaces="d"),
        ],
        100,
    )
    await producer.schedule(3, 3, [claiming("t", tracked=True)], 100)
    waiting = [
        claiming("w", tracked=True, after=("t",)),
        claiming("v", tracked=True, after=("t", "nobody")),
        claiming("x", tracked=True, after=("t",), unique="x", chosen=True, window_ms=9),
    ]
    assert await producer.await_(4, 4, waiting, 1000) == [True, Obstacle("nobody", crowded=False), True]
    await client.call("ZADD", keys.delayed, 1, "junk")
    assert (await hands.promoting.promote(100)).spoiled == 1
    entries = [entry.id for entry in await hands.take(5)]
    lane = keys.stream
    assert await hands.leasing.renew(lane, [*entries, b"1-1"]) == [b"1-1"]
    noting = Noting(client, keys, hands.name, 1, 1000)
    assert await noting.note(lane, [Note(entries[0], "0", 1, b"p", [b"one", b"two"])]) == [1]
    assert await hands.settling.ack(lane, entries[:1]) == [1]
    owned = [
        Belonging(keys.unique("k")),
        Belonging(keys.log("1"), keep_ms=1),
        Belonging(keys.taken_id("now"), "c"),
        *belongings(keys, "t", Extras(tracked=True), Retention()),
    ]
    assert await hands.settling.complete(lane, [Kept(entries[1], "1", b"x", 60.0, owned)]) == [1]
    assert await hands.settling.retry(lane, [(entries[2], 1000, member("2", 1))]) == [1]
    assert await hands.settling.bury(lane, [Letter(entries[3], ["d", b""], "3", b"why", 60.0, owned)]) == (
        [1],
        0,
    )
    assert await hands.settling.hand_back(lane, [entries[4]]) == [1]
    assert await other.take(2)
    while await hands.leasing.take_over(other.name):
        pass
    assert await foreign.take(2)
    assert await hands.leasing.sweep(0.0) > 0
    await use_schedules(hands)
    await control_everything(client, keys, table, hands)
    if not keys.shared:
        another = table.producer()
        await another.schedule(1, 1, [addition("high", priority=9)], 100)
        await another.schedule(2, 2, [addition("low", priority=1, delay_ms=0)], 0)
        assert (await hands.promoting.promote(100)).jobs
        await hands.learn()
        for entry in await hands.pick():
            await hands.settling.ack(entry.lane, [entry.id])
    await hands.consuming.ensure_group()
    for task in (None, "task"):
        number = await pauses.pause(client, keys, task, 2**45)
        await pauses.confirm(client, keys, hands.name, number)
        assert await pauses.unconfirmed(client, keys, number) == []
    await table.add("aside")
    *others, last = await hands.take()
    assert await hands.settling.set_aside(last.lane, "task", [(last.id, 5)]) == [1]
    for entry in others:
        await hands.settling.ack(entry.lane, [entry.id])
    assert (await pauses.look(client, keys, hands.name)).aside == {"task": 1}
    assert await fitness.denied_to_us(client, keys) == (frozenset(), "")
    await inspect.depths(client, keys)
    await inspect.ages(client, keys)
    await totals.read(client, keys, 60)
    for held in (True, False):
        await jobs.in_lane(client, keys.stream, jobs.Asked(9), "", held=held)
    assert (await jobs.set_aside(client, keys.aside("task"), jobs.Asked(9), "")).jobs
    await jobs.delayed(client, keys, jobs.Asked(9), "1,1")
    await jobs.count_before(client, keys.stream, b"9-9", 100)
    await jobs.waiting(client, keys, jobs.Asked(9), "")
    assert await pauses.resume(client, keys, None)
    assert await pauses.resume(client, keys, "task")
    assert await pauses.readmit(client, keys, "task") == 1

    await use_groups(client, keys)
    await mend(client, keys)
    assert await hands.leasing.depart()
    await hands.promoting.resign()
    await producer.forget()


async def use_groups(client: Client, keys: Keys) -> None:
    """Begin a group, join it, find another one than expected, let some go, into a new lane and when full."""
    long = {"delay_ms": 60_000, "maximum_ms": 60_000}
    usual, tight = rule(**long), rule(limit=60, **long)
    high = rule(priority=5 if keys.shared else 8, **long)
    batches = [
        group("g", 1, gathering=usual), group("h", 2, expected="g", gathering=usual), group("h", 2, gathering=usual),
        group("h", *range(4), gathering=high), group("i", "x" * 40, expected="g", gathering=tight),
        group("j", 1, gathering=usual), group("k", *range(3), expected="j", gathering=usual),
    ]  # fmt: skip
    answers: list[Gathered] = []
    for number, batch in enumerate(batches, 1):
        answers += await gather(Tally(client, keys), keys, b"g", number, number, [batch], 100)
    assert [answer.job_id for answer in answers] == [
        "g",
        "g",
        "g",
        "g" if keys.shared else "h",
        "i",
        "j",
        "j",
    ]


async def use_schedules(hands: Hands) -> None:
    scheduling = hands.scheduling
    spec = Spec(name="tick", task="task", when=Every(0.001), body=b"\x80", limit=2)
    await scheduling.put(spec, None, 1, keep=False, anew=True)
    now, [known] = await scheduling.read(["tick"])
    assert (await scheduling.due(10)).names == ["tick"]
    runs = [
        Run("now", 1, spec.envelope("now", 1, now)),
        Run("soon", now + 9000, spec.envelope("soon", 1, now)),
    ]
    assert await scheduling.fire([(known, Firing((1,), now + 9000), runs[:1])]) == [True]
    assert await scheduling.pause("tick")
    [known] = (await scheduling.read(["tick"]))[1]
    assert await scheduling.resume(known, 1)
    [known] = (await scheduling.read(["tick"]))[1]
    assert await scheduling.fire([(known, Firing((1,), None), runs[1:])]) == [True]
    await scheduling.remember("tick")
    await scheduling.put(spec, known, 1, keep=True, anew=True)
    await scheduling.pause("tick")
    [known] = (await scheduling.read(["tick"]))[1]
    assert await scheduling.resume(known, None)
    assert await scheduling.remove("tick")
    await scheduling.resign()


async def mend(client: Client, keys: Keys) -> None:
    """Replay a letter whose job has claims, delete the others, and trim."""
    claims = Extras(claim="claim", unique="letter")
    await client.call("XADD", keys.dead_letters, "*", "d", encode("letter", b"\x80", 1, 0, extras=claims))
    found, _ = await dead_letters.look(client, keys, Range(), 1000, given=dead_letters.WHOLE)
    assert (await dead_letters.errors(client, keys, Range()))[0]
    letter = revive(found[-1], 1000)
    assert isinstance(letter, Revived)
    mending = Mending(client, keys, b"t")
    assert await mending.replay(1, [letter], 100) == [1]
    assert await mending.delete(2, [b"2-1"]) == 0
    assert await dead_letters.trim(client, keys, 3600.0) == (0, False)
    await client.call("XADD", keys.dead_letters, "*", "d", "")
    await client.call("XTRIM", keys.dead_letters, "MAXLEN", 0)
    assert await dead_letters.newest(client, keys) is None


async def control_everything(client: Client, keys: Keys, table: Table, hands: Hands) -> None:
    """Each verb on a single job."""
    control = table.controlling()
    for entry in await hands.take():
        await hands.settling.ack(entry.lane, [entry.id])
    await table.add("held", "queued")
    (held,) = await hands.take(1)
    assert (await control.look("nobody"))[0] is None
    await client.call("SET", keys.taken_id("later"), "1")
    await table.producer().schedule(1, 1, [addition("later", delay_ms=60_000)], 100)
    found, _ = await control.look("later")
    assert isinstance(found, Delayed)
    assert await control.scan("later", b"0") == found
    assert await control.reschedule(Batch(1, 1), "later", found, delay_ms=50_000, due_ms=None)
    assert await control.withdraw(Batch(2, 2), "later", found)
    for number, (id, reply) in enumerate({"held": 2, "queued": 1}.items(), 3):
        lying = await control.seek(id, keys.stream, b"-", b"+")
        assert isinstance(lying, Lying)
        assert await control.cancel(Batch(number, number), id, lying) == reply
    assert await cancels.read(client, keys, ["held"]) == {"held"}
    assert await hands.settling.end_cancelled(held.lane, [Cut(held.id, "held", b"why")]) == [1]
    await cancels.overtaken(client, keys, ["nobody"])


@pytest.mark.parametrize("prefix", ["anyq", CHASQUI])
async def test_scripts_touch_only_the_keys_that_they_declare(
    client: Client, redis_url: str, server: Server, prefix: str
) -> None:
    await client.connect()
    with server.client() as spy, spy.monitor() as seen:
        await do_everything(client, Keys(prefix, "q"))
        await client.call("ECHO", "the end")
        ran, declared = set[str](), set[bytes]()
        while True:
            line = seen.next_command()
            words: Sequence[bytes] = [word.encode() for word in line["command"].split(" ")]
            command = words[0].upper()
            if command == b"ECHO":
                break
            if command == b"EVALSHA":  # an EVAL repeats the EVALSHA before it
                ran.add(ALL_SCRIPTS[words[1]])
                declared = set(words[3 : 3 + int(words[2])])
            elif line["client_type"] == "lua" and command not in KEYLESS:
                key = words[PLACES.get(command, 1)]
                assert key in declared, f"{line['command'][:80]} is not among {declared}"
    assert ran == set(ALL_SCRIPTS.values()) - ({"take"} if prefix == CHASQUI else set())


@pytest.fixture
async def one_slot(anyio_backend: object, start_server: Callable[..., Server]) -> AsyncGenerator[Client]:
    """A cluster of one node that owns nothing but the slot of the queue ``{anyq:q}``."""
    port = free_port()
    while port > 55_535:  # nodes talk to each other on the port 10,000 above
        port = free_port()
    cluster = ["--cluster-enabled", "yes", "--cluster-require-full-coverage", "no"]
    server = start_server(arguments=["--port", str(port), "--bind", HOST, *cluster])
    slot = server.command("CLUSTER", "KEYSLOT", "{anyq:q}")
    server.command("CLUSTER", "ADDSLOTS", slot)
    while b"cluster_state:ok" not in server.command("CLUSTER", "INFO"):
        pass
    async with Client(server.url) as client:
        yield client


async def test_all_keys_of_a_queue_lie_in_one_slot_of_a_cluster(one_slot: Client) -> None:
    await do_everything(one_slot, Keys("anyq", "q"))
    with pytest.raises(Exception, match=r"slot|CLUSTERDOWN"):
        await do_everything(one_slot, Keys("anyq", "another"))
