"""How dead letters are shown: to people, in rows, and to programs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.text import Text

from ..dead_letters import DeadLetter, DeadLetterGroup
from .shown import away, clean, clean_lines, echo, moment
from .tables import Column, console, table

#: Characters of a name, and of a message, that are shown.
NAME, SHORT = 80, 200

_LONG, _LINES = 2000, 60


def letter_row(letter: DeadLetter) -> list[str]:
    """A letter in a row."""
    return [
        letter.id,
        moment(letter.died_at),
        clean(letter.task, NAME),
        clean(letter.reason, NAME),
        "" if letter.attempts is None else str(letter.attempts),
        clean(letter.job_id, SHORT),
        clean(_error(letter), SHORT),
    ]


def _error(letter: DeadLetter) -> str:
    if letter.error:
        return f"{letter.error[:NAME]}: {letter.message}" if letter.message else letter.error
    return letter.message or letter.detail


_COLUMNS = (
    Column("id"), Column("died"), Column("task", cut=True), Column("reason", cut=True),
    Column("runs", right=True, spare=True), Column("error", cut=True),
)  # fmt: skip


def print_letters(page: Sequence[DeadLetter], title: str, now: datetime) -> None:
    """Print a page of letters for people."""
    rows: list[list[str]] = []
    for letter in page:
        id, _, task, reason, attempts, _, error = letter_row(letter)
        rows.append([id, away(letter.died_at, now), task, reason, attempts, error])
    _print(_COLUMNS, rows, title)


def _print(columns: Sequence[Column], rows: Sequence[Sequence[str]], title: str) -> None:
    screen = console()
    screen.print(table(columns, rows, screen.width, title=title) if rows else Text(title))


def error_row(group: DeadLetterGroup) -> list[str]:
    """A group of letters in a row."""
    return [
        str(group.count),
        clean(group.error, NAME),
        clean(group.task, NAME),
        clean(group.reason, NAME),
        moment(group.first_at),
        moment(group.last_at),
        group.last,
        clean(group.message, SHORT),
    ]


_ERRORS = (
    Column("count", right=True), Column("error", cut=True), Column("task", cut=True), Column("reason", cut=True),
    Column("last died"), Column("last message", cut=True),
)  # fmt: skip


def print_errors(groups: Sequence[DeadLetterGroup], title: str, now: datetime) -> None:
    """Print what went wrong for people."""
    rows: list[list[str]] = []
    for group in groups:
        _, error, task, reason, *_, message = error_row(group)
        rows.append([f"{group.count:,}", error, task, reason, away(group.last_at, now), message])
    _print(_ERRORS, rows, title)


def print_letter(letter: DeadLetter, *, payload: bool) -> None:
    """Print all of one letter for people."""
    facts = {
        "id": letter.id,
        "job": letter.job_id,
        "task": letter.task,
        "reason": letter.reason,
        "detail": "" if letter.message.startswith(letter.detail) else letter.detail,
        "error": letter.error,
        "message": letter.message,
        "attempts": "" if letter.attempts is None else str(letter.attempts),
        "lost": str(letter.lost or ""),
        "created": moment(letter.created_at),
        "died": moment(letter.died_at),
        "worker": letter.worker,
        "entry": letter.entry,
        "size": f"{letter.size} bytes",
    }
    if payload:
        facts["payload"] = repr(letter.payload)
    for name, value in facts.items():
        if value:
            echo(f"{name + ':':<10}{clean(value, _LONG)}")
    if letter.traceback:
        echo("traceback:")
        for line in clean_lines(letter.traceback, _LONG, _LINES):
            echo(f"  {line}")


def letter_as_json(letter: DeadLetter, *, payload: bool) -> dict[str, Any]:
    """A letter for programs."""
    shape: dict[str, Any] = {
        "id": letter.id,
        "job": letter.job_id,
        "task": letter.task,
        "reason": letter.reason,
        "detail": letter.detail,
        "error": letter.error,
        "message": letter.message,
        "traceback": letter.traceback,
        "attempts": letter.attempts,
        "lost": letter.lost,
        "created_at": letter.created_at,
        "died_at": letter.died_at,
        "worker": letter.worker,
        "entry": letter.entry,
        "size": letter.size,
    }
    if payload:
        shape["payload"] = letter.payload
    return shape
