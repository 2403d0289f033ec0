"""Bad calls about schedules get the same code and words from the embedded engine and a real server.

Left out, or without words, is what differs by intent: a schedule that is not there is called so here and a workflow there; an action other
than starting a workflow is refused at once here, by the next update there; a bad exclusion is refused here and excludes nothing there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from durable_anyio import Client
from durable_anyio.exceptions import RPCError
from durable_anyio.testing import WorkflowEnvironment

from .conftest import SERVER

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not SERVER, reason="no real Temporal server: DURABLE_ANYIO_TEST_SERVER=HOST:PORT names one"),
]

LONG = "x" * 1001
START = {"workflow_id": "w", "workflow_type": {"name": "W"}, "task_queue": {"name": "q"}}
SCHEDULE = {"action": {"start_workflow": START}}
CREATE, DESCRIBE, UPDATE, PATCH = "CreateSchedule", "DescribeSchedule", "UpdateSchedule", "PatchSchedule"
DELETE, TIMES, LIST, COUNT = "DeleteSchedule", "ListScheduleMatchingTimes", "ListSchedules", "CountSchedules"
NEEDED: dict[str, dict[str, Any]] = {
    CREATE: {"schedule": SCHEDULE, "request_id": "r"},
    UPDATE: {"schedule": SCHEDULE},
    PATCH: {"patch": {"pause": "p"}},
    TIMES: {"start_time": {"seconds": 1}, "end_time": {"seconds": 2}},
}


@dataclass
class Case:
    """One call; `{}` in the id is replaced by something unique, and a schedule "there-{}" exists."""

    name: str
    rpc: str
    fields: dict[str, Any] = field(default_factory=dict)
    id: str = "missing-{}"
    words: bool = True

    def request(self, client: Client, unique: str) -> Any:
        fields = {"namespace": "default"} | NEEDED.get(self.rpc, {}) | self.fields
        if self.rpc not in (LIST, COUNT):
            fields["schedule_id"] = self.id.format(unique)
        return client.service.request(self.rpc, **fields)


def attribute(name: str) -> dict[str, Any]:
    return {"indexed_fields": {name: {"metadata": {"encoding": b"json/plain"}, "data": b'"x"'}}}


def start(name: str, **changes: Any) -> Case:
    return Case(name, CREATE, {"schedule": {"action": {"start_workflow": START | changes}}})


def spec(name: str, *, words: bool = True, **parts: Any) -> Case:
    return Case(name, CREATE, {"schedule": SCHEDULE | {"spec": parts}}, words=words)


CASES = [
    Case("create again", CREATE, {"request_id": "another"}, id="there-{}"),
    Case("create without id", CREATE, id=""),
    Case("create long id", CREATE, id=LONG),
    Case("create id too long for a workflow", CREATE, id="x" * 980),
    Case("create without request id", CREATE, {"request_id": ""}),
    Case("create long request id", CREATE, {"request_id": LONG}),
    Case("update without action", UPDATE, {"schedule": {}}, id="there-{}"),
    Case("update long request id", UPDATE, {"request_id": LONG}, id="there-{}"),
    Case("patch nothing", PATCH, {"patch": None}, id="there-{}"),
    Case("patch long note", PATCH, {"patch": {"pause": LONG}}, id="there-{}"),
    Case("patch long other note", PATCH, {"patch": {"unpause": LONG}}, id="there-{}"),
    Case("patch long request id", PATCH, {"request_id": LONG}, id="there-{}"),
    Case("times without times", TIMES, {"start_time": None}, id="there-{}"),
    *(
        case
        for rpc in (DESCRIBE, UPDATE, PATCH, DELETE, TIMES)
        for case in (Case(f"{rpc} missing", rpc, words=False), Case(f"{rpc} without id", rpc, id=""))
    ),
    *(
        case
        for rpc in (CREATE, DESCRIBE, UPDATE, PATCH, DELETE, TIMES, LIST, COUNT)
        for case in (Case(f"{rpc} elsewhere", rpc, {"namespace": "elsewhere"}), Case(f"{rpc} nowhere", rpc, {"namespace": ""}))
    ),
    start("long workflow id", workflow_id="x" * 990),
    start("no type", workflow_type={}),
    start("long type", workflow_type={"name": LONG}),
    start("no queue", task_queue={}),
    start("long queue", task_queue={"name": LONG}),
    start("cron", cron_schedule="* * * * *"),
    start("reuse policy", workflow_id_reuse_policy=3),
    start("unknown attribute", search_attributes=attribute("Nope")),
    start("attribute of the service", search_attributes=attribute("StartTime")),
    start("attribute of another type", search_attributes=attribute("TemporalScheduledStartTime")),
    Case("own unknown attribute", CREATE, {"search_attributes": attribute("Nope")}),
    Case("own attribute of the service", CREATE, {"search_attributes": attribute("StartTime")}),
    Case("update unknown attribute", UPDATE, {"search_attributes": attribute("Nope")}, id="there-{}"),
    start("negative execution timeout", workflow_execution_timeout={"seconds": -1}),
    start("negative run timeout", workflow_run_timeout={"seconds": -1}),
    start("negative task timeout", workflow_task_timeout={"seconds": -1}),
    spec("bad zone", timezone_name="Nowhere/Land"),
    spec("climbing zone", timezone_name="../etc/passwd"),
    spec("bad zone data", timezone_data=b"xx"),
    spec("two zones", cron_string=["TZ=UTC * * * * *"], timezone_name="Europe/Berlin"),
    spec("two cron zones", cron_string=["TZ=UTC * * * * *", "TZ=Europe/Berlin * * * * *"]),
    spec("signs of a length", words=False, interval=[{"interval": {"seconds": 5, "nanos": -1}}]),
    spec("short interval", interval=[{"interval": {"nanos": 5}}]),
    spec("negative phase", interval=[{"interval": {"seconds": 5}, "phase": {"seconds": -1}}]),
    spec("long phase", interval=[{"interval": {"seconds": 5}, "phase": {"seconds": 5}}]),
    spec("long comment", structured_calendar=[{"comment": "x" * 201}]),
    spec("ranges", structured_calendar=[{"hour": [{"start": -1, "end": 50, "step": -1}], "year": [{"start": 1999}]}]),
    spec("texts", calendar=[{"hour": "25", "minute": "1-2-3", "month": "foo", "day_of_week": "9", "year": "1999", "second": "5/0"}]),
    *(
        spec(f"cron {text!r}", cron_string=[text])
        for text in (
            "", "* * * *", "1 2 3 4 5 6 7 8", "a * * * *", "* * * * * 2500", "*/x * * * *", "5-1 * * * *", "1/2/3 * * * *", "5/ * * * *",
            "@every", "@every x", "@every 1h/x", "@every 1h/2h", "@never", "TZ=UTC", "@every -5s", "@every 5", "* * * * mo-s", "* * 32 * *",
        )
    ),
    *(
        Case(f"{rpc} {query!r}", rpc, {"query": query}, words=False)
        for rpc in (LIST, COUNT)
        for query in ("nope", "WorkflowId = 'x'", "ExecutionStatus = 'Running'", "ScheduleId = ", "ScheduleId = 'x' AND")
    ),
]  # fmt: skip


async def outcome(client: Client, case: Case, unique: str) -> tuple[str, str]:
    try:
        await client.service.call(case.rpc, case.request(client, unique))
    except RPCError as error:
        return error.status.name, error.message if case.words else ""
    return "OK", ""


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_same_refusals(unique: str) -> None:
    different = {}
    async with Client.connect(SERVER) as real, WorkflowEnvironment.local() as local:
        for client in (local.client, real):
            there = Case("there", CREATE, id="there-{}").request(client, unique)
            there.schedule.state.paused = True
            await client.service.call(CREATE, there)
        for case in CASES:
            ours, theirs = await outcome(local.client, case, unique), await outcome(real, case, unique)
            if ours != theirs or theirs[0] == "OK":
                different[case.name] = f"\n  real:     {theirs}\n  embedded: {ours}"
        await real.get_schedule_handle(f"there-{unique}").delete()
    if different:
        pytest.fail("\n".join(f"{name}: {text}" for name, text in different.items()), pytrace=False)
