"""Why a job is not running: facts in, sentences out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from anyq._core.explain import COUNTED, Facts, ReasonKind, explain
from anyq._core.jobs import JobInfo
from anyq._core.status import JobStatus
from anyq._core.workers import WorkerInfo

NOW = datetime(2026, 11, 22, 20, 0, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5, seconds=3)


def job(state: str, **known: Any) -> JobInfo:
    return JobInfo(**{"id": "j", "task": "t", "state": JobStatus(state), "attempt": 1, **known})


def worker(name: str = "w", *, busy: int | None = 0, tasks: str = "t", **known: Any) -> WorkerInfo:
    return WorkerInfo(
        **{
            "name": name, "state": "running", "host": "h", "pid": 7, "busy": busy, "concurrency": 2,
            "tasks": frozenset(tasks.split()), "all_tasks": True, **known,
        }
    )  # fmt: skip


FREE = [worker()]
RETRIED = {"attempt": 3, "error": "OSError", "message": "no way\nsecond line"}

CASES: list[tuple[JobInfo, dict[str, Any], str, str]] = [
    (job("queued"), {"workers": FREE}, "ready", "Nothing stands in its way"),
    (job("queued"), {}, "no_worker", "No worker of this queue lives."),
    (
        job("queued"),
        {"workers": [worker(state="silent")]},
        "no_worker",
        "(1 worker gave no sign of life for too long)",
    ),
    (job("queued"), {"workers": [worker(state="foreign")]}, "ready", ""),
    (
        job("queued"),
        {"workers": [worker(tasks="a b")]},
        "unknown_task",
        "The worker that lives does not know its task 't', but 'a', 'b'.",
    ),
    (
        job("queued"),
        {"workers": [worker(tasks="a"), worker(tasks="")]},
        "unknown_task",
        "None of the workers that live knows its task 't', but 'a'.",
    ),
    (job("queued"), {"workers": [worker(tasks="a", all_tasks=False)]}, "ready", ""),
    (job("queued"), {"workers": [worker(tasks="", fallback=True)]}, "ready", ""),
    (job("queued"), {"workers": [worker(tasks="a"), worker(state="foreign")]}, "ready", ""),
    (job("queued"), {"workers": [worker(state="draining")]}, "draining", "are leaving"),
    (
        job("queued"),
        {"workers": [worker(busy=2)]},
        "busy",
        "The worker that knows its task has all hands full: 2 jobs run there.",
    ),
    (
        job("queued"),
        {"workers": [worker(busy=2), worker(busy=2), worker(tasks="")]},
        "busy",
        "The 2 workers that know its task have all hands full: 4 jobs",
    ),
    (job("queued"), {"workers": [worker(busy=2), worker(busy=1)]}, "ready", ""),
    (
        job("queued"),
        {"workers": [worker(busy=2), worker(state="unknown", busy=None, concurrency=None)]},
        "ready",
        "",
    ),
    (job("queued"), {"workers": FREE, "ahead": 1}, "behind", "1 job comes before it."),
    (
        job("queued"),
        {"workers": FREE, "ahead": 1200, "sooner": 30},
        "behind",
        "1,230 jobs come before it, 30 of them in lanes that are read sooner.",
    ),
    (job("queued"), {"workers": FREE, "ahead": COUNTED}, "behind", "10,000 jobs come before it."),
    (
        job("queued"),
        {"workers": FREE, "ahead": COUNTED + 700},
        "behind",
        "More than 10,000 jobs come before it.",
    ),
    (
        job("queued"),
        {"workers": FREE, "queue_pause": 0},
        "queue_paused",
        "The queue is paused, until it is resumed.",
    ),
    (
        job("queued"),
        {"workers": FREE, "queue_pause": round(LATER.timestamp() * 1000)},
        "queue_paused",
        "until 2026-11-22 20:05:03 UTC.",
    ),
    (
        job("queued"),
        {"queue_pause": 0, "task_pause": 0, "ahead": 2},
        "queue_paused task_paused no_worker behind",
        "Its task is paused",
    ),
    (
        job("queued", deadline=NOW),
        {"workers": FREE},
        "expired",
        "Its deadline, 2026-11-22 20:00:00 UTC, is over",
    ),
    (job("aside"), {"workers": FREE, "task_pause": 0}, "task_paused", "Its task is paused"),
    (job("aside"), {"workers": FREE}, "returns", "workers bring it back"),
    (job("aside"), {}, "returns no_worker", ""),
    (
        job("delayed", due_at=LATER),
        {"workers": FREE},
        "due",
        "It waits for its time: it is due at 2026-11-22 20:05:03 UTC, in 5 min 03 s.",
    ),
    (
        job("delayed", due_at=NOW),
        {},
        "due no_worker",
        "it is due since 2026-11-22 20:00:00 UTC, and a worker makes it ready.",
    ),
    (job("delayed"), {"workers": FREE}, "due", "at a time that its bytes do not tell"),
    (
        job("delayed", due_at=LATER, **RETRIED),
        {"workers": FREE},
        "retry",
        "Run 2 failed: OSError: no way. It is due again at 2026-11-22 20:05:03 UTC",
    ),
    (job("delayed", due_at=LATER, attempt=2), {"workers": FREE}, "retry", "Run 1 failed. It is due again"),
    (job("delayed", due_at=LATER), {"workers": [worker(busy=2)], "queue_pause": 0}, "due queue_paused", ""),
    (
        job("parked", due_at=LATER),
        {"workers": [worker(tasks="a")]},
        "parked unknown_task",
        "No worker that met it knew its task; it is offered again at",
    ),
    (
        job("waiting", waits_for=("a", "b")),
        {"parents": {"a": JobStatus.DELAYED, "b": JobStatus.RUNNING}},
        "waits",
        "It waits for 2 jobs to end: a (delayed), b (running).",
    ),
    (
        job("waiting", waits_for=tuple("abcdefg")),
        {"parents": {"a": JobStatus.WAITING}, "chain": [("x", JobStatus.PARKED)]},
        "waits",
        "7 jobs to end: a (waiting) and 6 others. That one waits for x (parked).",
    ),
    (job("waiting"), {}, "stranded", "nobody lets it go"),
    (
        job("running", worker="w", started_at=NOW - timedelta(seconds=90)),
        {"workers": FREE},
        "running",
        "It runs on worker h:7 since 2026-11-22 19:58:30 UTC, for 1 min 30 s.",
    ),
    (
        job("running", worker="w", **RETRIED),
        {"workers": FREE},
        "taken retry",
        "The run before failed: OSError: no way.",
    ),
    (
        job("running", worker="w"),
        {"workers": [worker(busy=2)]},
        "taken",
        "Worker h:7 has taken it ahead, and has all hands full: 2 jobs run there.",
    ),
    (
        job("running", worker="w"),
        {"workers": [worker(state="silent", host=None)]},
        "silent",
        "Its worker w gives no sign of life",
    ),
    (
        job("running", worker="c-1"),
        {"workers": [worker("c-1", state="foreign", host=None)]},
        "taken",
        "Worker c-1, another program's, has it.",
    ),
    (job("running", worker="gone"), {}, "taken", "Worker gone has taken it"),
    (
        job("cancelling", worker="w", started_at=NOW),
        {"workers": FREE},
        "cancelling running",
        "its worker h:7 is told",
    ),
    (
        job("failed", ended_at=NOW, reason="stalled", entry="1-1"),
        {},
        "given_up",
        "It was given up at 2026-11-22 20:00:00 UTC after 1 run as stalled. It is a dead letter, and can be replayed.",
    ),
    (
        job("failed", attempt=None, reason="unrecoverable", error="E"),
        {},
        "given_up",
        "It was given up as unrecoverable: E.",
    ),
    (job("done"), {}, "ended", "its result is kept"),
    (job("cancelled"), {}, "ended", "It was cancelled."),
    (job("unknown"), {}, "unknown", "There is nothing under this id"),
]


@pytest.mark.parametrize(("found", "facts", "kinds", "says"), CASES)
def test_a_job_is_explained(found: JobInfo, facts: Any, kinds: str, says: str) -> None:
    explanation = explain(Facts(job=found, now=NOW, **facts))
    assert [str(reason.kind) for reason in explanation.reasons] == kinds.split()
    assert says in str(explanation)
    assert all(reason.text.endswith(".") for reason in explanation.reasons)


def test_each_kind_of_reason_has_a_case() -> None:
    assert {kind for *_, kinds, _ in CASES for kind in kinds.split()} == {str(kind) for kind in ReasonKind}


def test_an_explanation_begins_with_how_the_job_is() -> None:
    found = job("delayed", due_at=LATER, attempts=5, **RETRIED)
    assert str(explain(Facts(job=found, now=NOW, workers=FREE))).splitlines() == [
        "Job j of task 't' is delayed, run 3 of 5.",
        "Run 2 failed: OSError: no way. It is due again at 2026-11-22 20:05:03 UTC, in 5 min 03 s.",
    ]
    assert str(explain(Facts(job=job("unknown", task=""), now=NOW))).startswith("Job j is unknown.\n")


def test_a_long_error_is_cut() -> None:
    found = job("failed", error="E", message="x" * 5000)
    assert len(str(explain(Facts(job=found, now=NOW)))) < 400
