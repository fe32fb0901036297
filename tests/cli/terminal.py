"""The command line on a terminal, as a person has it: a pseudo-terminal of a given size, and keys that are typed."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import subprocess
import sys
import termios
import time

from tests.cli.programs import HERE, SECONDS


def on_a_terminal(*arguments: str, url: str, typed: str = "", columns: int = 120) -> tuple[int, str]:
    """Run ``anyq`` to its end, and give its exit code and all that the terminal was told.

    Args:
        arguments: What follows ``anyq``.
        url: What ``$ANYQ_URL`` says.
        typed: What is typed once it asks something: a line that ends with ``]: ``.
        columns: The terminal's width.
    """
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "NO_COLOR"}}
    process = subprocess.Popen(
        [sys.executable, "-m", "anyq", *arguments],
        stdin=theirs, stdout=theirs, stderr=theirs, cwd=HERE, start_new_session=True,
        env={**environment, "ANYQ_URL": url, "TERM": "xterm-256color"},
    )  # fmt: skip
    os.close(theirs)
    said, ends = b"", time.monotonic() + SECONDS
    try:
        while time.monotonic() < ends:
            if not select.select([ours], [], [], 0.2)[0]:
                continue
            try:
                part = os.read(ours, 65536)
            except OSError:  # Linux says so when the other end is closed
                break
            if not part:
                break
            said += part
            if typed and said.rstrip().endswith(b"]:"):
                os.write(ours, typed.encode())
                typed = ""
        return process.wait(SECONDS), said.decode("utf-8", "replace")
    finally:
        os.close(ours)
        if process.poll() is None:
            process.kill()
            process.wait()
