"""What tests need: environments with a client, the virtual clock, and activities run by themselves."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, TypeVarTuple, overload

import anyio
import anyio.to_thread

from . import _determinism, converter
from ._activity_context import ActivityCancellationDetails, ActivityContext, Info, ShutdownNotice, current_context
from ._bridge import proto
from ._connection import ConnectionOptions, TLSConfig
from ._forbidden_option import ForbiddenCalls, check_exempt_modules
from ._visibility import message_time
from .activity import Activity
from .client import Client, WorkflowHandle, _connecting
from .common import Priority

__all__ = ["ActivityEnvironment", "WorkflowEnvironment", "check_determinism"]

SelfT = TypeVar("SelfT")
ResultT = TypeVar("ResultT")
Ts = TypeVarTuple("Ts")


class WorkflowEnvironment:
    """A client with control of time. Made by `time_skipping`, `local` or `connect`, each for `async with`.

    Workers of its client refuse what a workflow must not do (docs/checks.md): the worker ends with a `ForbiddenCallError`, and the test
    with it. `forbidden_calls="off"` does without, `exempt_modules` names modules that may. An environment made by `connect` looks for
    nothing unless it is asked to.
    """

    def __init__(self, client: Client, *, skips_time: bool) -> None:
        self._client = client
        self._skips_time = skips_time

    @staticmethod
    @asynccontextmanager
    async def time_skipping(
        *,
        data_converter: converter.PayloadConverter | None = None,
        forbidden_calls: ForbiddenCalls = "raise",
        exempt_modules: Sequence[str] = (),
    ) -> AsyncIterator[WorkflowEnvironment]:
        """An engine in memory whose workflow time jumps to the next timer while a result is waited for and nothing else is to do."""
        async with _connecting("sqlite::memory:", "default", None, data_converter, ConnectionOptions(), time_skipping=True) as client:
            yield WorkflowEnvironment(_watched(client, forbidden_calls, exempt_modules), skips_time=True)

    @staticmethod
    @asynccontextmanager
    async def local(
        *,
        data_converter: converter.PayloadConverter | None = None,
        forbidden_calls: ForbiddenCalls = "raise",
        exempt_modules: Sequence[str] = (),
    ) -> AsyncIterator[WorkflowEnvironment]:
        """An engine in memory with real time."""
        async with Client.connect("sqlite::memory:", data_converter=data_converter) as client:
            yield WorkflowEnvironment(_watched(client, forbidden_calls, exempt_modules), skips_time=False)

    @staticmethod
    @asynccontextmanager
    async def connect(
        target: str,
        *,
        namespace: str = "default",
        data_converter: converter.PayloadConverter | None = None,
        rpc_metadata: Mapping[str, str] | None = None,
        tls: bool | TLSConfig | None = None,
        api_key: str | None = None,
        forbidden_calls: ForbiddenCalls = "off",
        exempt_modules: Sequence[str] = (),
    ) -> AsyncIterator[WorkflowEnvironment]:
        """Any target of `Client.connect`, with real time: the same tests against a real service."""
        async with Client.connect(
            target, namespace=namespace, data_converter=data_converter, rpc_metadata=rpc_metadata, tls=tls, api_key=api_key
        ) as client:
            yield WorkflowEnvironment(_watched(client, forbidden_calls, exempt_modules), skips_time=False)

    @property
    def client(self) -> Client:
        """The client of the environment."""
        return self._client

    @property
    def supports_time_skipping(self) -> bool:
        """Whether `sleep` moves workflow time instead of waiting."""
        return self._skips_time

    async def sleep(self, duration: timedelta | float) -> None:
        """Moves workflow time by `duration` (a timedelta, or seconds), firing what falls due; with real time it waits."""
        seconds = duration.total_seconds() if isinstance(duration, timedelta) else float(duration)
        if not seconds >= 0:
            raise ValueError(f"the duration must not be negative, not {duration}")
        if not self._skips_time:
            await anyio.sleep(seconds)
            return
        command = proto.message("durable_anyio.bridge.v1.Command")()
        command.advance_time.by_ms = round(seconds * 1000)
        command.advance_time.SetInParent()
        await self._client._core.command(command)

    async def get_current_time(self) -> datetime:
        """Workflow time, aware and in UTC."""
        command: Any = proto.message("durable_anyio.bridge.v1.Command")()
        command.current_time.SetInParent()
        timestamp = proto.message("google.protobuf.Timestamp")()
        timestamp.ParseFromString(await self._client._core.command(command))
        return message_time(timestamp)


def _watched(client: Client, forbidden_calls: ForbiddenCalls, exempt_modules: Sequence[str]) -> Client:
    check_exempt_modules(exempt_modules)
    client._forbidden_calls = forbidden_calls
    client._exempt_modules = exempt_modules
    return client


async def check_determinism(
    workflow: Callable[[SelfT, *Ts], Awaitable[ResultT]],
    *args: *Ts,
    activities: Sequence[Callable[..., Any]] = (),
    workflows: Sequence[type] = (),
    drive: Callable[[WorkflowHandle[SelfT, ResultT]], Awaitable[object]] | None = None,
    environment: WorkflowEnvironment | None = None,
    processes: int = 3,
) -> ResultT:
    """Runs a workflow, replays it in fresh processes with other hash seeds, evicted after every workflow task, and compares all commands.

    What differs between two processes or between a run that stays in memory and one that does not is found so: the order of sets, `id()`,
    counters in modules, the time of the day. The workflow is run once, then its history is replayed up to each of its workflow tasks anew.

    :param workflow: the `run` method of a class that can be imported: one at the top level of a module.
    :param activities: what the workflow calls.
    :param workflows: further classes that it starts or continues as.
    :param drive: called with the handle after the start, to send signals and the like; the result is waited for when it has returned.
    :param environment: where to run; without one a time-skipping environment of its own. `environment.sleep` helps `drive`.
    :param processes: how many fresh processes replay it: each has another order of sets.
    :returns: what the workflow returned.
    :raises NondeterminismError: the first command in which they differ, with the lines that led to it in both.
    :raises WorkflowFailureError: the workflow failed, in the same way everywhere.
    :raises ValueError: the workflow cannot be imported by a fresh process.
    """
    options: Any = {"activities": activities, "workflows": workflows, "drive": drive, "processes": processes}
    if environment is not None:
        result: ResultT = await _determinism.check(environment, workflow, args, **options)
        return result
    async with WorkflowEnvironment.time_skipping() as own:
        result = await _determinism.check(own, workflow, args, **options)
        return result


_EPOCH = datetime(2020, 1, 1, tzinfo=UTC)
_TEST_INFO = Info(
    activity_id="test",
    activity_type="test",
    attempt=1,
    current_attempt_scheduled_time=_EPOCH,
    heartbeat_details=(),
    heartbeat_timeout=None,
    is_local=False,
    priority=Priority.default,
    retry_policy=None,
    schedule_to_close_timeout=None,
    scheduled_time=_EPOCH,
    start_to_close_timeout=timedelta(seconds=1),
    started_time=_EPOCH,
    task_queue="test",
    task_token=b"test",
    workflow_id="test",
    workflow_namespace="default",
    workflow_run_id="test-run",
    workflow_type="test",
)


class ActivityEnvironment:
    """Runs an activity's function by itself: everything in `durable_anyio.activity` works, no engine is needed.

    :param info: what `activity.info()` answers; `dataclasses.replace(environment.info, attempt=2)` makes another.
    :param client: what `activity.client()` answers.
    :param data_converter: what `activity.payload_converter()` answers; default: typed JSON.
    """

    def __init__(
        self, *, info: Info | None = None, client: Client | None = None, data_converter: converter.PayloadConverter | None = None
    ) -> None:
        self.info = info or _TEST_INFO
        self.heartbeats: list[tuple[Any, ...]] = []
        """The details of each heartbeat so far."""
        self.on_heartbeat: Callable[..., None] = lambda *details: None
        """Called with the details of each heartbeat, in the activity's own task or thread."""
        self._client = client
        self._converter = data_converter or (client.data_converter if client is not None else converter.default())
        self._attempts: list[_Attempt] = []
        self._stopped = False

    @staticmethod
    def default_info() -> Info:
        """What `activity.info()` answers when nothing else is given."""
        return _TEST_INFO

    @overload
    async def run(self, fn: Callable[[*Ts], Awaitable[ResultT]], *args: *Ts) -> ResultT: ...

    @overload
    async def run(self, fn: Callable[[*Ts], ResultT], *args: *Ts) -> ResultT: ...

    async def run(self, fn: Callable[..., Any], *args: Any) -> Any:  # type: ignore[misc]  # mypy cannot match *Ts with Any
        """Runs an activity or a plain function as a worker does: `async def` here, plain `def` in a thread.

        :raises CancelledError: if `cancel` was called and the function let itself be stopped.
        :raises CompleteAsyncError: `activity.CompleteAsyncError`, if the function leaves its outcome to somebody else.
        """
        function = fn.fn if isinstance(fn, Activity) else fn
        attempt = _Attempt(self)
        if self._stopped:
            attempt.shutdown.set()
        self._attempts.append(attempt)
        token = current_context.set(attempt)
        try:
            with attempt.scope:
                if inspect.iscoroutinefunction(function):
                    return await function(*args)
                attempt.in_thread = True
                return await anyio.to_thread.run_sync(functools.partial(function, *args))
        finally:
            current_context.reset(token)
            self._attempts.remove(attempt)
        raise attempt.cancelled_error()

    def cancel(self, cancellation_details: ActivityCancellationDetails | None = None) -> None:
        """Asks every activity that runs in this environment to stop; why is `activity.cancellation_details()`."""
        for attempt in list(self._attempts):
            attempt.cancel(cancellation_details or ActivityCancellationDetails(cancel_requested=True))

    def worker_shutdown(self) -> None:
        """Tells activities of this environment, also later ones, that their worker stops."""
        self._stopped = True
        for attempt in self._attempts:
            attempt.shutdown.set()


class _Attempt(ActivityContext):
    """The context behind `activity.*` in an `ActivityEnvironment`."""

    def __init__(self, environment: ActivityEnvironment) -> None:
        super().__init__(environment.info, converter=environment._converter, shutdown=ShutdownNotice(), client=environment._client)
        self._environment = environment

    def send_heartbeat(self, details: Sequence[Any]) -> None:
        self._environment.heartbeats.append(tuple(details))
        self._environment.on_heartbeat(*details)
