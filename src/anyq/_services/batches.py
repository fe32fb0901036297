"""How a service takes its input: one item, and with it whatever else has arrived."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TypeVar

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream

T = TypeVar("T")


async def batches(channel: MemoryObjectReceiveStream[T], largest: int) -> AsyncIterator[list[T]]:
    """Give what arrives, at once and in batches; end when the channel does.

    While a batch is being worked on the next one grows: nothing waits for a timer, and under load the batches are
    large.
    """
    while True:
        try:
            batch = [await channel.receive()]
        except anyio.EndOfStream:
            return
        try:
            while len(batch) < largest:
                batch.append(channel.receive_nowait())
        except (anyio.WouldBlock, anyio.EndOfStream):
            pass
        yield batch
