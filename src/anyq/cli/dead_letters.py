"""``anyq dlq``: dead letters on the command line.

What is printed to a terminal is for people; in a pipe it is a line a letter, columns apart by tabs; with ``--json`` it
is for programs, and its shape is documented and stays.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar, cast

import attrs
import click
from rich.console import Console
from rich.progress import Progress

from ..dead_letters import DeadLetter, DeadLetterFilter, DeadLetterGroup, DeadLetters, Replayed
from ..queue import Queue
from .addressing import ask, queue_of, queue_options, server_now
from .asking import agree, yes_option
from .endings import DONE, LEFT_SOMETHING, leave
from .letters import (
    NAME,
    SHORT,
    error_row,
    letter_as_json,
    letter_row,
    print_errors,
    print_letter,
    print_letters,
)
from .moments import a_moment
from .shown import clean, echo, json_option, on_terminal, print_json, print_rows

Command = TypeVar("Command", bound=Callable[..., Any] | click.Command)
Tell = Callable[[int, int], None]

_LETTER = re.compile(r"\d{1,20}-\d{1,20}", re.ASCII)


@click.group(name="dlq", short_help="Dead letters: list, show, replay and delete them.")
def dlq() -> None:
    """Dead letters: list, show, replay and delete the jobs that were given up.

    Exits with 0 when all that was asked for is done; 3 when some of it is not, such as a letter that is not there or
    cannot be replayed; 1 when Redis cannot be asked, or the answer to a question was no; 2 when the command line makes
    no sense.
    """


def conditions(command: Command) -> Command:
    """Give a command the options that say which letters are meant."""
    return narrower(click.option("--job", help="The job's id.")(command))


def narrower(command: Command) -> Command:
    """The same, but for the one job."""
    for option in (
        click.option("--until", type=a_moment, metavar="WHEN", help="Given up then or before."),
        click.option(
            "--since",
            type=a_moment,
            metavar="WHEN",
            help="Given up then or later: 2026-11-22T20:00, or 2h for 2 hours ago.",
        ),
        click.option("--error", help="The type of the last exception, such as ConnectionError."),
        click.option("--reason", help="Why it was given up, such as retries_exhausted."),
        click.option("--task", help="The task's name."),
    ):
        command = option(command)
    return command


def choice(command: Command) -> Command:
    """Give a command the options that choose letters, named or all, and the one that answers its question."""
    for option in (
        yes_option,
        click.option(
            "--limit",
            "-n",
            type=click.IntRange(min=1),
            help="With --all: how many at most, the oldest first.",
        ),
        conditions,
        click.option(
            "--all", "all_", is_flag=True, help="All of them, or all that the conditions below choose."
        ),
        click.argument("ids", nargs=-1, metavar="[ID]..."),
    ):
        command = option(command)
    return command


@dlq.command("list")
@queue_options
@conditions
@click.option("--limit", "-n", type=click.IntRange(min=1), default=20, help="How many at most.")
@click.option("--after", metavar="ID", help="Go on after this letter: the last one of the page before.")
@click.option("--oldest-first", is_flag=True, help="Begin with those that died first.")
@click.option(
    "--payload", is_flag=True, help="Show the jobs' arguments, which are secret otherwise (with --json)."
)
@json_option
def list_(
    queue: str,
    url: str | None,
    prefix: str,
    limit: int,
    after: str | None,
    oldest_first: bool,
    payload: bool,
    as_json: bool,
    **where: Any,
) -> None:
    """List dead letters, those that died last first.

    In a pipe the columns are: id, died, task, reason, attempts, job, error.
    """
    target = queue_of(queue, url, prefix)
    chosen = _where(where)

    async def work() -> tuple[list[DeadLetter], int, int, datetime]:
        letters = target.dead_letters
        # One more than the page, to know whether there is another page.
        page = await letters.list(
            limit=limit + 1, after=_checked(after), newest_first=not oldest_first, payload=payload, **chosen
        )
        return page, await letters.count(), await letters.trimmed(), await server_now(target)

    page, count, trimmed, now = ask(target, work)
    more = len(page) > limit
    page = page[:limit]
    if as_json:
        print_json(
            {
                "queue": queue,
                "count": count,
                "trimmed": trimmed,
                "letters": [letter_as_json(letter, payload=payload) for letter in page],
                "next": page[-1].id if more else None,
            }
        )
        return
    if on_terminal():
        print_letters(
            page, _title(queue, count, found=bool(page)) + (f", {trimmed:,} trimmed" if trimmed else ""), now
        )
    else:
        print_rows(letter_row(letter) for letter in page)
    if more:
        click.echo(f"more: --after {page[-1].id}", err=True)


@dlq.command(short_help="Tell what went wrong, the most frequent first.")
@queue_options
@narrower
@click.option("--limit", "-n", type=click.IntRange(min=1), default=20, help="How many at most.")
@json_option
def errors(queue: str, url: str | None, prefix: str, limit: int, as_json: bool, **where: Any) -> None:
    """Tell what went wrong: dead letters by error, task and reason, those of which there are most first.

    In a pipe the columns are: count, error, task, reason, first died, last died, the last one's id, its message.
    """
    target = queue_of(queue, url, prefix)
    chosen = _where(where)

    async def work() -> tuple[list[DeadLetterGroup], int, datetime]:
        letters = target.dead_letters
        # One more, to know whether that was all.
        groups = await letters.errors(limit=limit + 1, **chosen)
        return groups, await letters.count(), await server_now(target)

    groups, count, now = ask(target, work)
    more, groups = len(groups) > limit, groups[:limit]
    if as_json:
        print_json(
            {
                "queue": queue,
                "count": count,
                "errors": [attrs.asdict(group) for group in groups],
                "more": more,
            }
        )
        return
    if on_terminal():
        print_errors(groups, _title(queue, count, found=bool(groups)), now)
    else:
        print_rows(error_row(group) for group in groups)
    if more:
        click.echo(f"more: --limit {2 * limit}", err=True)


@dlq.command()
@queue_options
@click.argument("id")
@click.option("--payload", is_flag=True, help="Show the job's arguments too, which are secret otherwise.")
@json_option
def show(queue: str, url: str | None, prefix: str, id: str, payload: bool, as_json: bool) -> None:
    """Show one dead letter; ID is its own, or its job's."""
    target = queue_of(queue, url, prefix)

    async def work() -> DeadLetter | None:
        found, _ = await _find(target.dead_letters, [id])
        return await target.dead_letters.get(found[0], payload=payload) if found else None

    letter = ask(target, work)
    if letter is None:
        click.echo(f"anyq: there is no dead letter '{clean(id, NAME)}'", err=True)
        leave(LEFT_SOMETHING)
    if as_json:
        print_json(letter_as_json(letter, payload=payload))
    else:
        print_letter(letter, payload=payload)


@dlq.command(short_help="Make dead letters jobs again.")
@queue_options
@choice
@click.option(
    "--rate", type=click.FloatRange(min=0, min_open=True), help="With --all: jobs a second at most."
)
@json_option
def replay(
    queue: str,
    url: str | None,
    prefix: str,
    ids: Sequence[str],
    all_: bool,
    limit: int | None,
    rate: float | None,
    yes: bool,
    as_json: bool,
    **where: Any,
) -> None:
    """Make dead letters ready jobs again, with all their attempts before them.

    Name them by their ids (or by those of their jobs), or choose them with --all and conditions.
    """
    target = queue_of(queue, url, prefix)
    chosen = _choice(ids, where, all_=all_, limit=limit, rate=rate)
    if not _agreed(target, "Replay", ids, chosen, limit, yes=yes):
        _print_replayed(Replayed(count=0, left={}), (), as_json=as_json)
        return

    async def work(tell: Tell) -> tuple[Replayed, list[str]]:
        if chosen is not None:
            return await target.dead_letters.replay_all(limit=limit, rate=rate, progress=tell, **chosen), []
        found, missing = await _find(target.dead_letters, ids)
        return await target.dead_letters.replay(*found, progress=tell), missing

    replayed, missing = _with_progress(target, "replaying", work)
    _print_replayed(replayed, missing, as_json=as_json)
    if replayed.left or missing:
        leave(LEFT_SOMETHING)
    leave(DONE)


@dlq.command()
@queue_options
@choice
@json_option
def delete(
    queue: str,
    url: str | None,
    prefix: str,
    ids: Sequence[str],
    all_: bool,
    limit: int | None,
    yes: bool,
    as_json: bool,
    **where: Any,
) -> None:
    """Delete dead letters for good.

    Name them by their ids (or by those of their jobs), or choose them with --all and conditions.
    """
    target = queue_of(queue, url, prefix)
    chosen = _choice(ids, where, all_=all_, limit=limit)
    deleted, missing = 0, list[str]()
    if _agreed(target, "Delete", ids, chosen, limit, yes=yes, always=True):

        async def work(tell: Tell) -> tuple[int, list[str]]:
            if chosen is not None:
                return await target.dead_letters.delete_all(limit=limit, progress=tell, **chosen), []
            found, missing = await _find(target.dead_letters, ids)
            return await target.dead_letters.delete(*found), missing

        deleted, missing = _with_progress(target, "deleting", work)
    if as_json:
        print_json({"deleted": deleted, "missing": missing})
    else:
        echo(f"{deleted} deleted")
        _print_missing(missing)
    leave(LEFT_SOMETHING if missing else DONE)


# -- which ones -------------------------------------------------------------------------------------------------------


def _where(given: dict[str, Any]) -> DeadLetterFilter:
    return cast("DeadLetterFilter", {name: value for name, value in given.items() if value is not None})


def _choice(
    ids: Sequence[str], given: dict[str, Any], *, all_: bool, limit: int | None, rate: float | None = None
) -> DeadLetterFilter | None:
    """The conditions that choose letters, or ``None`` when they are named."""
    where = _where(given)
    if ids and (all_ or where or limit or rate):
        raise click.UsageError("name letters by their ids, or choose them with --all: not both")
    if not ids and not all_:
        raise click.UsageError("name letters by their ids, or say --all (which the conditions narrow)")
    return None if ids else where


def _checked(id: str | None) -> str | None:
    if id is not None and not _LETTER.fullmatch(id):
        raise click.BadParameter(
            f"'{clean(id, NAME)}' is no letter's id, such as 1795355080786-0", param_hint="--after"
        )
    return id


async def _find(letters: DeadLetters, ids: Sequence[str]) -> tuple[list[str], list[str]]:
    """The letters' ids, and the words that name none.

    Each word is one, or the id of a job, of which the newest letter is meant.
    """
    found, missing = list[str](), list[str]()
    for id in ids:
        if _LETTER.fullmatch(id) and await letters.get(id) is not None:
            found.append(id)
            continue
        page = await letters.list(job=id, limit=1)
        if page:
            found.append(page[0].id)
        else:
            missing.append(id)
    return found, missing


def _agreed(
    target: Queue,
    verb: str,
    ids: Sequence[str],
    chosen: DeadLetterFilter | None,
    limit: int | None,
    *,
    yes: bool,
    always: bool = False,
) -> bool:
    """Say how many are meant and ask, unless that is not needed; ``False`` when there are none."""
    if chosen is None:
        count = len(ids)
        if count == 1 and not always:
            return True
    else:
        count = ask(target, lambda: target.dead_letters.count(**chosen))
        if limit is not None:
            count = min(count, limit)
        if not count:
            return False
    agree(f"{verb} {_letters(count)} of queue '{clean(target.name, NAME)}'?", yes=yes)
    return True


# -- what is printed --------------------------------------------------------------------------------------------------


def _letters(count: int) -> str:
    return f"{count:,} dead letter{'' if count == 1 else 's'}"


def _title(queue: str, count: int, *, found: bool) -> str:
    said = f"{_letters(count) if count else 'no dead letters'} in {clean(queue, NAME)}"
    return said if found or not count else f"{said}, and none is such a one"


def _with_progress(target: Queue, what: str, work: Callable[[Tell], Awaitable[Any]]) -> Any:
    """Do the work, with a bar on standard error where a person sees it."""
    console = Console(stderr=True)
    if not console.is_terminal or console.is_dumb_terminal:
        return ask(target, lambda: work(_tell_nobody))
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task(what, total=None)

        def tell(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        return ask(target, lambda: work(tell))


def _tell_nobody(_done: int, _total: int) -> None:
    """Nobody sees how far it is."""


def _print_replayed(replayed: Replayed, missing: Sequence[str], *, as_json: bool) -> None:
    if as_json:
        left = [{"id": id, "why": why} for id, why in replayed.left.items()]
        print_json({"replayed": replayed.count, "left": left, "missing": list(missing)})
        return
    echo(f"{replayed.count} replayed")
    for id, why in list(replayed.left.items())[:20]:
        click.echo(f"{id} stays: {clean(why, SHORT)}", err=True)
    if len(replayed.left) > 20:
        click.echo(f"and {len(replayed.left) - 20} others stay", err=True)
    _print_missing(missing)


def _print_missing(missing: Sequence[str]) -> None:
    for id in missing:
        click.echo(f"there is no dead letter '{clean(id, NAME)}'", err=True)
