"""How a service takes its input: one item, and with it whatever else has arrived."""

from __future__ import annotations

from typing import Generic, Self, TypeVar

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream

T = TypeVar("T")


class batches(Generic[T]):  # noqa: N801 - reads as the function that it would be
    """Give what arrives, at once and in batches; end when the channel does.

    While a batch is being worked on the next one grows: nothing waits for a timer, and under load batches are large.
    (No generator: one that is left in the middle, as a cancelled service does, would wait for the garbage collector.)

    Args:
        channel: Where items come from.
        largest: How many a batch may hold.
    """

    __slots__ = ("_channel", "_largest")

    def __init__(self, channel: MemoryObjectReceiveStream[T], largest: int) -> None:
        self._channel = channel
        self._largest = largest

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[T]:
        try:
            batch = [await self._channel.receive()]
        except anyio.EndOfStream:
            raise StopAsyncIteration from None
        try:
            while len(batch) < self._largest:
                batch.append(self._channel.receive_nowait())
        except (anyio.WouldBlock, anyio.EndOfStream):
            pass
        return batch
