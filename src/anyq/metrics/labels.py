"""What may become a label: the names of queues and tasks that the program itself has, and nothing that a job brought.

Rule: however many names jobs come with, the number of series is bounded by the program's own code.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..queue import Queue, one_or_several

#: The label of a job whose name no task of its queue has: one for a fallback, or one that nobody knows.
OTHER = "(other)"


class Labels:
    """The labels that jobs of these queues get.

    Args:
        queues: The queues whose tasks are known; tasks that are registered later are too.
    """

    def __init__(self, queues: Queue | Sequence[Queue]) -> None:
        self.queues: tuple[Queue, ...] = one_or_several(queues)
        self._tasks = {queue.name: queue.runnables for queue in self.queues}

    def queue(self, name: str) -> str:
        """Give a queue's label."""
        return name if name in self._tasks else OTHER

    def task(self, queue: str, name: str) -> str:
        """Give a task's label."""
        return name if name in self._tasks.get(queue, ()) else OTHER
