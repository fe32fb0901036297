"""Moments on the command line: ``2026-11-22T20:00``, or how long ago: ``90s``, ``30m``, ``2h``, ``7d``; and lengths."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import click

from .shown import clean

_AGO = re.compile(r"(\d{1,9})([smhdw])", re.ASCII)
_LENGTH = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)([smhdw]?)", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def a_moment(text: str) -> datetime:
    """Read a moment; one without an offset is in local time.

    Raises:
        click.BadParameter: It is none; the message says what it may be.
    """
    try:
        if ago := _AGO.fullmatch(text):
            return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"'{clean(text, 80)}' is no moment such as 2026-11-22T20:00+01:00, nor how long ago, such as 30m, 2h or 7d"
        ) from None


def a_time(text: str) -> datetime:
    """Read a moment that may lie ahead; one without an offset is in local time.

    Raises:
        click.BadParameter: It is none; the message says what it may be.
    """
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise click.BadParameter(f"'{clean(text, 80)}' is no moment such as 2026-11-22T20:00+01:00") from None


def a_length(text: str) -> timedelta:
    """Read a length of time: ``10m``, ``1.5h``; a bare number is seconds.

    Raises:
        click.BadParameter: It is none; the message says what it may be.
    """
    if found := _LENGTH.fullmatch(text):
        return timedelta(**{_UNITS[found[2] or "s"]: float(found[1])})
    raise click.BadParameter(f"'{clean(text, 80)}' is no length of time such as 90, 90s, 10m, 2h or 7d")
