"""``anyq doctor``: whether a server is fit for jobs and whether queues are sound; what is wrong, and what mends it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any, NoReturn, cast

import attrs
import click
from redis.exceptions import RedisError
from rich.console import Console
from rich.text import Text

from .. import embedded
from .._core import fitness, soundness
from .._core.findings import VERDICTS, Finding, gravest
from .._core.rights import ROLES, Role
from .._redis.replies import error_code
from .._services.patience import reply_code
from .._store import fitness as asked
from .._store import soundness as looked
from ..errors import AnyQError
from ..queue import Queue
from .addressing import place_options, queue_of, queues_option
from .endings import CRASHED, DONE, LEFT_SOMETHING, leave
from .loops import run
from .shown import clean, echo, json_option, on_terminal, print_json, print_rows
from .tables import console

_LONG = 1000
_STYLES = {"ok": "green", "unknown": "dim", "warning": "yellow", "problem": "bold red"}

#: The name of the queue whose keys are tried when none is named.
_ANY = "doctor"


@click.command(short_help="Check the server and queues, and say what mends them.")
@place_options
@queues_option("Look at this queue too; repeatable.")
@click.option(
    "--for",
    "role",
    type=click.Choice(ROLES),
    default="worker",
    help="Whose rights the URL's user should have.",
)
@click.option("--strict", is_flag=True, help="Exit with 3 for warnings too.")
@json_option
def doctor(
    queues: Sequence[str], url: str | None, prefix: str, role: str, strict: bool, as_json: bool
) -> None:
    """Check the server, and queues: what is wrong, why it matters, and what mends it.

    Exits with 0 when nothing is wrong, or there are only warnings; 3 when there are problems (with --strict: or
    warnings); 1 when the server cannot be asked; 2 when the command line makes no sense.

    Nothing is changed. Rights are tried with commands that do nothing; those that are refused appear in ACL LOG.

    In a pipe the columns are: verdict, queue, check, what was found, why it matters, what mends it.
    """
    targets = [queue_of(name, url, prefix) for name in dict.fromkeys(queues)]
    anybody = queue_of(_ANY, url, prefix)
    try:
        findings = run(lambda: _examine(anybody, targets, cast("Role", role)), "asyncio")
    except (AnyQError, RedisError, OSError) as error:
        _unreachable(anybody, error, as_json=as_json)
    findings = [_cleaned(finding) for finding in findings]
    _print(anybody, findings, as_json=as_json)
    worst = gravest(findings)
    leave(LEFT_SOMETHING if worst == "problem" or (strict and worst == "warning") else DONE)


async def _examine(anybody: Queue, targets: Sequence[Queue], role: Role) -> list[Finding]:
    async with anybody:
        session = anybody.session
        await session.client.connect()
        facts = await asked.facts_of(
            session.client,
            session.subscriber,
            (targets[0] if targets else anybody).keys,
            role=role,
            private=anybody.url == embedded.SCHEME,
            whole=bool(targets),
        )
        findings = fitness.examine(facts)
        for target in targets:
            try:
                found = await looked.facts_of(session.client, target.keys)
            except RedisError as error:
                findings.append(_unreadable(target, error))
            else:
                findings += soundness.examine(found)
        return findings


def _unreadable(queue: Queue, error: RedisError) -> Finding:
    if reply_code(error) == "NOPERM":
        return Finding(
            check="queue", verdict="unknown", found="this user may not look at it", queue=queue.name
        )
    return Finding(
        check="queue",
        verdict="problem",
        found=f"it cannot be read: {error_code(error)} {error}",
        why="neither can a worker",
        mend="what is said about the server may tell why",
        queue=queue.name,
    )


def _cleaned(finding: Finding) -> Finding:
    """Names and errors are anybody's."""
    found, why, mend, queue = (
        clean(text, _LONG) for text in (finding.found, finding.why, finding.mend, finding.queue)
    )
    return attrs.evolve(finding, found=found, why=why, mend=mend, queue=queue)


def _unreachable(queue: Queue, error: Exception, *, as_json: bool) -> NoReturn:
    finding = Finding(
        check="reach",
        verdict="problem",
        found=str(error),
        why="without the server nothing works",
        mend="see that it runs, and that the URL (--url, $ANYQ_URL) has its host, port, user and password",
    )
    _print(queue, [_cleaned(finding)], as_json=as_json)
    leave(CRASHED)


def _print(queue: Queue, findings: Sequence[Finding], *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "server": queue.url,
                "verdict": gravest(findings),
                "findings": [_as_json(one) for one in findings],
            }
        )
    elif on_terminal():
        _print_page(queue, findings)
    else:
        print_rows([one.verdict, one.queue, one.check, one.found, one.why, one.mend] for one in findings)


def _as_json(finding: Finding) -> dict[str, Any]:
    return {**attrs.asdict(finding), "queue": finding.queue or None}


def _print_page(queue: Queue, findings: Sequence[Finding]) -> None:
    screen = console()
    about: str | None = None
    for finding in findings:
        if finding.queue != about:
            about = finding.queue
            screen.print(Text(f"queue {about}" if about else clean(queue.url, _LONG), style="bold"))
        _say(screen, finding.verdict, _STYLES[finding.verdict], f"{finding.check}: {finding.found}")
        if finding.why:
            _say(screen, "", "", f"why: {finding.why}")
        if finding.mend:
            _say(screen, "", "", f"mend: {finding.mend}")
    counts = [(verdict, sum(one.verdict == verdict for one in findings)) for verdict in VERDICTS]
    echo(", ".join(f"{count} {verdict}" for verdict, count in counts if count))


def _say(screen: Console, head: str, style: str, text: str) -> None:
    """One paragraph, with its head in a column of its own."""
    lines = textwrap.wrap(text, max(20, screen.width - 12)) or [""]
    for place, line in enumerate(lines):
        screen.print(Text.assemble((f"  {head if not place else '':<9}", style), line))
