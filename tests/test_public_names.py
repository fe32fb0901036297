"""The public face, stated once: what is not in this list is private, what is in it is explained and documented."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import anyq

DOCS = Path(__file__).parent.parent / "docs"

PUBLIC = """
    RunOptions TaskOptions JobOptions
    Queue Task AsyncTask PlainTask Call JobHandle Job Progress LogLine Worker Statistics Health serve current_job
    AggregateTask AggregateDecorator
    Backoff Limits Retention Middleware CallNext Depends
    Cron Every Missed Schedule Schedules ScheduleDecorator ScheduleOptions PlannedRun UnknownSchedule
    DeadLetters DeadLetter DeadLetterFilter DeadLetterGroup Replayed
    QueueStats Rates Minute WorkerInfo RunningJob Event Events
    JobStatus Cancellation JobCancelled JobInfo Explanation Reason ReasonKind
    AnyQError NotOpen PayloadRefused QueueFull ResultsDisabled
    JobFailed ProcessDied Unrecoverable RetryLater
    RedisUnavailable ConnectionLost ReplyTimeout ConfigurationError ServerNotFound WorkerCrashed
""".split()

public_name = pytest.mark.parametrize("name", PUBLIC)


def test_the_package_offers_exactly_the_public_names() -> None:
    assert sorted(anyq.__all__) == sorted(PUBLIC)


@public_name
def test_a_public_name_introduces_itself_as_the_package_s(name: str) -> None:
    thing = getattr(anyq, name)
    assert f"{thing.__module__}.{thing.__qualname__}" == f"anyq.{name}"


@public_name
def test_a_public_name_and_what_a_user_calls_on_it_is_explained(name: str) -> None:
    thing = getattr(anyq, name)
    silent = [path for path, member in [(name, thing), *members(name, thing)] if not inspect.getdoc(member)]
    assert not silent, f"without a docstring: {', '.join(silent)}"


@public_name
def test_the_docs_mention_a_public_name(name: str) -> None:
    pages = [page.read_text(encoding="utf-8") for page in sorted(DOCS.rglob("*.md"))]
    assert any(re.search(rf"\b{name}\b", page) for page in pages), f"no page of docs/ mentions {name}"


def members(name: str, thing: Any) -> list[tuple[str, Any]]:
    """The methods and properties that a public class adds; an inherited docstring counts as one."""
    if not inspect.isclass(thing):
        return []
    kinds = (staticmethod, classmethod, property)
    return [
        (f"{name}.{key}", getattr(thing, key))
        for key, value in vars(thing).items()
        if not key.startswith("_") and (inspect.isfunction(value) or isinstance(value, kinds))
    ]
