"""``python -m anyq``: the command line, wherever the program ``anyq`` is not on the path."""

from __future__ import annotations

from .cli import main

if __name__ == "__main__":
    main()
