"""The client: starts workflows, finds them, and gives handles to talk to them."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, TypeVarTuple, Unpack, overload
from uuid import uuid4

import anyio

from . import _definitions, _visibility, converter
from ._async_activity import ActivityReference, AsyncActivityHandle
from ._bridge.core import Core
from ._connection import (
    ConnectionOptions,
    HistoryLimits,
    HttpConnectProxyConfig,
    KeepAliveConfig,
    RetryConfig,
    TLSConfig,
    check_api_key,
    check_metadata,
)
from ._debug_mode import debug_mode_of_environment
from ._forbidden_option import ForbiddenCalls
from ._handle import WorkflowHandle
from ._history import WorkflowHistory
from ._reset import ResetType
from ._schedule_handle import create_schedule
from ._service import Service
from ._start import StartOptions, checked_name, signal_with_start, start_refused, start_request
from ._update import WithStartWorkflowOperation, WorkflowUpdateHandle, start_update_with_start
from ._visibility import (
    PendingActivity,
    PendingWorkflowTask,
    WorkflowExecution,
    WorkflowExecutionCount,
    WorkflowExecutionCountAggregationGroup,
    WorkflowExecutionDescription,
    WorkflowExecutionIterator,
)
from .common import (
    Priority,
    QueryRejectCondition,
    ResetReapplyExcludeType,
    TypedSearchAttributes,
    WorkflowExecutionStatus,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
    WorkflowUpdateStage,
)
from .exceptions import RPCError

# Each by its name: type checkers take a wildcard's names for private ones in an installed package.
from .schedules import (
    Schedule,
    ScheduleAction,
    ScheduleActionExecution,
    ScheduleActionExecutionStartWorkflow,
    ScheduleActionResult,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleAsyncIterator,
    ScheduleBackfill,
    ScheduleCalendarSpec,
    ScheduleDescription,
    ScheduleHandle,
    ScheduleInfo,
    ScheduleIntervalSpec,
    ScheduleListAction,
    ScheduleListActionStartWorkflow,
    ScheduleListDescription,
    ScheduleListInfo,
    ScheduleListSchedule,
    ScheduleListState,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleRange,
    ScheduleSpec,
    ScheduleState,
    ScheduleUpdate,
    ScheduleUpdateInput,
)

if TYPE_CHECKING:
    from .worker import Worker

__all__ = [
    "AsyncActivityHandle",
    "Client",
    "HistoryLimits",
    "HttpConnectProxyConfig",
    "KeepAliveConfig",
    "PendingActivity",
    "PendingWorkflowTask",
    "Priority",
    "QueryRejectCondition",
    "ResetReapplyExcludeType",
    "ResetType",
    "RetryConfig",
    "Schedule",
    "ScheduleAction",
    "ScheduleActionExecution",
    "ScheduleActionExecutionStartWorkflow",
    "ScheduleActionResult",
    "ScheduleActionStartWorkflow",
    "ScheduleAlreadyRunningError",
    "ScheduleAsyncIterator",
    "ScheduleBackfill",
    "ScheduleCalendarSpec",
    "ScheduleDescription",
    "ScheduleHandle",
    "ScheduleInfo",
    "ScheduleIntervalSpec",
    "ScheduleListAction",
    "ScheduleListActionStartWorkflow",
    "ScheduleListDescription",
    "ScheduleListInfo",
    "ScheduleListSchedule",
    "ScheduleListState",
    "ScheduleOverlapPolicy",
    "SchedulePolicy",
    "ScheduleRange",
    "ScheduleSpec",
    "ScheduleState",
    "ScheduleUpdate",
    "ScheduleUpdateInput",
    "Service",
    "StartOptions",
    "TLSConfig",
    "WithStartWorkflowOperation",
    "WorkflowExecution",
    "WorkflowExecutionCount",
    "WorkflowExecutionCountAggregationGroup",
    "WorkflowExecutionDescription",
    "WorkflowExecutionIterator",
    "WorkflowExecutionStatus",
    "WorkflowHandle",
    "WorkflowHistory",
    "WorkflowIDConflictPolicy",
    "WorkflowIDReusePolicy",
    "WorkflowUpdateHandle",
    "WorkflowUpdateStage",
]

logger = logging.getLogger("durable_anyio")

SelfT = TypeVar("SelfT")
ResultT = TypeVar("ResultT")
AnswerT = TypeVar("AnswerT")
Ts = TypeVarTuple("Ts")

# Queues whose workers have been looked for; forgotten altogether when there are more.
MAX_REMEMBERED_QUEUES = 1000


class _Connecting(Awaitable["Client"], AbstractAsyncContextManager["Client"]):
    """What `Client.connect` returns: for `async with`, or to be awaited and closed by hand."""

    def __init__(self, open_client: Callable[[], Awaitable[Client]]) -> None:
        self._open = open_client
        self._client: Client | None = None

    def __await__(self) -> Generator[Any, Any, Client]:
        return self._open().__await__()

    async def __aenter__(self) -> Client:
        self._client = await self._open()
        return self._client

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._client is not None:
            await self._client.close()


class Client:
    """A connection to an embedded engine or to a service. Made by `Client.connect`; tasks may share it."""

    def __init__(self, core: Core, *, target: str, namespace: str, identity: str, data_converter: converter.PayloadConverter) -> None:
        self._core = core
        self._target = target
        self._namespace = namespace
        self._identity = identity
        self._data_converter = data_converter
        self._service = Service(core)
        self._options = ConnectionOptions()
        self._queues_looked_at: set[str] = set()
        self._workers: set[Worker] = set()
        self._worker_grouping_key = str(uuid4())
        """The same for all workers of this client, whose heartbeats carry it."""
        self._forbidden_calls: ForbiddenCalls = "off"
        """What workers of this client do about forbidden calls unless they are told otherwise; a test environment changes it."""
        self._exempt_modules: Sequence[str] = ()
        self._debug_mode = False
        """Whether workflows that this client starts get time for a person at a breakpoint."""

    @staticmethod
    def connect(
        target: str,
        *,
        namespace: str = "default",
        identity: str | None = None,
        data_converter: converter.PayloadConverter | None = None,
        rpc_metadata: Mapping[str, str] | None = None,
        tls: bool | TLSConfig | None = None,
        api_key: str | None = None,
        keep_alive_config: KeepAliveConfig | None = KeepAliveConfig(),  # noqa: B008  # it is frozen
        retry_config: RetryConfig | None = None,
        lazy: bool = False,
        connect_timeout: timedelta | None = None,
        grpc_compression: bool = False,
        http_connect_proxy_config: HttpConnectProxyConfig | None = None,
        history_limits: HistoryLimits | None = None,
    ) -> _Connecting:
        """Connects: `async with Client.connect(…) as client`, or `client = await Client.connect(…)` and later `client.close()`.

        What follows `data_converter` concerns the network, but for `history_limits`: an embedded engine has no use for it and ignores it.

        :param target: "sqlite:FILE" or "sqlite::memory:" starts an engine in this process, "host:port" or "temporal://host:port"
            connects to a service.
        :param namespace: where workflows live; a service must have it already.
        :param identity: how this process is named in histories; default: process id and host name.
        :param data_converter: how values become payloads; default: typed JSON, see `durable_anyio.converter`.
        :param rpc_metadata: headers of every call to a service.
        :param tls: True, or a `TLSConfig` for certificates of one's own; default: encrypted if there is an API key, else plain text.
        :param api_key: sent with every call; in plain text only if `tls` is False.
        :param keep_alive_config: pings; None turns them off.
        :param lazy: connect at the first call; nothing is checked before.
        :param connect_timeout: the limit of connecting, 10 seconds by default.
        :param grpc_compression: compress what is sent; compressed answers are understood in any case.
        :param history_limits: of an embedded engine; a service has its own.
        :raises RPCError: if the file cannot be opened, the service cannot be reached, does not accept the credentials or has no such
            namespace; the message says what to do.
        """
        options = ConnectionOptions(
            rpc_metadata=dict(rpc_metadata or {}),
            api_key=api_key,
            tls=tls,
            keep_alive=keep_alive_config,
            retry=retry_config,
            lazy=lazy,
            connect_timeout=connect_timeout,
            compression=grpc_compression,
            proxy=http_connect_proxy_config,
            history_limits=history_limits,
        )
        return _connecting(target, namespace, identity, data_converter, options, time_skipping=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection and stops its engine; workers that still run end with `WorkerError`. A second call does nothing."""
        for worker in list(self._workers):
            worker.on_client_close()
        with anyio.CancelScope(shield=True):  # a cancelled task must not leave threads and a locked file behind
            await self._core.close()

    @property
    def namespace(self) -> str:
        """The namespace of all calls."""
        return self._namespace

    @property
    def identity(self) -> str:
        """How this client is named in histories."""
        return self._identity

    @property
    def data_converter(self) -> converter.PayloadConverter:
        """The converter of all values."""
        return self._data_converter

    @property
    def service(self) -> Service:
        """The raw service, for RPCs that have no method here."""
        return self._service

    @property
    def rpc_metadata(self) -> Mapping[str, str]:
        """Headers of every call to a service. Assign a new mapping to change them for all later calls, a worker's too.

        :raises ValueError: at the assignment, for a header that cannot be sent; nothing is changed then.
        """
        return dict(self._options.rpc_metadata)

    @rpc_metadata.setter
    def rpc_metadata(self, metadata: Mapping[str, str]) -> None:
        check_metadata(metadata)
        self._set_headers(replace(self._options, rpc_metadata=dict(metadata)))

    @property
    def api_key(self) -> str | None:
        """The API key; assign a new one to exchange it for all later calls, a worker's too.

        :raises ValueError: at the assignment, if the connection is plain text and was not told to be (`tls=False`).
        """
        return self._options.api_key

    @api_key.setter
    def api_key(self, api_key: str | None) -> None:
        check_api_key(api_key)
        if api_key is not None and not self._target.startswith("sqlite:"):
            self._options.check_key_is_safe()
        # A connection that the first key made an encrypted one stays so without it.
        tls = True if self._options.is_encrypted and self._options.tls is None else self._options.tls
        self._set_headers(replace(self._options, api_key=api_key, tls=tls))

    def _set_headers(self, options: ConnectionOptions) -> None:
        self._options = options
        self._core.set_headers(options.rpc_metadata, options.api_key or "")

    @overload
    async def start_workflow(
        self, workflow: Callable[[SelfT, *Ts], Awaitable[ResultT]], *args: *Ts, **options: Unpack[StartOptions]
    ) -> WorkflowHandle[SelfT, ResultT]: ...

    @overload
    async def start_workflow(
        self, workflow: str, *args: Any, result_type: type[ResultT], **options: Unpack[StartOptions]
    ) -> WorkflowHandle[Any, ResultT]: ...

    @overload
    async def start_workflow(self, workflow: str, *args: Any, **options: Unpack[StartOptions]) -> WorkflowHandle[Any, Any]: ...

    async def start_workflow(  # type: ignore[misc]  # mypy cannot match *Ts with Any
        self, workflow: Any, *args: Any, result_type: Any | None = None, **options: Unpack[StartOptions]
    ) -> Any:
        """Starts a workflow and returns its handle when the start is stored.

        :param workflow: the `run` method of a workflow class, or a type name.
        :param result_type: the result's type, where `workflow` is a name.
        :raises TypeError: if the arguments do not fit `run`; nothing is stored then.
        :raises ValueError: for an id, a name or an option that the service would refuse.
        :raises DataConversionError: if an argument cannot be encoded or is over 2 MiB.
        :raises WorkflowAlreadyStartedError: if the id is taken.
        :raises RPCError: if the service refuses or cannot be reached.
        """
        name, definition = _definitions.workflow_definition(workflow)
        if definition is not None:
            _definitions.check_arguments(definition, args)
            result_type = result_type or definition.return_type
        request = start_request(self, name, args, options)
        call = "StartWorkflowExecution"
        if options.get("start_signal") is not None:
            call, request = "SignalWithStartWorkflowExecution", signal_with_start(self, request, options)
        try:
            response = await self._service.call(call, request)
        except RPCError as error:
            raise start_refused(error, request) from None
        await self._look_for_workers(request.task_queue.name)
        return self.started_handle(request, response.run_id, result_type)

    @overload
    async def execute_workflow(
        self, workflow: Callable[[SelfT, *Ts], Awaitable[ResultT]], *args: *Ts, **options: Unpack[StartOptions]
    ) -> ResultT: ...

    @overload
    async def execute_workflow(self, workflow: str, *args: Any, result_type: type[ResultT], **options: Unpack[StartOptions]) -> ResultT: ...

    @overload
    async def execute_workflow(self, workflow: str, *args: Any, **options: Unpack[StartOptions]) -> Any: ...

    async def execute_workflow(  # type: ignore[misc]  # mypy cannot match *Ts with Any
        self, workflow: Any, *args: Any, result_type: Any | None = None, **options: Unpack[StartOptions]
    ) -> Any:
        """Starts a workflow and waits for its result. Cancelling the wait does not cancel the workflow.

        :raises WorkflowFailureError: as `WorkflowHandle.result`; else as `start_workflow`.
        """
        start: Any = self.start_workflow  # mypy cannot match *Ts with Any
        handle = await start(workflow, *args, result_type=result_type, **options)
        return await handle.result()

    @overload
    def get_workflow_handle(
        self, id: str, *, run_id: str | None = None, first_execution_run_id: str | None = None, result_type: type[ResultT]
    ) -> WorkflowHandle[Any, ResultT]: ...

    @overload
    def get_workflow_handle(
        self, id: str, *, run_id: str | None = None, first_execution_run_id: str | None = None, result_type: Any | None = None
    ) -> WorkflowHandle[Any, Any]: ...

    def get_workflow_handle(
        self, id: str, *, run_id: str | None = None, first_execution_run_id: str | None = None, result_type: Any | None = None
    ) -> WorkflowHandle[Any, Any]:
        """A handle of a workflow that exists; nothing is asked. `result_type` is what `result` returns."""
        return WorkflowHandle(
            self, id, run_id=run_id, result_run_id=run_id, first_execution_run_id=first_execution_run_id, result_type=result_type
        )

    def get_workflow_handle_for(
        self,
        workflow: Callable[[SelfT, *Ts], Awaitable[ResultT]],
        id: str,
        *,
        run_id: str | None = None,
        first_execution_run_id: str | None = None,
    ) -> WorkflowHandle[SelfT, ResultT]:
        """A handle that knows the workflow's class, hence the types of result, signals and queries."""
        _, definition = _definitions.workflow_definition(workflow)
        return WorkflowHandle(
            self,
            id,
            run_id=run_id,
            result_run_id=run_id,
            first_execution_run_id=first_execution_run_id,
            result_type=definition.return_type if definition is not None else None,
        )

    @overload
    def get_async_activity_handle(self, *, task_token: bytes) -> AsyncActivityHandle: ...

    @overload
    def get_async_activity_handle(self, *, workflow_id: str, activity_id: str, run_id: str | None = None) -> AsyncActivityHandle: ...

    def get_async_activity_handle(
        self,
        *,
        task_token: bytes | None = None,
        workflow_id: str | None = None,
        activity_id: str | None = None,
        run_id: str | None = None,
    ) -> AsyncActivityHandle:
        """A handle to complete an activity from outside; nothing is asked.

        :param task_token: `activity.info().task_token`, which names one attempt; or the ids, which name the attempt that is under way.
        :raises ValueError: for neither, or both.
        """
        if task_token:
            if workflow_id or activity_id or run_id:
                raise ValueError("a task token names an attempt by itself\nhint: leave out workflow_id, run_id and activity_id")
            return AsyncActivityHandle(self, task_token)
        if not workflow_id or not activity_id:
            raise ValueError("which activity? give task_token, or workflow_id and activity_id")
        return AsyncActivityHandle(self, ActivityReference(workflow_id, run_id, activity_id))

    def list_workflows(self, query: str = "", *, page_size: int = 100) -> WorkflowExecutionIterator:
        """The runs that `query` finds, for `async for`; the query language is Temporal's list filter.

        :raises RPCError: while iterating, INVALID_ARGUMENT for a query that cannot be understood.
        """
        return WorkflowExecutionIterator(self, query, page_size)

    async def count_workflows(self, query: str = "") -> WorkflowExecutionCount:
        """How many runs `query` finds: an `int`, with `groups` if the query ends with `GROUP BY ExecutionStatus`."""
        request = self._service.request("CountWorkflowExecutions", namespace=self._namespace, query=query)
        return WorkflowExecutionCount.from_proto(await self._service.call("CountWorkflowExecutions", request))

    async def create_schedule(
        self,
        id: str,
        schedule: Schedule,
        *,
        trigger_immediately: bool = False,
        backfill: Sequence[ScheduleBackfill] = (),
        memo: Mapping[str, Any] | None = None,
        search_attributes: TypedSearchAttributes | None = None,
    ) -> ScheduleHandle:
        """Creates a schedule and returns its handle when it is stored; see `durable_anyio.schedules`.

        :param trigger_immediately: take the action once at the start.
        :param backfill: times to make up for at the start.
        :param memo: values that lists and descriptions of the schedule show; the action has a memo of its own for its workflows.
        :param search_attributes: what lists find the schedule by; the action has its own for its workflows.
        :raises ValueError, TypeError: for a schedule that the service would refuse.
        :raises ScheduleAlreadyRunningError: if the id is taken.
        :raises RPCError: INVALID_ARGUMENT if the spec cannot be understood or a search attribute is not there; the message says which.
        """
        handle = await create_schedule(
            self,
            checked_name("schedule id", id),
            schedule,
            trigger_immediately=trigger_immediately,
            backfill=backfill,
            memo=memo,
            search_attributes=search_attributes,
        )
        return handle

    def get_schedule_handle(self, id: str) -> ScheduleHandle:
        """A handle of a schedule that exists; nothing is asked."""
        return ScheduleHandle(self, id)

    def list_schedules(self, query: str = "", *, page_size: int = 1000) -> ScheduleAsyncIterator:
        """The schedules that `query` finds, for `async for`, the newest first.

        :raises RPCError: while iterating, INVALID_ARGUMENT for a query that cannot be understood.
        """
        return ScheduleAsyncIterator(self, query, page_size)

    @overload
    async def execute_update_with_start_workflow(
        self,
        update: Callable[[SelfT, *Ts], Awaitable[AnswerT]],
        *args: *Ts,
        start_workflow_operation: WithStartWorkflowOperation[SelfT, Any],
        id: str | None = None,
    ) -> AnswerT: ...

    @overload
    async def execute_update_with_start_workflow(
        self,
        update: Callable[[SelfT, *Ts], AnswerT],
        *args: *Ts,
        start_workflow_operation: WithStartWorkflowOperation[SelfT, Any],
        id: str | None = None,
    ) -> AnswerT: ...

    @overload
    async def execute_update_with_start_workflow(
        self,
        update: str,
        *args: Any,
        start_workflow_operation: WithStartWorkflowOperation[Any, Any],
        id: str | None = None,
        result_type: Any | None = None,
    ) -> Any: ...

    async def execute_update_with_start_workflow(  # type: ignore[misc]  # mypy cannot match *Ts with Any
        self,
        update: Any,
        *args: Any,
        start_workflow_operation: WithStartWorkflowOperation[Any, Any],
        id: str | None = None,
        result_type: Any | None = None,
    ) -> Any:
        """Starts a workflow and sends it an update, both or neither, and returns what the update's handler returns.

        :raises WorkflowUpdateFailedError: if the validator refused it or the handler raised.
        :raises WorkflowAlreadyStartedError: if the id is taken, and the operation's policy says that this is a mistake.
        """
        operation, completed = start_workflow_operation, WorkflowUpdateStage.COMPLETED
        started = await start_update_with_start(self, operation, update, args, id=id, stage=completed, result_type=result_type)
        await self._look_for_workers(operation.options["task_queue"])
        return await started.result()

    @overload
    async def start_update_with_start_workflow(
        self,
        update: Callable[[SelfT, *Ts], Awaitable[AnswerT]],
        *args: *Ts,
        start_workflow_operation: WithStartWorkflowOperation[SelfT, Any],
        wait_for_stage: WorkflowUpdateStage,
        id: str | None = None,
    ) -> WorkflowUpdateHandle[AnswerT]: ...

    @overload
    async def start_update_with_start_workflow(
        self,
        update: Callable[[SelfT, *Ts], AnswerT],
        *args: *Ts,
        start_workflow_operation: WithStartWorkflowOperation[SelfT, Any],
        wait_for_stage: WorkflowUpdateStage,
        id: str | None = None,
    ) -> WorkflowUpdateHandle[AnswerT]: ...

    @overload
    async def start_update_with_start_workflow(
        self,
        update: str,
        *args: Any,
        start_workflow_operation: WithStartWorkflowOperation[Any, Any],
        wait_for_stage: WorkflowUpdateStage,
        id: str | None = None,
        result_type: Any | None = None,
    ) -> WorkflowUpdateHandle[Any]: ...

    async def start_update_with_start_workflow(  # type: ignore[misc]  # mypy cannot match *Ts with Any
        self,
        update: Any,
        *args: Any,
        start_workflow_operation: WithStartWorkflowOperation[Any, Any],
        wait_for_stage: WorkflowUpdateStage,
        id: str | None = None,
        result_type: Any | None = None,
    ) -> Any:
        """The same, but returns the update's handle when it has reached a stage: ACCEPTED or COMPLETED."""
        operation = start_workflow_operation
        return await start_update_with_start(self, operation, update, args, id=id, stage=wait_for_stage, result_type=result_type)

    @property
    def is_embedded(self) -> bool:
        """True if the engine runs in this process."""
        return self._target.startswith("sqlite:")

    def started_handle(self, request: Any, run_id: str, result_type: Any | None) -> WorkflowHandle[Any, Any]:
        """The handle of the run that a start request gave."""
        return WorkflowHandle(
            self,
            request.workflow_id,
            result_run_id=run_id,
            first_execution_run_id=run_id,
            result_type=result_type,
            task_queue=request.task_queue.name,
        )

    async def _look_for_workers(self, task_queue: str) -> None:
        """Says at the first start on a task queue of an embedded engine that no worker is there: it can only be this program's mistake."""
        if not self.is_embedded or task_queue in self._queues_looked_at:
            return
        if len(self._queues_looked_at) >= MAX_REMEMBERED_QUEUES:
            self._queues_looked_at.clear()
        self._queues_looked_at.add(task_queue)
        try:
            if await _visibility.poller_count(self, task_queue) == 0:
                logger.warning(_visibility.no_worker_text(task_queue, "workflows"))
        except RPCError as error:  # the start is stored: a failed look must not make it seem refused
            logger.debug("cannot describe task queue %r: %s", task_queue, error)


def _connecting(
    target: str,
    namespace: str,
    identity: str | None,
    data_converter: converter.PayloadConverter | None,
    options: ConnectionOptions,
    *,
    time_skipping: bool,
) -> _Connecting:
    """`Client.connect`, for `testing` too: only there an engine may skip time."""
    name = identity or f"{os.getpid()}@{socket.gethostname()}"
    debug_mode = debug_mode_of_environment()

    async def open_client() -> Client:
        core = await Core.open()
        try:
            await core.connect(
                target=target, namespace=namespace, identity=name, time_skipping=time_skipping, write_options=options.write_to
            )
        except BaseException:
            with anyio.CancelScope(shield=True):
                await core.close()
            raise
        client = Client(core, target=target, namespace=namespace, identity=name, data_converter=data_converter or converter.default())
        client._options = options
        client._service.call_timeout = options.call_timeout
        client._debug_mode = debug_mode
        return client

    return _Connecting(open_client)
