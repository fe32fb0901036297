"""What looking costs: `anyq status` of a queue with a million jobs, and for how long the server serves nobody else.

``python -m bench.million URL [JOBS]`` wants an empty database, and leaves it empty.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable
from statistics import median

import anyio

from anyq import Queue
from anyq.cli.watch.looks import look as watch_look

NAME = "bench-million"
BATCH = 1000
ROUNDS = 50


async def fill(queue: Queue, jobs: int) -> None:
    """Nine of ten jobs are ready, the others delayed; a week of history besides."""
    for start in range(0, jobs, BATCH):
        delay = 3600 + start / BATCH if start % (10 * BATCH) == 0 else None
        await queue.enqueue_many("job", [{"n": start + n} for n in range(BATCH)], delay=delay)
    await queue.redis.delete(queue.keys.history)
    seconds, _ = await queue.redis.time()
    rows = range(seconds // 60 - 10_080, seconds // 60)
    for place, minute in enumerate(rows):
        totals = [
            word
            for name in ("added", "done", "retried", "dead", "cancelled")
            for word in (name, place * 1000)
        ]
        await queue.redis.call("XADD", queue.keys.history, f"{minute * 60_000}-0", *totals)


async def page(queue: Queue, *states: str, newest_first: bool = False) -> None:
    """What `anyq jobs` shows."""
    async for _ in queue.jobs(states or None, limit=50, newest_first=newest_first):
        pass


def looks(queue: Queue) -> dict[str, Callable[[], Awaitable[object]]]:
    """What people ask."""
    return {
        "stats()": queue.stats,
        "history(60)": queue.history,
        "history(10080)": lambda: queue.history(10_080),
        "workers()": queue.workers,
        "jobs(limit=50)": lambda: page(queue),
        "jobs(limit=50, newest_first=True)": lambda: page(queue, newest_first=True),
        "jobs('delayed', limit=50)": lambda: page(queue, "delayed"),
        "explain(a delayed job)": lambda: queue.explain("delayed"),
        "dead_letters.list(limit=20)": lambda: queue.dead_letters.list(limit=20),
        "one look of anyq watch": lambda: watch_look(queue, None),
    }


async def main(url: str, jobs: int) -> None:
    """Fill, look, tidy up."""
    async with Queue(NAME, url) as queue:
        if await queue.redis.dbsize():
            sys.exit("this database is not empty")
        await fill(queue, jobs)
        print(f"history of a week: {await queue.redis.memory_usage(queue.keys.history)} bytes in Redis")
        await queue.redis.call("CONFIG", "SET", "slowlog-log-slower-than", 0)
        await queue.enqueue("job", id="delayed", delay=3600)
        await queue.redis.call(
            "XADD", queue.keys.dead_letters, "*", "d", "x", "n", "job", "reason", "decode_failed"
        )
        for what, look in looks(queue).items():
            await queue.redis.call("SLOWLOG", "RESET")
            await queue.redis.call("CONFIG", "SET", "slowlog-max-len", 10_000)
            took: list[float] = []
            for _ in range(ROUNDS):
                began = time.perf_counter()
                await look()
                took.append((time.perf_counter() - began) * 1000)
            steps = [entry[2] / 1000 for entry in await queue.redis.call("SLOWLOG", "GET", -1)]
            print(f"{what}: median {median(took):.1f} ms, longest {max(took):.1f} ms", end="; ")
            print(f"the server's steps: median {median(steps):.2f} ms, longest {max(steps):.2f} ms")
        stats = await queue.stats()
        print(f"{stats.ready} ready, {stats.delayed} delayed")
        began = time.perf_counter()
        await anyio.run_process([sys.executable, "-m", "anyq", "status", "--url", url, "-q", NAME])
        print(f"the command, start of Python included: {time.perf_counter() - began:.2f} s")
        await queue.redis.flushdb()


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000)
