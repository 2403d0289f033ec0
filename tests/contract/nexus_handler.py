"""The serving side of Nexus operations, by raw RPCs: an endpoint of the service, and a poller that answers as an operation's name says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import anyio

from durable_anyio import Client
from durable_anyio._bridge import proto
from durable_anyio.converter import default
from durable_anyio.exceptions import RPCError, RPCStatusCode

from .nexus_workflows import Serves

Response = proto.message("temporal.api.nexus.v1.Response")
HandlerError = proto.message("temporal.api.nexus.v1.HandlerError")
RETRYABLE, NON_RETRYABLE = 1, 2
# The service ends a poll after a minute without a task.
POLL_TIMEOUT = timedelta(seconds=70)


class Refused(Exception):
    """The handler cannot take the call; `retry` as in NexusHandlerErrorRetryBehavior."""

    def __init__(self, type: str, retry: int) -> None:
        super().__init__(f"{type}, as the test wants it")
        self.type = type
        self.retry = retry


@dataclass
class Handler:
    """Serves one endpoint.

    "double" answers at once, "fail" fails, "refuse" and "flaky" are handler errors, "later" is a workflow that ends by itself, "wait" and
    "stubborn" are workflows that end when they are cancelled, "late" is one that starts when the caller has asked for its cancellation,
    "deaf" takes no cancel request. Nobody serves "unserved".
    """

    client: Client
    endpoint: str
    task_queue: str
    started: list[str] = field(default_factory=list)
    calls: dict[str, int] = field(default_factory=dict)
    caller: str = ""

    def start(self, request: Any) -> Any:
        """The answer to a call that needs no workflow."""
        number = default().from_payloads([request.payload], [int])[0]
        self.calls[request.operation] = self.calls.get(request.operation, 0) + 1
        response = Response()
        if request.operation == "refuse":
            raise Refused("BAD_REQUEST", NON_RETRYABLE)
        if request.operation == "flaky" and self.calls["flaky"] == 1:
            raise Refused("INTERNAL", RETRYABLE)
        if request.operation == "fail":
            error = response.start_operation.operation_error
            error.operation_state = "failed"
            error.failure.message = f"{number} is no good"
        else:
            response.start_operation.sync_success.payload.CopyFrom(default().to_payloads([number * 2])[0])
        return response

    async def start_workflow(self, request: Any) -> Any:
        """The answer to a call that a workflow serves, whose end the service reports by the callback."""
        number = default().from_payloads([request.payload], [int])[0]
        waits, survives = request.operation != "later", request.operation == "stubborn"
        service = self.client.service
        workflow_id = f"{self.endpoint}-{request.request_id}"
        start = service.request("StartWorkflowExecution", namespace="default", workflow_id=workflow_id, request_id=request.request_id)
        start.workflow_type.name = Serves.__name__
        start.task_queue.name = self.task_queue
        start.input.payloads.extend(default().to_payloads([number * 2, waits, survives]))
        token = f"{request.operation}/{workflow_id}"
        callback = start.completion_callbacks.add()
        callback.nexus.url = request.callback
        callback.nexus.header.update(request.callback_header)
        # The end may come before this answer: then the service takes the token from here.
        callback.nexus.header["Nexus-Operation-Token"] = token
        await service.call("StartWorkflowExecution", start)
        self.started.append(workflow_id)
        response = Response()
        response.start_operation.async_success.operation_token = token
        return response

    async def cancel(self, request: Any) -> Any:
        kind, _, workflow_id = request.operation_token.partition("/")
        if kind == "deaf":
            raise Refused("NOT_IMPLEMENTED", NON_RETRYABLE)
        await self.client.get_workflow_handle(workflow_id).cancel()
        return Response(cancel_operation={})

    async def handle(self, request: Any) -> Any:
        if request.HasField("cancel_operation"):
            return await self.cancel(request.cancel_operation)
        start = request.start_operation
        if start.operation == "late":
            await self.cancel_requested()
        if start.operation in ("later", "wait", "stubborn", "late", "deaf"):
            return await self.start_workflow(start)
        return self.start(start)

    async def cancel_requested(self) -> None:
        """Returns when the caller's history has the request."""
        service = self.client.service
        request = service.request("GetWorkflowExecutionHistory", namespace="default", wait_new_event=True)
        request.execution.workflow_id = self.caller
        while True:
            page = await service.call("GetWorkflowExecutionHistory", request)
            if any(event.HasField("nexus_operation_cancel_requested_event_attributes") for event in page.history.events):
                return
            request.next_page_token = page.next_page_token

    async def answer(self, task: Any) -> None:
        service = self.client.service
        try:
            response = await self.handle(task.request)
        except Refused as error:
            failed = service.request("RespondNexusTaskFailed", namespace="default", task_token=task.task_token)
            failed.error.CopyFrom(HandlerError(error_type=error.type, retry_behavior=error.retry))
            failed.error.failure.message = str(error)
            await self.respond("RespondNexusTaskFailed", failed)
        else:
            done = service.request("RespondNexusTaskCompleted", namespace="default", task_token=task.task_token)
            done.response.CopyFrom(response)
            await self.respond("RespondNexusTaskCompleted", done)

    async def respond(self, name: str, request: Any) -> None:
        try:
            await self.client.service.call(name, request)
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:  # the service gave the call up and repeats it
                raise

    async def run(self) -> None:
        service = self.client.service
        async with anyio.create_task_group() as tg:
            while True:
                poll = service.request("PollNexusTaskQueue", namespace="default", identity="a handler")
                poll.task_queue.name = self.task_queue
                task = await service.call("PollNexusTaskQueue", poll, timeout=POLL_TIMEOUT)
                if task.task_token:
                    tg.start_soon(self.answer, task)


@asynccontextmanager
async def endpoint(client: Client, name: str, task_queue: str) -> AsyncIterator[None]:
    """An endpoint of the service that leads to a task queue of the namespace `default`."""
    service = client.service
    create = service.request("CreateNexusEndpoint")
    create.spec.name = name
    create.spec.target.worker.namespace = "default"
    create.spec.target.worker.task_queue = task_queue
    made = (await service.call("CreateNexusEndpoint", create)).endpoint
    try:
        yield
    finally:
        with anyio.CancelScope(shield=True):
            await service.call("DeleteNexusEndpoint", service.request("DeleteNexusEndpoint", id=made.id, version=made.version))


@asynccontextmanager
async def serving(client: Client, name: str, task_queue: str, *, is_served: bool = True) -> AsyncIterator[Handler]:
    """A handler behind an endpoint, or nobody. Workflows that it left running are terminated."""
    handler = Handler(client, name, task_queue)
    async with endpoint(client, name, task_queue), anyio.create_task_group() as tg:
        if is_served:
            tg.start_soon(handler.run)
        try:
            yield handler
        finally:
            tg.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                for workflow_id in handler.started:
                    await end(client, workflow_id)


async def end(client: Client, workflow_id: str) -> None:
    try:
        await client.get_workflow_handle(workflow_id).terminate()
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:  # it has ended
            raise
