"""Which AnyQ this is: what the server's CLIENT LIST, the other workers and ``anyq --version`` show."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache  # it is read from files
def installed_version() -> str:
    """Give the version that is installed; ``""`` where AnyQ is run from its sources alone."""
    try:
        return version("anyq")
    except PackageNotFoundError:
        return ""
