"""The cached runs of one worker, and the host's side of their steps: inline, with a turn for others when a step takes long."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from ._bridge.proto import message
from ._definitions import WorkflowDefinition
from ._workflow_instance import WorkflowInstance, failed_completion
from .converter import PayloadConverter
from .exceptions import ApplicationError

__all__ = ["WorkflowHost"]

_Activation = message("coresdk.workflow_activation.WorkflowActivation")
_Completion = message("coresdk.workflow_completion.WorkflowActivationCompletion")
# coresdk.workflow_activation.RemoveFromCache.EvictionReason: NONDETERMINISM, FATAL
_ALARMING = (3, 8)
_log = logging.getLogger("durable_anyio.workflow")


class WorkflowHost:
    """Answers activations. `send_completion` takes an encoded WorkflowActivationCompletion."""

    def __init__(
        self,
        workflows: Mapping[str, WorkflowDefinition],
        *,
        converter: PayloadConverter,
        namespace: str,
        task_queue: str,
        step_time_budget: float | None,
        send_completion: Callable[[bytes], None],
    ) -> None:
        self._workflows = workflows
        self._converter = converter
        self._namespace = namespace
        self._task_queue = task_queue
        self._budget = step_time_budget
        self._send = send_completion
        self._instances: dict[str, WorkflowInstance] = {}

    def handle(self, data: bytes, group: TaskGroup) -> None:
        """Applies an activation now; what its step does not finish within the budget goes on as a task of `group`."""
        activation = _Activation.FromString(data)
        try:
            instance = self.instance_for(activation)
            if instance is None:
                self._send(_empty(activation.run_id))
                return
            instance.begin(activation)
            if instance.advance(self._budget):
                self._finish(instance, activation)
            else:
                group.start_soon(self._continue, instance, activation, name=f"workflow {instance.info.workflow_id}")
        except Exception as error:
            self._report(activation.run_id, error)
        except BaseException as error:
            self._give_back(activation.run_id, error)
            raise

    def apply(self, activation: Any) -> Any:
        """Applies an activation to its end and answers with the completion; for replay."""
        try:
            instance = self.instance_for(activation)
            if instance is None:
                return _Completion.FromString(_empty(activation.run_id))
            completion = instance.activate(activation)
            self._forget(instance, activation)
            return completion
        except Exception as error:
            return failed_completion(activation.run_id, error, self._converter)

    def instance_for(self, activation: Any) -> WorkflowInstance | None:
        """The run's instance, made if this is its first activation; None if it is unknown and only to be forgotten.

        :raises ApplicationError: the workflow's type is unknown.
        """
        instance = self._instances.get(activation.run_id)
        if instance is not None:
            return instance
        starts = [job.initialize_workflow for job in activation.jobs if job.HasField("initialize_workflow")]
        if not starts:
            if any(job.HasField("remove_from_cache") for job in activation.jobs):
                return None
            raise LookupError(f"an activation of the run {activation.run_id}, which this worker does not have; please report it")
        definition = self._workflows.get(starts[0].workflow_type)
        if definition is None:
            known = ", ".join(sorted(self._workflows)) or "none"
            raise ApplicationError(
                f"the workflow type {starts[0].workflow_type!r} is not registered with this worker of task queue {self._task_queue!r}; "
                f"it has: {known}\nhint: add the class to Worker(workflows=[…])",
                type="NotFoundError",
            )
        instance = WorkflowInstance(
            definition, activation, converter=self._converter, namespace=self._namespace, task_queue=self._task_queue
        )
        self._instances[activation.run_id] = instance
        return instance

    def close(self) -> None:
        """Closes what is still cached."""
        for instance in list(self._instances.values()):
            instance.close()
        self._instances.clear()

    async def _continue(self, instance: WorkflowInstance, activation: Any) -> None:
        try:
            # Shielded: a step always ends, and a worker that stops waits for the answers of its open tasks.
            with anyio.CancelScope(shield=True):
                while True:
                    await anyio.lowlevel.checkpoint()
                    if instance.advance(self._budget):
                        break
                self._finish(instance, activation)
        except Exception as error:
            self._report(activation.run_id, error)
        except BaseException as error:
            self._give_back(activation.run_id, error)
            raise

    def _finish(self, instance: WorkflowInstance, activation: Any) -> None:
        completion = instance.finish()
        if completion.HasField("failed"):
            _log.warning(
                "a task of workflow %s (%s, run %s) failed and will be tried again: %s",
                instance.info.workflow_id, instance.info.workflow_type, activation.run_id, completion.failed.failure.message,
            )  # fmt: skip
        self._forget(instance, activation)
        self._send(completion.SerializeToString())

    def _forget(self, instance: WorkflowInstance, activation: Any) -> None:
        for job in activation.jobs:
            if job.HasField("remove_from_cache"):
                self._instances.pop(activation.run_id, None)
                instance.close()
                if job.remove_from_cache.reason in _ALARMING:
                    _log.warning("workflow %s left the cache: %s", instance.info.workflow_id, job.remove_from_cache.message)

    def _give_back(self, run_id: str, error: BaseException) -> None:
        """An interrupt took the step: the task fails, so that another worker, or this one's next life, does it again."""
        self._send(failed_completion(run_id, error, self._converter).SerializeToString())

    def _report(self, run_id: str, error: Exception) -> None:
        known = isinstance(error, ApplicationError)
        _log.warning("a task of the run %s failed and will be tried again: %s", run_id, error, exc_info=not known)
        self._send(failed_completion(run_id, error, self._converter).SerializeToString())


def _empty(run_id: str) -> bytes:
    completion = _Completion(run_id=run_id)
    completion.successful.SetInParent()
    data: bytes = completion.SerializeToString()
    return data
