"""Resets: where in a history a new run begins."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from . import _visibility
from ._bridge import proto
from .common import ResetReapplyExcludeType

if TYPE_CHECKING:
    from ._handle import WorkflowHandle

__all__ = ["ResetType", "reset"]

_EventType = proto.enum("temporal.api.enums.v1.EventType")
_ENDS = tuple(_EventType.Value(f"EVENT_TYPE_WORKFLOW_TASK_{end}") for end in ("COMPLETED", "FAILED", "TIMED_OUT"))


class ResetType(Enum):
    """The workflow task that a new run begins with."""

    FIRST_WORKFLOW_TASK = "first workflow task"
    """The workflow begins anew, with the arguments of its start."""
    LAST_WORKFLOW_TASK = "last workflow task"
    """The last one that has ended is done again."""


async def reset(
    handle: WorkflowHandle[Any, Any],
    event_id: int | None,
    kind: ResetType,
    reason: str,
    exclude: Sequence[ResetReapplyExcludeType],
) -> WorkflowHandle[Any, Any]:
    """`WorkflowHandle.reset`."""
    client, run_id = handle.client, handle.run_id or ""
    if event_id is None:
        events = await _visibility.fetch_events(client, handle.id, run_id or None)
        event_id = _task_end(handle.id, events, kind)
    request = client.service.request(
        "ResetWorkflowExecution",
        namespace=client.namespace,
        workflow_execution={"workflow_id": handle.id, "run_id": run_id},
        reason=reason,
        workflow_task_finish_event_id=event_id,
        request_id=str(uuid4()),
        reset_reapply_exclude_types=[int(kind) for kind in exclude],
        identity=client.identity,
    )
    response = await client.service.call("ResetWorkflowExecution", request)
    return handle.of_run(response.run_id)


def _task_end(workflow_id: str, events: Sequence[Any], kind: ResetType) -> int:
    ends = [event.event_id for event in events if event.event_type in _ENDS]
    if not ends:
        raise ValueError(
            f"the history of workflow {workflow_id!r} has no workflow task that has ended: there is nothing to reset\n"
            "hint: to give it other arguments, terminate it and start it again"
        )
    return int(ends[0] if kind is ResetType.FIRST_WORKFLOW_TASK else ends[-1])
