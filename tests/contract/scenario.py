"""A scenario of the contract tests: a workflow, what is done to it, and what comes out."""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from durable_anyio import Client, WorkflowHistory
from durable_anyio.client import WorkflowHandle

Handle = WorkflowHandle[Any, Any]
#: Names a directory to write the real server's histories to: how `tests/histories` is made.
RECORD = os.environ.get("DURABLE_ANYIO_RECORD", "")
ROOT = Path(__file__).parents[2]


def record(name: str, history: WorkflowHistory) -> None:
    """Keeps a scenario's history if asked to; its stack traces do not name this checkout."""
    if RECORD:
        file = re.sub(r"\W+", "_", name)
        (Path(RECORD) / f"{file}.json").write_text(history.to_json().replace(f"{ROOT}/", ""), encoding="utf-8")


@dataclass
class Scenario:
    """A workflow to start with its arguments, what to do meanwhile, and what comes out: `check` gets the handle."""

    name: str
    workflow: Any
    args: tuple[object, ...]
    check: Callable[[Handle], Awaitable[None]]
    during: Callable[[Handle], Awaitable[None]] | None = None
    task_timeout: timedelta | None = None
    #: Starts the workflow in another way; gets the client, the task queue and the workflow's id.
    begin: Callable[[Client, str, str], Awaitable[Handle]] | None = None
    #: The first version of the real server on which it comes out so.
    since: tuple[int, ...] = ()

    async def play(self, client: Client, task_queue: str, workflow_id: str) -> Handle:
        if self.begin is not None:
            handle = await self.begin(client, task_queue, workflow_id)
        else:
            handle = await client.start_workflow(
                self.workflow.run, *self.args, id=workflow_id, task_queue=task_queue, task_timeout=self.task_timeout
            )
        if self.during is not None:
            await self.during(handle)
        await self.check(handle)
        return handle


async def server_version(client: Client) -> tuple[int, ...]:
    information = await client.service.call("GetSystemInfo", client.service.request("GetSystemInfo"))
    return tuple(int(part) for part in information.server_version.split("-")[0].split("."))


def gives(expected: object) -> Callable[[Handle], Awaitable[None]]:
    async def check(handle: Handle) -> None:
        assert await handle.result() == expected

    return check
