"""From ``MODULE:QUEUE`` to the queue.

Rule: what is wrong with the text is said in one sentence; what is wrong inside the module is the module's own error.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import IO, Any

import click

from ..queue import Queue
from ..tasks import Task
from .endings import CRASHED

_OURS = (
    __file__,
    "<frozen importlib._bootstrap>",
    "<frozen importlib._bootstrap_external>",
    importlib.__file__,
)

FORM = "MODULE:QUEUE, such as myapp.jobs:queue"


class BrokenModule(click.ClickException):
    """A module that cannot be imported; what is shown is its own traceback, without the way to it."""

    exit_code = CRASHED

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self._error = error

    @property
    def traceback(self) -> str:
        """What the module raised, and where, without the way to the module."""
        place = self._error.__traceback__
        while place is not None and place.tb_frame.f_code.co_filename in _OURS:
            place = place.tb_next
        return "".join(traceback.format_exception(type(self._error), self._error, place)).rstrip()

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the traceback."""
        click.echo(self.traceback, file=file, err=True)


def find_queue(target: str) -> Queue:
    """Import the module and give its queue.

    Raises:
        click.BadParameter: The text is not of the form, there is no such module, or it has no such queue.
        BrokenModule: What the module itself raised.
    """
    module_name, colon, path = target.partition(":")
    if not module_name or module_name.endswith(".py") or "/" in module_name or (colon and not path):
        raise click.BadParameter(f"{target!r} is not of the form {FORM}")
    module = _import(module_name)
    if not colon:
        raise click.BadParameter(f"{target!r} names no queue: write {FORM}{_offer(module)}")
    found: Any = module
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise click.BadParameter(f"module {module_name!r} has no {path!r}{_offer(module)}") from None
    if isinstance(found, Task):
        raise click.BadParameter(f"{target!r} is a task: name its queue{_offer(module)}")
    if not isinstance(found, Queue):
        raise click.BadParameter(
            f"{target!r} is of type {type(found).__name__}, and not a Queue{_offer(module)}"
        )
    return found


def _import(name: str) -> ModuleType:
    """Import from where the user stands, as ``python -m`` would."""
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # Only the module itself, or a package on the way to it; one that the module needs is the module's own error.
        if error.name is None or not (name == error.name or name.startswith(error.name + ".")):
            raise BrokenModule(error) from error
        raise click.BadParameter(f"there is no module {error.name!r} in {here} or on Python's path") from None
    except Exception as error:
        raise BrokenModule(error) from error


def _offer(module: ModuleType) -> str:
    names = [name for name, value in vars(module).items() if isinstance(value, Queue)]
    return f" (it has {', '.join(f'{module.__name__}:{name}' for name in names)})" if names else ""
