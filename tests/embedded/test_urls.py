"""What `resolve` makes of a URL."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import pytest
import redis

from anyq.embedded import EmbeddedServer, resolve


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost:6379/0",
        "rediss://:secret@example.com",
        "unix:///run/redis.sock?db=1",
        "",
        "nonsense",
    ],
)
def test_other_urls_come_back_unchanged(url: str) -> None:
    assert resolve(url) == url


@pytest.mark.parametrize(
    "url", ["embedded://jobs", "embedded://host/jobs", "embedded:///", "embedded:///a%00b"]
)
def test_a_url_that_is_neither_form_is_refused_and_told_both(url: str) -> None:
    with pytest.raises(ValueError, match="embedded:///path/to/directory"):
        resolve(url)


@pytest.mark.parametrize("name", ["plain", "with space", "100%", "ümläut", "a?b#c", "x" * 120])
def test_any_directory_can_be_named_and_the_query_is_kept(name: str, tmp_path: Path) -> None:
    home = tmp_path / name
    with EmbeddedServer(home) as server:
        url = resolve(f"embedded://{quote(str(home))}?db=3&client_name=me")
        assert url == f"{server.url}?db=3&client_name=me"
        with redis.Redis.from_url(url, decode_responses=True) as client:
            about = cast(Any, client).client_info()
        assert (about["db"], about["name"]) == (3, "me")
        assert len(str(server.socket)) <= 100


def test_different_ways_to_write_a_directory_are_one_server(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "jobs")
    with EmbeddedServer(tmp_path / "jobs"):
        ways = ("jobs", "link", "other/../jobs", "jobs/")
        assert len({resolve(f"embedded://{tmp_path}/{way}") for way in ways}) == 1


def test_it_costs_next_to_nothing_while_the_server_runs(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path / "jobs"):
        url = f"embedded://{tmp_path}/jobs"
        resolve(url)
        costs: list[float] = []
        for _ in range(50):
            began = time.perf_counter()
            resolve(url)
            costs.append(time.perf_counter() - began)
    assert min(costs) < 0.001
