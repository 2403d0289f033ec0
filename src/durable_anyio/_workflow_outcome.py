"""How a run that ended is told to the service: completed, failed, cancelled, continued as new, or not at all (suspended)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from . import _commands
from ._backend import Cancelled, ForbiddenCallError, host_refusal
from ._definitions import WorkflowDefinition, workflow_definition
from ._failure import failure_from_exception
from ._search_attributes import encode_search_attributes
from ._workflow_runtime import ContinueAsNewError, ContinueAsNewOptions, Info
from .converter import PayloadConverter
from .exceptions import ActivityError, CancelledError, DataConversionError, FailureError, NondeterminismError

__all__ = ["SuspendError", "check_failing", "command_for_error", "command_for_result", "fails_by_definition", "is_quit"]

# A bug in the program or a payload it cannot read: the run waits for fixed code instead of failing for good.
SUSPENDING = (NondeterminismError, ForbiddenCallError, DataConversionError)


class SuspendError(Exception):
    """The workflow task must fail with `reason`, so that it is tried again; the workflow itself goes on."""

    def __init__(self, reason: BaseException) -> None:
        super().__init__(str(reason))
        self.reason = reason


def command_for_result(definition: WorkflowDefinition, result: Any, converter: PayloadConverter) -> Any:
    """The command that completes the workflow. :raises SuspendError: the result cannot be encoded."""
    try:
        return _commands.complete_workflow(converter.to_payloads([result])[0])
    except DataConversionError as error:
        where = f"the result of {definition.run.label}"
        raise SuspendError(error.at(where)) from error


def command_for_error(
    definition: WorkflowDefinition, error: BaseException, converter: PayloadConverter, info: Info, *, cancel_requested: bool
) -> Any:
    """The command for what left `run` or a signal handler.

    :raises SuspendError: for errors that must not end the workflow.
    """
    leaves = list(_leaves(error))
    if len(leaves) == 1 and isinstance(leaves[0], ContinueAsNewError):
        # A task group wraps what leaves its body in a group; the author meant the one thing in it.
        return _continue_as_new(definition, leaves[0].options, converter, info)
    if isinstance(error, Cancelled) or (cancel_requested and all(_is_cancellation(leaf) for leaf in leaves)):
        return _commands.cancel_workflow()
    check_failing(definition, error)
    try:
        return _commands.fail_workflow(failure_from_exception(error, converter))
    except DataConversionError as problem:
        raise SuspendError(problem) from problem


def check_failing(definition: WorkflowDefinition, error: BaseException) -> None:
    """:raises SuspendError: for an error that leaves the code and is no failure of what it does, but of the code itself."""
    for leaf in _leaves(error):
        reason = host_refusal(leaf) or leaf
        if not _fails(definition, reason):
            raise SuspendError(reason) from reason


def _fails(definition: WorkflowDefinition, error: BaseException) -> bool:
    if fails_by_definition(definition, error):
        return True
    if isinstance(error, SUSPENDING) or is_quit(error):
        return False
    if isinstance(error, FailureError | Cancelled | ContinueAsNewError):  # the last two: members of a group beside errors
        return True
    return definition.failure_exception_types is None and isinstance(error, Exception)


def fails_by_definition(definition: WorkflowDefinition, error: BaseException) -> bool:
    """Whether the definition names `error` as one that fails the workflow, also if it would suspend it otherwise."""
    types = definition.failure_exception_types
    return types is not None and isinstance(error, types)


def is_quit(error: BaseException) -> bool:
    """Whether a person left the debugger with "quit": no failure of the workflow."""
    return type(error).__module__ == "bdb" and type(error).__name__ == "BdbQuit"


def _is_cancellation(error: BaseException) -> bool:
    reason = error.__cause__ if isinstance(error, ActivityError) else error
    return isinstance(reason, CancelledError | Cancelled)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            yield from _leaves(member)
    else:
        yield error


def _continue_as_new(definition: WorkflowDefinition, options: ContinueAsNewOptions, converter: PayloadConverter, info: Info) -> Any:
    name = definition.name if options.workflow is None else workflow_definition(options.workflow)[0]
    try:
        payloads = converter.to_payloads(options.args)
        attributes = None if options.search_attributes is None else encode_search_attributes(options.search_attributes)
        memo = {key: converter.to_payloads([value])[0] for key, value in (options.memo or {}).items()}
    except DataConversionError as error:
        raise SuspendError(error) from error
    policy = options.retry_policy or info.retry_policy
    return _commands.continue_as_new(
        name,
        payloads,
        task_queue=options.task_queue or info.task_queue,
        run_timeout=options.run_timeout,
        task_timeout=options.task_timeout,
        retry_policy=policy.to_proto() if policy is not None else None,
        memo=memo,
        backoff_start_interval=options.backoff_start_interval,
        search_attributes=attributes,
    )
