"""Activations made by hand, so that an instance can be driven without core and engine."""

from __future__ import annotations

from typing import Any

from durable_anyio import converter
from durable_anyio._bridge.proto import message
from durable_anyio._definitions import workflow_definition
from durable_anyio._failure import failure_from_exception
from durable_anyio._workflow_instance import WorkflowInstance

Activation = message("coresdk.workflow_activation.WorkflowActivation")
Job = message("coresdk.workflow_activation.WorkflowActivationJob")
Failure = message("temporal.api.failure.v1.Failure")

START_SECONDS = 1_700_000_000

_open: list[WorkflowInstance] = []


def close_all() -> None:
    """Closes the runs of a test: a run that is dropped without it leaves coroutines to the garbage collector."""
    while _open:
        _open.pop().close()


class Driver:
    """One run; time moves by hand."""

    def __init__(self, cls: type, *args: Any, replaying: bool = False) -> None:
        definition = workflow_definition(cls)[1]
        assert definition is not None
        self.seconds = 0.0
        self.replaying = replaying
        job = Job()
        start = job.initialize_workflow
        start.workflow_type = definition.name
        start.workflow_id = "the-id"
        start.randomness_seed = 42
        start.start_time.FromSeconds(START_SECONDS)
        start.arguments.extend(converter.default().to_payloads(args))
        self.first = job
        self.definition = definition
        self.instance = WorkflowInstance(definition, self.activation(job), converter=converter.default(), task_queue="tq")
        _open.append(self.instance)

    def release(self) -> None:
        """Lets the run go, as a worker does that forgot it."""
        _open.remove(self.instance)
        self.instance.release()
        del self.instance

    def activation(self, *jobs: Any) -> Any:
        activation = Activation(run_id="the-run", is_replaying=self.replaying, history_length=3)
        activation.timestamp.FromNanoseconds(int((START_SECONDS + self.seconds) * 1_000_000_000))
        activation.jobs.extend(jobs)
        return activation

    def start(self, *jobs: Any) -> list[Any]:
        return self.step(self.first, *jobs)

    def complete(self, *jobs: Any) -> Any:
        """The completion of an activation with these jobs."""
        return self.instance.activate(self.activation(*jobs))

    def step(self, *jobs: Any) -> list[Any]:
        """The commands that answer an activation with these jobs."""
        completion = self.complete(*jobs)
        assert completion.WhichOneof("status") == "successful", completion.failed.failure.message
        return list(completion.successful.commands)

    def suspended(self, *jobs: Any) -> str:
        """The reason why these jobs cannot be answered."""
        completion = self.complete(*jobs)
        assert completion.WhichOneof("status") == "failed", completion
        return str(completion.failed.failure.message)


def names(commands: list[Any]) -> list[str]:
    return [command.WhichOneof("variant") for command in commands]


def result(seq: int, value: Any) -> Any:
    job = Job()
    job.resolve_activity.seq = seq
    job.resolve_activity.result.completed.result.CopyFrom(converter.default().to_payloads([value])[0])
    return job


def failed(seq: int, error: Exception) -> Any:
    job = Job()
    job.resolve_activity.seq = seq
    failure = job.resolve_activity.result.failed.failure
    failure.message = "activity failed"
    failure.activity_failure_info.activity_type.name = "work"
    failure.cause.CopyFrom(failure_from_exception(error, converter.default()))
    return job


def cancelled(seq: int) -> Any:
    job = Job()
    job.resolve_activity.seq = seq
    failure = job.resolve_activity.result.cancelled.failure
    failure.message = "activity cancelled"
    failure.activity_failure_info.activity_type.name = "work"
    failure.cause.canceled_failure_info.SetInParent()
    failure.cause.message = "cancelled"
    return job


def fired(seq: int) -> Any:
    job = Job()
    job.fire_timer.seq = seq
    return job


def signal(name: str, *args: Any) -> Any:
    job = Job()
    job.signal_workflow.signal_name = name
    job.signal_workflow.input.extend(converter.default().to_payloads(args))
    return job


def update(name: str, *args: Any, id: str = "u", validated: bool = True) -> Any:
    job = Job()
    job.do_update.id = job.do_update.protocol_instance_id = id
    job.do_update.name = name
    job.do_update.run_validator = validated
    job.do_update.input.extend(converter.default().to_payloads(args))
    return job


def query(name: str, *args: Any) -> Any:
    job = Job()
    job.query_workflow.query_id = "q"
    job.query_workflow.query_type = name
    job.query_workflow.arguments.extend(converter.default().to_payloads(args))
    return job


def cancel(reason: str = "") -> Any:
    job = Job()
    job.cancel_workflow.reason = reason
    return job


def evict() -> Any:
    job = Job()
    job.remove_from_cache.message = "full"
    return job


def value_of(command: Any) -> Any:
    """The result in a complete_workflow_execution or query answer."""
    variant = command.WhichOneof("variant")
    if variant == "complete_workflow_execution":
        payload = command.complete_workflow_execution.result
    else:
        assert command.respond_to_query.WhichOneof("variant") == "succeeded", command
        payload = command.respond_to_query.succeeded.response
    return converter.default().from_payloads([payload], [None])[0]


def answers(commands: list[Any]) -> list[tuple[str, str, Any]]:
    """The answers to updates: the update's id, which answer it is, and its value or message."""
    told = []
    for command in commands:
        if command.WhichOneof("variant") != "update_response":
            continue
        answer = command.update_response
        kind = answer.WhichOneof("response")
        value: Any = None
        if kind == "completed":
            value = converter.default().from_payloads([answer.completed], [None])[0]
        elif kind == "rejected":
            value = answer.rejected.message
        told.append((answer.protocol_instance_id, kind, value))
    return told
