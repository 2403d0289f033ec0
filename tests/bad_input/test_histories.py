"""A service whose histories have something wrong in them: no workflow fails by it, the reason is told, and it goes on afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest
from connection.service import Answer

from durable_anyio import Client
from durable_anyio._bridge import proto
from durable_anyio.client import WorkflowHandle

from .altering import AlteringProxy
from .conftest import SERVER
from .workflows import TASK_TIMEOUT, Doubles, Strict, failed_tasks, problem, worker

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not SERVER, reason="no real Temporal server: DURABLE_ANYIO_TEST_SERVER=HOST:PORT names one"),
]
POLL, PAGE = "PollWorkflowTaskQueue", "GetWorkflowExecutionHistory"
Change = Callable[[Any, Any], None]


@pytest.fixture
async def waiting(client: Client, unique: str) -> WorkflowHandle[Any, int]:
    """A workflow that has done two activities and waits for its signal, without a worker. It would fail where its code differs from the
    history: what is spoiled must not look so."""
    handle = await client.start_workflow(Strict.run, 5, id=f"strict-{unique}", task_queue=f"q-{unique}", task_timeout=TASK_TIMEOUT)
    async with worker(client, f"q-{unique}"):
        await until_waiting(handle)
    return handle


async def until_waiting(handle: WorkflowHandle[Any, Any]) -> None:
    """Both activities have ended and the task that took the second result has, too."""
    while True:
        events = (await handle.fetch_history()).events
        done = [event for event in events if event.HasField("activity_task_completed_event_attributes")]
        if len(done) == 2 and events[-1].HasField("workflow_task_completed_event_attributes"):
            return
        await anyio.sleep(0.02)


def of(handle: WorkflowHandle[Any, Any], change: Callable[[Any], None]) -> Change:
    """A change of the tasks of one workflow that carry its whole history."""

    def alter(_request: Any, task: Any) -> None:
        if task.workflow_execution.workflow_id == handle.id and task.history.events and task.history.events[0].event_id == 1:
            change(task)

    return alter


def cut(task: Any, events: int) -> list[Any]:
    """Takes the last events from a task's history."""
    rest = list(task.history.events[-events:])
    del task.history.events[-events:]
    return rest


async def finishes(handle: WorkflowHandle[Any, int], client: Client, **options: Any) -> None:
    """The signal is sent, and a new worker brings the workflow to its right end."""
    await handle.signal("go_on")
    async with worker(client, f"q-{handle.id.split('-')[1]}", **options):
        assert await handle.result() == 40


async def test_pages_are_put_together(proxy: AlteringProxy, client: Client, waiting: WorkflowHandle[Any, int]) -> None:
    rest: list[Any] = []

    def in_pages(task: Any) -> None:
        rest[:] = cut(task, 7)
        task.next_page_token = b"the-rest"

    def page(request: Any, answer: Any) -> None:
        if request.next_page_token in (b"the-rest", b"more"):
            half = rest[:3] if request.next_page_token == b"the-rest" else rest[3:]
            answer.Clear()
            answer.history.events.extend(half)
            answer.next_page_token = b"more" if request.next_page_token == b"the-rest" else b""

    proxy.alter(POLL, of(waiting, in_pages))
    proxy.answers[PAGE] = made_up_pages(proxy, page)
    await finishes(waiting, client)
    assert failed_tasks(await waiting.fetch_history()) == []


def made_up_pages(proxy: AlteringProxy, page: Change) -> Answer:
    """Answers the page tokens that the test made up itself, and passes on the others."""
    method = proto.method(PAGE)

    def answer(request: bytes, context: Any) -> bytes:
        asked = method.request.FromString(request)
        if asked.next_page_token not in (b"the-rest", b"more"):
            return proxy.forward(PAGE)(request, context)
        made = method.response()
        page(asked, made)
        return bytes(made.SerializeToString())

    return answer


@pytest.mark.parametrize("missing", [1, 2, 4, 5, 9])
async def test_a_history_that_is_cut_off(proxy: AlteringProxy, client: Client, waiting: WorkflowHandle[Any, int], missing: int) -> None:
    """The last page came without the events up to the task, and without a token for them."""
    spoiled: list[int] = []

    def cut_off(task: Any) -> None:
        if len(spoiled) < 2:
            spoiled.append(task.attempt)
            cut(task, missing)

    proxy.alter(POLL, of(waiting, cut_off))
    await finishes(waiting, client)
    assert spoiled
    for failed in failed_tasks(await waiting.fetch_history()):
        assert "incomplete" in failed.failure.message, failed


@pytest.mark.parametrize("missing", [1, 5])
async def test_a_later_page_that_is_cut_off(proxy: AlteringProxy, client: Client, waiting: WorkflowHandle[Any, int], missing: int) -> None:
    rest: list[Any] = []
    asked: list[bytes] = []

    def in_pages(task: Any) -> None:
        if not asked:
            rest[:] = cut(task, 7)
            task.next_page_token = b"the-rest"

    def page(request: Any, answer: Any) -> None:
        asked.append(request.next_page_token)
        answer.history.events.extend(rest[:-missing])

    proxy.alter(POLL, of(waiting, in_pages))
    proxy.answers[PAGE] = made_up_pages(proxy, page)
    await finishes(waiting, client)
    assert asked == [b"the-rest"]


async def spoil_until_told(
    proxy: AlteringProxy, client: Client, handle: WorkflowHandle[Any, int], change: Callable[[Any], None], *words: str
) -> None:
    """While the history is spoiled the reason can be read, and other workflows of the worker run; afterwards this one ends rightly."""
    proxy.alter(POLL, of(handle, change))
    await handle.signal("go_on")
    task_queue = f"q-{handle.id.split('-')[1]}"
    async with worker(client, task_queue):
        await problem(handle, "workflow task fails", *words)
        other = await client.start_workflow(Doubles.run, 1, id=f"other-{handle.id}", task_queue=task_queue)
        await other.signal(Doubles.go_on)
        assert await other.result() == 8
        proxy.leave(POLL)
        assert await handle.result() == 40


def gap(task: Any) -> None:
    del task.history.events[5]


def doubled(task: Any) -> None:
    task.history.events[6].CopyFrom(task.history.events[5])


def without_attributes(task: Any) -> None:
    task.history.events[4].ClearField("activity_task_scheduled_event_attributes")


def of_unknown_type(task: Any) -> None:
    event = task.history.events[4]
    event.ClearField("activity_task_scheduled_event_attributes")
    event.event_type = 9999


def without_its_activity(task: Any) -> None:
    task.history.events[6].activity_task_completed_event_attributes.scheduled_event_id = 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (gap, ("event 6 should come",)),
        (doubled, ("event 7 should come",)),
        (without_attributes, ("event 5", "no attributes")),
        (of_unknown_type, ("event 5 is of type 9999", "newer version")),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_a_spoiled_history(
    proxy: AlteringProxy, client: Client, waiting: WorkflowHandle[Any, int], change: Callable[[Any], None], words: tuple[str, ...]
) -> None:
    await spoil_until_told(proxy, client, waiting, change, *words)


async def test_an_event_that_belongs_to_nothing(proxy: AlteringProxy, client: Client, unique: str) -> None:
    """That is what a difference looks like, so it is told as one."""
    handle = await client.start_workflow(Doubles.run, 5, id=f"doubles-{unique}", task_queue=f"q-{unique}", task_timeout=TASK_TIMEOUT)
    async with worker(client, f"q-{unique}"):
        await until_waiting(handle)
    await spoil_until_told(proxy, client, handle, without_its_activity, "event 7")


async def test_a_history_of_another_workflow(proxy: AlteringProxy, client: Client, unique: str, waiting: WorkflowHandle[Any, int]) -> None:
    """A Doubles gets the history of a workflow with a timer, as a service that mixes up its runs would give it."""
    foreign = (await waiting.fetch_history()).events
    handle = await client.start_workflow(Doubles.run, 5, id=f"plain-{unique}", task_queue=f"q-{unique}", task_timeout=TASK_TIMEOUT)

    def swap(task: Any) -> None:
        own = list(task.history.events)
        del task.history.events[:]
        task.history.events.extend(foreign[: len(own)])

    await spoil_until_told(proxy, client, handle, swap, "another")


async def test_an_answer_that_is_no_message(proxy: AlteringProxy, client: Client, waiting: WorkflowHandle[Any, int]) -> None:
    forward = proxy.forward(POLL)
    spoiled: list[bytes] = []

    def garbage(request: bytes, context: Any) -> bytes:
        answer = forward(request, context)
        if answer and not spoiled:
            spoiled.append(answer)
            return b"\xff\xff\xff" + answer
        return answer

    proxy.answers[POLL] = garbage
    await finishes(waiting, client)
    assert spoiled


async def test_a_page_that_is_refused(proxy: AlteringProxy, client: Client, waiting: WorkflowHandle[Any, int]) -> None:
    """A token that leads nowhere: the task is given up with the reason, and comes again."""
    tokens: list[bytes] = []

    def with_token(task: Any) -> None:
        if not tokens:
            tokens.append(b"nowhere")
            task.next_page_token = b"nowhere"

    proxy.alter(POLL, of(waiting, with_token))
    await finishes(waiting, client)
    assert tokens


async def test_without_a_cache_the_same(proxy: AlteringProxy, client: Client, waiting: WorkflowHandle[Any, int]) -> None:
    seen: list[int] = []

    def cut_each_second(task: Any) -> None:
        seen.append(task.attempt)
        if len(seen) % 2:
            cut(task, 3)

    proxy.alter(POLL, of(waiting, cut_each_second))
    await finishes(waiting, client, cached=0)
    assert len(seen) >= 2
