"""Workflows that start, signal and cancel each other. Their histories are kept: changed commands need a new name."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import anyio
import pytest

from durable_anyio import workflow
from durable_anyio.client import WorkflowExecutionStatus, WorkflowHandle
from durable_anyio.common import WorkflowIDReusePolicy
from durable_anyio.exceptions import (
    ApplicationError,
    CancelledError,
    ChildWorkflowError,
    TerminatedError,
    WorkflowAlreadyStartedError,
    WorkflowFailureError,
)
from durable_anyio.workflow import ChildWorkflowCancellationType, ParentClosePolicy

Handle = WorkflowHandle[Any, Any]
SECOND = timedelta(seconds=1)


def child_id(name: str = "child") -> str:
    return f"{workflow.info().workflow_id}/{name}"


@workflow.defn
class Doubles:
    @workflow.run
    async def run(self, number: int) -> int:
        parent = workflow.info().parent
        assert parent is None or parent.workflow_id != workflow.info().workflow_id
        return number * 2


@workflow.defn
class Breaks:
    @workflow.run
    async def run(self, word: str) -> None:
        raise ApplicationError(word, type="Broken")


@workflow.defn
class Collects:
    """Waits for so many words, or for its cancellation."""

    def __init__(self) -> None:
        self.words: list[str] = []

    @workflow.run
    async def run(self, count: int, survives: bool = False) -> list[str]:
        try:
            await workflow.wait_condition(lambda: len(self.words) >= count)
        except anyio.get_cancelled_exc_class():
            if survives:
                return ["survived", *self.words]
            raise
        return self.words

    @workflow.signal
    def add(self, word: str) -> None:
        self.words.append(word)


@workflow.defn
class CountsDown:
    @workflow.run
    async def run(self, left: int) -> str:
        if left:
            workflow.continue_as_new(left - 1)
        return "landed"


@workflow.defn
class OneChild:
    @workflow.run
    async def run(self, number: int) -> int:
        return await workflow.execute_child_workflow(Doubles.run, number, id=child_id())


@workflow.defn
class Grandchild:
    @workflow.run
    async def run(self, number: int) -> int:
        return await workflow.execute_child_workflow(OneChild.run, number, id=child_id())


@workflow.defn
class ChildrenSideBySide:
    @workflow.run
    async def run(self, count: int) -> list[int]:
        results = [0] * count

        async def one(number: int) -> None:
            results[number] = await workflow.execute_child_workflow(Doubles.run, number, id=child_id(str(number)))

        async with anyio.create_task_group() as tg:
            for number in range(count):
                tg.start_soon(one, number)
        return results


@workflow.defn
class CatchesChild:
    @workflow.run
    async def run(self) -> str:
        try:
            await workflow.execute_child_workflow(Breaks.run, "no good", id=child_id())
        except ChildWorkflowError as error:
            return f"{error.workflow_type}: {error.cause} {error.workflow_id == child_id()}"
        return "no error"


@workflow.defn
class ChildFailsInGroup:
    @workflow.run
    async def run(self) -> None:
        async with anyio.create_task_group() as tg:
            tg.start_soon(workflow.execute_child_workflow, "Breaks", "in a group")
            tg.start_soon(anyio.sleep, 3600)


@workflow.defn
class SignalsChild:
    @workflow.run
    async def run(self) -> list[str]:
        child = await workflow.start_child_workflow(Collects.run, 2, id=child_id())
        assert child.first_execution_run_id
        assert not child.done()
        await child.signal(Collects.add, "one")
        await child.signal("add", "two")
        return await child


@workflow.defn
class ChildInScope:
    """A child with the cancellation type `kind` in a scope that runs out."""

    @workflow.run
    async def run(self, kind: int, survives: bool) -> str:
        cancellation_type = ChildWorkflowCancellationType(kind)
        result: list[str] = []
        with anyio.move_on_after(0.2) as scope:
            try:
                result = await workflow.execute_child_workflow(
                    Collects.run,
                    1,
                    survives,
                    id=child_id(),
                    cancellation_type=cancellation_type,
                    parent_close_policy=ParentClosePolicy.TERMINATE,
                )
            except ChildWorkflowError as error:
                result = [str(error)]
            await anyio.lowlevel.checkpoint()
        return f"{result} {scope.cancelled_caught}"


@workflow.defn
class CancelledBeforeItsStart:
    @workflow.run
    async def run(self) -> str:
        async with anyio.create_task_group() as tg:
            tg.start_soon(workflow.execute_child_workflow, "Doubles", 1)
            await anyio.lowlevel.checkpoint()
            tg.cancel_scope.cancel()
        return "nothing was started"


@workflow.defn
class CancelsChild:
    @workflow.run
    async def run(self) -> str:
        child = await workflow.start_child_workflow(Collects.run, 1, id=child_id())
        child.cancel("enough")
        child.cancel("more than enough")
        try:
            await child
        except ChildWorkflowError as error:
            return type(error.cause).__name__
        return "no error"


@workflow.defn
class IdIsTaken:
    @workflow.run
    async def run(self) -> str:
        first = await workflow.start_child_workflow(Collects.run, 1, id=child_id())
        try:
            await workflow.start_child_workflow(Doubles.run, 1, id=child_id())
        except WorkflowAlreadyStartedError as error:
            taken = error.workflow_id
        else:
            return "started twice"
        await first.signal(Collects.add, "end")
        await first
        try:
            await workflow.start_child_workflow(Doubles.run, 1, id=child_id(), id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE)
        except WorkflowAlreadyStartedError:
            return f"refused twice {taken == child_id()}"
        return "started after all"


@workflow.defn
class ChildContinues:
    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_child_workflow(CountsDown.run, 2, id=child_id())


@workflow.defn
class ChildTimesOut:
    @workflow.run
    async def run(self) -> str:
        try:
            await workflow.execute_child_workflow(Collects.run, 1, id=child_id(), run_timeout=SECOND)
        except ChildWorkflowError as error:
            return type(error.cause).__name__
        return "no error"


@workflow.defn
class ChildIsTerminated:
    def __init__(self) -> None:
        self.started = False

    @workflow.run
    async def run(self) -> str:
        child = await workflow.start_child_workflow(Collects.run, 1, id=child_id())
        self.started = True
        try:
            await child
        except ChildWorkflowError as error:
            return type(error.cause).__name__
        return "no error"

    @workflow.query
    def has_started(self) -> bool:
        return self.started


@workflow.defn
class ClosesBeforeItsChildren:
    @workflow.run
    async def run(self) -> None:
        for policy in (ParentClosePolicy.TERMINATE, ParentClosePolicy.ABANDON, ParentClosePolicy.REQUEST_CANCEL):
            await workflow.start_child_workflow(Collects.run, 1, id=child_id(policy.name), parent_close_policy=policy)


@workflow.defn
class ContinuesBeforeItsChildren:
    @workflow.run
    async def run(self, again: bool) -> None:
        if again:
            for policy in (ParentClosePolicy.TERMINATE, ParentClosePolicy.ABANDON):
                await workflow.start_child_workflow(Collects.run, 1, id=child_id(policy.name), parent_close_policy=policy)
            workflow.continue_as_new(False)


@workflow.defn
class SignalsAnother:
    @workflow.run
    async def run(self) -> list[str]:
        child = await workflow.start_child_workflow(Collects.run, 2, id=child_id())
        await workflow.get_external_workflow_handle_for(Collects.run, child_id()).signal(Collects.add, "by id")
        await workflow.get_external_workflow_handle(child_id(), run_id=child.first_execution_run_id).signal("add", "by run")
        return await child


@workflow.defn
class SignalsNobody:
    @workflow.run
    async def run(self) -> list[str]:
        kinds: list[str] = []
        for target in (child_id("nobody"), workflow.info().workflow_id):
            try:
                await workflow.get_external_workflow_handle(target).signal("add", "lost")
            except ApplicationError as error:
                kinds.append(f"{error.type}: {error.message}")
        return kinds


@workflow.defn
class CancelsAnother:
    @workflow.run
    async def run(self) -> list[str]:
        child = await workflow.start_child_workflow(Collects.run, 1, id=child_id())
        other = workflow.get_external_workflow_handle(child_id())
        await other.cancel("from outside")
        seen: list[str] = []
        try:
            await child
        except ChildWorkflowError as error:
            seen.append(type(error.cause).__name__)
        await other.cancel("again")
        return seen


@workflow.defn
class CancelsNobody:
    @workflow.run
    async def run(self) -> str:
        try:
            await workflow.get_external_workflow_handle(child_id("nobody")).cancel()
        except ApplicationError as error:
            return f"{error.type}: {error.message}"
        return "no error"


RELATED_WORKFLOWS: list[type] = [
    Doubles, Breaks, Collects, CountsDown, OneChild, Grandchild, ChildrenSideBySide, CatchesChild, ChildFailsInGroup, SignalsChild,
    ChildInScope, CancelledBeforeItsStart, CancelsChild, IdIsTaken, ChildContinues, ChildTimesOut, ChildIsTerminated,
    ClosesBeforeItsChildren, ContinuesBeforeItsChildren, SignalsAnother, SignalsNobody, CancelsAnother, CancelsNobody,
]  # fmt: skip


async def cancel_when_running(handle: Handle) -> None:
    """Cancels the parent once its child runs."""
    await running(handle, "child")
    await handle.cancel()


async def running(handle: Handle, name: str) -> Handle:
    """The handle of the parent's child `name`, once it has begun."""
    child = handle.client.get_workflow_handle(f"{handle.id}/{name}")
    while True:
        events = (await handle.fetch_history()).events
        if any(event.HasField("child_workflow_execution_started_event_attributes") for event in events):
            return child
        await anyio.sleep(0.01)


async def terminate_child(handle: Handle) -> None:
    await (await running(handle, "child")).terminate(reason="enough")


async def fails_with_child(handle: Handle) -> None:
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    group = caught.value.cause
    assert isinstance(group, ExceptionGroup)
    (member,) = group.exceptions
    assert isinstance(member, ChildWorkflowError)
    assert isinstance(member.cause, ApplicationError)
    assert member.cause.message == "in a group"


async def is_cancelled_with_child(handle: Handle) -> None:
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    assert isinstance(caught.value.cause, CancelledError)
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.client.get_workflow_handle(f"{handle.id}/child").result()
    assert isinstance(caught.value.cause, CancelledError)


async def children_follow_their_policies(handle: Handle) -> None:
    await handle.result()
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.client.get_workflow_handle(f"{handle.id}/TERMINATE").result()
    assert isinstance(caught.value.cause, TerminatedError)
    abandoned = handle.client.get_workflow_handle(f"{handle.id}/ABANDON")
    assert (await abandoned.describe()).status is WorkflowExecutionStatus.RUNNING
    await abandoned.signal("add", "end")
    assert await abandoned.result() == ["end"]


async def close_policies(handle: Handle) -> None:
    await children_follow_their_policies(handle)
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.client.get_workflow_handle(f"{handle.id}/REQUEST_CANCEL").result()
    assert isinstance(caught.value.cause, CancelledError)
