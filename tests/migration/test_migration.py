"""Running workflows move from Temporal's Python SDK to this package, and back, on a real server."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import pytest

from durable_anyio import Client, Replayer, Worker
from durable_anyio.client import WorkflowHandle

from .programs import ACTIVITIES, PROGRAMS
from .sdk import VERSIONS, official_worker

SERVER = os.environ.get("DURABLE_ANYIO_TEST_SERVER", "")
pytestmark = [
    pytest.mark.anyio,
    # The first test makes the other SDK's environment.
    pytest.mark.timeout(300),
    pytest.mark.skipif(not SERVER, reason="no real Temporal server: DURABLE_ANYIO_TEST_SERVER=HOST:PORT names one"),
]
Handle = WorkflowHandle[Any, Any]


async def nothing(handle: Handle) -> None: ...


async def before_account(handle: Handle) -> None:
    await handle.signal("add", "one")
    assert await handle.execute_update("book", "two") >= 1


async def after_account(handle: Handle) -> None:
    assert await handle.execute_update("book", "three") >= 2


async def before_together(handle: Handle) -> None:
    await handle.signal("early")


@dataclass(frozen=True)
class Move:
    """A workflow, what is done before its first worker starts, before it moves and after, and what comes out."""

    name: str
    result: Any
    early: Callable[[Handle], Awaitable[None]] = nothing
    before: Callable[[Handle], Awaitable[None]] = nothing
    after: Callable[[Handle], Awaitable[None]] = nothing
    #: Why it cannot go back to the other SDK.
    one_way: str = ""


MOVES = [
    Move("Steps", [True, True, "last"]),
    Move("Family", ["child one", "child two"]),
    Move("Account", ["run", "signal one", "update three", "update two"], before=before_account, after=after_account),
    Move("Together", "last", early=before_together),
    Move("Changed", [True, "new", True, True, "last"]),
    Move("Deadline", ["in time", "beside", "last"], one_way="its timers stand behind the other commands of their step"),
]


@pytest.fixture(params=MOVES, ids=lambda move: move.name)
def move(request: pytest.FixtureRequest) -> Move:
    assert isinstance(request.param, Move)
    return request.param


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest, anyio_backend_name: str) -> str:
    if request.param != VERSIONS[0] and anyio_backend_name == "trio":
        pytest.skip("the older SDK is tried on asyncio")
    return str(request.param)


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with Client.connect(SERVER) as client:
        yield client


def own_worker(client: Client, queue: str) -> AbstractAsyncContextManager[Any]:
    return Worker(client, task_queue=queue, workflows=PROGRAMS, activities=ACTIVITIES)


async def moves(client: Client, move: Move, workers: list[Callable[[str], AbstractAsyncContextManager[Any]]]) -> Handle:
    """Starts the workflow under the first worker and ends it under the second."""
    unique = uuid.uuid4().hex[:12]
    queue = f"migration-{unique}"
    handle: Handle = await client.start_workflow(move.name, id=f"{move.name}-{unique}", task_queue=queue)
    await move.early(handle)
    first, second = workers
    async with first(queue):
        await move.before(handle)
        assert await handle.execute_update("reached")
    async with second(queue):
        await move.after(handle)
        await handle.signal("go")
        assert await handle.result() == move.result
    return handle


async def test_to_this_package(client: Client, move: Move, version: str) -> None:
    handle = await moves(client, move, [lambda queue: official_worker(version, SERVER, queue), lambda queue: own_worker(client, queue)])
    history = await handle.fetch_history()
    Replayer(workflows=PROGRAMS).replay(history)


async def test_to_the_official_sdk(client: Client, move: Move, version: str) -> None:
    if move.one_way:
        pytest.skip(move.one_way)
    await moves(client, move, [lambda queue: own_worker(client, queue), lambda queue: official_worker(version, SERVER, queue)])
