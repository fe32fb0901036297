"""Which queue a command is about, said without importing the program that has its tasks.

Rule: what the network refuses is one sentence on stderr and exit code 1, never a traceback.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, TypeVar

import click
from redis.exceptions import RedisError

from ..errors import AnyQError
from ..queue import Queue
from ..settings import from_milliseconds
from .endings import CRASHED, leave
from .loops import run
from .shown import clean

T = TypeVar("T")
Command = TypeVar("Command", bound=Callable[..., Any] | click.Command)

#: Seconds for which a command goes on when the server is away: it says so at the first failure (the connection itself
#: tries for some seconds before).
_PATIENCE = 0.0


def place_options(command: Command) -> Command:
    """Give a command the options that say where a queue lies."""
    command = click.option(
        "--prefix",
        envvar="ANYQ_PREFIX",
        default="anyq",
        help='What its keys begin with ("chasqui": chasquimq\'s).',
    )(command)
    return click.option(
        "--url",
        envvar="ANYQ_URL",
        help="Where Redis is.  [default: redis://localhost:6379/0]",
        show_default=False,
    )(command)


def queue_options(command: Command) -> Command:
    """Give a command the options that say which queue it is about."""
    return click.option("--queue", "-q", envvar="ANYQ_QUEUE", required=True, help="The queue's name.")(
        place_options(command)
    )


def queues_option(help: str, *, required: bool = False) -> Callable[[Command], Command]:
    """Make the option that names any number of queues.

    Args:
        help: What is said about it.
        required: Whether one must be named.
    """
    return click.option(
        "--queue", "-q", "queues", envvar="ANYQ_QUEUE", multiple=True, required=required, help=help
    )


def queue_of(queue: str, url: str | None, prefix: str, *, patience: float = _PATIENCE) -> Queue:
    """Make the queue that the options name.

    Args:
        queue: Its name.
        url: Where it is.
        prefix: What its keys begin with.
        patience: Seconds for which an outage is waited through.

    Raises:
        click.BadParameter: One of them is wrong.
    """
    try:
        return Queue(queue, url, prefix=prefix, outage_timeout=patience)
    except (ValueError, TypeError) as error:
        raise click.UsageError(clean(str(error), 1000)) from None


async def server_now(queue: Queue) -> datetime:
    """The moment by the server's clock, as all moments of jobs are."""
    return from_milliseconds(round(await queue.server_ms()))


def ask(queue: Queue, work: Callable[[], Awaitable[T]]) -> T:
    """Open the queue, do the work, and give what it came to; or say what is wrong, and end."""

    async def main() -> T:
        async with queue:
            return await work()

    try:
        return run(main, "asyncio")
    except BrokenPipeError:  # nobody reads any more what is printed: click ends without a word
        raise
    except (AnyQError, RedisError, OSError) as error:
        click.echo(f"anyq: {clean(str(error), 1000)}", err=True)
        leave(CRASHED)
