"""Queries: one synchronous, read-only call each. A query that fails answers with its failure and never disturbs the run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import _commands
from ._backend import Scheduler, waiting_stack
from ._failure import failure_to_tell
from ._workflow_metadata import METADATA, metadata_payload
from .exceptions import ApplicationError

if TYPE_CHECKING:
    from ._workflow_instance import WorkflowInstance

__all__ = ["answer_query", "stack_trace"]

STACK_TRACE = "__stack_trace"


def answer_query(instance: WorkflowInstance, query: Any) -> Any:
    """The command that answers `query`."""
    poison = instance.scheduler.poison
    try:
        if query.query_type == METADATA:
            return _commands.query_succeeded(query.query_id, metadata_payload(instance))
        value = _evaluate(instance, query)
        payload = instance.converter.to_payloads([value])[0]
        return _commands.query_succeeded(query.query_id, payload)
    except Exception as error:
        return _commands.query_failed(query.query_id, failure_to_tell(error, instance.converter))
    finally:
        # A forbidden call in a query is the caller's failure, not a reason to suspend the run.
        instance.scheduler.poison = poison


def _evaluate(instance: WorkflowInstance, query: Any) -> Any:
    if query.query_type == STACK_TRACE:
        return stack_trace(instance.scheduler)
    handler = instance.messages.queries.find(query.query_type, instance)
    if handler is None:
        known = f"it has: {instance.messages.queries.names}"
        text = f"the workflow {instance.definition.name} has no query {query.query_type!r}; {known}"
        raise ApplicationError(text, type="UnknownQuery")
    arguments = handler.decode(query.arguments)
    if instance.object is None:
        raise ApplicationError("the workflow has not started", type="UnknownQuery")
    return instance.scheduler.call(handler.call, arguments, read_only=True)


def stack_trace(scheduler: Scheduler) -> str:
    """Where each task of the run waits, as text."""
    parts = []
    for task in scheduler.tasks:
        parts.append(f"Task {task.name}\n{waiting_stack(task.coro)}")
    return "\n".join(parts)
