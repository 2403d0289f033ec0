"""Activities that somebody else completes: the outcome comes from a client, not from the function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ._activity_context import ActivityCancellationDetails
from ._failure import activity_failure
from .exceptions import AsyncActivityCancelledError

if TYPE_CHECKING:
    from .client import Client

__all__ = ["ActivityReference", "AsyncActivityHandle"]


@dataclass(frozen=True)
class ActivityReference:
    """An activity by its workflow's id, its run, if one is meant, and its own id."""

    workflow_id: str
    run_id: str | None
    activity_id: str

    @property
    def fields(self) -> Mapping[str, str]:
        return {"workflow_id": self.workflow_id, "run_id": self.run_id or "", "activity_id": self.activity_id}


class AsyncActivityHandle:
    """An activity that called `activity.raise_complete_async`, for whoever reports its outcome. Made by `get_async_activity_handle`.

    All methods raise `RPCError`: NOT_FOUND when the attempt has ended, timed out, or its workflow has ended.
    """

    def __init__(self, client: Client, target: bytes | ActivityReference) -> None:
        self._client = client
        self._target = target

    def __repr__(self) -> str:
        what = "task_token=…" if isinstance(self._target, bytes) else repr(self._target)
        return f"<AsyncActivityHandle {what}>"

    async def heartbeat(self, *details: Any) -> None:
        """Says that the activity is alive; the last `details` reach the next attempt. Every call is sent, none is held back.

        :raises AsyncActivityCancelledError: if it is to stop; the error's `details` say why.
        """
        request, name = self._request("RecordActivityTaskHeartbeat")
        self._put(request.details, details)
        answer = await self._client.service.call(name, request)
        if answer.cancel_requested or answer.activity_paused or answer.activity_reset:
            raise AsyncActivityCancelledError(
                ActivityCancellationDetails(
                    cancel_requested=answer.cancel_requested, paused=answer.activity_paused, reset=answer.activity_reset
                )
            )

    async def complete(self, result: Any = None) -> None:
        """Completes the activity: the workflow gets `result`.

        :raises DataConversionError: if the result cannot be encoded.
        """
        request, name = self._request("RespondActivityTaskCompleted")
        self._put(request.result, (result,))
        await self._client.service.call(name, request)

    async def fail(self, error: Exception, *last_heartbeat_details: Any) -> None:
        """Fails the attempt, as if the function had raised `error`; it is retried as the activity's retry policy says."""
        request, name = self._request("RespondActivityTaskFailed")
        request.failure.CopyFrom(activity_failure(error, self._client.data_converter))
        if last_heartbeat_details:
            self._put(request.last_heartbeat_details, last_heartbeat_details)
        await self._client.service.call(name, request)

    async def report_cancellation(self, *details: Any) -> None:
        """Says that the activity has stopped because it was asked to.

        :raises RPCError: also INVALID_ARGUMENT, if nobody asked it to.
        """
        request, name = self._request("RespondActivityTaskCanceled")
        self._put(request.details, details)
        await self._client.service.call(name, request)

    def _request(self, name: str) -> tuple[Any, str]:
        fields: dict[str, Any] = {"namespace": self._client.namespace, "identity": self._client.identity}
        if isinstance(self._target, bytes):
            fields["task_token"] = self._target
        else:
            name = f"{name}ById"
            fields.update(self._target.fields)
        return self._client.service.request(name, **fields), name

    def _put(self, payloads: Any, values: tuple[Any, ...]) -> None:
        if values:
            payloads.payloads.extend(self._client.data_converter.to_payloads(values))
