"""``anyq drain``: wait until a queue is empty, before a deployment or at the end of a batch."""

from __future__ import annotations

import time
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

import attrs
import click
from rich.console import Console
from rich.progress import Progress

from ..vitals import QueueStats
from .addressing import ask, queue_of, queue_options
from .endings import DONE, LEFT_SOMETHING, leave
from .moments import a_length
from .shown import clean, echo, json_option, on_terminal, print_json, print_rows

_NAME = 80

#: Seconds of an outage through which it waits: it may have waited for hours before.
_PATIENCE = 30.0


@click.command(short_help="Wait until a queue is empty.")
@queue_options
@click.option("--timeout", type=a_length, metavar="LENGTH", help="How long to wait at most: 90s, 10m, 2h.")
@click.option("--delayed", is_flag=True, help="Wait for jobs too whose time has not come.")
@json_option
def drain(
    queue: str, url: str | None, prefix: str, timeout: timedelta | None, delayed: bool, as_json: bool
) -> None:
    """Wait until a queue is empty: nothing ready, due, running, or on its way back, on any worker.

    Nothing is stopped: pause whoever enqueues. Delayed jobs, dead letters and what is paused are not waited for; of a
    paused queue only what runs is.

    Exits with 0 when the queue is empty, and with 3 at the timeout. In a pipe it prints one line then: queue, "empty"
    or "not empty", ready, running, delayed, set aside, dead, waiting for others.
    """
    if timeout is not None and not timeout:
        raise click.BadParameter("the timeout must be longer than 0", param_hint="--timeout")
    target = queue_of(queue, url, prefix, patience=_PATIENCE)
    on_screen = on_terminal() and not as_json
    bar = Progress(console=Console(stderr=True), transient=True) if on_screen else None
    began = time.monotonic()
    with bar or nullcontext():
        shown = None if bar is None else bar.add_task("draining", total=None)

        def tell(gone: int, of: int) -> None:
            if bar is not None and shown is not None:
                bar.update(shown, completed=gone, total=of)

        async def work() -> tuple[QueueStats, bool]:
            stats = await target.stats()
            if (stats.ready or stats.due) and not any(one.lives for one in await target.workers()):
                click.echo(f"anyq: no worker is at work on queue {clean(queue, _NAME)}", err=True)
            try:
                return await target.drain(timeout, tell, delayed=delayed), True
            except TimeoutError:
                return await target.stats(), False

        stats, empty = ask(target, work)
    _print(queue, stats, empty=empty, seconds=time.monotonic() - began, as_json=as_json)
    leave(DONE if empty else LEFT_SOMETHING)


def _print(queue: str, stats: QueueStats, *, empty: bool, seconds: float, as_json: bool) -> None:
    if as_json:
        facts: dict[str, Any] = attrs.asdict(stats)
        print_json({"queue": queue, "empty": empty, "seconds": round(seconds, 3), **facts})
        return
    counts = {name: facts for name, facts in _counts(stats).items() if facts}
    state = "empty" if empty else "not empty"
    if not on_terminal():
        print_rows([[clean(queue, _NAME), state, *map(str, _counts(stats).values())]])
        return
    rest = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    paused = ", and it is paused" if stats.paused else ""
    echo(f"{clean(queue, _NAME)} is {state} after {seconds:.1f} s{f': {rest}' if rest else ''}{paused}")


def _counts(stats: QueueStats) -> dict[str, int]:
    return {
        "ready": stats.ready,
        "running": stats.running,
        "delayed": stats.delayed,
        "set aside": stats.aside,
        "dead": stats.dead,
        "waiting for others": stats.waiting,
    }
