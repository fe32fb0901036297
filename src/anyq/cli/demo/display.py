"""How far the demonstration is: a bar that moves on a terminal, plain lines everywhere else."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from .account import Account

#: Seconds between plain lines.
_PAUSE = 1.0


class Display(Protocol):
    """Shows an account that changes, for as long as its block is open."""

    def update(self, account: Account) -> None:
        """Show how it stands now."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


def display(console: Console) -> Display:
    """Choose by where the output goes."""
    return Bar(console) if console.is_terminal and not console.is_dumb_terminal else Lines(console)


class Bar:
    """A progress bar, drawn again and again."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("[yellow]{task.fields[retried]} retried  [red]{task.fields[dead]} dead"),
            console=console,
        )
        self._task: TaskID | None = None

    def update(self, account: Account) -> None:
        if self._task is None:
            self._task = self._progress.add_task("jobs", total=None, retried=0, dead=0)
        self._progress.update(
            self._task,
            total=account.jobs or None,
            completed=account.settled,
            retried=account.retried,
            dead=len(account.dead),
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()


class Lines:
    """A line now and then, and one for the end."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next = 0.0
        self._last = ""

    def update(self, account: Account) -> None:
        ended, jobs, dead = account.settled, account.jobs, len(account.dead)
        self._last = f"{ended} of {jobs} jobs ended, {account.retried} retried, {dead} dead"
        if jobs and time.monotonic() >= self._next:
            self._show()

    def _show(self) -> None:
        self._next = time.monotonic() + _PAUSE
        self._console.print(self._last, highlight=False, soft_wrap=True)
        self._last = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._last:
            self._show()
