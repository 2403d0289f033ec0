"""Queries and updates: what is answered, refused and left behind."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anyio
import pytest

from durable_anyio import Client
from durable_anyio.client import RetryConfig, WorkflowUpdateStage
from durable_anyio.exceptions import DurableError, RPCError, WorkflowQueryFailedError, WorkflowUpdateFailedError

from .differences import ANYTHING, SPELT_OUT, TEXT, Difference
from .play import COMPLETED, SERVER, Play, Scenario
from .recording import Recording

Act = Callable[[Play], Awaitable[None]]
ACCEPTED = WorkflowUpdateStage.ACCEPTED


async def waits(play: Play, what: str = "wait", **options: Any) -> None:
    """A workflow that waits, held by its worker."""
    await play.start("Messages", what)
    await play.workers.start(**options)
    await play.until(COMPLETED)


async def ends(play: Play) -> None:
    await play.handle.signal("go")
    assert await play.result() == "went"


def asks(name: str, *args: Any, fails: bool = False, **options: Any) -> Act:
    async def act(play: Play) -> None:
        await waits(play, **options)
        if fails:
            with pytest.raises(WorkflowQueryFailedError):
                await play.handle.query(name, *args)
        else:
            await play.handle.query(name, *args)
        await ends(play)

    return act


async def closed(play: Play) -> None:
    """Nobody has it in its cache any more."""
    await waits(play)
    await ends(play)
    assert await play.handle.query("state") == []


async def after_a_restart(play: Play) -> None:
    await waits(play)
    await play.workers.stop()
    await play.workers.start()
    assert await play.handle.query("state") == []
    await ends(play)


async def pending(play: Play) -> None:
    """A signal and a query wait for a worker, so that one task brings both. The service keeps one query a workflow for its next task: which
    of two it refuses does not matter, the other one is kept then."""
    await waits(play)
    await play.workers.stop()
    await play.handle.signal("other")
    refused = anyio.Event()
    impatient = await Client.connect(SERVER, retry_config=RetryConfig(max_elapsed_time_millis=1))
    handle = impatient.get_workflow_handle(play.id)

    async def ask() -> None:
        try:
            assert await handle.query("state") == []
        except RPCError:
            refused.set()

    async with impatient, anyio.create_task_group() as group:
        group.start_soon(ask)
        group.start_soon(ask)
        await refused.wait()
        await play.workers.start()
    await ends(play)


def updates(name: str, *args: Any, error: type[Exception] | None = None) -> Act:
    async def act(play: Play) -> None:
        await waits(play)
        if error is not None:
            with pytest.raises(error):
                await play.handle.execute_update(name, *args)
        else:
            await play.handle.execute_update(name, *args)
        await ends(play)

    return act


def later(name: str, *args: Any, error: type[Exception] | None = None) -> Act:
    """Accepted in one task, completed in another."""

    async def act(play: Play) -> None:
        await waits(play, "wait_twice")
        update = await play.handle.start_update(name, *args, wait_for_stage=ACCEPTED)
        await play.handle.signal("go")
        if error is not None:
            with pytest.raises(error):
                await update.result()
        else:
            await update.result()
        await play.handle.signal("go")
        assert await play.result() == "went"

    return act


async def with_the_start(play: Play) -> None:
    """Two updates, both in the first task."""
    await play.start("Messages", "wait")
    async with anyio.create_task_group() as group:
        for name in ("one", "two"):
            group.start_soon(partial(play.handle.execute_update, "book", name, id=name))
            await play.until_update(name)
        await play.workers.start()
    await ends(play)


async def one_of_two_refused(play: Play) -> None:
    async def refused() -> None:
        with pytest.raises(WorkflowUpdateFailedError):
            await play.handle.execute_update("checked", "bad", id="refused")

    await play.start("Messages", "wait")
    async with anyio.create_task_group() as group:
        group.start_soon(refused)
        await play.until_update("refused")
        group.start_soon(partial(play.handle.execute_update, "checked", "good", id="good"))
        await play.until_update("good")
        await play.workers.start()
    await ends(play)


async def left_behind(play: Play) -> None:
    """Accepted, and the run continues as new."""
    await waits(play, "go_on")
    await play.handle.start_update("book_forever", wait_for_stage=ACCEPTED)
    await play.handle.signal("go")
    await play.until_told("RespondWorkflowTaskCompleted", 4)
    await ends(play)


async def at_the_end(play: Play) -> None:
    """Accepted, and the run ends."""
    await waits(play, "wait")
    update = await play.handle.start_update("book_forever", wait_for_stage=ACCEPTED)
    await ends(play)
    with pytest.raises(DurableError):
        await update.result()


def shape_of_metadata(recording: Recording) -> Recording:
    """Without the queries that every workflow has, which the other SDK lists among its own."""
    for payload in answers(recording):
        definition = payload["data"]["definition"]
        definition["queryDefinitions"] = [one for one in definition["queryDefinitions"] if not one["name"].startswith("__")]
    return recording


def shape_of_stack(recording: Recording) -> Recording:
    """That there is one: the other SDK's has only its own lines in it."""
    for payload in answers(recording):
        payload["data"] = payload["data"] != "" and type(payload["data"]).__name__
    return recording


def answers(recording: Recording) -> list[dict[str, Any]]:
    return [payload for told in recording["workflow"] for payload in told.get("query_result", {}).get("payloads", [])]


TYPED = Difference(r"workflow\[1\]\.failure", None, ANYTHING, "callers of ours get the failure's type and details, not only its text")
WORDS = Difference(r"workflow\[1\]\.error_message", ANYTHING, ANYTHING, TEXT)
DESCRIBED = [
    Difference(r"workflow\[1\]\.query_result\..*\.(query|update)Definitions\[\d\]\.description", None, ANYTHING, "the handler's docstring"),
]
SCENARIOS = [
    Scenario("a query", asks("state")),
    Scenario("a query with another worker", after_a_restart),
    Scenario("a query without a cache", asks("state", max_cached_workflows=0)),
    Scenario("a query of a closed workflow", closed),
    Scenario("a query beside a task", pending),
    Scenario("a query that fails", asks("broken_query", "plain", fails=True), [TYPED]),
    Scenario("a query that fails with details", asks("broken_query", "application", fails=True), [TYPED]),
    Scenario("a query that nobody knows", asks("nobody", fails=True), [TYPED, WORDS]),
    Scenario("a query without its argument", asks("broken_query", fails=True), [TYPED, WORDS]),
    Scenario("the query of the stack", asks("__stack_trace"), reduce=shape_of_stack),
    Scenario("the query of the metadata", asks("__temporal_workflow_metadata"), DESCRIBED, shape_of_metadata),
    Scenario("an update", updates("book", "one")),
    Scenario("an update without a result", updates("book_nothing")),
    Scenario(
        "an update with an activity",
        updates("book_with_activity", "one"),
        [
            Difference(
                r"workflow\[1\]\.commands\[1\]\.event_group_markers", ANYTHING, None, "we do not tell which update a command belongs to"
            )
        ],
    ),
    Scenario("an update completed later", later("book_later", "one")),
    Scenario("an update that fails", updates("broken_update", False, error=WorkflowUpdateFailedError)),
    Scenario("an update that fails later", later("broken_update", True, error=WorkflowUpdateFailedError)),
    Scenario("an update refused", updates("checked", "bad", error=WorkflowUpdateFailedError)),
    Scenario("an update refused with details", updates("checked", "application", error=WorkflowUpdateFailedError)),
    Scenario("an update that nobody knows", updates("nobody", error=WorkflowUpdateFailedError)),
    Scenario("an update without its argument", updates("checked", error=WorkflowUpdateFailedError)),
    Scenario("two updates in one task", with_the_start),
    Scenario("two updates, one refused", one_of_two_refused),
    Scenario("an update at a continue-as-new", left_behind, SPELT_OUT),
    Scenario("an update at the end", at_the_end),
]
