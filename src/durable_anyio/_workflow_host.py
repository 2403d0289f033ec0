"""The cached runs of one worker, and what is done with an activation: a step, in slices when it takes long."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

import anyio
import anyio.lowlevel

from ._backend import CallGuard, ForbiddenCallError
from ._bridge.proto import message
from ._definitions import WorkflowDefinition
from ._watchdog import Watchdog
from ._workflow_instance import WorkflowInstance, failed_completion
from ._workflow_outcome import is_quit
from .converter import PayloadConverter
from .exceptions import ApplicationError

__all__ = ["Step", "WorkflowHost"]

_Activation = message("coresdk.workflow_activation.WorkflowActivation")
_Completion = message("coresdk.workflow_completion.WorkflowActivationCompletion")
# coresdk.workflow_activation.RemoveFromCache.EvictionReason: FATAL. Nondeterminism is told as the failure of a task.
_ALARMING = (8,)
_log = logging.getLogger("durable_anyio.workflow")


class WorkflowHost:
    """Answers activations.

    :param send_completion: takes an encoded WorkflowActivationCompletion.
    :param guard: watches the calls of every step; None watches nothing.
    :param on_forbidden: hears of a workflow task that failed because of a forbidden call.
    :param on_quit: hears that somebody quit a debugger in a workflow.
    :param watchdog: told when a step begins and ends to keep the thread; closed with the host.
    """

    def __init__(
        self,
        workflows: Mapping[str, WorkflowDefinition],
        *,
        converter: PayloadConverter,
        namespace: str,
        task_queue: str,
        send_completion: Callable[[bytes], None],
        guard: CallGuard | None = None,
        on_forbidden: Callable[[ForbiddenCallError], None] | None = None,
        on_quit: Callable[[BaseException], None] | None = None,
        watchdog: Watchdog | None = None,
    ) -> None:
        self._workflows = workflows
        self._converter = converter
        self._namespace = namespace
        self._task_queue = task_queue
        self._send = send_completion
        self._guard = guard
        self._on_forbidden = on_forbidden
        self._on_quit = on_quit
        self._watchdog = watchdog
        self._instances: dict[str, WorkflowInstance] = {}
        self._is_closed = False
        self.failure: BaseException | None = None
        self.recorder: Callable[[WorkflowInstance, Any, Any], None] | None = None
        """Hears of each activation and its completion, while the run is as they left it."""

    def begin(self, data: bytes) -> Step:
        """The step that answers an encoded activation; it has not started yet."""
        return Step(self, data)

    def advance(self, step: Step, seconds: float) -> bool:
        """Goes on with a step for about `seconds`, at least by one resumption of a task; True when it is answered.

        :raises KeyboardInterrupt, SystemExit: raised by workflow code; they are the host's business
        """
        if self._is_closed:
            return True
        stop_at = perf_counter() + seconds
        is_new = step.activation is None
        if is_new:
            step.activation = _Activation.FromString(step.data)
        watchdog = self._watchdog
        if watchdog is not None:
            watchdog.enter(step)
        try:
            if is_new:
                step.instance = self.instance_for(step.activation)
                if step.instance is None:
                    self._send(_empty(step.activation.run_id))
                    return True
                step.instance.begin(step.activation)
            assert step.instance is not None
            if not step.instance.advance(stop_at - perf_counter()):
                return False
            self._finish(step.instance, step.activation)
        except Exception as error:
            self._report(step.activation.run_id, error)
        except BaseException as error:
            self._give_back(step.activation.run_id, error)
            raise
        finally:
            if watchdog is not None:
                watchdog.leave()
        return True

    def apply(self, activation: Any) -> Any:
        """Applies an activation to its end and answers with the completion; for replay. `failure` then says why a task failed."""
        self.failure = None
        try:
            instance = self.instance_for(activation)
            if instance is None:
                return _Completion.FromString(_empty(activation.run_id))
            completion = instance.activate(activation)
            self.failure = instance.failure
            if self.recorder is not None:
                self.recorder(instance, activation, completion)
            self._forget(instance, activation)
            return completion
        except Exception as error:
            self.failure = error
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
            definition,
            activation,
            converter=self._converter,
            namespace=self._namespace,
            task_queue=self._task_queue,
            guard=self._guard,
        )
        instance.origins.always = self.recorder is not None
        self._instances[activation.run_id] = instance
        return instance

    def forget(self, run_id: str) -> None:
        """Closes a run in which nothing is open; does nothing if it is unknown."""
        instance = self._instances.pop(run_id, None)
        if instance is None:
            return
        watchdog = self._watchdog
        if watchdog is None:
            instance.release()
            return
        step = Step(self, b"")
        step.instance = instance
        watchdog.enter(step)
        try:
            instance.release()
        finally:
            watchdog.leave()

    def find_step(self, run_id: str, seq: int) -> Callable[[], Any] | None:
        """The call of a step that a cached run asked for and that is not resolved."""
        instance = self._instances.get(run_id)
        call = instance.find_step(seq) if instance is not None else None
        return functools.partial(call.step, *call.args) if call is not None and call.step is not None else None

    def close(self) -> None:
        """Closes what is still cached."""
        self._is_closed = True
        if self._watchdog is not None:
            self._watchdog.close()
        for instance in list(self._instances.values()):
            instance.release()
        self._instances.clear()

    async def close_in_turns(self, budget_seconds: float) -> None:
        """Closes what is still cached, a slice at a time; other tasks of the host run between two slices."""
        self._is_closed = True
        try:
            stop_at = perf_counter() + budget_seconds
            while self._instances:
                self._instances.popitem()[1].release()
                if perf_counter() >= stop_at:
                    # Two, because Trio shuffles what is ready: after a single one this task may run twice in a row.
                    await anyio.lowlevel.checkpoint()
                    await anyio.lowlevel.checkpoint()
                    stop_at = perf_counter() + budget_seconds
        finally:
            self.close()

    def _finish(self, instance: WorkflowInstance, activation: Any) -> None:
        completion = instance.finish()
        if completion.HasField("failed"):
            _log.warning(
                "a task of workflow %s (%s, run %s) failed and will be tried again: %s",
                instance.info.workflow_id, instance.info.workflow_type, activation.run_id, completion.failed.failure.message,
            )  # fmt: skip
        if self.recorder is not None:
            self.recorder(instance, activation, completion)
        self._forget(instance, activation)
        self._send(completion.SerializeToString())
        if self._on_forbidden is not None and isinstance(instance.failure, ForbiddenCallError):
            self._on_forbidden(instance.failure)
        if self._on_quit is not None and instance.failure is not None and is_quit(instance.failure):
            self._on_quit(instance.failure)

    def _forget(self, instance: WorkflowInstance, activation: Any) -> None:
        for job in activation.jobs:
            if job.HasField("remove_from_cache"):
                self._instances.pop(activation.run_id, None)
                instance.release()
                if job.remove_from_cache.reason in _ALARMING:
                    _log.warning("workflow %s left the cache: %s", instance.info.workflow_id, job.remove_from_cache.message)

    def _give_back(self, run_id: str, error: BaseException) -> None:
        """An interrupt took the step: the task fails, so that another worker, or this one's next life, does it again."""
        self._send(failed_completion(run_id, error, self._converter).SerializeToString())

    def _report(self, run_id: str, error: Exception) -> None:
        known = isinstance(error, ApplicationError)
        _log.warning("a task of the run %s failed and will be tried again: %s", run_id, error, exc_info=not known)
        self._send(failed_completion(run_id, error, self._converter).SerializeToString())


class Step:
    """One activation on its way to its completion."""

    __slots__ = ("activation", "data", "host", "instance")

    def __init__(self, host: WorkflowHost, data: bytes) -> None:
        self.host = host
        self.data = data
        self.activation: Any = None
        self.instance: WorkflowInstance | None = None

    def advance(self, seconds: float) -> bool:
        """See `WorkflowHost.advance`."""
        return self.host.advance(self, seconds)


def describe_step(step: Step) -> str:
    """What a step belongs to, for people."""
    instance = step.instance
    if instance is None:
        return f"a workflow task of task queue {step.host._task_queue!r}"
    return f"workflow {instance.info.workflow_id} ({instance.info.workflow_type}, run {instance.info.run_id})"


def _empty(run_id: str) -> bytes:
    completion = _Completion(run_id=run_id)
    completion.successful.SetInParent()
    data: bytes = completion.SerializeToString()
    return data
