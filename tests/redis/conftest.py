"""What the transport's tests share: clients of the server under test, with a fault proxy in between when wanted."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable

import pytest
from tests.support.proxy import FaultProxy, fault_proxy
from tests.support.servers import Server

from anyq._redis.client import Client
from anyq._redis.settings import TransportSettings

IMPATIENT = TransportSettings(
    connect_timeout=1.0, reply_timeout=0.3, backoff_base=0.01, backoff_maximum=0.05, ping_interval=0.05
)
"""For tests that wait for a timeout: short, yet long beside what a loaded machine takes for a reply."""


@pytest.fixture
async def client(anyio_backend: object, redis_url: str) -> AsyncGenerator[Client]:
    async with Client(redis_url) as client:
        yield client


@pytest.fixture
async def proxy(anyio_backend: object, server: Server, redis_url: str) -> AsyncGenerator[FaultProxy]:
    async with fault_proxy(server.socket) as proxy:
        yield proxy


@pytest.fixture
def blocked_loop() -> Callable[[float], None]:
    """Block the event loop, as a handler does that computes."""

    def block(seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            pass

    return block
