"""Replays recorded histories against today's code, without a service: the test that a change keeps running workflows alive."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Literal

import anyio.lowlevel

from . import converter
from ._bridge import core as bridge
from ._bridge.proto import message
from ._definitions import workflow_definition
from ._forbidden_option import call_guard
from ._history import WorkflowHistory
from ._workflow_host import WorkflowHost
from ._workflow_instance import WorkflowInstance
from .exceptions import NondeterminismError

__all__ = ["ReplayResult", "ReplayResults", "Replayer"]

_Activation = message("coresdk.workflow_activation.WorkflowActivation")
_History = message("temporal.api.history.v1.History")

# coresdk.workflow_activation.RemoveFromCache.EvictionReason
_WORKFLOW_EXECUTION_ENDING = 10
_HARMLESS = {0, 1, 5, _WORKFLOW_EXECUTION_ENDING}


@dataclass(frozen=True)
class ReplayResult:
    """What came of a replay."""

    history: WorkflowHistory
    failure: Exception | None
    """None: the code does what the history says. Otherwise why it does not."""


@dataclass(frozen=True)
class ReplayResults:
    """What came of several replays."""

    results: Sequence[ReplayResult]

    @property
    def replay_failures(self) -> Mapping[str, Exception]:
        """Why histories do not fit today's code, by their run ids; empty if all do."""
        return {result.history.run_id: result.failure for result in self.results if result.failure is not None}


class Replayer:
    """Replays histories.

    :param workflows: the classes whose histories are replayed.
    :param forbidden_calls: "raise" looks for calls that a workflow must not make; a replay that comes to one fails.
    :param exempt_modules: modules, with their submodules, that may make such calls.
    """

    def __init__(
        self,
        *,
        workflows: Sequence[type],
        namespace: str = "default",
        data_converter: converter.PayloadConverter | None = None,
        forbidden_calls: Literal["off", "raise"] = "off",
        exempt_modules: Sequence[str] = (),
    ) -> None:
        self._workflows = {}
        for cls in workflows:
            name, definition = workflow_definition(cls)
            if definition is None:
                raise TypeError(f"Replayer(workflows=…) takes classes, not the name {name!r}")
            self._workflows[name] = definition
        self._namespace = namespace
        self._converter = data_converter or converter.default()
        self._guard = call_guard(forbidden_calls, exempt_modules)

    def replay(
        self, history: WorkflowHistory, *, raise_on_failure: bool = True, watch: Callable[[Any, Any], None] | None = None
    ) -> ReplayResult:
        """Runs the workflow's code against `history`, synchronously.

        :param watch: called with each activation and its completion (messages of `coresdk`).
        :raises NondeterminismError: the code does something else than the history says, unless `raise_on_failure` is False.
        """
        failure = self._replay(history, watch)
        if failure is not None and raise_on_failure:
            raise failure
        return ReplayResult(history, failure)

    async def replay_workflow(self, history: WorkflowHistory, *, raise_on_replay_failure: bool = True) -> ReplayResult:
        """`replay`, under Temporal's name."""
        await anyio.lowlevel.checkpoint()
        return self.replay(history, raise_on_failure=raise_on_replay_failure)

    async def replay_workflows(
        self, histories: Iterable[WorkflowHistory] | AsyncIterable[WorkflowHistory], *, raise_on_replay_failure: bool = True
    ) -> ReplayResults:
        """Replays one history after another; the host's other tasks run in between.

        `WorkflowHistory.from_directory` reads them from files, `client.list_workflows(…).map_histories()` from a service.

        :param raise_on_replay_failure: stop at the first history that does not fit; otherwise all are replayed.
        :raises NondeterminismError: as `replay`.
        """
        results: list[ReplayResult] = []
        async with aclosing(self.workflow_replay_iterator(histories)) as replayed:
            async for result in replayed:
                if result.failure is not None and raise_on_replay_failure:
                    raise result.failure
                results.append(result)
        return ReplayResults(results)

    async def workflow_replay_iterator(
        self, histories: Iterable[WorkflowHistory] | AsyncIterable[WorkflowHistory]
    ) -> AsyncGenerator[ReplayResult]:
        """The results one by one, for `async for`: nothing is kept of what was replayed, however many there are."""
        if isinstance(histories, AsyncIterable):
            async for history in histories:
                yield await self.replay_workflow(history, raise_on_replay_failure=False)
            return
        for history in histories:
            yield await self.replay_workflow(history, raise_on_replay_failure=False)

    def _replay(
        self,
        history: WorkflowHistory,
        watch: Callable[[Any, Any], None] | None = None,
        recorder: Callable[[WorkflowInstance, Any, Any], None] | None = None,
    ) -> Exception | None:
        started = history.events[0].workflow_execution_started_event_attributes if history.events else None
        host = WorkflowHost(
            self._workflows,
            converter=self._converter,
            namespace=self._namespace,
            task_queue=started.task_queue.name if started is not None else "",
            send_completion=lambda data: None,
            guard=self._guard,
        )
        host.recorder = recorder
        encoded = _History(events=history.events).SerializeToString()
        handle = bridge.replay_open(encoded, history.workflow_id, history.run_id)
        failure: Exception | None = None
        try:
            answer = b""
            while data := bridge.replay_step(handle, answer):
                activation = _Activation.FromString(data)
                completion = host.apply(activation)
                failure = failure or _eviction_failure(activation, history, host.failure)
                if watch is not None:
                    watch(activation, completion)
                if completion.HasField("failed") and failure is None:
                    failure = _task_failure(completion.failed, history, host.failure)
                    break
                answer = completion.SerializeToString()
        finally:
            host.close()
            bridge.replay_close(handle)
        return failure


def _eviction_failure(activation: Any, history: WorkflowHistory, reason: BaseException | None) -> Exception | None:
    for job in activation.jobs:
        if job.HasField("remove_from_cache") and job.remove_from_cache.reason not in _HARMLESS:
            if isinstance(reason, NondeterminismError):
                return reason
            return NondeterminismError(f"replay of workflow {history.workflow_id!r}: {job.remove_from_cache.message}")
    return None


def _task_failure(failed: Any, history: WorkflowHistory, reason: BaseException | None) -> Exception:
    error = NondeterminismError(f"replay of workflow {history.workflow_id!r}: the workflow task fails: {failed.failure.message}")
    error.__cause__ = reason
    return error
