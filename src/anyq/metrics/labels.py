"""What may become a label: the names of queues and tasks that the program itself has, and nothing that a job brought.

Rule: however many names jobs come with, the number of series is bounded by the program's own code.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..queue import Queue

#: The label of a job whose name no task of its queue has: one for a fallback, or one that nobody knows.
OTHER = "(other)"


class Labels:
    """The labels that jobs of these queues get.

    Args:
        queues: The queues whose tasks are known; tasks that are registered later are too.
    """

    def __init__(self, queues: Queue | Sequence[Queue]) -> None:
        given: object = (queues,) if isinstance(queues, Queue) else queues
        if (
            not isinstance(given, Iterable)
            or not (given := tuple(given))
            or not all(isinstance(queue, Queue) for queue in given)
        ):
            raise TypeError(f"queues must be a Queue or several, not {queues!r}")
        self.queues: tuple[Queue, ...] = given
        self._tasks = {queue.name: queue.runnables for queue in self.queues}

    def queue(self, name: str) -> str:
        """Give a queue's label."""
        return name if name in self._tasks else OTHER

    def task(self, queue: str, name: str) -> str:
        """Give a task's label."""
        return name if name in self._tasks.get(queue, ()) else OTHER
