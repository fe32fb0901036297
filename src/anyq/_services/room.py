"""How much room the runners have: what reader and runners tell each other besides the jobs themselves."""

from __future__ import annotations

import anyio

from .._core.prefetch import NARROW_HORIZON, Prefetch


class Crew:
    """The runners of a worker, counted.

    Attributes:
        size: How many there may be.
        idle: How many of these have no job: they wait for one, give others a turn between two, or are not there yet;
            one that goes from job to job is not among them.
        finished: Runs that ended, ever.
        rooms: Those of all the readers that feed them.
        waiting: How many readers wait for room: while none does, a runner need not tell what it takes.
    """

    __slots__ = ("finished", "idle", "rooms", "size", "waiting")

    def __init__(self, size: int) -> None:
        self.size = size
        self.idle = size
        self.finished = 0
        self.rooms: list[Room] = []
        self.waiting = 0

    def rests(self) -> None:
        """One more is idle: each reader that has nothing for it gets its turn, so that no queue starves another."""
        self.idle += 1
        if self.waiting:
            for room in self.rooms:
                if self.idle > room.buffered:
                    room.wake()


class Room:
    """What one reader may still take.

    Args:
        crew: The runners.
        limit: The most that is taken ahead of them.

    Attributes:
        buffered: Jobs taken and not yet begun; whoever takes one counts it down.
    """

    __slots__ = ("_crew", "_prefetch", "_wanted", "buffered")

    def __init__(self, crew: Crew, limit: int) -> None:
        self._crew = crew
        self._prefetch = Prefetch(limit)
        self._wanted: anyio.Event | None = None
        self.buffered = 0
        crew.rooms.append(self)

    @property
    def idle(self) -> int:
        """For how many more jobs there is a runner, or a place for one."""
        return self._crew.idle

    def now(self) -> int:
        """Give how many entries to take now; 0 means wait."""
        self._prefetch.look(self._crew.finished, anyio.current_time())
        return self._prefetch.room(self._crew.idle, self.buffered)

    def narrow(self) -> None:
        """Take less ahead from now on: what is taken cannot be overtaken by what has a higher priority."""
        self._prefetch.horizon = NARROW_HORIZON

    async def wait(self, longest: float) -> None:
        """Wait until a look at `now` is worth while, or ``longest`` seconds have passed."""
        self._wanted = anyio.Event()
        self._crew.waiting += 1
        try:
            with anyio.move_on_after(longest):
                await self._wanted.wait()
        finally:
            self.wake()

    def taken(self) -> bool:
        """A runner took a job from the buffer, and a reader waits; tell whether it has something to do now."""
        return self.buffered * 2 <= self._prefetch.ahead and self.wake()

    def wake(self) -> bool:
        """Let the reader go on; tell whether it waited."""
        if self._wanted is None:
            return False
        self._wanted.set()
        self._wanted = None
        self._crew.waiting -= 1
        return True
