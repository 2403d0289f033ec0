"""What all tests share: both hosts, an engine with a virtual clock, names of their own, and the choice of a real service."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from itertools import count
from uuid import uuid4

import pytest

from durable_anyio.client import Client
from durable_anyio.testing import WorkflowEnvironment

_numbers = count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--real-server",
        metavar="HOST:PORT",
        default=os.environ.get("DURABLE_ANYIO_TEST_SERVER"),
        help="run contract tests on this Temporal service too (default: $DURABLE_ANYIO_TEST_SERVER)",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "service_target" in metafunc.fixturenames:
        targets = ["sqlite::memory:"]
        if server := metafunc.config.getoption("--real-server"):
            targets.append(server)
        metafunc.parametrize("service_target", targets, ids=["embedded", "real"][: len(targets)])


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


@pytest.fixture
async def service(anyio_backend: str, service_target: str) -> AsyncIterator[Client]:
    """A client of the embedded engine and, where one was named, of the real service: for contract tests."""
    async with Client.connect(service_target) as client:
        yield client
