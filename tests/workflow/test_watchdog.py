"""The watchdog: a step that keeps its thread is reported once, with its stack, and never under a debugger."""

from __future__ import annotations

import logging
import re
import sys
import threading
import types
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import anyio
import pytest

from durable_anyio import Worker, workflow
from durable_anyio._watchdog import Watchdog
from durable_anyio.testing import WorkflowEnvironment

pytestmark = pytest.mark.anyio

# Far more than the step takes until it blocks, on a busy machine too: it is reported once, wherever it is then.
LIMIT = timedelta(milliseconds=500)
reported = threading.Event()


class Listener(logging.Handler):
    """Sets `reported` as soon as the step that blocks is reported, on the watchdog's thread."""

    def emit(self, record: logging.LogRecord) -> None:
        if "in block_here" in record.getMessage():
            reported.set()


@pytest.fixture(autouse=True)
def listener() -> Iterator[None]:
    reported.clear()
    handler = Listener()
    logging.getLogger("durable_anyio.workflow").addHandler(handler)
    yield
    logging.getLogger("durable_anyio.workflow").removeHandler(handler)


def watchdogs() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if "watchdog" in thread.name]


@workflow.defn
class Blocks:
    """Keeps the thread until it is reported, or for a while."""

    @workflow.run
    async def run(self, until_reported: bool) -> str:
        await anyio.sleep(1)
        if until_reported:
            block_here()
        return "done"


def block_here() -> None:
    assert reported.wait(60), "nobody reported the step"


async def test_a_blocked_step_is_reported_with_its_stack(
    env: WorkflowEnvironment, task_queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with Worker(env.client, task_queue=task_queue, workflows=[Blocks], blocked_step_warning=LIMIT, forbidden_calls="off"):
        handle = await env.client.start_workflow(Blocks.run, True, id="blocks", task_queue=task_queue)
        assert await handle.result() == "done"
        assert len(watchdogs()) == 1
    assert not watchdogs()
    (text,) = [record.getMessage() for record in caplog.records if "in block_here" in record.getMessage()]
    assert text.startswith(f"workflow blocks (Blocks, run {handle.first_execution_run_id}) has kept its worker's thread for ")
    assert re.search(r"thread for \d+\.\d s", text)
    assert "blocked_step_warning" in text
    stack = text[text.index('  File "') :]
    assert re.search(r"test_watchdog\.py\", line \d+, in run\n +block_here\(\)", stack)
    assert "_scheduler" not in stack
    assert "asyncio" not in stack
    assert "trio" not in stack


async def test_a_quick_step_is_not_and_the_thread_ends_with_the_worker(
    env: WorkflowEnvironment, task_queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with Worker(env.client, task_queue=task_queue, workflows=[Blocks]):
        await env.client.execute_workflow(Blocks.run, False, id="quick", task_queue=task_queue)
        assert len(watchdogs()) == 1
    assert not watchdogs()
    assert "has kept" not in caplog.text


async def test_it_can_be_switched_off(env: WorkflowEnvironment, task_queue: str) -> None:
    async with Worker(env.client, task_queue=task_queue, workflows=[Blocks], blocked_step_warning=None):
        await env.client.execute_workflow(Blocks.run, False, id="quick", task_queue=task_queue)
        assert not watchdogs()


async def test_a_limit_that_makes_no_sense(env: WorkflowEnvironment, task_queue: str) -> None:
    with pytest.raises(ValueError, match=r"blocked_step_warning must be positive, got 0:00:00\nhint: None switches it off"):
        Worker(env.client, task_queue=task_queue, workflows=[Blocks], blocked_step_warning=timedelta(0))


class Manual(Watchdog):
    """A watchdog whose clock and thread are the test's."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(2.0, str, name="manual", clock=lambda: self.now)

    def _start(self) -> None:
        pass


@pytest.fixture
def manual() -> Manual:
    return Manual()


def test_it_looks_when_the_limit_is_over(manual: Manual, caplog: pytest.LogCaptureFixture) -> None:
    manual.enter("a step")
    assert manual.look() == 2.0
    manual.now = 1.5
    assert manual.look() == 0.5
    assert not caplog.records
    manual.now = 2.5
    manual.look()
    manual.look()
    manual.leave()
    (record,) = caplog.records
    assert record.getMessage().startswith("a step has kept its worker's thread for 2.5 s")
    assert "in test_it_looks_when_the_limit_is_over" in record.getMessage()


def test_each_slice_counts_by_itself(manual: Manual, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        manual.enter("a step")
        manual.now += 1.5
        manual.look()
        manual.leave()
    assert not caplog.records


def test_it_sleeps_when_no_step_came_since_it_last_looked(manual: Manual) -> None:
    manual.enter("a step")
    manual.leave()
    assert manual.look() == 2.0
    assert manual.look() is None
    manual.enter("another")
    assert manual._wake.is_set()
    assert manual.look() == 2.0


def test_a_step_that_let_no_thread_run_is_reported_at_its_end(manual: Manual, caplog: pytest.LogCaptureFixture) -> None:
    manual.enter("a step")
    manual.now = 3.0
    manual.leave()
    assert "a step has kept its worker's thread for 3.0 s" in caplog.text
    assert "it has ended now" in caplog.text


def _under_a_trace_function(body: Callable[[], None]) -> None:
    def trace(frame: types.FrameType, event: str, arg: Any) -> Any:
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        body()
    finally:
        sys.settrace(before)


def _in_a_debugger(body: Callable[[], None]) -> None:
    """The debugger's own frames are on the stack while a person is at its prompt."""
    exec("body()", {"__name__": "pdb", "body": body})


def _with_a_monitoring_tool(body: Callable[[], None]) -> None:
    monitoring: Any = getattr(sys, "monitoring", None)
    if monitoring is None:
        pytest.skip("before Python 3.12 there is no sys.monitoring")
    monitoring.use_tool_id(0, "a debugger")
    try:
        body()
    finally:
        monitoring.free_tool_id(0)


@pytest.mark.parametrize("debugger", [_under_a_trace_function, _in_a_debugger, _with_a_monitoring_tool])
@pytest.mark.parametrize("how", ["look", "leave"])
def test_nothing_is_said_under_a_debugger(
    manual: Manual, caplog: pytest.LogCaptureFixture, debugger: Callable[[Callable[[], None]], None], how: str
) -> None:
    def body() -> None:
        manual.enter("a step")
        manual.now += 5
        if how == "look":
            manual.look()
        manual.leave()

    debugger(body)
    assert not caplog.records
    body()
    assert len(caplog.records) == 1


def test_a_closed_one_stays_closed(manual: Manual) -> None:
    real = Watchdog(1000.0, str, name="watchdog under test")
    real.enter("a step")
    assert len(watchdogs()) == 1
    real.close()
    assert not watchdogs()
    real.leave()
    real.enter("a step after the end")
    real.close()
    assert not watchdogs()


def test_what_a_watched_step_costs(manual: Manual) -> None:
    """Two attributes, the clock twice and the thread's number: calls are counted, as time on a busy machine says little."""
    calls: list[str] = []

    def count(frame: types.FrameType, event: str, argument: Any) -> None:
        if event in ("call", "c_call"):
            calls.append(frame.f_code.co_name if event == "call" else argument.__name__)

    manual._thread = threading.current_thread()  # as if it had one: it is started once
    before = sys.getprofile()
    sys.setprofile(count)
    try:
        manual.enter("a step")
        manual.leave()
    finally:
        sys.setprofile(before)
    assert [name for name in calls if name != "setprofile"] == ["enter", "<lambda>", "get_ident", "leave", "<lambda>"]
