"""The page about metrics, against the code: each name on it is measured, each that is measured is on it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from opentelemetry.metrics import Meter, MeterProvider, NoOpMeter

from anyq import Queue
from anyq.metrics import JobOutcome
from anyq.metrics.numbers import COUNTED
from anyq.metrics.opentelemetry import OpenTelemetrySink
from anyq.metrics.prometheus import PrometheusSink

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
TABLES = [
    [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]
    for lines in (block.splitlines() for block in re.findall(r"(?:^\|.*\n)+", PAGE, re.MULTILINE))
]
OURS, _, THEIRS = TABLES

#: Which values a label of ours may have.
VALUES: dict[str, set[str]] = {
    "outcome": set(get_args(get_type_hints(JobOutcome)["outcome"])),
    "change": {"acquired", "lost"},
    "state": {"ready", "held", "delayed", "waiting", "aside", "dead", "running", "buffered"},
}

#: What the others measure.
CHASQUIMQ = """
    promoter_promoted_total promoter_lock_acquired_total promoter_lock_lost_total consumer_reclaimed_total
    jobs_completed_total jobs_failed_total retries_scheduled_total dlq_routed_total delayed_zset_depth
    promoter_oldest_pending_lag_ms consumer_batch_size handler_duration_seconds retry_backoff_seconds
""".split()
REDIQ = """
    tasks_enqueued_total tasks_processed_total tasks_failed_total tasks_retried_total task_duration_seconds
    queue_pending_tasks queue_active_tasks queue_delayed_tasks queue_retry_tasks queue_dead_tasks
    worker_active_tasks worker_heartbeat_timestamp processing_duration_seconds
""".split()


def measured() -> set[str]:
    """The names of what Prometheus is shown."""
    families = PrometheusSink(Queue("work")).describe()
    return {f"{one.name}_total" if one.type == "counter" else one.name for one in families}


def test_the_table_has_exactly_what_prometheus_is_shown() -> None:
    named = [name for row in OURS for name in re.findall(r"`(\w+)`", row[0])]
    assert len(named) == len(set(named))
    assert set(named) == measured()


@pytest.mark.parametrize("row", THEIRS, ids=lambda row: row[0].strip("`"))
def test_what_another_s_metric_is_called_here_is_measured(row: list[str]) -> None:
    found = re.findall(r"`(anyq_\w+)(?:\{(\w+)=\"(\w+)\"\})?`", row[1])
    assert found
    for name, label, value in found:
        assert name in measured()
        assert not label or value in VALUES[label]


def test_every_metric_of_the_others_has_its_row() -> None:
    theirs = {f"chasquimq_{name}" for name in CHASQUIMQ} | {f"rediq_{name}" for name in REDIQ}
    assert {row[0].strip("`") for row in THEIRS} == theirs


class Listener(NoOpMeter, MeterProvider):
    """Notes the names of the instruments that are made."""

    def __init__(self) -> None:
        super().__init__("anyq")
        self.names: set[str] = set()

    def get_meter(self, *_: Any, **__: Any) -> Meter:
        return self

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if not name.startswith("create_"):
            return found

        def create(instrument: str, *arguments: Any, **more: Any) -> Any:
            self.names.add(instrument)
            return found(instrument, *arguments, **more)

        return create


def test_the_page_names_what_opentelemetry_is_told() -> None:
    listener = Listener()
    OpenTelemetrySink(Queue("work"), meter_provider=listener)
    start = PAGE.index("`OpenTelemetrySink` measures")
    told = set(re.findall(r"`((?:anyq|messaging)\.[a-z_.]+)`", PAGE[start : PAGE.index("\n\n", start)]))
    told -= {
        "anyq.state",
        "anyq.change",
        "messaging.client.sent.messages",
    }  # labels, and what `instrument` counts
    assert "anyq.queue.added_jobs` and so on" in PAGE
    assert listener.names == told | {f"anyq.queue.{name}" for name, _, _ in COUNTED.values()}
