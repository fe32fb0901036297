"""``anyq watch``: queues, or one job, looked at again and again.

Rule: a look costs as much for a million jobs as for ten, and changes nothing. A server that is not there at first is
an error; one that goes away is said, and waited for.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack

import anyio
import click
from redis.exceptions import RedisError

from ..._core.status import JobStatus
from ...errors import RedisUnavailable
from ...queue import Queue
from ..addressing import ask, place_options, queue_of, queues_option
from ..endings import DONE, LEFT_SOMETHING, leave
from ..lasting import until_ended
from ..shown import on_terminal
from .job import ENDED, follow, teller
from .looks import Look, look
from .views import view

#: Seconds between two looks, for people and for programs.
_LIVE, _LINES = 1.0, 5.0


@click.command(short_help="Watch queues live, or one job until its end.")
@place_options
@click.argument("names", nargs=-1, metavar="[QUEUE]...")
@queues_option("A queue's name; repeatable.")
@click.option("--job", metavar="ID", help="Watch one job of the queue, until it has ended.")
@click.option(
    "--interval",
    "-i",
    type=click.FloatRange(min=0.1),
    help="Seconds between two looks.  [default: 1; in a pipe 5]",
    show_default=False,
)
@click.option("--count", "-n", type=click.IntRange(min=1), help="Stop after so many looks.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, an object a line.")
def watch(
    names: Sequence[str],
    queues: Sequence[str],
    url: str | None,
    prefix: str,
    job: str | None,
    interval: float | None,
    count: int | None,
    as_json: bool,
) -> None:
    """Watch queues: what they hold, who works and at what, how far that is, and what was given up last.

    Or watch one job with --job, until it has ended: exits with 0 if it is done, with 3 if it was given up or cancelled,
    or nothing is known of it.

    On a terminal the view is drawn anew each second, until Ctrl-C. In a pipe it is a line a queue and look: time,
    queue, ready, running, delayed, waiting for others, aside, dead, seconds for which the oldest ready job has waited,
    jobs that came and left and runs that failed (a second, since the last look), workers, and "paused" if the queue is.
    Of a job it is a line a change: time, job, task, state, attempt, done, of how much, message.
    """
    chosen = list(dict.fromkeys((*names, *queues)))
    if not chosen:
        raise click.UsageError("name a queue, such as: anyq watch emails")
    live = on_terminal() and not as_json
    targets = [queue_of(name, url, prefix) for name in chosen]
    if job is None:
        pause = interval or (_LIVE if live else _LINES)
        ask(
            targets[0], lambda: until_ended(lambda: _watch(targets, pause, count, live=live, as_json=as_json))
        )
        return
    if len(targets) > 1:
        raise click.UsageError("a job is of one queue: name that only")
    leave(
        ask(
            targets[0], lambda: _follow(targets[0], job, interval or _LIVE, count, live=live, as_json=as_json)
        )
    )


async def _follow(
    queue: Queue, job: str, pause: float, count: int | None, *, live: bool, as_json: bool
) -> int:
    """Watch a job; give the exit code."""
    code = DONE

    async def work() -> None:
        nonlocal code
        with teller(live=live, as_json=as_json) as tell:
            state = await follow(queue, job, pause, count, tell)
        code = LEFT_SOMETHING if state in ENDED and state is not JobStatus.DONE else DONE

    await until_ended(work)
    return code


async def _watch(
    queues: Sequence[Queue], pause: float, count: int | None, *, live: bool, as_json: bool
) -> None:
    async with AsyncExitStack() as stack:
        for queue in queues[1:]:
            await stack.enter_async_context(queue)
        with view(live=live, as_json=as_json) as shown:
            looks: list[Look] = []
            number = 0
            while True:
                trouble = ""
                try:
                    before = {seen.queue: seen for seen in looks}
                    looks = [await look(queue, before.get(queue.name)) for queue in queues]
                except (RedisUnavailable, RedisError) as error:
                    if not looks:
                        raise
                    trouble = str(error)
                shown(looks, trouble)
                number += 1
                if number == count:
                    return
                await anyio.sleep(pause)
