"""The module that the command line is given in these tests. A task says on stdout that it has begun."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

import anyio

from anyq import Queue, Worker

queue = Queue("cli")
other = Queue("cli-other")
number = 7


def say(*words: object) -> None:
    print(*words, os.getpid(), flush=True)


@queue.task
async def short() -> None:
    """Ends by itself when another job tells it to."""
    say("begun short")
    await queue.redis.blpop(["go"], timeout=20)


@queue.task
async def add(a: Any, b: Any) -> Any:
    return a + b


@queue.task
async def long() -> None:
    say("begun long")
    await anyio.sleep_forever()


@queue.task
async def stubborn() -> None:
    """Ignores its cancellation, in the way in which people write it."""
    say("begun stubborn")
    while True:
        try:
            await anyio.sleep_forever()
        except BaseException:  # noqa: BLE001 - the fault itself
            time.sleep(0.05)  # noqa: ASYNC251 - so that it does not spin


@queue.task
async def blocking() -> None:
    """Keeps the event loop from turning."""
    say("begun blocking")
    time.sleep(60)  # noqa: ASYNC251 - the fault itself


@queue.task
def threaded() -> None:
    """A plain function that does not look whether it was cut."""
    say("begun threaded")
    threading.Event().wait(60)


@queue.task
def watchful() -> None:
    """A plain function that does look."""
    from anyq import current_job

    say("begun watchful")
    while not current_job().cancelled:
        time.sleep(0.01)


async def main() -> None:
    await Worker(queue).run()
