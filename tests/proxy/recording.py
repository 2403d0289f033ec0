"""A proxy that keeps what a worker tells the service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bad_input.altering import AlteringProxy
from connection.service import Answer

from durable_anyio._bridge import proto

from .plain import plain

#: What workflow code brought about, in the order in which it was told.
WORKFLOW = ("RespondWorkflowTaskCompleted", "RespondWorkflowTaskFailed", "RespondQueryTaskCompleted")
#: The same of activities.
ACTIVITY = ("RespondActivityTaskCompleted", "RespondActivityTaskFailed", "RespondActivityTaskCanceled", "RecordActivityTaskHeartbeat")
SHUTDOWN = ("ShutdownWorker",)
Recording = dict[str, list[dict[str, Any]]]


class RecordingProxy(AlteringProxy):
    """Records what the service took; `refused` has the calls that it refused: a task's time was over, an activity was gone."""

    def __init__(self, target: str) -> None:
        super().__init__(target)
        self.refused: list[bytes] = []

    def _forward(self, path: str, metadata: Any) -> Answer:
        forward = super()._forward(path, metadata)

        def watch(request: bytes, context: Any) -> bytes:
            try:
                return forward(request, context)
            except Exception:
                self.refused.append(request)
                raise

        return watch

    def recording(self, names: Mapping[str, str]) -> Recording:
        """What has been told so far; `names` as for `plain`."""
        names = {**names, **dict.fromkeys(self._sticky_queues(), "<sticky>")}
        kinds = {"workflow": WORKFLOW, "activity": ACTIVITY, "shutdown": SHUTDOWN}
        return {kind: self._told(methods, names) for kind, methods in kinds.items()}

    def _sticky_queues(self) -> set[str]:
        polls = [proto.method(call.method).request.FromString(call.request).task_queue for call in self.asked("PollWorkflowTaskQueue")]
        return {queue.name for queue in polls if queue.normal_name}

    def _told(self, methods: tuple[str, ...], names: Mapping[str, str]) -> list[dict[str, Any]]:
        refused = {id(request) for request in self.refused}  # others may be equal
        calls = [call for call in self.calls if call.method in methods and id(call.request) not in refused]
        return [{"method": call.method, **plain(proto.method(call.method).request.FromString(call.request), names)} for call in calls]
