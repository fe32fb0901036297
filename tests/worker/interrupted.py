"""A worker whose handler is interrupted by Ctrl-C, for a test that looks at how the process ends."""

from __future__ import annotations

import signal
import sys

import anyio

from anyq import Queue, Worker


async def main(url: str, name: str) -> None:
    queue = Queue(name, url)

    @queue.task(attempts=1)
    async def wild() -> None:
        signal.raise_signal(signal.SIGINT)
        await anyio.sleep_forever()

    async with Worker(queue, drain_timeout=0):
        await anyio.sleep_forever()


if __name__ == "__main__":
    backend, url, name = sys.argv[1:]
    # Whoever began the tests may ignore it, as a shell does for what it puts into the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    anyio.run(main, url, name, backend=backend)
