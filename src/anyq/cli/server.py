"""``anyq server``: a server for development, in the foreground, that leaves nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import threading
from pathlib import Path

import click

from ..embedded import EmbeddedServer
from ..errors import AnyQError
from .endings import CRASHED, leave
from .shown import clean, clean_lines, echo, json_option, on_terminal, print_json

HOST = "127.0.0.1"

#: Seconds between two looks at whether the server is still there.
_LOOK = 0.5


@click.command(short_help="Run a server for development.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=6379,
    help=f"Listen there, on {HOST}; 0 for any that is free.",
)
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep the data there; left out, it lives in memory.",
)
@click.option(
    "--persist", is_flag=True, help="Keep the data in a directory of your own: see the first line it says."
)
@json_option
def server(port: int, directory: Path | None, persist: bool, as_json: bool) -> None:
    """Run a server for development, until Ctrl-C or SIGTERM, and say its URL.

    Every program of this machine may use it, without a password: it listens on the loopback interface only. In a pipe
    its one line is the URL.
    """
    if directory is not None and persist:
        raise click.UsageError("give either --directory or --persist, which chooses one")
    if persist:
        directory = home()
    # Before it is started: whatever comes meanwhile ends it as soon as it is there.
    ended = threading.Event()

    def end(_number: int, _frame: object) -> None:
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    port = _free(port)
    try:
        with EmbeddedServer(directory, arguments=("--port", str(port), "--bind", HOST)) as running:
            _say(running, f"redis://{HOST}:{port}/0", directory, as_json=as_json)
            while not ended.wait(_LOOK) and running.running:
                pass
    except (AnyQError, OSError) as error:
        click.echo("anyq: " + "\n".join(clean_lines(str(error), 1000, 20)), err=True)
        leave(CRASHED)
    if not ended.is_set():
        click.echo("anyq: the server has ended by itself", err=True)
        leave(CRASHED)


def home() -> Path:
    """Where ``--persist`` keeps the data."""
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(data).expanduser() / "anyq" / "server"


def _free(port: int) -> int:
    """A port that is free now; the one that was asked for, or any."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
        try:
            probe.bind((HOST, port))
        except OSError as error:
            click.echo(
                f"anyq: port {port} of {HOST} cannot be had ({error.strerror}): choose another, or any with --port 0",
                err=True,
            )
            leave(CRASHED)
        found: int = probe.getsockname()[1]
        return found


def _say(running: EmbeddedServer, url: str, directory: Path | None, *, as_json: bool) -> None:
    if as_json:
        kept = None if directory is None else str(directory.absolute())
        print_json({"url": url, "socket": running.url, "pid": running.pid, "directory": kept})
    elif on_terminal():
        where = "in memory: it is gone with it" if directory is None else f"in {clean(str(directory), 1000)}"
        echo(f"A server is running. What it holds is kept {where}.\n\n    {url}\n\nCtrl-C ends it.")
    else:
        echo(url)
