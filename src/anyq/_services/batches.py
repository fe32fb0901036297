"""How a service takes its input: all that has arrived, in batches of a bounded size."""

from __future__ import annotations

from typing import Generic, Self, TypeVar

import anyio

from .channels import Channel

T = TypeVar("T")


class batches(Generic[T]):  # noqa: N801 - reads as the function that it would be
    """Give what arrives, at once and in batches; end when the channel does.

    While a batch is being worked on the next one grows: nothing waits for a timer, and under load batches are large.
    (No generator: one that is left in the middle, as a cancelled service does, would wait for the garbage collector.)

    Args:
        channel: Where items come from.
        largest: How many a batch may hold.
    """

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
