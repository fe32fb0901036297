"""redis-py's command surface: our client answers what redis.asyncio does, on RESP2, RESP3 and without a word on it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
import redis.asyncio
from redis.exceptions import ResponseError
from tests.redis.conftest import IMPATIENT

from anyq._redis.blocking import blocking_seconds
from anyq._redis.client import Client

Script = Callable[[Any], Awaitable[list[Any]]]


async def strings(r: Any) -> list[Any]:
    return [
        await r.set("k", "v"),
        await r.set("k", "v", nx=True),
        await r.get("k"),
        await r.incrbyfloat("f", 1.5),
        await r.mget("k", "f", "none"),
        await r.delete("k", "f"),
        await r.exists("k"),
        await r.pexpire("k", 1000),
        await r.pttl("k"),
    ]


async def hashes_sets_and_lists(r: Any) -> list[Any]:
    return [
        await r.hset("h", mapping={"a": 1, "b": b"\xff"}),
        await r.hgetall("h"),
        await r.hmget("h", ["a", "none"]),
        await r.sadd("s", "a", "b"),
        await r.smembers("s"),
        await r.rpush("l", 1, 2, 3),
        await r.lrange("l", 0, -1),
        await r.blpop("l", timeout=1),
        await r.scan(match="h*", count=1000),
        [key async for key in r.scan_iter(match="s", count=1000)],
    ]


async def sorted_sets(r: Any) -> list[Any]:
    return [
        await r.zadd("z", {"a": 1, "b": 2.5}),
        await r.zrange("z", 0, -1, withscores=True),
        await r.zrangebyscore("z", "-inf", "+inf", withscores=True, start=0, num=1),
        await r.zscore("z", "b"),
        await r.zpopmin("z"),
        await r.zincrby("z", 1, "b"),
        await r.zscan("z"),
    ]


async def streams(r: Any) -> list[Any]:
    return [
        await r.xadd("x", {"f": "v"}, id="1-1"),
        await r.xadd("x", {"f": "w"}, id="2-1"),
        await r.xlen("x"),
        await r.xgroup_create("x", "g", id="0"),
        await r.xread({"x": "0"}, count=1),
        await r.xreadgroup("g", "me", {"x": ">"}, count=2, block=10),
        await r.xreadgroup("g", "me", {"x": ">"}, count=2, block=10),
        await r.xpending("x", "g"),
        await r.xpending_range("x", "g", "-", "+", 1, consumername="nobody"),
        await r.xclaim("x", "g", "you", 0, ["1-1"]),
        await r.xautoclaim("x", "g", "you", 0, count=1),
        await r.xrange("x"),
        await r.xrevrange("x", count=1),
        [group["name"] for group in await r.xinfo_groups("x")],
        await r.xinfo_stream("x"),
        await r.xack("x", "g", "1-1"),
        await r.xdel("x", "1-1"),
        await r.xtrim("x", maxlen=0),
    ]


async def server_and_scripts(r: Any) -> list[Any]:
    info = await r.info("server")
    return [
        await r.ping(),
        info["redis_version"],
        await r.config_get("maxmemory-policy"),
        await r.client_getname(),
        await r.eval("return {1, 'two', {3}}", 0),
        await r.script_load("return 1"),
        await r.script_exists("e0e1f9fabfc9d4800c877a703b823ac0578ff8db", "0" * 40),
        await r.register_script("return ARGV[1]")(args=["x"]),
        (await r.command())["xadd"]["arity"],
        await r.memory_usage("none"),
        await r.object("encoding", "none"),
        (await r.time())[0] > 0,
        await r.publish("nobody", "x"),
        await r.execute_command("CONFIG GET", "hz") != {},
        await r.set(b"bytes", memoryview(b"view")),
        await r.get(bytearray(b"bytes")),
    ]


async def errors(r: Any) -> list[Any]:
    found: list[Any] = []
    await r.set("text", "x")
    for call in (
        r.lpush("text", 1),
        r.xgroup_create("none", "g"),
        r.eval("nonsense", 0),
        r.execute_command("NOPE"),
    ):
        try:
            await call
        except ResponseError as error:
            found.append((type(error), str(error)))
    return found


@pytest.mark.anyio
@pytest.mark.parametrize("protocol", ["", "?protocol=2", "?protocol=3"])
@pytest.mark.parametrize(
    "script", [strings, hashes_sets_and_lists, sorted_sets, streams, server_and_scripts, errors]
)
async def test_the_answers_are_those_of_redis_asyncio(
    redis_url: str, script: Script, protocol: str, anyio_backend_name: str
) -> None:
    async def theirs() -> list[Any]:
        async with redis.asyncio.from_url(redis_url + protocol) as reference:
            answers = await script(reference)
            await reference.flushall()
            return answers

    expected = await anyio.to_thread.run_sync(asyncio.run, theirs())
    async with Client(redis_url + protocol) as client:
        answers = await script(client)
    assert answers == expected
    assert [type(answer) for answer in answers] == [type(answer) for answer in expected]


@pytest.mark.anyio
async def test_a_blocking_command_has_its_own_time_on_top_of_the_patience(redis_url: str) -> None:
    async with Client(redis_url, settings=IMPATIENT) as client:
        assert await client.xread({"nothing": "$"}, block=600) in (None, [], {})
        assert await client.blpop("nothing", timeout=0.6) is None
        assert client.generation == 1


@pytest.mark.anyio
async def test_a_block_without_an_end_is_refused(client: Client) -> None:
    with pytest.raises(ValueError, match="for ever"):
        await client.xread({"nothing": "$"}, block=0)
    with pytest.raises(ValueError, match="for ever"):
        await client.blpop("nothing")


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        (("XREADGROUP", "GROUP", "g", "c", "COUNT", 1, "BLOCK", 1500, "STREAMS", "s", ">"), 1.5),
        (("xread", b"block", b"250", "STREAMS", "s", "$"), 0.25),
        (("XREAD", "STREAMS", "BLOCK", "0"), 0),
        (("BLPOP", "a", "b", 2), 2),
        (("BLMPOP", 0.5, 1, "a", "LEFT"), 0.5),
        (("WAIT", 1, 300), 0.3),
        (("GET", "BLOCK"), 0),
    ],
)
def test_the_time_that_a_command_may_block_is_read_from_its_words(
    words: tuple[Any, ...], seconds: float
) -> None:
    assert blocking_seconds(words) == seconds
