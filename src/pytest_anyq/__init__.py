"""The pytest plugin: a private server for the session, and queues on it that no other test sees.

It lies beside the package and not inside of it: pytest imports its plugins at every start, also in projects that have
AnyQ installed and do not test with it. So nothing is imported here before a fixture is asked for. The fixtures are
plain functions: they suit tests of AnyIO's plugin, of pytest-trio and of pytest-asyncio alike.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from anyq import Queue


@pytest.fixture(scope="session")
def anyq_url() -> Generator[str]:
    """The URL of a server that is private to this test process: started when first asked for, gone at the end."""
    from anyq.embedded import EmbeddedServer

    # With an append-only file no worker warns that this server forgets; it lies in a temporary directory.
    with EmbeddedServer(arguments=("--appendonly", "yes")) as server:
        yield server.url


@pytest.fixture
def anyq_queue(anyq_url: str) -> Queue:
    """A fresh queue on the private server, named ``tests``; no other test sees its jobs."""
    from anyq import Queue

    return Queue("tests", anyq_url, prefix=_fresh())


@pytest.fixture
def anyq_redirect(anyq_url: str) -> Generator[Callable[..., None]]:
    """Send your program's own queues to the private server until the test ends: ``anyq_redirect(emails, reports)``.

    Each has fresh keys there, so it is empty, and no other test sees its jobs. Call it before the queues are opened; in
    an ``autouse`` fixture it keeps all tests away from the real server.
    """
    ways_back: list[Callable[[], None]] = []
    prefix = _fresh()

    def redirect(*queues: Queue) -> None:
        ways_back.extend(queue.redirect(anyq_url, prefix=prefix) for queue in queues)

    yield redirect
    for way_back in reversed(ways_back):
        way_back()


def _fresh() -> str:
    return f"test-{secrets.token_hex(6)}"
