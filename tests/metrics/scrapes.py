"""Reading what is scraped, as Prometheus does."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import attrs
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families


@attrs.define
class Scrape:
    """One answer of the endpoint."""

    status: int
    content_type: str
    text: str

    @property
    def families(self) -> dict[str, Metric]:
        return {family.name: family for family in text_string_to_metric_families(self.text)}

    def value(self, sample: str, **labels: str) -> float | None:
        """The value of a sample, by its name and labels; ``None`` if it is not there."""
        found = [
            one.value
            for family in self.families.values()
            for one in family.samples
            if one.name == sample and one.labels == labels
        ]
        assert len(found) <= 1
        return found[0] if found else None

    def labels(self, sample: str, label: str) -> set[str]:
        return {
            one.labels[label]
            for family in self.families.values()
            for one in family.samples
            if one.name == sample
        }


async def scrape(app: Any, accept: str = "text/plain") -> Scrape:
    """Ask an ASGI application, as a server would."""
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "GET", "path": "/metrics", "query_string": b"",
        "headers": [(b"accept", accept.encode())],
    }  # fmt: skip
    await app(scope, receive, send)
    start, *bodies = sent
    headers = {name.lower(): value for name, value in start["headers"]}
    text = b"".join(body["body"] for body in bodies).decode()
    return Scrape(start["status"], headers[b"content-type"].decode(), text)
