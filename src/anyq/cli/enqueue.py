"""``anyq enqueue``: a job by its task's name, from a shell, with nothing of the program that has the task."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import click

from .._core.values import MAP
from ..errors import JobFailed
from ..handles import JobHandle
from .addressing import ask, queue_of, queue_options
from .endings import DONE, LEFT_SOMETHING, leave
from .moments import a_length, a_time
from .shown import clean, echo, json_option, on_terminal, print_json

_NAME, _LONG = 80, 2000

#: Seconds for which a result is kept that is waited for here.
_KEPT = 300


@click.command(short_help="Enqueue a job, and wait for its result.")
@queue_options
@click.argument("task")
@click.argument("payload", required=False)
@click.option(
    "--param",
    "-p",
    "params",
    multiple=True,
    metavar="NAME=VALUE",
    help="An argument: its value is JSON, or else a text; repeatable.",
)
@click.option("--delay", type=a_length, metavar="LENGTH", help="It is due so much later: 90s, 10m, 2h.")
@click.option("--at", type=a_time, metavar="WHEN", help="It is due then: 2026-11-22T20:00.")
@click.option("--id", help="Its id: as long as there is a job with this id, nothing is added.")
@click.option("--unique", metavar="KEY", help="As long as there is a job with this key, nothing is added.")
@click.option("--priority", type=click.IntRange(0, 9), help="The higher, the sooner; 5 is usual.")
@click.option("--attempts", type=click.IntRange(min=1), help="Runs in total, instead of the task's.")
@click.option(
    "--timeout", type=a_length, metavar="LENGTH", help="How long a run may take, instead of the task's."
)
@click.option(
    "--deadline", type=a_length, metavar="LENGTH", help="From so much later on it is not started any more."
)
@click.option("--result-ttl", type=a_length, metavar="LENGTH", help="Keep its result for so long.")
@click.option("--wait-result", is_flag=True, help="Wait for its end, and print its result.")
@click.option(
    "--wait-timeout", type=a_length, metavar="LENGTH", help="With --wait-result: for so long at most."
)
@json_option
def enqueue(
    queue: str,
    url: str | None,
    prefix: str,
    task: str,
    payload: str | None,
    params: Sequence[str],
    wait_result: bool,
    wait_timeout: timedelta | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Enqueue a job of TASK; its arguments by name are PAYLOAD, a JSON object ("-": on standard input), and each -p.

    Prints the job's id, and "there" behind it when a job with this id or key was there already; with --wait-result then
    its result, as JSON. Exits with 3 when the job failed, or did not end in time; its error is on stderr.
    """
    if wait_timeout is not None and not wait_result:
        raise click.UsageError("--wait-timeout is about --wait-result")
    asked = {name: value for name, value in options.items() if value is not None}
    if wait_result:
        asked.setdefault("result_ttl", _KEPT)
    arguments = _arguments(payload, params)
    target = queue_of(queue, url, prefix)

    async def add() -> tuple[JobHandle[Any], str, Any]:
        handle = await target.enqueue(task, arguments, **asked)
        if not wait_result:
            return handle, "", None
        if not as_json:
            _say(handle)
        try:
            return handle, "", await handle.result(timeout=wait_timeout)
        except JobFailed as error:
            return handle, str(error), None
        except TimeoutError:
            return handle, f"job {handle.id} has not ended yet; it goes on", None

    try:
        handle, failure, result = ask(target, add)
    except (ValueError, TypeError) as error:
        raise click.UsageError(clean(str(error), _LONG)) from None
    if as_json:
        shape = {"queue": queue, "id": handle.id, "task": task, "new": handle.new}
        if wait_result:
            shape |= {"result": result, "failure": failure or None}
        print_json(shape)
    elif not wait_result:
        _say(handle)
    elif not failure:
        print_json(result)
    if failure and not as_json:
        click.echo(f"anyq: {clean(failure, _LONG)}", err=True)
    leave(LEFT_SOMETHING if failure else DONE)


def _say(handle: JobHandle[Any]) -> None:
    shown = clean(handle.id, _NAME)
    if on_terminal():
        echo(
            f"job {shown} is enqueued" if handle.new else f"job {shown} was there already: nothing was added"
        )
    else:
        echo(shown if handle.new else f"{shown}\tthere")


def _arguments(payload: str | None, params: Sequence[str]) -> Any:
    """What the job is called with."""
    value: Any = {}
    if payload is not None:
        text = sys.stdin.read() if payload == "-" else payload
        try:
            value = json.loads(text)
        except ValueError as error:
            raise click.UsageError(f"the payload is no JSON: {clean(str(error), 200)}") from None
    if type(value) is not MAP:
        raise click.UsageError(
            'the payload gives arguments by name: a JSON object, such as \'{"to": "ada"}\''
        )
    arguments: dict[str, Any] = dict(value)
    for param in params:
        name, equals, text = param.partition("=")
        if not equals or not name:
            raise click.UsageError(f"-p takes NAME=VALUE, not '{clean(param, 200)}'")
        try:
            arguments[name] = json.loads(text)
        except ValueError:
            arguments[name] = text
    return arguments
