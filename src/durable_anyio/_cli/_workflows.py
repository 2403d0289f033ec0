"""`durable-anyio workflow …`."""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

from durable_anyio.client import Client, WorkflowHandle

from .._bridge import proto
from . import _output

_EventType = proto.enum("temporal.api.enums.v1.EventType")


async def _start(client: Client, options: argparse.Namespace) -> WorkflowHandle[Any, Any]:
    return await client.start_workflow(
        options.type,
        *options.input,
        id=options.workflow_id or str(uuid4()),
        task_queue=options.task_queue,
        execution_timeout=options.execution_timeout,
        run_timeout=options.run_timeout,
        task_timeout=options.task_timeout,
    )


def _handle(client: Client, options: argparse.Namespace) -> WorkflowHandle[Any, Any]:
    return client.get_workflow_handle(options.workflow_id, run_id=options.run_id)


async def start(client: Client, options: argparse.Namespace) -> None:
    handle = await _start(client, options)
    _output.fields({"workflow id": handle.id, "run id": handle.result_run_id})


async def execute(client: Client, options: argparse.Namespace) -> None:
    _output.value(await (await _start(client, options)).result())


async def result(client: Client, options: argparse.Namespace) -> None:
    _output.value(await _handle(client, options).result())


async def listing(client: Client, options: argparse.Namespace) -> None:
    runs = []
    async for run in client.list_workflows(options.query, page_size=min(options.limit, 1000)):
        runs.append(run)
        if len(runs) == options.limit:
            break
    if options.format == "json":
        for run in runs:
            _output.message(run.raw)
        return
    status = [run.status.name if run.status is not None else "?" for run in runs]
    rows = [(state, run.id, run.workflow_type, _output.time(run.start_time)) for state, run in zip(status, runs, strict=True)]
    _output.table(("STATUS", "WORKFLOW ID", "TYPE", "STARTED"), rows)


async def count(client: Client, options: argparse.Namespace) -> None:
    print(await client.count_workflows(options.query))


async def describe(client: Client, options: argparse.Namespace) -> None:
    seen = await _handle(client, options).describe()
    if options.format == "json":
        _output.message(seen.raw, indent=2)
        return
    _output.fields(
        {
            "workflow id": seen.id,
            "run id": seen.run_id,
            "type": seen.workflow_type,
            "task queue": seen.task_queue,
            "status": seen.status.name if seen.status is not None else "?",
            "started": _output.time(seen.start_time),
            "closed": _output.time(seen.close_time) if seen.close_time else None,
            "events": seen.history_length,
            **{f"memo {name}": value for name, value in seen.memo.items()},
        }
    )
    for activity in seen.pending_activities:
        print(f"activity {activity.activity_type} ({activity.activity_id}): {activity.state}, attempt {activity.attempt}")
    for problem in seen.problems:
        print(f"problem: {problem}")


async def show(client: Client, options: argparse.Namespace) -> None:
    history = await _handle(client, options).fetch_history()
    if options.format == "json":
        print(history.to_json())
        return
    rows = []
    for event in history.to_proto().events:
        name = _EventType.Name(event.event_type).removeprefix("EVENT_TYPE_").replace("_", " ").lower()
        rows.append((event.event_id, event.event_time.ToJsonString(), name))
    _output.table(("ID", "TIME", "EVENT"), rows)


async def signal(client: Client, options: argparse.Namespace) -> None:
    await _handle(client, options).signal(options.name, *options.input)


async def query(client: Client, options: argparse.Namespace) -> None:
    _output.value(await _handle(client, options).query(options.name, *options.input))


async def update(client: Client, options: argparse.Namespace) -> None:
    _output.value(await _handle(client, options).execute_update(options.name, *options.input))


async def cancel(client: Client, options: argparse.Namespace) -> None:
    await _handle(client, options).cancel()


async def terminate(client: Client, options: argparse.Namespace) -> None:
    await _handle(client, options).terminate(reason=options.reason)


ACTIONS: dict[str, Callable[[Client, argparse.Namespace], Awaitable[None]]] = {
    "start": start,
    "execute": execute,
    "result": result,
    "list": listing,
    "count": count,
    "describe": describe,
    "show": show,
    "signal": signal,
    "query": query,
    "update": update,
    "cancel": cancel,
    "terminate": terminate,
}
