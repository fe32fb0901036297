"""Texts of strangers on a terminal: names, errors and payloads are anybody's, and none may do more than be read.

Rule: whatever is printed of a job goes through `clean`: no control character, no escape sequence, no mark that turns
the direction of writing, no markup, and not too much of it. JSON is printed in ASCII, which does the same.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any, TypeVar

import click

from .._core import words
from .._core.values import ARRAY, MAP

F = TypeVar("F", bound=Callable[..., Any])


def json_option(command: F) -> F:
    """Give a command the option to print for programs too."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def clean(text: str, limit: int) -> str:
    """Make a text harmless and one line: what cannot be printed is written as an escape, what is too long is cut."""
    cut = text[: limit + 1]
    shown = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in cut
    )
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def clean_lines(text: str, limit: int, lines: int) -> Iterator[str]:
    """Make a text of several lines harmless, each of them; the last ones are kept, as of a traceback."""
    split = text.splitlines()
    if len(split) > lines:
        yield f"... {len(split) - lines} lines before"
    for line in split[-lines:]:
        yield clean(line.expandtabs(4), limit)


def moment(value: datetime | None) -> str:
    """A moment as it is shown: in UTC, to the second."""
    return "" if value is None else f"{value:%Y-%m-%dT%H:%M:%SZ}"


def lasting(seconds: float | None) -> str:
    """How long something has lasted, as people read it; nothing for ``None``."""
    return "" if seconds is None else words.lasting(seconds)


def away(value: datetime | None, now: datetime) -> str:
    """How far a moment is from now, as people read it: the farther, the less precise."""
    if value is None:
        return ""
    seconds = (value - now).total_seconds()
    size = abs(seconds)
    text = f"{size:.0f} s" if size < 60 else f"{size // 60:.0f} min" if size < 3600 else lasting(size)
    return f"in {text}" if seconds > 0 else f"{text} ago"


def on_terminal() -> bool:
    """Whether a person reads standard output."""
    return sys.stdout.isatty()


def print_json(value: Any) -> None:
    """Print one JSON value on one line, in ASCII: nothing in it can reach a terminal as anything but text."""
    click.echo(json.dumps(_plain(value), allow_nan=False))


def print_rows(rows: Iterable[Iterable[str]]) -> None:
    """Print rows for other programs: a line each, columns apart by tabs. Their texts must be clean."""
    for row in rows:
        echo("\t".join(row))


def echo(line: str = "") -> None:
    """Print a line, whatever the output can encode."""
    encoding = sys.stdout.encoding or "utf-8"
    click.echo(line.encode(encoding, "backslashreplace").decode(encoding))


def _plain(value: Any) -> Any:
    """Only what JSON has: bytes are ``{"bytes": hexadecimal digits}``, a number that is none is its name."""
    if type(value) is MAP:
        return {key if isinstance(key, str) else repr(key): _plain(part) for key, part in value.items()}
    if type(value) is ARRAY:
        return [_plain(part) for part in value]
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds")
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    return value
