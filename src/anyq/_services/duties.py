"""Services at work: begun under a guard, and known by the step of the drain that ends them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import attrs
from anyio.abc import TaskGroup

Service = Callable[[], Awaitable[None]]


@attrs.define
class Duty:
    """A service at work.

    Attributes:
        ended: Set when it has ended.
        scope: Cancelling it ends the service.
    """

    ended: anyio.Event = attrs.field(factory=anyio.Event)
    scope: anyio.CancelScope = attrs.field(factory=anyio.CancelScope)


@attrs.define
class Duties:
    """The services, by the step of the drain that ends them.

    Attributes:
        runners: End when no job is left to run.
        relocators: End when no outcome is left to write.
        upkeep: Goes on until nothing is held.
        observers: End last.
    """

    runners: Duty = attrs.field(factory=Duty)
    relocators: list[Duty] = attrs.field(factory=list[Duty])
    upkeep: list[Duty] = attrs.field(factory=list[Duty])
    observers: list[Duty] = attrs.field(factory=list[Duty])


def begin(nursery: TaskGroup, name: str, service: Service, crashed: Callable[[str, Exception], None]) -> Duty:
    """Start a service; an error that ends it is told, and ends nothing else by itself."""
    duty = Duty()

    async def guarded() -> None:
        try:
            with duty.scope:
                await service()
        except Exception as error:  # noqa: BLE001 - the worker raises it once it has drained
            crashed(name, error)
        finally:
            duty.ended.set()

    nursery.start_soon(guarded, name=f"anyq {name}")
    return duty


async def within(grace: float, event: anyio.Event) -> bool:
    """Wait for an event, ``grace`` seconds at most; tell whether it came."""
    with anyio.move_on_after(grace):
        await event.wait()
    return event.is_set()
