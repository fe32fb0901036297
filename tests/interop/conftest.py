"""A server that ChasquiMQ can use, for each test; run by `nox -s interop`, never collected with the rest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from bench.environments import python_of
from tests.support.servers import Server, version_of

NEEDED = ("redis", 8, 6)  # ChasquiMQ sends XADD with IDMP


@pytest.fixture(scope="session", autouse=True)
def chasquimq_is_installed() -> None:
    """Once, before the first test is timed."""
    python_of("chasquimq")


@pytest.fixture
def url(server_program: Path, start_server: Callable[..., Server]) -> str:
    """A new server, over TCP: ChasquiMQ knows no unix sockets."""
    if version_of(server_program) < NEEDED:
        raise pytest.UsageError(f"ChasquiMQ needs Redis 8.6, not {server_program}: --server PATH")
    return start_server(tcp=True).tcp_url
