"""The one place that starts an event loop, and the option that chooses which."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from typing import Any, TypeVar

import anyio
import click

T = TypeVar("T")
Command = TypeVar("Command", bound=Callable[..., Any] | click.Command)

BACKENDS = ("asyncio", "trio")


def _installed(_context: click.Context, _parameter: click.Parameter, backend: str) -> str:
    if find_spec(backend) is None:
        raise click.BadParameter(f"{backend} is not installed: pip install 'anyq[{backend}]'")
    return backend


def backend_option(command: Command) -> Command:
    """Give a command the option ``--backend``."""
    return click.option(
        "--backend",
        type=click.Choice(BACKENDS),
        default="asyncio",
        callback=_installed,
        help="The event loop to run on.",
    )(command)


def run(function: Callable[[], Awaitable[T]], backend: str) -> T:
    """Run an asynchronous function in a new event loop, to its end."""
    options: dict[str, Any] = {}
    return anyio.run(function, backend=backend, backend_options=options)
