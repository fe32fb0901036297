"""Pausing, from the side that asks for it: it returns when no worker starts anything any more of what was paused.

Workers confirm by a message, so nobody is asked again and again; but a worker may die before it confirms, and dying
sends no message. So the wait looks by itself now and then, and calls the workers once more, in case that a message was
lost.
"""

from __future__ import annotations

from contextlib import suppress

import anyio

from .._core.keys import Keys
from .._redis.client import Client
from .._redis.subscriber import Subscriber
from .._store import pauses
from ..errors import ConfigurationError, RedisUnavailable
from .patience import Patience

#: Seconds between two looks by itself.
_LOOK_AGAIN = 0.2

#: The same while no worker could be heard.
_LOOK_AGAIN_UNHEARD = 0.02


class Pausing:
    """Pauses and resumes one queue.

    Args:
        keys: The queue's keys.
        client: The connection.
        subscriber: Hears the workers.
        patience: How it meets trouble.
    """

    def __init__(self, keys: Keys, client: Client, subscriber: Subscriber, patience: Patience) -> None:
        self._keys = keys
        self._client = client
        self._subscriber = subscriber
        self._patience = patience

    async def pause(self, task: str | None, until_ms: int) -> None:
        """Pause, and wait until all workers that live have confirmed it. Cancelled, the pause may stay in force."""
        woken = anyio.Event()

        def wake(*_: object) -> None:
            woken.set()

        with self._subscriber.subscribe(self._keys.confirming, wake, on_gap=wake) as subscription:
            # Unheard, it looks by itself, and more often.
            with suppress(RedisUnavailable, ConfigurationError):
                await subscription.ready()
            number = await self._patience(pauses.pause, self._client, self._keys, task, until_ms)
            while True:
                woken = anyio.Event()
                late = await self._patience(pauses.unconfirmed, self._client, self._keys, number)
                if not late or not await self._in_force(task):
                    return
                longest = _LOOK_AGAIN if subscription.confirmed else _LOOK_AGAIN_UNHEARD
                with anyio.move_on_after(longest) as silence:
                    await woken.wait()
                if silence.cancelled_caught:
                    await self._patience(pauses.call, self._client, self._keys)

    async def resume(self, task: str | None) -> bool:
        """End a pause; tell whether there was one.

        What was set aside is brought back by the workers, once they have heard of it: one that has not would only set
        it aside again.
        """
        return await self._patience(pauses.resume, self._client, self._keys, task)

    async def paused(self, task: str | None) -> bool:
        """Tell whether the queue is paused, or the task, by itself or with its queue."""
        return (await self._patience(pauses.look, self._client, self._keys)).covers(task)

    async def _in_force(self, task: str | None) -> bool:
        """Whether the pause was not ended meanwhile, by somebody else or by its time."""
        found = await self._patience(pauses.look, self._client, self._keys)
        return found.queue is not None if task is None else task in found.tasks
