"""Where the contract tests run: the embedded engine always, a real server when one is named."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator

import pytest

from durable_anyio import Client
from durable_anyio.testing import WorkflowEnvironment

SERVER = os.environ.get("DURABLE_ANYIO_TEST_SERVER", "")
REAL = pytest.param(
    "real", marks=pytest.mark.skipif(not SERVER, reason="no real Temporal server: DURABLE_ANYIO_TEST_SERVER=HOST:PORT names one")
)


@pytest.fixture(params=["embedded", REAL])
def place(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def client(place: str) -> AsyncIterator[Client]:
    """A connection to the place under test: an engine in virtual time, or the real server."""
    if place == "real":
        async with Client.connect(SERVER) as real:
            yield real
    else:
        async with WorkflowEnvironment.time_skipping() as environment:
            yield environment.client


@pytest.fixture
def unique() -> str:
    return uuid.uuid4().hex[:12]
