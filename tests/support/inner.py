"""For tests that start a pytest of their own: it must not take itself for a part of the one that runs them."""

from __future__ import annotations

import os


def outside_of_pytest() -> dict[str, str]:
    """The environment without pytest's words: the outer options, and its place among the outer processes."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
