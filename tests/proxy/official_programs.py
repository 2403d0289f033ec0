"""The programs of `programs.py` as they are written for Temporal's Python SDK."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

from temporalio import activity, workflow
from temporalio.common import Priority, RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, FailureError

SOON = timedelta(seconds=20)
AT_ONCE = RetryPolicy(initial_interval=timedelta(milliseconds=10), backoff_coefficient=1.0)
ONCE = RetryPolicy(maximum_attempts=1)
#: Whether a worker has the program's next version.
CHANGED = False


@activity.defn
async def note(text: str) -> str:
    return text


@activity.defn
async def flaky(good: int) -> int:
    """Succeeds at that attempt."""
    if activity.info().attempt < good:
        raise ApplicationError("not yet", activity.info().attempt, type="NotYet")
    return good


@activity.defn
async def broken(kind: str) -> None:
    if kind == "plain":
        raise ValueError("broken")
    if kind == "chain":
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise ValueError("outer") from error
    raise ApplicationError("broken", "detail", 7, type="Broken", non_retryable=kind == "for good", next_retry_delay=timedelta(seconds=3))


@activity.defn
async def held(path: str) -> str:
    """Until somebody makes that file."""
    while not Path(path).exists():
        await asyncio.sleep(0.01)
    return "released"


@activity.defn
async def beating(path: str) -> str:
    """The same with heartbeats."""
    beats = 0
    while not Path(path).exists():
        beats += 1
        activity.heartbeat("beat")
        await asyncio.sleep(0.01)
    return "released"


@workflow.defn
class Child:
    @workflow.run
    async def run(self, text: str) -> str:
        return text


class Signalled:
    def __init__(self) -> None:
        self.goes = 0
        self.taken = 0

    @workflow.signal
    def go(self) -> None:
        self.goes += 1

    @workflow.signal
    def other(self) -> None: ...

    async def first(self) -> None:
        await workflow.wait_condition(lambda: self.goes > 0)

    async def gone(self) -> None:
        self.taken += 1
        await workflow.wait_condition(lambda: self.goes >= self.taken)


@workflow.defn
class Locals(Signalled):
    """Local activities."""

    @workflow.run
    async def run(self, what: str, path: str) -> object:
        return await getattr(self, what)(path)

    async def once(self, path: str) -> str:
        return await workflow.execute_local_activity(note, "once", start_to_close_timeout=SOON)

    async def two(self, path: str) -> list[str]:
        calls = [workflow.start_local_activity(note, text, start_to_close_timeout=SOON) for text in ("one", "two")]
        return [await call for call in calls]

    async def retried(self, path: str) -> int:
        return await workflow.execute_local_activity(flaky, 3, start_to_close_timeout=SOON, retry_policy=AT_ONCE)

    async def rests(self, path: str) -> int:
        return await workflow.execute_local_activity(
            flaky,
            3,
            start_to_close_timeout=SOON,
            retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=400), backoff_coefficient=1.0),
            local_retry_threshold=timedelta(milliseconds=200),
        )

    async def fails(self, path: str) -> None:
        await workflow.execute_local_activity(broken, "for good", start_to_close_timeout=SOON)

    async def out_of_attempts(self, path: str) -> None:
        await workflow.execute_local_activity(broken, "plain", start_to_close_timeout=SOON, retry_policy=ONCE)

    async def held(self, path: str) -> str:
        return await workflow.execute_local_activity(held, path, start_to_close_timeout=SOON)

    async def out_of_time(self, path: str) -> str:
        return await workflow.execute_local_activity(held, path, start_to_close_timeout=timedelta(milliseconds=100), retry_policy=ONCE)

    async def out_of_all_time(self, path: str) -> str:
        return await workflow.execute_local_activity(held, path, schedule_to_close_timeout=timedelta(milliseconds=100))

    async def withdrawn(self, path: str) -> str:
        """Cancelled in the step that called it."""
        call = workflow.start_local_activity(held, path, start_to_close_timeout=SOON)
        call.cancel()
        return await self.outcome(call)

    async def try_cancel(self, path: str) -> str:
        return await self.cancelled(path, workflow.ActivityCancellationType.TRY_CANCEL)

    async def wait_cancel(self, path: str) -> str:
        return await self.cancelled(path, workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED)

    async def abandon(self, path: str) -> str:
        return await self.cancelled(path, workflow.ActivityCancellationType.ABANDON)

    async def cancelled(self, path: str, kind: workflow.ActivityCancellationType) -> str:
        call = workflow.start_local_activity(held, path, start_to_close_timeout=SOON, cancellation_type=kind)
        await self.gone()
        call.cancel()
        return await self.outcome(call)

    async def outcome(self, call: workflow.ActivityHandle[str]) -> str:
        try:
            return await call
        except (FailureError, asyncio.CancelledError) as error:  # of local activities it is not always an `ActivityError`
            return type(getattr(error, "cause", None) or error).__name__


@workflow.defn
class Messages(Signalled):
    """Queries and updates."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[str] = []

    @workflow.query
    def state(self) -> list[str]:
        """What there is."""
        return self.entries

    @workflow.query
    def broken_query(self, kind: str) -> None:
        if kind == "plain":
            raise ValueError("broken")
        raise ApplicationError("broken", "detail", type="Broken")

    @workflow.update
    def book(self, text: str) -> int:
        """Notes it."""
        self.entries.append(text)
        return len(self.entries)

    @workflow.update
    async def book_later(self, text: str) -> str:
        await self.first()
        self.entries.append(text)
        return text

    @workflow.update
    async def book_forever(self) -> None:
        await workflow.wait_condition(lambda: False)

    @workflow.update
    async def book_with_activity(self, text: str) -> str:
        return await workflow.execute_activity(note, text, start_to_close_timeout=SOON)

    @workflow.update
    async def book_nothing(self) -> None: ...

    @workflow.update
    async def broken_update(self, late: bool) -> None:
        if late:
            await self.first()
        raise ApplicationError("broken", "detail", type="Broken")

    @workflow.update
    def checked(self, text: str) -> str:
        return text

    @checked.validator
    def check(self, text: str) -> None:
        if text == "bad":
            raise ValueError("refused")
        if text == "application":
            raise ApplicationError("refused", "detail", type="Refused")

    @workflow.run
    async def run(self, what: str, path: str) -> object:
        return await getattr(self, what)(path)

    async def wait(self, path: str) -> str:
        await self.gone()
        return "went"

    async def wait_twice(self, path: str) -> str:
        await self.gone()
        await self.gone()
        return "went"

    async def go_on(self, path: str) -> None:
        await self.gone()
        workflow.continue_as_new(args=["wait", path])


@workflow.defn
class Remote(Signalled):
    """Activities."""

    @workflow.run
    async def run(self, what: str, path: str) -> object:
        return await getattr(self, what)(path)

    async def once(self, path: str) -> str:
        return await workflow.execute_activity(note, "once", start_to_close_timeout=SOON)

    async def several(self, path: str) -> list[str]:
        calls = [workflow.start_activity(note, str(number), start_to_close_timeout=SOON) for number in range(5)]
        return [await call for call in calls]

    async def fails(self, path: str) -> None:
        await workflow.execute_activity(broken, path, start_to_close_timeout=SOON, retry_policy=ONCE)

    async def retried(self, path: str) -> int:
        return await workflow.execute_activity(flaky, 2, start_to_close_timeout=SOON, retry_policy=AT_ONCE)

    async def unknown(self, path: str) -> None:
        await workflow.execute_activity("nobody", start_to_close_timeout=SOON, retry_policy=ONCE)

    async def mistaken(self, path: str) -> None:
        await workflow.execute_activity("flaky", ["no", "number"], start_to_close_timeout=SOON, retry_policy=ONCE)

    async def beats(self, path: str) -> str:
        return await workflow.execute_activity(beating, path, start_to_close_timeout=SOON, heartbeat_timeout=timedelta(seconds=10))

    async def try_cancel(self, path: str) -> str:
        return await self.cancelled(path, workflow.ActivityCancellationType.TRY_CANCEL)

    async def wait_cancel(self, path: str) -> str:
        return await self.cancelled(path, workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED)

    async def abandon(self, path: str) -> str:
        return await self.cancelled(path, workflow.ActivityCancellationType.ABANDON)

    async def cancelled(self, path: str, kind: workflow.ActivityCancellationType) -> str:
        call = workflow.start_activity(
            beating, path, start_to_close_timeout=SOON, heartbeat_timeout=timedelta(seconds=10), retry_policy=ONCE, cancellation_type=kind
        )
        await self.gone()
        call.cancel()
        try:
            outcome = await call
        except ActivityError as error:
            outcome = type(error.cause).__name__
        await self.gone()
        return outcome

    async def options(self, path: str) -> str:
        """Commands with all that can be said of them."""
        own = workflow.info().workflow_id
        await asyncio.sleep(0.01)
        await workflow.sleep(0.01, summary="a rest")
        await workflow.execute_activity(
            note,
            "options",
            activity_id="mine",
            schedule_to_close_timeout=timedelta(seconds=40),
            schedule_to_start_timeout=timedelta(seconds=30),
            start_to_close_timeout=SOON,
            heartbeat_timeout=timedelta(seconds=10),
            retry_policy=RetryPolicy(
                initial_interval=timedelta(seconds=2),
                backoff_coefficient=1.5,
                maximum_interval=timedelta(seconds=9),
                maximum_attempts=4,
                non_retryable_error_types=["Broken"],
            ),
            summary="a line",
            priority=Priority(priority_key=3, fairness_key="fair", fairness_weight=2.0),
        )
        await workflow.execute_child_workflow(
            Child.run,
            "child",
            id=f"{own}-child",
            execution_timeout=timedelta(seconds=50),
            run_timeout=timedelta(seconds=40),
            task_timeout=timedelta(seconds=5),
            retry_policy=ONCE,
            memo={"key": "value"},
            static_summary="a summary",
            static_details="details",
            parent_close_policy=workflow.ParentClosePolicy.ABANDON,
        )
        workflow.upsert_memo({"noted": 1})
        workflow.patched("a patch")
        workflow.continue_as_new(args=["once", path], run_timeout=timedelta(seconds=40), memo={"last": True})


@workflow.defn
class Failing(Signalled):
    """How runs and tasks fail."""

    @workflow.run
    async def run(self, what: str, path: str) -> object:
        return await getattr(self, what)(path)

    async def for_good(self, path: str) -> None:
        raise ApplicationError("broken", "detail", 7, type="Broken", non_retryable=True)

    async def plain(self, path: str) -> None:
        raise ValueError("broken")

    async def unless_mended(self, path: str) -> str:
        if not CHANGED:
            raise RuntimeError("broken")
        return "mended"

    async def changed(self, path: str) -> str:
        """Another command than before when it is replayed by changed code."""
        if CHANGED:
            await asyncio.sleep(60)
        await workflow.execute_activity(note, "first", start_to_close_timeout=SOON)
        await self.gone()
        return "went"

    async def forever(self, path: str) -> None:
        await self.gone()

    async def activity(self, path: str) -> None:
        await workflow.execute_activity(broken, "for good", start_to_close_timeout=SOON)


ACTIVITIES = [note, flaky, broken, held, beating]
PROGRAMS = [Child, Locals, Messages, Remote, Failing]
