"""``anyq worker``: workers as a program, in one process or in several that are supervised.

Its exit code is 0 only when nothing was left behind; 3 when something was, with the list on stderr; 2 when the command
line makes no sense; 1 when the worker crashed.
"""

from __future__ import annotations

import gc
import logging
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import click

from .. import embedded
from ..errors import ConfigurationError, RedisUnavailable, ServerNotFound
from ..queue import Queue
from ..serve import Shift, watch
from ..worker import Worker
from .endings import CRASHED, DONE, GRAVITY, LEFT_SOMETHING, USAGE, Watchdog, leave, report
from .finding import FORM, BrokenModule, find_queue
from .health import Endpoint, Place, Unavailable, place_of
from .leash import Leash
from .logs import LOGGER, log_to_stderr, tell
from .loops import backend_option, run
from .processes import supervise

if TYPE_CHECKING:
    from ..metrics.prometheus import PrometheusSink

logger: logging.Logger = logging.getLogger(LOGGER)

LEVELS = ("debug", "info", "warning", "error")


@attrs.frozen(kw_only=True)
class Settings:
    """What the command line says about a worker; the names are those of `Worker`, but for its ``processes``."""

    concurrency: int
    threads: int | None
    executor_processes: int | None
    lease: float
    drain_timeout: float
    attempts: int
    events: bool
    prefetch: int | None
    max_block: float
    outage_limit: float | None


@click.command(short_help="Run the jobs of queues.")
@click.argument("targets", nargs=-1, required=True, metavar="MODULE:QUEUE...")
@click.option(
    "--concurrency", "-c", type=click.IntRange(min=1), default=100, help="Jobs that run at the same time."
)
@click.option(
    "--processes", "-p", type=click.IntRange(min=1), default=1, help="Processes, each with such a worker."
)
@backend_option
@click.option("--url", help="Where Redis is, instead of what the queues say.")
@click.option(
    "--drain-timeout", type=float, default=30.0, metavar="SECONDS", help="What running jobs get at the end."
)
@click.option(
    "--lease",
    type=float,
    default=4.0,
    metavar="SECONDS",
    help="After which others take over a silent worker's.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Plain functions that run at the same time, each in a thread; --concurrency, at most 40, if left out.",
)
@click.option(
    "--executor-processes",
    type=click.IntRange(min=1),
    help='Functions with executor="process" that run at the same time, each in a process; one a core if left out.',
)
@click.option(
    "--attempts", type=click.IntRange(min=1), default=5, help="Runs of a job, where tasks say nothing."
)
@click.option("--prefetch", type=click.IntRange(min=0), help="Jobs taken ahead of the running ones, at most.")
@click.option(
    "--max-block",
    type=float,
    default=30.0,
    metavar="SECONDS",
    help="How long a job may block the event loop.",
)
@click.option("--outage-limit", type=float, metavar="SECONDS", help="Redis trouble after which to give up.")
@click.option("--events/--no-events", default=True, help="Write the events stream.")
@click.option("--log-level", type=click.Choice(LEVELS), default="info", help="How much is logged, to stderr.")
@click.option("--json", "as_json", is_flag=True, help="Log as JSON, an object a line.")
@click.option(
    "--health", metavar="HOST:PORT", callback=place_of, help="Answer /live and /ready here, over HTTP."
)
@click.option("--metrics", is_flag=True, help="Answer /metrics there too, for Prometheus.")
@click.option(
    "--leash",
    is_flag=True,
    hidden=True,
    allow_from_autoenv=False,
    help="Standard input is a supervisor's pipe.",
)
@click.pass_context
def worker(
    context: click.Context,
    /,
    targets: tuple[str, ...],
    processes: int,
    backend: str,
    url: str | None,
    log_level: str,
    as_json: bool,
    health: Place | None,
    metrics: bool,
    leash: bool,
    **settings: Any,
) -> None:
    """Run the jobs of one or several queues, until SIGTERM or SIGINT.

    MODULE:QUEUE says where your program has its queue, such as myapp.jobs:queue; the module is looked for here first.
    All tasks must be registered when it has been imported.

    The first signal drains: running jobs get --drain-timeout to end, what was not begun goes back at once. The second
    stops at once. A job that ignores that it was cancelled ends with the process, 5 seconds later at most.

    Exits with 0 only when nothing was left behind, otherwise with 3 and the list on stderr; with 2 when the command
    line makes no sense, and with 1 when the worker failed.
    """
    tether = Leash() if leash else None
    log_to_stderr(log_level, as_json=as_json)
    try:
        queues = _find(targets, url)
        chosen = Settings(**settings)
        sink = _sink(queues, health) if metrics else None
        made = _make(queues, chosen, sink)  # also in the supervisor: a mistake is told once, and at once
        arguments = partial(_arguments, context)
        if processes > 1:
            _refuse_private_servers(queues, processes)
            arguments(processes)  # the highest port, too
    except click.ClickException as error:
        if not as_json:
            raise
        traceback = error.traceback if isinstance(error, BrokenModule) else None
        tell(error.format_message(), as_json=True, exception=traceback)
        leave(error.exit_code)
    if processes > 1:
        leave(run(partial(supervise, arguments, processes, chosen.drain_timeout), "asyncio"))
    endpoint = None if health is None else Endpoint(health, made, sink)
    leave(_work(made, backend, tether, endpoint, as_json=as_json))


def _find(targets: tuple[str, ...], url: str | None) -> list[Queue]:
    queues: list[Queue] = []
    for target in dict.fromkeys(targets):
        queue = find_queue(target)
        if url is not None:
            try:
                queue.redirect(url)
            except (ValueError, TypeError) as error:
                raise click.BadParameter(str(error), param_hint="--url") from None
        if queue not in queues:
            queues.append(queue)
    return queues


def _sink(queues: list[Queue], health: Place | None) -> PrometheusSink:
    if health is None:
        raise click.UsageError("--metrics is answered where --health is: give that one too")
    try:
        from ..metrics.prometheus import PrometheusSink
    except ModuleNotFoundError as error:
        if error.name != "prometheus_client":
            raise
        raise click.UsageError(
            "--metrics needs Prometheus's library: pip install 'anyq[prometheus]'"
        ) from None
    return PrometheusSink(queues)


def _make(queues: list[Queue], settings: Settings, sink: PrometheusSink | None) -> Worker:
    for queue in queues:
        if not queue.runnables and queue.fallback_runnable is None:
            logger.warning("queue %r has no task: is the module that registers them imported?", queue.name)
    try:
        chosen = attrs.asdict(settings)
        worker = Worker(queues, processes=chosen.pop("executor_processes"), **chosen, metrics=sink)
    except (ValueError, TypeError) as error:
        raise click.UsageError(str(error)) from None
    if sink is not None:
        sink.watch(worker)
    return worker


def _refuse_private_servers(queues: list[Queue], processes: int) -> None:
    for queue in queues:
        if queue.url.startswith(embedded.SCHEME) and not embedded.directory_of(queue.url):
            raise click.UsageError(
                f"queue {queue.name!r} is at {queue.url}, a server that is private to one process, and --processes is "
                f"{processes}: give it a directory to share, such as --url embedded:///var/lib/anyq, or a server's URL"
            )


def _work(
    worker: Worker, backend: str, leash: Leash | None, endpoint: Endpoint | None, *, as_json: bool
) -> int:
    """Run one worker to its end, and give the exit code."""
    # What was imported stays: the garbage collector, which comes every few hundred jobs, need not look at it again.
    gc.collect()
    gc.freeze()
    watchdog = Watchdog([worker], worker.drain_timeout, as_json=as_json)
    shift = Shift([worker])

    async def work() -> None:
        async with (
            nullcontext() if leash is None else leash.held(shift, watchdog.asked),
            nullcontext() if endpoint is None else endpoint.served(),
        ):
            await watch(shift, notice=watchdog.asked)

    try:
        run(work, backend)
    except Unavailable as error:
        tell(str(error), as_json=as_json)
        return USAGE
    except (RedisUnavailable, ConfigurationError, ServerNotFound) as error:
        tell(str(error), as_json=as_json)  # it says what to do; a traceback says nothing more
        code = CRASHED
    except Exception:
        logger.exception("the worker failed")
        code = CRASHED
    else:
        code = DONE
    return max(code, LEFT_SOMETHING if report([worker], as_json=as_json) else DONE, key=GRAVITY.index)


def _arguments(context: click.Context, place: int) -> list[str]:
    """The command line of one child: the same options, one process, on the leash, and a health endpoint of its own."""
    words = ["worker", "--leash", "--processes", "1"]
    for parameter in context.command.params:
        value = context.params.get(parameter.name or "")
        if isinstance(value, Place):
            value = value.moved(place - 1)
        if isinstance(parameter, click.Argument) or parameter.name in {"processes", "leash"} or value is None:
            continue
        if isinstance(parameter, click.Option) and parameter.is_flag:
            words += (parameter.opts if value else parameter.secondary_opts)[:1]
        else:
            words += max(parameter.opts, key=len), str(value)
    return [*words, "--", *context.params["targets"]]


__all__ = ["FORM", "worker"]
