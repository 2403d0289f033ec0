"""The shop's HTTP interface, the same on either server: it knows workflows and their client, no event loop."""

from __future__ import annotations

import anyio
import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from workflows import TASK_QUEUE, Checkout, Order

from durable_anyio.client import Client, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from durable_anyio.exceptions import RPCError, RPCStatusCode, WorkflowAlreadyStartedError, WorkflowFailureError

# A caller is not kept waiting longer than this; the order goes on, and a repeated request waits for it again.
WAIT_SECONDS = 10.0


class NewOrder(msgspec.Struct):
    """The body of a PUT."""

    items: list[str]
    cents: int


def workflow_id(number: int) -> str:
    return f"order-{number}"


async def put_order(request: Request) -> Response:
    """Starts the order's workflow, or finds it, and waits for its result, `?wait=` seconds. Putting one order twice is one order."""
    client: Client = request.state.client
    number = request.path_params["number"]
    try:
        wait_seconds = min(float(request.query_params.get("wait", WAIT_SECONDS)), WAIT_SECONDS)
        body = msgspec.json.decode(await request.body(), type=NewOrder)
    except ValueError as error:
        return JSONResponse({"error": str(error)}, status_code=400)
    try:
        handle = await client.start_workflow(
            Checkout.run,
            Order(number, body.items, body.cents),
            id=workflow_id(number),
            task_queue=TASK_QUEUE,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        )
    except WorkflowAlreadyStartedError:  # it has run already
        handle = client.get_workflow_handle_for(Checkout.run, workflow_id(number))
    with anyio.move_on_after(wait_seconds):  # gives up the waiting, not the workflow
        try:
            return JSONResponse({"packed": await handle.result()})
        except WorkflowFailureError as error:
            return JSONResponse({"error": str(error.cause)}, status_code=409)
    return JSONResponse({"stage": await handle.query(Checkout.current_stage)}, status_code=202)


async def get_order(request: Request) -> Response:
    """Asks the workflow itself, also one that ended before this process began."""
    handle = request.state.client.get_workflow_handle_for(Checkout.run, workflow_id(request.path_params["number"]))
    try:
        return JSONResponse({"stage": await handle.query(Checkout.current_stage)})
    except RPCError as error:
        return not_found(error)


async def approve_order(request: Request) -> Response:
    """Signals the workflow; when this returns, the signal is stored."""
    handle = request.state.client.get_workflow_handle_for(Checkout.run, workflow_id(request.path_params["number"]))
    try:
        await handle.signal(Checkout.approve)
    except RPCError as error:
        return not_found(error)
    return Response(status_code=204)


def not_found(error: RPCError) -> Response:
    if error.status is not RPCStatusCode.NOT_FOUND:
        raise error
    return JSONResponse({"error": "there is no such order, or it is closed"}, status_code=404)


routes = [
    Route("/orders/{number:int}", put_order, methods=["PUT"]),
    Route("/orders/{number:int}", get_order, methods=["GET"]),
    Route("/orders/{number:int}/approval", approve_order, methods=["POST"]),
]
