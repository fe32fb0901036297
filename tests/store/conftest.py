"""A queue on the server under test, played by hand."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest
from tests.support.hands import Table

from anyq._core.keys import Keys
from anyq._redis.client import Client


@pytest.fixture
async def client(anyio_backend: object, redis_url: str) -> AsyncGenerator[Client]:
    async with Client(redis_url) as client:
        yield client


@pytest.fixture
def keys() -> Keys:
    return Keys("anyq", "q")


@pytest.fixture
def table(client: Client, keys: Keys) -> Table:
    return Table(client, keys)
