"""What the demonstration came to, in a few lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from .account import Account, percentile

#: How many missing jobs and dead letters are told by name.
_AT_MOST = 10


def summarize(account: Account, console: Console) -> None:
    """Print the summary."""
    for label, text in _lines(account):
        line = Text(f"{label:>13}  ", style="bold")
        line.append(text, style="not bold")
        console.print(line, highlight=False, soft_wrap=True)


def as_object(account: Account) -> dict[str, Any]:
    """Give all of it, for a program: times in seconds."""
    surveys = account.surveyed.values()
    count, seconds = account.pace
    return {
        "jobs": account.jobs,
        "done": account.settled - len(account.dead),
        "retried": account.retried,
        "dead": [
            {
                "job": job_id,
                "file": _name(account, job_id),
                "reason": failure.reason,
                "error": failure.type,
                "message": failure.message,
            }
            for job_id, failure in account.dead.items()
        ],
        "missing": [{"job": job_id, "file": _name(account, job_id)} for job_id in account.missing],
        "stopped_by": None if account.stopped_by is None else account.stopped_by.name,
        "files_per_second": round(count / seconds, 1) if count and seconds else None,
        "start": _percentiles(account.alone(delayed=False)),
        "in_line": _percentiles(account.in_line),
        "delayed": _percentiles(account.alone(delayed=True)),
        "read": {
            "files": len(surveys),
            "bytes": sum(survey["bytes"] for survey in surveys),
            "words": sum(survey["words"] for survey in surveys),
        },
        "commonest": [{"word": word, "count": times} for word, times in account.words.most_common(10)],
    }


def counted(number: int, noun: str) -> str:
    """Say how many of something there are."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _lines(account: Account) -> Iterator[tuple[str, str]]:
    missing, ended = account.missing, account.settled
    yield (
        "jobs",
        f"{account.jobs:,}: {ended - len(account.dead):,} done, {len(account.dead):,} dead, {_unaccounted(account)}",
    )
    count, seconds = account.pace
    if count and seconds:
        yield (
            "throughput",
            f"{count / seconds:,.0f} files a second ({count:,} in {seconds:.2f} s, without those held up on purpose)",
        )
    if alone := account.alone(delayed=False):
        yield "start", f"{_spread(alone)} from enqueue to start, {len(alone)} jobs one after the other"
    if account.in_line:
        yield (
            "in line",
            f"{_spread(account.in_line)} from enqueue to start, {len(account.in_line):,} jobs enqueued at once",
        )
    if late := account.alone(delayed=True):
        yield "delayed", f"started {_spread(late)} after their time, {len(late)} jobs with nothing else to do"
    yield "retries", f"{account.retried:,}"
    yield "dead letters", f"{len(account.dead):,}"
    for job_id, failure in list(account.dead.items())[:_AT_MOST]:
        yield "", f"{_name(account, job_id)}: {failure.reason}, {failure.type}: {failure.message}"
    surveys = account.surveyed.values()
    if surveys:
        words, size = sum(survey["words"] for survey in surveys), sum(survey["bytes"] for survey in surveys)
        yield (
            "read",
            f"{counted(len(surveys), 'file')}, {size / 1e6:,.1f} MB, {words:,} words, each file hashed",
        )
        yield "commonest", ", ".join(f"{word} {count:,}" for word, count in account.words.most_common(10))
    if missing and account.stopped_by is None:
        for job_id in missing[:_AT_MOST]:
            yield "missing", f"{job_id} {_name(account, job_id)}"


def _name(account: Account, job_id: str) -> str:
    """What a job was about; a file's name is shown whatever bytes it is made of."""
    one = account.plans.get(job_id)
    return "a small job" if one is None else one.path.encode(errors="replace").decode()


def _unaccounted(account: Account) -> str:
    missing = len(account.missing)
    if account.stopped_by is not None:
        return f"{missing:,} not begun or handed back when {account.stopped_by.name} came"
    return f"{missing:,} unaccounted for" if missing else "none unaccounted for"


def _spread(ordered: Sequence[float]) -> str:
    return f"p50 {_duration(percentile(ordered, 0.5))}, p99 {_duration(percentile(ordered, 0.99))}"


def _percentiles(ordered: Sequence[float]) -> dict[str, float] | None:
    """The same as `_spread`, in seconds; nothing of nothing."""
    if not ordered:
        return None
    return {name: round(percentile(ordered, share), 6) for name, share in (("p50", 0.5), ("p99", 0.99))}


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms" if seconds < 1 else f"{seconds:.2f} s"
