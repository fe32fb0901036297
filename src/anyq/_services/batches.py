"""How a service takes its input: all that has arrived, in batches of a bounded size."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Generic, Self, TypeVar

import anyio

from .channels import Channel

T = TypeVar("T")


def batches(channel: Channel[T], largest: int) -> AsyncIterator[list[T]]:
    """Give what arrives, at once and in batches; end when the channel does.

    While a batch is being worked on the next one grows: nothing waits for a timer, and under load batches are large.

    Args:
        channel: Where items come from.
        largest: How many a batch may hold.
    """
    return _Batches(channel, largest)


class _Batches(AsyncIterator[list[T]], Generic[T]):
    """No generator: one that a cancelled service leaves in the middle would wait for the garbage collector."""

    __slots__ = ("_channel", "_largest", "_rest")

    def __init__(self, channel: Channel[T], largest: int) -> None:
        self._channel = channel
        self._largest = largest
        self._rest: list[T] = []

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[T]:
        batch = self._rest
        if not batch:
            try:
                batch = await self._channel.take()
            except anyio.EndOfStream:
                raise StopAsyncIteration from None
        if len(batch) <= self._largest:
            self._rest = []
            return batch
        self._rest = batch[self._largest :]
        return batch[: self._largest]
