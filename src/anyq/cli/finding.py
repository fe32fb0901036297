"""From ``MODULE:QUEUE`` to the queue.

Rule: what is wrong with the text is said in one sentence; what is wrong inside the module is the module's own error.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from ..queue import Queue
from ..tasks import Task

FORM = "MODULE:QUEUE, such as myapp.jobs:queue"


def find_queue(target: str) -> Queue:
    """Import the module and give its queue.

    Raises:
        click.BadParameter: The text is not of the form, there is no such module, or it has no such queue.
        Exception: What the module itself raised.
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
        raise click.BadParameter(f"{target!r} is a {type(found).__name__} and not a Queue{_offer(module)}")
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
            raise
        raise click.BadParameter(f"there is no module {error.name!r} in {here} or on Python's path") from None


def _offer(module: ModuleType) -> str:
    names = [name for name, value in vars(module).items() if isinstance(value, Queue)]
    return f" (it has {', '.join(f'{module.__name__}:{name}' for name in names)})" if names else ""
