"""A real server behind a proxy that spoils its answers."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from durable_anyio import Client

from .altering import AlteringProxy

SERVER = os.environ.get("DURABLE_ANYIO_TEST_SERVER", "")


@pytest.fixture
def proxy() -> Iterator[AlteringProxy]:
    with AlteringProxy(SERVER) as one:
        yield one


@pytest.fixture
async def client(proxy: AlteringProxy) -> AsyncIterator[Client]:
    async with Client.connect(proxy.target) as connected:
        yield connected


@pytest.fixture
def unique() -> str:
    return uuid.uuid4().hex[:12]
