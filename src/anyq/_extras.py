"""Optional parts: what a core-only installation says when one is imported that needs more."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def needed_for(part: str, *, extra: str) -> Generator[None]:
    """Import what ``part`` needs inside of this block; what is not installed is told by the extra that brings it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{part} needs {error.name}, which is not installed: pip install 'anyq[{extra}]'", name=error.name
        ) from error
