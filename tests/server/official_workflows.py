"""Workflows and activities written for the official Python SDK."""

from __future__ import annotations

import asyncio
import builtins
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.common import RawValue, RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, ChildWorkflowError, TimeoutError
from temporalio.workflow import ParentClosePolicy

SHORT = timedelta(seconds=10)
ONCE = RetryPolicy(maximum_attempts=1)
SOON = RetryPolicy(initial_interval=timedelta(milliseconds=10), maximum_attempts=3)


@dataclass
class Order:
    number: int
    words: list[str]


@activity.defn
async def double(number: int) -> int:
    return number * 2


@activity.defn
def in_a_thread(number: int) -> str:
    return f"{number} in {threading.current_thread().name.partition('_')[0]}"


@activity.defn
async def join(left: str, right: str) -> str:
    return f"{left}-{right}"


@activity.defn
async def echo_order(order: Order) -> Order:
    return Order(order.number + 1, [*order.words, "seen"])


@activity.defn
async def fail_until(attempt: int) -> int:
    if activity.info().attempt < attempt:
        raise ApplicationError("not yet", "details", type="NotYet")
    return activity.info().attempt


@activity.defn
async def fail_for_good() -> None:
    raise ApplicationError("never", type="Never", non_retryable=True)


@activity.defn
async def beat_then_fail() -> list[Any]:
    if activity.info().attempt == 1:
        activity.heartbeat("half", 50)
        raise ApplicationError("again")
    return list(activity.info().heartbeat_details)


@activity.defn
async def silent() -> None:
    await asyncio.Event().wait()


@activity.defn
async def beats_until_cancelled() -> str:
    try:
        while True:
            activity.heartbeat()
            await asyncio.sleep(0.05)
    except asyncio.CancelledError:
        return "was asked to stop"


@activity.defn
async def completed_elsewhere() -> str:
    activity.raise_complete_async()


@activity.defn
async def ids() -> list[str]:
    info = activity.info()
    return [str(info.workflow_id), str(info.workflow_type), info.task_queue, info.activity_type]


@activity.defn(dynamic=True)
async def any_activity(args: Sequence[RawValue]) -> str:
    return f"{activity.info().activity_type} with {len(args)}"


ACTIVITIES = [
    double,
    in_a_thread,
    join,
    echo_order,
    fail_until,
    fail_for_good,
    beat_then_fail,
    silent,
    beats_until_cancelled,
    completed_elsewhere,
    ids,
    any_activity,
]


@workflow.defn
class CallActivity:
    """Runs the named activity with its arguments."""

    @workflow.run
    async def run(self, name: str, args: list[Any]) -> Any:
        return await workflow.execute_activity(name, args=args, start_to_close_timeout=SHORT, retry_policy=SOON)


@workflow.defn
class Orders:
    @workflow.run
    async def run(self, order: Order) -> Order:
        return await workflow.execute_activity(echo_order, order, start_to_close_timeout=SHORT)


@workflow.defn
class ManyActivities:
    @workflow.run
    async def run(self, count: int) -> int:
        calls = [workflow.execute_activity(double, n, start_to_close_timeout=SHORT) for n in range(count)]
        return sum(await asyncio.gather(*calls))


@workflow.defn
class Chain:
    @workflow.run
    async def run(self, count: int) -> int:
        number = 1
        for _ in range(count):
            number = await workflow.execute_activity(double, number, start_to_close_timeout=SHORT)
        return number


@workflow.defn
class ActivityTimeouts:
    """What kind of timeout ends the activity."""

    @workflow.run
    async def run(self, kind: str) -> str:
        options: dict[str, Any] = {
            "start_to_close": {"start_to_close_timeout": timedelta(milliseconds=200)},
            "heartbeat": {"start_to_close_timeout": SHORT, "heartbeat_timeout": timedelta(milliseconds=200)},
            "schedule_to_start": {"schedule_to_start_timeout": timedelta(milliseconds=200), "start_to_close_timeout": SHORT},
            "schedule_to_close": {"schedule_to_close_timeout": timedelta(milliseconds=200)},
        }[kind]
        if kind == "schedule_to_start":
            options["task_queue"] = "nobody-polls-this"
        try:
            await workflow.execute_activity(silent, retry_policy=ONCE, **options)
        except ActivityError as error:
            cause = error.cause
            return cause.type.name if isinstance(cause, TimeoutError) and cause.type is not None else f"no timeout: {cause!r}"
        return "no timeout"


@workflow.defn
class CancelActivity:
    @workflow.run
    async def run(self) -> str:
        handle = workflow.start_activity(
            beats_until_cancelled,
            start_to_close_timeout=SHORT,
            heartbeat_timeout=timedelta(seconds=5),
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )
        await asyncio.sleep(0.3)
        handle.cancel()
        return await handle


@workflow.defn
class LocalActivities:
    @workflow.run
    async def run(self, count: int) -> list[int]:
        return [await workflow.execute_local_activity(double, n, start_to_close_timeout=SHORT) for n in range(count)] + [
            await workflow.execute_local_activity(fail_until, 2, start_to_close_timeout=SHORT, retry_policy=SOON)
        ]


@workflow.defn
class Timers:
    @workflow.run
    async def run(self) -> list[str]:
        order: list[str] = []

        async def after(seconds: float, name: str) -> None:
            await asyncio.sleep(seconds)
            order.append(name)

        await asyncio.gather(after(0.3, "third"), after(0.1, "first"), after(0.2, "second"))
        cancelled = asyncio.create_task(after(60, "never"))
        await asyncio.sleep(0.01)
        cancelled.cancel()
        return order


@workflow.defn
class Counter:
    """Signals, queries and updates."""

    def __init__(self) -> None:
        self.total = 0
        self.is_done = False

    @workflow.run
    async def run(self) -> int:
        await workflow.wait_condition(lambda: self.is_done)
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self.total

    @workflow.signal
    def add(self, number: int) -> None:
        self.total += number

    @workflow.signal
    async def done(self) -> None:
        self.is_done = True

    @workflow.signal(dynamic=True)
    def other(self, name: str, args: Sequence[RawValue]) -> None:
        self.total += 1000

    @workflow.query
    def now(self) -> int:
        return self.total

    @workflow.query
    def broken(self) -> int:
        raise ValueError("no answer")

    @workflow.update
    async def add_and_tell(self, number: int) -> int:
        self.total += number
        return self.total

    @add_and_tell.validator
    def positive(self, number: int) -> None:
        if number < 0:
            raise ValueError("must not be negative")

    @workflow.update
    async def add_doubled(self, number: int) -> int:
        self.total += await workflow.execute_activity(double, number, start_to_close_timeout=SHORT)
        return self.total

    @workflow.update
    async def fail(self) -> None:
        raise ApplicationError("the update fails")


@workflow.defn
class WaitsFor:
    """A condition with a timeout."""

    @workflow.run
    async def run(self) -> str:
        try:
            await workflow.wait_condition(lambda: False, timeout=0.1)
        except builtins.TimeoutError:
            return "timed out"
        return "came"


@workflow.defn
class Fails:
    @workflow.run
    async def run(self, how: str) -> None:
        if how == "application":
            raise ApplicationError("failed", {"why": "asked"}, type="Asked")
        if how == "until third" and workflow.info().attempt < 3:
            raise ApplicationError("not yet")


@workflow.defn
class CancelMe:
    @workflow.run
    async def run(self, cleans_up: bool) -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if not cleans_up:
                raise
            cleaned = await workflow.execute_activity(double, 21, start_to_close_timeout=SHORT)
            return f"cleaned up {cleaned}"
        return "never"


@workflow.defn
class Child:
    @workflow.run
    async def run(self, what: str) -> str:
        if what == "fail":
            raise ApplicationError("the child fails", type="ChildFails")
        if what == "wait":
            await asyncio.Event().wait()
        parent = workflow.info().parent
        return f"child {what} of {parent.workflow_id if parent else None}"


@workflow.defn
class Parent:
    @workflow.run
    async def run(self, what: str) -> str:
        own = workflow.info().workflow_id
        if what == "cancel":
            handle = await workflow.start_child_workflow(Child.run, "wait", id=f"{own}-child")
            handle.cancel()
            try:
                return await handle
            except ChildWorkflowError as error:
                return type(error.cause).__name__
        if what == "leave":
            for policy in ("TERMINATE", "ABANDON", "REQUEST_CANCEL"):
                await workflow.start_child_workflow(Child.run, "wait", id=f"{own}-{policy}", parent_close_policy=ParentClosePolicy[policy])
            return "left"
        try:
            return await workflow.execute_child_workflow(Child.run, what, id=f"{own}-child")
        except ChildWorkflowError as error:
            cause = error.cause
            return f"{cause.type}: {cause.message}" if isinstance(cause, ApplicationError) else repr(cause)


@workflow.defn
class SignalsOther:
    @workflow.run
    async def run(self, workflow_id: str) -> str:
        other: workflow.ExternalWorkflowHandle[Counter] = workflow.get_external_workflow_handle_for(Counter.run, workflow_id)
        await other.signal(Counter.add, 7)
        await other.signal(Counter.done)
        missing = workflow.get_external_workflow_handle("there-is-no-such-workflow")
        try:
            await missing.signal("any")
        except ApplicationError:
            return "told"
        return "no error"


@workflow.defn
class CancelsOther:
    @workflow.run
    async def run(self, workflow_id: str) -> None:
        await workflow.get_external_workflow_handle(workflow_id).cancel()


@workflow.defn
class CountsDown:
    @workflow.run
    async def run(self, number: int) -> str:
        if number > 0:
            workflow.continue_as_new(number - 1)
        return f"first was {'another' if workflow.info().continued_run_id else 'this'}"


@workflow.defn
class Chance:
    @workflow.run
    async def run(self) -> list[Any]:
        before = workflow.now()
        await asyncio.sleep(0.01)
        return [workflow.random().random(), str(workflow.uuid4()), workflow.now() > before]


@workflow.defn
class Patched:
    @workflow.run
    async def run(self) -> list[bool]:
        first = workflow.patched("first")
        await asyncio.sleep(0.01)
        return [first, workflow.patched("second"), workflow.patched("first")]


@workflow.defn
class Memos:
    @workflow.run
    async def run(self) -> Any:
        return workflow.memo_value("given", default=None)


@workflow.defn(dynamic=True)
class AnyWorkflow:
    @workflow.run
    async def run(self, args: Sequence[RawValue]) -> str:
        return f"{workflow.info().workflow_type} with {len(args)}"


WORKFLOWS = [
    CallActivity,
    Orders,
    ManyActivities,
    Chain,
    ActivityTimeouts,
    CancelActivity,
    LocalActivities,
    Timers,
    Counter,
    WaitsFor,
    Fails,
    CancelMe,
    Child,
    Parent,
    SignalsOther,
    CancelsOther,
    CountsDown,
    Chance,
    Patched,
    Memos,
    AnyWorkflow,
]
