"""What all tests share: both hosts, an engine with a virtual clock, names of their own."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from itertools import count
from uuid import uuid4

import pytest

from durable_anyio.testing import WorkflowEnvironment

# A shell that starts the tests in the background leaves the interrupt ignored, and the processes that tests start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_numbers = count(1)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """The host: every test that is `async def` runs on both."""
    return str(request.param)


@pytest.fixture
async def env(anyio_backend: str) -> AsyncIterator[WorkflowEnvironment]:
    """An embedded engine in memory with a virtual clock."""
    async with WorkflowEnvironment.time_skipping() as environment:
        yield environment


@pytest.fixture
def task_queue(request: pytest.FixtureRequest) -> str:
    """A task queue of the test's own, on a shared service too."""
    return f"{request.node.originalname}-{next(_numbers)}-{uuid4().hex[:8]}"
