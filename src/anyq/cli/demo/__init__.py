"""``anyq demo``: the main job, shown on real files with a server of its own."""

from __future__ import annotations

import logging
import os
from functools import partial
from pathlib import Path

import click
from redis.exceptions import RedisError
from rich.console import Console
from rich.logging import RichHandler

from ... import embedded
from ...errors import AnyQError
from ...queue import Queue
from ..endings import CRASHED, DONE, leave
from ..loops import backend_option, run
from ..shown import json_option, print_json
from .display import display
from .files import standard_library, text_files
from .play import plan, play
from .summary import as_object, counted, summarize


@click.command(short_help="See it run on the text files of a folder.")
@click.argument("path", type=click.Path(exists=True, path_type=Path), required=False)
@click.option(
    "--concurrency", "-c", type=click.IntRange(min=1), default=100, help="Jobs that run at the same time."
)
@backend_option
@click.option(
    "--url", default=embedded.SCHEME, help="A real server, instead of one that is started for this."
)
@click.option("--limit", type=click.IntRange(min=1), help="Take no more files than this.")
@json_option
def demo(
    path: Path | None, concurrency: int, backend: str, url: str, limit: int | None, as_json: bool
) -> None:
    """See it run: one job for each text file under PATH.

    PATH is the standard library of this Python if left out: over a thousand files. Each job counts the words of its
    file and hashes it. Some fail on purpose and are retried, some are delayed, one is given up, and every result is
    fetched.

    Exits with 0 only if every job is accounted for, done or dead. With --json, how far it is is told on stderr.
    """
    root = standard_library() if path is None else path
    _check(url)
    files = text_files(root)[:limit]
    if not files:
        raise click.BadParameter(f"there is no text file under {root}", param_hint="PATH")
    console = Console(stderr=as_json)
    _log_to(console)
    console.print(
        f"{counted(len(files), 'text file')} under {root}, on {backend}",
        highlight=False,
        soft_wrap=True,
        markup=False,
    )
    plans = plan(files, (root if root.is_dir() else root.parent) / "not-there.txt")
    try:
        with display(console) as shown:
            account = run(partial(play, plans, url=url, concurrency=concurrency, display=shown), backend)
    except (AnyQError, RedisError, OSError) as error:
        click.echo(f"anyq: {error}", err=True)
        leave(CRASHED)
    if as_json:
        facts = {"path": os.fsencode(root).decode(errors="replace"), "backend": backend, "files": len(files)}
        print_json(facts | as_object(account))
    else:
        summarize(account, console)
    if account.stopped_by is not None:
        leave(128 + account.stopped_by)
    leave(CRASHED if account.missing else DONE)


def _check(url: str) -> None:
    try:
        Queue("demo", url)
    except (ValueError, TypeError) as error:
        raise click.BadParameter(str(error), param_hint="--url") from None


def _log_to(console: Console) -> None:
    """Show what the user should know beside the progress; failures on purpose are no news."""
    handler = RichHandler(console=console, show_path=False)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], format="%(message)s")
    for talkative in ("anyq.runners", "anyq.dead_letters"):
        logging.getLogger(talkative).setLevel(logging.CRITICAL)
