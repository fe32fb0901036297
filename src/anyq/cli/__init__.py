"""The command line. One sub-command a file; `commands.py` assembles them.

This file imports nothing but Python's own, so that a core-only installation gets a sentence and not a traceback.
"""

from __future__ import annotations

import sys

NEEDED = {"click", "rich", "h11"}


def main() -> None:
    """Run the command line; the entry point of the program ``anyq``, and of ``python -m anyq``."""
    try:
        from .commands import anyq

        anyq(prog_name="anyq")  # also as `python -m anyq`: what completes it goes by that name
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in NEEDED:
            raise
        print(
            f"anyq: the command line needs {missing}, which is not installed: pip install 'anyq[cli]'",
            file=sys.stderr,
        )
        sys.exit(2)
