"""One scenario played with one kind of worker: what a client does to a workflow, and what the workers told the service."""

from __future__ import annotations

import os
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio

from durable_anyio import Client
from durable_anyio._bridge import proto
from durable_anyio.client import WorkflowHandle
from durable_anyio.exceptions import WorkflowFailureError

from .differences import Difference
from .recording import Recording
from .workers import Workers

SERVER = os.environ.get("DURABLE_ANYIO_TEST_SERVER", "")
#: What the service has for a workflow's failed and finished tasks.
COMPLETED, FAILED = "workflow_task_completed_event_attributes", "workflow_task_failed_event_attributes"


class Play:
    """`handle` is the workflow's; `path` is the file that `held` and `beating` wait for."""

    def __init__(self, client: Client, workers: Workers, path: Path) -> None:
        self.client = client
        self.workers = workers
        self.path = path
        self.id = f"proxy-{uuid.uuid4().hex[:12]}"
        self.handle: WorkflowHandle[Any, Any]

    async def start(self, workflow: str, what: str, **options: Any) -> None:
        options = {"task_timeout": timedelta(seconds=10), "run_timeout": timedelta(seconds=90), **options}
        self.handle = await self.client.start_workflow(
            workflow, what, options.pop("path", str(self.path)), id=self.id, task_queue=self.workers.queue, **options
        )

    async def result(self) -> Any:
        return await self.handle.result()

    async def failure(self) -> WorkflowFailureError:
        try:
            outcome = await self.handle.result()
        except WorkflowFailureError as error:
            return error
        raise AssertionError(f"the workflow should have failed, and gave {outcome!r}")

    def release(self) -> None:
        self.path.touch()

    async def until(self, kind: str, count: int = 1) -> None:
        """Until the history has so many events with attributes of that kind."""
        while True:
            history = await self.handle.fetch_history()
            if sum(event.HasField(kind) for event in history.events) >= count:
                return
            await anyio.sleep(0.02)

    async def until_idle(self) -> None:
        """Until the workflow has no task."""
        tasks = (
            "workflow_task_scheduled",
            "workflow_task_started",
            "workflow_task_completed",
            "workflow_task_failed",
            "workflow_task_timed_out",
        )
        while True:
            told = [
                name for event in (await self.handle.fetch_history()).events for name in tasks if event.HasField(f"{name}_event_attributes")
            ]
            if told[-1] == "workflow_task_completed":
                return
            await anyio.sleep(0.02)

    async def until_told(self, method: str, count: int = 1) -> None:
        """Until the worker has sent so many requests of `method`, or of those that begin so."""
        while sum(call.method.startswith(method) for call in self.workers.proxy.calls) < count:
            await anyio.sleep(0.02)

    async def until_update(self, update_id: str) -> None:
        """Until the service has the update in hand, in whatever stage it is."""
        method = proto.message("temporal.api.workflowservice.v1.PollWorkflowExecutionUpdateRequest")
        request = method(namespace="default")
        request.update_ref.workflow_execution.workflow_id = self.id
        request.update_ref.update_id = update_id
        with anyio.fail_after(30):
            while True:
                with suppress(Exception):
                    await self.client.service.call("PollWorkflowExecutionUpdate", request)
                    return
                await anyio.sleep(0.02)

    def recording(self) -> Recording:
        names = {self.id: "<workflow>", self.workers.queue: "<queue>", str(self.path): "<path>"}
        return self.workers.proxy.recording(names)


@dataclass(frozen=True)
class Scenario:
    name: str
    act: Callable[[Play], Awaitable[None]]
    differences: Sequence[Difference] = ()
    #: Changes a recording before it is compared, such that what may be there in any number is there once.
    reduce: Callable[[Recording], Recording] = field(default=lambda recording: recording)
