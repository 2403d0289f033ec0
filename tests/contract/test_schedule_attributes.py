"""Search attributes of schedules and of the workflows that they start, embedded and on a real server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest

from durable_anyio import Client
from durable_anyio.client import (
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleCalendarSpec,
    ScheduleDescription,
    ScheduleHandle,
    ScheduleRange,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from durable_anyio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from durable_anyio.exceptions import RPCError, RPCStatusCode
from durable_anyio.testing import WorkflowEnvironment

from .attribute_scenarios import add_attributes
from .attribute_workflows import COUNT, CUSTOMER, DUE, TAGS, UNKNOWN

pytestmark = pytest.mark.anyio

NEVER = ScheduleSpec(calendars=[ScheduleCalendarSpec(year=[ScheduleRange(2099)])])
DAY = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)


def attributes(*pairs: tuple[SearchAttributeKey[Any], Any]) -> TypedSearchAttributes:
    return TypedSearchAttributes([SearchAttributePair(key, value) for key, value in pairs])


def action(unique: str, own: TypedSearchAttributes) -> ScheduleActionStartWorkflow:
    return ScheduleActionStartWorkflow("Nothing", id=f"w-{unique}", task_queue=f"q-{unique}", typed_search_attributes=own)


def of_action(schedule: Schedule) -> TypedSearchAttributes:
    assert isinstance(schedule.action, ScheduleActionStartWorkflow)
    return schedule.action.typed_search_attributes


async def eventually(look: Callable[[], Awaitable[bool]]) -> None:
    """A service's lists and changes take effect a moment later."""
    with anyio.fail_after(30):
        while not await look():
            await anyio.sleep(0.05)


async def started(handle: ScheduleHandle) -> ScheduleDescription:
    """The description once the schedule has started a workflow."""
    seen = await handle.describe()

    async def look() -> bool:
        nonlocal seen
        seen = await handle.describe()
        return bool(seen.info.recent_actions)

    await eventually(look)
    return seen


async def test_both_have_their_own(client: Client, unique: str) -> None:
    await add_attributes(client)
    for_workflows = attributes((CUSTOMER, "Ada"), (COUNT, 5), (DUE, DAY))
    own = attributes((CUSTOMER, f"Bob-{unique}"), (TAGS, ["a", "b"]))
    handle = await client.create_schedule(f"s-{unique}", Schedule(action(unique, for_workflows), NEVER), search_attributes=own)
    try:
        seen = await handle.describe()
        assert set(of_action(seen.schedule)) == set(for_workflows)
        assert seen.typed_search_attributes.get(CUSTOMER) == f"Bob-{unique}"
        assert seen.typed_search_attributes.get(TAGS) == ["a", "b"]

        await handle.trigger()
        execution = (await started(handle)).info.recent_actions[0].action
        workflow_id = execution.workflow_id  # type: ignore[attr-defined]
        found = (await client.get_workflow_handle(workflow_id).describe()).typed_search_attributes
        assert (found.get(CUSTOMER), found.get(COUNT), found.get(DUE)) == ("Ada", 5, DAY)
        assert found.get(SearchAttributeKey.for_keyword("TemporalScheduledById")) == handle.id
        await client.get_workflow_handle(workflow_id).terminate()

        async def is_listed() -> bool:
            listed = [entry async for entry in client.list_schedules(f"{CUSTOMER.name} = 'Bob-{unique}'")]
            return [(entry.id, entry.typed_search_attributes.get(TAGS)) for entry in listed] == [(handle.id, ["a", "b"])]

        await eventually(is_listed)
    finally:
        await handle.delete()


async def test_updates_change_them_or_leave_them_alone(client: Client, unique: str) -> None:
    await add_attributes(client)
    first = attributes((CUSTOMER, "Ada"), (COUNT, 5))
    handle = await client.create_schedule(f"s-{unique}", Schedule(action(unique, first), NEVER), search_attributes=first)

    async def becomes(change: Callable[[Schedule], ScheduleUpdate], of_workflows: list[str], own: list[str]) -> None:
        def update(seen: ScheduleUpdateInput) -> ScheduleUpdate:
            return change(seen.description.schedule)

        async def is_so() -> bool:
            seen = await handle.describe()
            return (names(of_action(seen.schedule)), names(seen.typed_search_attributes)) == (of_workflows, own)

        await handle.update(update)
        await eventually(is_so)

    def names(found: TypedSearchAttributes) -> list[str]:
        return sorted(pair.key.name for pair in found)

    def change_note(schedule: Schedule) -> ScheduleUpdate:
        schedule.state.note = "changed"
        return ScheduleUpdate(schedule)

    try:
        both = [COUNT.name, CUSTOMER.name]
        await becomes(change_note, both, both)
        await becomes(lambda s: ScheduleUpdate(s, search_attributes=attributes((TAGS, ["c"]))), both, [TAGS.name])
        await becomes(lambda s: ScheduleUpdate(Schedule(action(unique, attributes((DUE, DAY))), NEVER)), [DUE.name], [TAGS.name])
        await becomes(lambda s: ScheduleUpdate(s, search_attributes=TypedSearchAttributes.empty), [DUE.name], [])
        await becomes(lambda s: ScheduleUpdate(Schedule(action(unique, TypedSearchAttributes.empty), NEVER)), [], [])
    finally:
        await handle.delete()


async def test_unknown_ones_are_refused_at_once(client: Client, unique: str) -> None:
    unknown, none = attributes((UNKNOWN, "x")), TypedSearchAttributes.empty

    async def is_refused(change: Awaitable[Any]) -> None:
        with pytest.raises(RPCError, match=UNKNOWN.name) as refused:
            await change
        assert refused.value.status is RPCStatusCode.INVALID_ARGUMENT

    await is_refused(client.create_schedule(f"a-{unique}", Schedule(action(unique, unknown), NEVER)))
    await is_refused(client.create_schedule(f"b-{unique}", Schedule(action(unique, none), NEVER), search_attributes=unknown))
    handle = await client.create_schedule(f"s-{unique}", Schedule(action(unique, none), NEVER))
    try:
        await is_refused(handle.update(lambda seen: ScheduleUpdate(Schedule(action(unique, unknown), NEVER))))
        await is_refused(handle.update(lambda seen: ScheduleUpdate(seen.description.schedule, search_attributes=unknown)))
    finally:
        await handle.delete()


async def test_a_start_that_is_refused_later_is_told(env: WorkflowEnvironment, unique: str) -> None:
    """The attribute was there when the schedule was made, and is taken away. Only an embedded engine says so."""
    client = env.client
    await add_attributes(client)
    handle = await client.create_schedule(f"s-{unique}", Schedule(action(unique, attributes((CUSTOMER, "Ada"))), NEVER))
    remove = client.service.request("RemoveSearchAttributes", namespace=client.namespace, search_attributes=[CUSTOMER.name])
    await client.service.call("RemoveSearchAttributes", remove)
    await handle.trigger()
    info = (await handle.describe()).info
    assert info.num_actions == 0
    assert info.last_refusal is not None
    assert CUSTOMER.name in info.last_refusal
    await add_attributes(client)
    await handle.trigger()
    info = (await handle.describe()).info
    assert (info.num_actions, info.last_refusal) == (1, None)


async def test_only_typed_attributes_are_taken(env: WorkflowEnvironment, unique: str) -> None:
    untyped: Any = {CUSTOMER.name: "Ada"}
    with pytest.raises(TypeError, match="TypedSearchAttributes"):
        await env.client.create_schedule(f"a-{unique}", Schedule(action(unique, untyped), NEVER))
    plain = Schedule(action(unique, TypedSearchAttributes.empty), NEVER)
    with pytest.raises(TypeError, match="TypedSearchAttributes"):
        await env.client.create_schedule(f"b-{unique}", plain, search_attributes=untyped)
