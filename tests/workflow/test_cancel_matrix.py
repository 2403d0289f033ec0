"""Cancel against complete: every kind of operation, every order of the two, in one activation and in two.

| which is first                                   | test                                                           |
|--------------------------------------------------|----------------------------------------------------------------|
| the cancellation, before the operation           | test_cancelled_before_it_begins                                |
| the cancellation, then the result                | test_cancelled_first, test_what_comes_late_changes_nothing     |
| the result, then the cancellation                | test_completed_first, test_over_before_the_cancellation        |
| both in one activation, in both orders           | test_in_one_activation                                         |
| the same, with the workflow's own cancellation   | test_in_one_activation_with_the_workflows_own_cancellation     |
| a local activity that is to be tried again       | test_a_cancelled_local_activity_is_not_tried_again             |
| an update and its workflow's cancellation or end | test_an_update_and_the_workflows_end                           |

Each is taken by every kind in `KINDS`, and there is one for each way to cancel an activity, a local activity, a child and a Nexus
operation, for the start of a child and of a Nexus operation, for a signal to and a cancel request for another workflow, for timers,
conditions and scopes. Below, in the core, `rust/core/tests/cancel` takes every order of the events; between real workers and services
`tests/contract/test_cancel_races.py` has those that can be forced.

What holds for all: a result that came is delivered, also when the cancellation comes in the same activation, which then stays pending
on the scope; one cancel command at most, and none for what has ended or was never sent; whatever comes after the cancellation changes
nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import anyio
import pytest

from durable_anyio import workflow
from durable_anyio.exceptions import ApplicationError
from durable_anyio.workflow import ActivityCancellationType, ChildWorkflowCancellationType, NexusOperationCancellationType

from . import activations as a
from . import test_nexus as n
from . import test_relations as r
from .activations import Driver, Job, names, value_of

SECOND = timedelta(seconds=1)
Done = Callable[[], Any]


def local_result(seq: int) -> Any:
    job = a.result(seq, "done")
    job.resolve_activity.is_local = True
    return job


def asked() -> Any:
    job = Job()
    job.resolve_request_cancel_external_workflow.seq = 1
    return job


@workflow.defn
class Meets:
    """Does one thing in a scope that the signal `leave` cancels; then waits for the signal `end`, in the scope or (to stay) after it."""

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self.is_met = False
        self.is_over = False

    @workflow.run
    async def run(self, kind: str, stay: bool) -> list[Any]:
        value: Any = None
        with self.scope:
            value = await getattr(self, kind)()
            await workflow.wait_condition(lambda: self.is_over)
        if stay:
            await workflow.wait_condition(lambda: self.is_over)
        return [value, self.scope.cancelled_caught]

    @workflow.signal
    def leave(self) -> None:
        self.scope.cancel()

    @workflow.signal
    def meet(self) -> None:
        self.is_met = True

    @workflow.signal
    def end(self) -> None:
        self.is_over = True

    async def timer(self) -> str:
        await anyio.sleep(10)
        return "done"

    async def activity(self) -> Any:
        return await workflow.execute_activity("work", start_to_close_timeout=SECOND)

    async def waited_activity(self) -> Any:
        kind = ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
        return await workflow.execute_activity("work", start_to_close_timeout=SECOND, cancellation_type=kind)

    async def abandoned_activity(self) -> Any:
        return await workflow.execute_activity("work", start_to_close_timeout=SECOND, cancellation_type=ActivityCancellationType.ABANDON)

    async def local_activity(self) -> Any:
        return await workflow.execute_local_activity("work", start_to_close_timeout=SECOND)

    async def waited_local_activity(self) -> Any:
        kind = ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
        return await workflow.execute_local_activity("work", start_to_close_timeout=SECOND, cancellation_type=kind)

    async def abandoned_local_activity(self) -> Any:
        kind = ActivityCancellationType.ABANDON
        return await workflow.execute_local_activity("work", start_to_close_timeout=SECOND, cancellation_type=kind)

    async def child_start(self) -> str:
        await workflow.start_child_workflow("Other", id="child")
        return "done"

    async def child_end(self) -> Any:
        return await workflow.execute_child_workflow("Other", id="child")

    async def left_child(self) -> Any:
        return await workflow.execute_child_workflow("Other", id="child", cancellation_type=ChildWorkflowCancellationType.TRY_CANCEL)

    async def abandoned_child(self) -> Any:
        return await workflow.execute_child_workflow("Other", id="child", cancellation_type=ChildWorkflowCancellationType.ABANDON)

    async def nexus_start(self) -> str:
        await workflow.create_nexus_client(service="Bank", endpoint="bank").start_operation("charge", 1)
        return "done"

    async def nexus_end(self) -> Any:
        return await self.call_nexus(NexusOperationCancellationType.WAIT_COMPLETED)

    async def requested_nexus(self) -> Any:
        return await self.call_nexus(NexusOperationCancellationType.WAIT_REQUESTED)

    async def left_nexus(self) -> Any:
        return await self.call_nexus(NexusOperationCancellationType.TRY_CANCEL)

    async def abandoned_nexus(self) -> Any:
        return await self.call_nexus(NexusOperationCancellationType.ABANDON)

    async def call_nexus(self, kind: NexusOperationCancellationType) -> Any:
        client = workflow.create_nexus_client(service="Bank", endpoint="bank")
        return await client.execute_operation("charge", 1, cancellation_type=kind)

    async def external_signal(self) -> str:
        await workflow.get_external_workflow_handle("other").signal("hello")
        return "done"

    async def external_cancel(self) -> str:
        await workflow.get_external_workflow_handle("other").cancel()
        return "done"

    async def condition(self) -> str:
        await workflow.wait_condition(lambda: self.is_met)
        return "done"

    async def inner_scope(self) -> str:
        with anyio.move_on_after(10):
            await anyio.sleep_forever()
        return "done"

    async def group(self) -> str:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.timer)
        return "done"


@dataclass
class Kind:
    name: str
    #: The command that begins it, if it needs one, and the one that cancels it.
    begins: list[str]
    cancels: list[str]
    done: Done
    #: What comes before the end, in an activation of its own.
    before: Done | None = None
    #: Nothing comes from outside: the code itself finds it done after the tasks have run, and the cancellation was before that.
    is_of_code: bool = False
    #: The scope is held until the other side has answered: a result that comes then is delivered.
    is_held: bool = False


NEXUS = (["schedule_nexus_operation"], ["request_cancel_nexus_operation"])
KINDS = [
    Kind("timer", ["start_timer"], ["cancel_timer"], lambda: a.fired(1)),
    Kind("activity", ["schedule_activity"], ["request_cancel_activity"], lambda: a.result(1, "done")),
    Kind("waited_activity", ["schedule_activity"], ["request_cancel_activity"], lambda: a.result(1, "done"), is_held=True),
    Kind("abandoned_activity", ["schedule_activity"], [], lambda: a.result(1, "done")),
    Kind("local_activity", ["schedule_local_activity"], ["request_cancel_local_activity"], lambda: local_result(1)),
    Kind("waited_local_activity", ["schedule_local_activity"], ["request_cancel_local_activity"], lambda: local_result(1), is_held=True),
    Kind("abandoned_local_activity", ["schedule_local_activity"], [], lambda: local_result(1)),
    Kind("child_start", ["start_child_workflow_execution"], ["cancel_child_workflow_execution"], r.started, is_held=True),
    Kind(
        "child_end",
        ["start_child_workflow_execution"],
        ["cancel_child_workflow_execution"],
        lambda: r.ended("done"),
        r.started,
        is_held=True,
    ),
    Kind("left_child", ["start_child_workflow_execution"], ["cancel_child_workflow_execution"], lambda: r.ended("done"), r.started),
    Kind("abandoned_child", ["start_child_workflow_execution"], [], lambda: r.ended("done"), r.started),
    Kind("nexus_start", *NEXUS, n.started, is_held=True),
    Kind("nexus_end", *NEXUS, lambda: n.ended("done"), n.started, is_held=True),
    Kind("requested_nexus", *NEXUS, lambda: n.ended("done"), n.started, is_held=True),
    Kind("left_nexus", *NEXUS, lambda: n.ended("done"), n.started),
    Kind("abandoned_nexus", NEXUS[0], [], lambda: n.ended("done"), n.started),
    Kind("external_signal", ["signal_external_workflow_execution"], ["cancel_signal_workflow"], r.signalled, is_held=True),
    Kind("external_cancel", ["request_cancel_external_workflow_execution"], [], asked, is_held=True),
    Kind("condition", [], [], lambda: a.signal("meet"), is_of_code=True),
    Kind("inner_scope", ["start_timer"], ["cancel_timer"], lambda: a.fired(1), is_of_code=True),
    Kind("group", ["start_timer"], ["cancel_timer"], lambda: a.fired(1)),
]
END = ["complete_workflow_execution"]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> Kind:
    chosen = request.param
    assert isinstance(chosen, Kind)
    return chosen


def begun(kind: Kind, *, replaying: bool, stay: bool = False) -> Driver:
    driver = Driver(Meets, kind.name, stay, replaying=replaying)
    assert names(driver.start()) == kind.begins
    if kind.before is not None:
        assert names(driver.step(kind.before())) == []
    driver.seconds = 5
    return driver


def outcome(commands: list[Any]) -> Any:
    assert names(commands)[-1:] == END
    return value_of(commands[-1])


@pytest.mark.parametrize("replaying", [False, True], ids=["live", "replayed"])
def test_cancelled_first(kind: Kind, replaying: bool) -> None:
    driver = begun(kind, replaying=replaying)
    commands = driver.step(a.signal("leave"))
    if not kind.is_held:
        assert names(commands) == kind.cancels + END
        assert outcome(commands) == [None, True]
        return
    assert names(commands) == kind.cancels
    assert names(driver.step(a.signal("leave"))) == [], "one cancel command"
    driver.seconds = 20
    commands = driver.step(kind.done())
    assert outcome(commands) == ["done", True], "what came all the same is delivered"


ABANDONED = [kind for kind in KINDS if kind.name.startswith("abandoned")]


@pytest.mark.parametrize("kind", ABANDONED, ids=lambda kind: kind.name)
def test_what_comes_late_changes_nothing(kind: Kind) -> None:
    """Whatever was told of a cancel at once hears nothing more of the core; of what is abandoned the core knows nothing and tells on."""
    driver = begun(kind, replaying=False, stay=True)
    assert driver.step(a.signal("leave")) == []
    assert driver.step(kind.done()) == []
    assert outcome(driver.step(a.signal("end"))) == [None, True]


def rest(seq: int) -> Any:
    """The next attempt of a local activity is due in a while."""
    job = Job()
    job.resolve_activity.seq = seq
    job.resolve_activity.is_local = True
    job.resolve_activity.result.backoff.attempt = 2
    job.resolve_activity.result.backoff.backoff_duration.seconds = 90
    return job


@pytest.mark.parametrize("order", ["request first", "rest first", "together"])
def test_a_cancelled_local_activity_is_not_tried_again(order: str) -> None:
    """It waits for its cancellation's completion; the attempt fails meanwhile, and the next one would come after a rest."""
    (kind,) = [kind for kind in KINDS if kind.name == "waited_local_activity"]
    driver = begun(kind, replaying=False)
    if order == "request first":
        assert names(driver.step(a.signal("leave"))) == ["request_cancel_local_activity"]
        commands = driver.step(rest(1))
        assert names(commands) == END
    elif order == "rest first":
        assert names(driver.step(rest(1))) == ["start_timer"]
        commands = driver.step(a.signal("leave"))
        assert names(commands) == ["cancel_timer", *END]
    else:
        commands = driver.step(a.signal("leave"), rest(1))
        assert names(commands) == ["start_timer", "cancel_timer", *END]
    assert outcome(commands) == [None, True]


@pytest.mark.parametrize("replaying", [False, True], ids=["live", "replayed"])
def test_completed_first(kind: Kind, replaying: bool) -> None:
    driver = begun(kind, replaying=replaying)
    driver.seconds = 20
    assert names(driver.step(kind.done())) == []
    commands = driver.step(a.signal("leave"))
    assert names(commands) == END, "what has ended is not cancelled"
    assert outcome(commands) == ["done", True]


@pytest.mark.parametrize("cancel_comes", ["first", "last"])
@pytest.mark.parametrize("replaying", [False, True], ids=["live", "replayed"])
def test_in_one_activation(kind: Kind, replaying: bool, cancel_comes: str) -> None:
    driver = begun(kind, replaying=replaying)
    driver.seconds = 20
    jobs = [a.signal("leave"), kind.done()]
    commands = driver.step(*(jobs if cancel_comes == "first" else reversed(jobs)))
    assert names(commands) == END
    assert outcome(commands) == [None if kind.is_of_code else "done", True]


@pytest.mark.parametrize("cancel_comes", ["first", "last"])
def test_in_one_activation_with_the_workflows_own_cancellation(kind: Kind, cancel_comes: str) -> None:
    """The request of outside, for the run as a whole: the result is delivered, then the run ends as cancelled."""
    driver = begun(kind, replaying=False)
    driver.seconds = 20
    jobs = [a.cancel("enough"), kind.done()]
    commands = driver.step(*(jobs if cancel_comes == "first" else reversed(jobs)))
    assert names(commands) == ["cancel_workflow_execution"]


def test_cancelled_before_it_begins(kind: Kind) -> None:
    """The signal comes with the start: nothing is sent, nothing is waited for."""
    driver = Driver(Meets, kind.name, False)
    commands = driver.start(a.signal("leave"))
    assert names(commands) == END
    assert outcome(commands) == [None, True]


def test_over_before_the_cancellation(kind: Kind) -> None:
    """A scope that was left cannot be cancelled any more."""
    driver = begun(kind, replaying=False)
    driver.seconds = 20
    commands = driver.step(a.signal("end"), kind.done())
    assert names(commands) == END
    assert outcome(commands) == ["done", False]


@pytest.mark.parametrize("refused", [False, True], ids=["accepted", "refused"])
def test_an_update_and_the_workflows_end(refused: bool) -> None:
    """An update that is cancelled with its workflow in the activation in which its operation ends: its answer is told first."""
    driver = Driver(Answers)
    driver.start()
    assert a.answers(driver.step(a.update("ask", refused))) == [("u", "accepted", None)]
    commands = driver.step(a.cancel("enough"), a.result(1, "done"))
    assert names(commands) == ["update_response", "cancel_workflow_execution"]
    told = ("u", "rejected", "no") if refused else ("u", "completed", "done")
    assert a.answers(commands) == [told]


@workflow.defn
class Answers:
    @workflow.run
    async def run(self) -> None:
        await anyio.sleep_forever()

    @workflow.update
    async def ask(self, refused: bool) -> Any:
        value = await workflow.execute_activity("work", start_to_close_timeout=SECOND)
        if refused:
            raise ApplicationError("no")
        return value
