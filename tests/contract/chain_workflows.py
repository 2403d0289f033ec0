"""Workflows whose runs follow each other, and that tell what they know of themselves. Their histories are kept: changed commands need a
new name."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import anyio

from durable_anyio import RetryPolicy, workflow
from durable_anyio.common import Priority
from durable_anyio.exceptions import ApplicationError, ChildWorkflowError

from .activities import tell_priority

SECOND = timedelta(seconds=1)
ONCE_A_SECOND = RetryPolicy(initial_interval=SECOND, backoff_coefficient=1.0)


@workflow.defn
class FailsUntil:
    """Fails until its attempt has this number."""

    @workflow.run
    async def run(self, attempt: int, non_retryable: bool = False, delay_seconds: float = 0.0) -> list[Any]:
        info = workflow.info()
        if info.attempt < attempt:
            delay = timedelta(seconds=delay_seconds) if delay_seconds else None
            text = f"attempt {info.attempt}"
            raise ApplicationError(text, type="Flaky", non_retryable=non_retryable, next_retry_delay=delay)
        return [info.attempt, str(workflow.get_last_failure()), info.continued_run_id == info.first_execution_run_id]


@workflow.defn
class HangsFirst:
    """Its first attempt never ends."""

    @workflow.run
    async def run(self) -> int:
        if workflow.info().attempt == 1:
            await anyio.sleep(3600)
        return workflow.info().attempt


@workflow.defn
class RetriesChild:
    @workflow.run
    async def run(self, attempts: int) -> str:
        policy = RetryPolicy(initial_interval=SECOND, backoff_coefficient=1.0, maximum_attempts=2)
        child = f"{workflow.info().workflow_id}/child"
        try:
            result = await workflow.execute_child_workflow(FailsUntil.run, attempts, id=child, retry_policy=policy)
        except ChildWorkflowError as error:
            return f"{error.cause}"
        return f"{result[:2]}"


@workflow.defn
class Counts:
    """What each run of a cron schedule counts up; one run fails."""

    @workflow.run
    async def run(self, fails_at: int = 0) -> list[Any]:
        assert workflow.has_last_completion_result() or workflow.get_last_completion_result() is None
        last: list[Any] = workflow.get_last_completion_result(list[Any]) or [0]
        failure = workflow.get_last_failure()
        number = int(last[0]) + 1
        if number == fails_at and failure is None:
            raise ApplicationError(f"number {number}", type="Unlucky", non_retryable=True)
        return [number, workflow.info().cron_schedule, None if failure is None else str(failure)]


@workflow.defn
class Told:
    """Waits for so many words."""

    def __init__(self) -> None:
        self.words: list[str] = []

    @workflow.run
    async def run(self, count: int) -> list[str]:
        await workflow.wait_condition(lambda: len(self.words) >= count)
        return self.words

    @workflow.signal
    def tell(self, word: str) -> None:
        """Takes a word."""
        self.words.append(word)

    @workflow.query
    def so_far(self) -> list[str]:
        """The words so far."""
        return self.words


@workflow.defn
class ContinuesWithOptions:
    @workflow.run
    async def run(self, first: bool) -> list[Any]:
        if first:
            workflow.continue_as_new(
                False,
                run_timeout=timedelta(seconds=50),
                task_timeout=timedelta(seconds=5),
                retry_policy=ONCE_A_SECOND,
                memo={"more": 1},
                backoff_start_interval=2 * SECOND,
            )
        info = workflow.info()
        times = [info.run_timeout, info.task_timeout, info.execution_timeout]
        seconds = [time.total_seconds() if time is not None else None for time in times]
        assert info.retry_policy is not None
        return [*seconds, info.retry_policy.backoff_coefficient, dict(workflow.memo())]


@workflow.defn
class ForPeople:
    @workflow.run
    async def run(self) -> str:
        workflow.set_current_details("waits for a **timer**")
        await workflow.sleep(0.05, summary="a short rest")
        try:
            await workflow.wait_condition(lambda: False, timeout=0.05, timeout_summary="the longest wait")
        except TimeoutError:
            workflow.set_current_details("asks for its priority")
        await workflow.execute_activity(tell_priority, summary="asks")
        child = f"{workflow.info().workflow_id}/child"
        await workflow.execute_child_workflow(
            FailsUntil.run, 0, id=child, static_summary="a *small* one", static_details="It does nothing."
        )
        return workflow.get_current_details()

    @workflow.signal
    def hint(self, text: str) -> None: ...

    @workflow.query
    def anything(self) -> str:
        """Whether there is anything."""
        return "no"

    @workflow.update
    def change(self) -> None:
        """Changes nothing."""


@workflow.defn
class TellsPriorities:
    @workflow.run
    async def run(self, deeper: bool = True) -> list[Any]:
        own = workflow.info().priority
        found = [[own.priority_key, own.fairness_key, own.fairness_weight]]
        # Server 1.32 leaves the priority out of a task that it gives with its answer to the workflow task.
        ask = tell_priority.with_options(disable_eager_execution=True)
        found.append(await workflow.execute_activity(ask))
        found.append(await workflow.execute_activity(ask, priority=Priority(priority_key=5)))
        if deeper:
            child = f"{workflow.info().workflow_id}/child"
            priority = Priority(fairness_key="special")
            found.append(await workflow.execute_child_workflow(TellsPriorities.run, False, id=child, priority=priority))
            found.append(await workflow.execute_child_workflow(TellsPriorities.run, False, id=f"{child}-2"))
        return found


@workflow.defn
class TellsInfo:
    @workflow.run
    async def run(self, deeper: bool = True) -> dict[str, Any]:
        info = workflow.info()
        told: dict[str, Any] = {
            "attempt": info.attempt,
            "first": info.first_execution_run_id == info.run_id == info.original_execution_run_id,
            "continued": info.continued_run_id,
            "cron": info.cron_schedule,
            "execution": info.execution_timeout and info.execution_timeout.total_seconds(),
            "run": info.run_timeout and info.run_timeout.total_seconds(),
            "task": info.task_timeout.total_seconds(),
            "retries": info.retry_policy and info.retry_policy.maximum_attempts,
            "parent": info.parent and info.parent.workflow_id.rpartition("-")[0],
            "root": info.root and info.root.workflow_id.rpartition("-")[0],
            "is small": 0 < info.get_current_history_size() < 10_000,
            "length": info.get_current_history_length(),
            "suggested": info.is_continue_as_new_suggested,
            "priority": info.priority == Priority.default,
        }
        if deeper:
            child = f"{info.workflow_id}-child"
            told["child"] = await workflow.execute_child_workflow(TellsInfo.run, False, id=child, run_timeout=timedelta(seconds=30))
        return told


@workflow.defn
class TellsReason:
    @workflow.query
    def is_there(self) -> bool:
        return True

    @workflow.run
    async def run(self) -> str:
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            return f"cancelled: {workflow.cancellation_reason()}"
        return "not cancelled"


@workflow.defn
class ContinuesOnce:
    """Its second run, or the first one of a cron schedule, is the last."""

    @workflow.run
    async def run(self, left: int, fails: bool = False) -> list[Any]:
        info = workflow.info()
        if left:
            workflow.continue_as_new(left - 1, fails)
        if fails and info.attempt == 1:
            raise ApplicationError("once more", type="Flaky")
        return [info.attempt, info.cron_schedule]


@workflow.defn
class Sleeps:
    @workflow.query
    def is_there(self) -> bool:
        return True

    @workflow.run
    async def run(self) -> None:
        await anyio.sleep_forever()


CHAIN_WORKFLOWS: list[type] = [
    ContinuesOnce,
    Sleeps,
    FailsUntil,
    HangsFirst,
    RetriesChild,
    Counts,
    Told,
    ContinuesWithOptions,
    ForPeople,
    TellsPriorities,
    TellsInfo,
    TellsReason,
]
