"""One ``async with queue`` in one event loop: its connections, its publisher, and who waits for results.

A queue that is entered twice has two sessions, the second idle until the first is gone: whoever leaves closes only what
it opened.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Protocol
from weakref import WeakSet

import anyio
import attrs
from redis.exceptions import RedisError

from ._core.keys import Keys
from ._redis import locating
from ._redis.address import Address
from ._redis.client import Client
from ._redis.settings import TransportSettings
from ._redis.subscriber import Subscriber
from ._redis.tasks import BlockTasks
from ._services.clock import ServerClock
from ._services.controller import Controller
from ._services.gatherer import Gatherer
from ._services.inquiry import Inquiry
from ._services.patience import Outages, Patience
from ._services.publisher import Publisher
from ._store.clock import server_ms
from ._store.control import Controlling
from ._store.gather import gather
from ._store.publish import Publishing
from ._store.tally import Tally
from .errors import AnyQError
from .settings import Retention

logger = logging.getLogger("anyq.queue")

#: Seconds for which the server's clock is not asked for again.
_CLOCK_TRUSTED = 30.0

#: Seconds that a healthy server, far away, may take until a connection to it stands.
_ONE_CONNECT = 1.0


class Guest(Protocol):
    """Who works with a session and is told when it closes."""

    def hang_up(self, session: Session, /) -> None: ...


@attrs.define(kw_only=True)
class Session:
    """What a queue works with while it is open.

    Attributes:
        address: Where the server is.
        client: The connection that everybody shares.
        subscriber: Hears what is published.
        publisher: Adds jobs.
        gatherer: Puts items into groups.
        controller: Finds and changes single jobs.
        inquiry: Tells all that is known of one.
        outages: Where trouble is told.
        patience: Meets outages for as long as producing does.
        farewell: Seconds that leaving may take to tidy up on the server.
        clock: The server's clock.
        locate: Asked for the address before every connect, if it can change.
    """

    address: Address
    client: Client
    subscriber: Subscriber
    publisher: Publisher
    gatherer: Gatherer
    controller: Controller
    inquiry: Inquiry
    outages: Outages
    patience: Patience
    farewell: float = 1.0
    clock: ServerClock = attrs.field(factory=ServerClock)
    locate: locating.Locate | None = None
    _waiting: set[anyio.CancelScope] = attrs.field(factory=set[anyio.CancelScope])
    _guests: WeakSet[Guest] = attrs.field(factory=WeakSet[Guest])

    async def server_ms(self) -> float:
        """Give the server's time of day."""
        return await _time(self.clock, self.client, self.patience)

    @contextmanager
    def until_left(self) -> Generator[None]:
        """Leave the block early, without a word, when the session closes: who waits there goes on with another one."""
        with anyio.CancelScope() as scope:
            self._waiting.add(scope)
            try:
                yield
            finally:
                self._waiting.discard(scope)

    def host(self, guest: Guest) -> None:
        """Have somebody told when the session closes, who may have connections of its own."""
        self._guests.add(guest)

    async def finish(self) -> None:
        """Send what was given to it, and tidy up on the server: best effort, what is remembered there runs out."""
        await self.gatherer.finish()
        await self.publisher.finish()
        try:
            # Bytes of a lost connection may still come: then the memory must stay.
            if self.client.connected and self.client.generation == 1:
                await self.publisher.forget()
        except (AnyQError, RedisError) as error:
            logger.debug("could not tidy up: %s", error)

    def leave(self) -> None:
        """The session is about to close."""
        for scope in self._waiting:
            scope.cancel()
        for guest in tuple(self._guests):
            guest.hang_up(self)


async def _time(clock: ServerClock, client: Client, patience: Patience) -> float:
    if not clock.fresh(_CLOCK_TRUSTED):
        await patience(clock.ask, partial(server_ms, client))
    return clock.ms()


@asynccontextmanager
async def open_session(
    *,
    queue: str,
    keys: Keys,
    locate: Callable[[], Address],
    relocates: bool,
    outage_timeout: float | None,
    max_length: int,
    retention: Retention,
) -> AsyncGenerator[Session]:
    """Open a session; nothing is connected before it is used.

    Args:
        queue: The queue's name.
        keys: Its keys.
        locate: Gives the server's address; may block, and may start an embedded server.
        relocates: Whether the address must be asked for at every connect.
        outage_timeout: Seconds for which producing meets an outage; ``None`` for ever.
        max_length: Jobs that the stream may hold; 0 for any number.
        retention: How long what is kept.
    """
    address = await locating.ask(locate)
    moving = locate if relocates else None
    # Who wants to hear of an outage soon does not wait longer than that for a connection; one connect is always tried.
    settings = TransportSettings()
    if outage_timeout is not None:
        soon = max(_ONE_CONNECT, min(outage_timeout, settings.connection_patience))
        settings = attrs.evolve(settings, connection_patience=soon)
    async with (
        Client(address, settings=settings, locate=moving) as client,
        Subscriber(address, locate=moving) as subscriber,
        BlockTasks() as tasks,
    ):
        producer, minutes = os.urandom(9).hex().encode(), retention.history_minutes
        outages, clock = Outages(f"queue {queue!r}"), ServerClock()
        patience = Patience("producing", outages, limit=outage_timeout)
        asking = patience.of("asking about a job")
        publisher = Publisher(
            queue=queue, publishing=Publishing(client, keys, producer, minutes), patience=patience,
            max_length=max_length,
        )  # fmt: skip
        tasks.start_soon(publisher.run, name=f"publisher of {queue}")
        gatherer = Gatherer(
            send=partial(gather, Tally(client, keys, minutes), keys, producer, max_length=max_length),
            publisher=publisher,
            start=lambda: tasks.start_soon(gatherer.run, name=f"gatherer of {queue}"),
        )
        controller = Controller(
            keys=keys, controlling=Controlling(client, keys, producer, retention), publisher=publisher, patience=asking,
            subscriber=subscriber,
        )  # fmt: skip
        inquiry = Inquiry(
            keys=keys, client=client, controller=controller, patience=asking,
            server_ms=partial(_time, clock, client, asking),
        )  # fmt: skip
        session = Session(
            address=address, client=client, subscriber=subscriber, publisher=publisher, gatherer=gatherer,
            controller=controller, inquiry=inquiry, outages=outages, patience=patience, clock=clock, locate=moving,
        )  # fmt: skip
        try:
            yield session
        finally:
            if publisher.used:
                with anyio.move_on_after(session.farewell, shield=True):
                    await session.finish()
