"""Before something is destroyed: how much, and whether that is meant."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any] | click.Command)


def yes_option(command: Command) -> Command:
    """Give a command the option that answers its question."""
    return click.option("--yes", "-y", is_flag=True, help="Do not ask.")(command)


def agree(question: str, *, yes: bool) -> None:
    """Ask, on standard error, and go on only if the answer is yes. The question's texts must be clean.

    Raises:
        click.UsageError: Nobody can be asked here.
        click.Abort: The answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} Nobody can be asked here: say --yes")
    click.confirm(question, abort=True, err=True)
