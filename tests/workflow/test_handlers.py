"""What a cancel request and the end of `run` do to handlers, and what an interrupt does to the host."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta

import anyio
import pytest

from durable_anyio import Client, Worker, activity, workflow
from durable_anyio.exceptions import CancelledError, WorkflowFailureError
from durable_anyio.testing import WorkflowEnvironment

from .activations import Driver, cancel, failed, fired, names, query, result, signal, value_of

SECOND = timedelta(seconds=1)


@activity.defn(start_to_close_timeout=SECOND)
async def work(number: int) -> int:
    return number


@workflow.defn
class Handled:
    def __init__(self) -> None:
        self.log: list[str] = []
        self.done = anyio.Event()

    @workflow.run
    async def run(self, waits_for_handlers: bool) -> list[str]:
        try:
            await self.done.wait()
        except BaseException as error:
            self.log.append(f"run: {type(error).__name__}")
            if not waits_for_handlers:
                raise
            with anyio.CancelScope(shield=True):
                await workflow.wait_condition(lambda: "handler: done" in self.log)
        return self.log

    @workflow.signal
    async def handle(self) -> None:
        try:
            self.log.append(f"handler: {await work(1)}")
            await anyio.sleep(1)
            self.log.append("handler: done")
        except BaseException as error:
            self.log.append(f"handler: {type(error).__name__}")
            raise
        finally:
            workflow.logger.warning("left the handler")
            workflow.start_activity(work, 2)

    @workflow.signal
    def finish(self) -> None:
        self.done.set()

    @workflow.query
    def seen(self) -> list[str]:
        return self.log


def test_a_cancel_request_reaches_run_and_no_handler() -> None:
    driver = Driver(Handled, True)
    assert names(driver.start(signal("handle"))) == ["schedule_activity"]
    assert driver.step(cancel("enough")) == []
    assert value_of(driver.step(query("seen"))[0]) == ["run: Cancelled"]
    assert names(driver.step(result(1, 7))) == ["start_timer"]
    driver.seconds = 1
    commands = driver.step(fired(1))
    assert names(commands) == ["schedule_activity", "complete_workflow_execution"]
    assert value_of(commands[1]) == ["run: Cancelled", "handler: 7", "handler: done"]


@pytest.mark.parametrize("replaying", [False, True])
@pytest.mark.parametrize("end", [signal("finish"), cancel()], ids=["result", "cancelled"])
def test_handlers_that_run_when_the_workflow_ends_are_closed(end: object, replaying: bool, caplog: pytest.LogCaptureFixture) -> None:
    driver = Driver(Handled, False, replaying=replaying)
    driver.start(signal("handle"), signal("handle"))
    with caplog.at_level(logging.DEBUG):
        (command,) = driver.step(end)
    assert command.WhichOneof("variant") in ("complete_workflow_execution", "cancel_workflow_execution")
    warnings = [record.getMessage() for record in caplog.records]
    if replaying:
        assert not warnings, "the first time it was said already"
    else:
        assert warnings == ["workflow the-id (Handled) ended while handlers ran, which are closed: Handled.handle, Handled.handle"]
    assert value_of(driver.step(query("seen"))[0])[-2:] == ["handler: GeneratorExit"] * 2


def test_a_handler_that_fails_ends_the_workflow_and_closes_the_others(caplog: pytest.LogCaptureFixture) -> None:
    driver = Driver(Handled, False)
    driver.start(signal("handle"), signal("handle"))
    commands = driver.step(failed(1, ValueError("no good")))
    assert names(commands) == ["schedule_activity", "fail_workflow_execution"]
    assert commands[1].fail_workflow_execution.failure.cause.message == "no good"
    assert "ended while handlers ran, which are closed: Handled.handle" in caplog.text


def test_a_cancel_request_before_the_workflow_has_started_reaches_run_and_no_handler() -> None:
    driver = Driver(Handled, True)
    assert names(driver.start(signal("handle"), cancel())) == ["schedule_activity"]
    assert value_of(driver.step(query("seen"))[0]) == ["run: Cancelled"]


@pytest.mark.anyio
async def test_a_live_cancel_request_leaves_the_handler_alone(env: WorkflowEnvironment, task_queue: str) -> None:
    with anyio.fail_after(30):
        async with Worker(env.client, task_queue=task_queue, workflows=[Handled], activities=[work]):
            handle = await env.client.start_workflow(Handled.run, True, id="waits", task_queue=task_queue)
            await handle.signal(Handled.handle)
            await handle.cancel()
            assert (await handle.result())[-1] == "handler: done"
            handle = await env.client.start_workflow(Handled.run, False, id="leaves", task_queue=task_queue)
            await handle.signal(Handled.handle)
            await handle.cancel()
            with pytest.raises(WorkflowFailureError) as caught:
                await handle.result()
            assert isinstance(caught.value.cause, CancelledError)


interrupts: list[type[BaseException]] = []


@workflow.defn
class Interrupted:
    """Is interrupted once, as by Ctrl-C while its code runs."""

    def __init__(self) -> None:
        self.over = anyio.Event()

    @workflow.run
    async def run(self, where: str) -> str:
        if where == "run":
            await self.interrupt()
        async with anyio.create_task_group() as tg:
            tg.start_soon(self.takes_its_time)
            if where == "body":
                await self.interrupt()
            elif where == "child":
                tg.start_soon(self.interrupt)
            elif where == "group":
                tg.start_soon(self.interrupt_in_a_group)
        return "went on"

    async def interrupt(self) -> None:
        await work(1)
        if interrupts:
            raise interrupts.pop()
        self.over.set()

    async def interrupt_in_a_group(self) -> None:
        try:
            await self.interrupt()
        except BaseException as error:
            raise BaseExceptionGroup("x", [ValueError("y"), error]) from None

    async def takes_its_time(self) -> None:
        """Does not end before the interrupt is over, whatever is cancelled."""
        with anyio.CancelScope(shield=True):
            await self.over.wait()


@pytest.mark.parametrize("where", ["run", "body", "child", "group"])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_reaches_the_host_and_the_workflow_goes_on(
    kind: type[BaseException], where: str, anyio_backend: str, tmp_path: object
) -> None:
    target = f"sqlite:{tmp_path}/file.db"

    async def life() -> str:
        async with Client.connect(target) as client, Worker(client, task_queue="q", workflows=[Interrupted], activities=[work]):
            handle = client.get_workflow_handle_for(Interrupted.run, "interrupted")
            if interrupts:
                handle = await client.start_workflow(Interrupted.run, where, id="interrupted", task_queue="q")
            with anyio.fail_after(20):
                return await handle.result()

    interrupts[:] = [kind]
    before = set(threading.enumerate())
    with pytest.raises(kind):
        anyio.run(life, backend=anyio_backend)
    for thread in threading.enumerate():
        if thread not in before and not thread.daemon:
            thread.join(5)
            assert not thread.is_alive(), "the process would never end"
    assert anyio.run(life, backend=anyio_backend) == "went on"
