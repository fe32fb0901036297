"""A program that enqueues item after item, for tests to kill: it says on stdout which ones were answered.

``python gatherer.py BACKEND URL NAME FIRST``
"""

from __future__ import annotations

import os
import sys

import anyio

from anyq import Queue


async def main(url: str, name: str, first: int) -> None:
    queue = Queue(name, url)

    @queue.aggregate(size=20, delay=60)
    async def digest(numbers: list[int]) -> None: ...

    async with queue:
        number = first
        while True:
            await digest.enqueue(number)
            os.write(1, b"%d\n" % number)
            number += 1


if __name__ == "__main__":
    anyio.run(main, sys.argv[2], sys.argv[3], int(sys.argv[4]), backend=sys.argv[1])
