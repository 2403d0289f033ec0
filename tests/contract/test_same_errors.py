"""Refusals are the real server's: the same bad requests get the same code, details and words in both places."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from durable_anyio import Client
from durable_anyio._bridge import proto
from durable_anyio.exceptions import RPCError
from durable_anyio.testing import WorkflowEnvironment

from .conftest import SERVER

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not SERVER, reason="no real Temporal server: DURABLE_ANYIO_TEST_SERVER=HOST:PORT names one"),
]

LONG = "x" * 1001
STATUS = proto.message("google.rpc.Status")
PAYLOADS = proto.message("temporal.api.common.v1.Payloads")
HUGE = PAYLOADS(payloads=[{"data": bytes(2 * 1024 * 1024 + 1)}])
NOWHERE = "00000000-0000-4000-8000-000000000000"
QUERY = {"query_type": "state"}


@dataclass
class Case:
    """One call; "open", "closed" and "missing" in a workflow's place become the ids of such workflows."""

    name: str
    rpc: str
    fields: dict[str, Any] = field(default_factory=dict)
    workflow: str | None = None
    run: str = ""
    words: bool = True  # whether the message is compared too

    def request(self, unique: str) -> Any:
        fields = dict(self.fields)
        id = f"{self.workflow}-{unique}" if self.workflow in ("open", "closed", "completed", "missing") else self.workflow
        if self.rpc in ("StartWorkflowExecution", "SignalWithStartWorkflowExecution"):
            fields = {"workflow_type": {"name": "W"}, "task_queue": {"name": f"errors-{unique}"}, "request_id": f"r-{self.name}"} | fields
            fields["workflow_id"] = id
        elif self.workflow is not None:
            execution = {"workflow_id": id, "run_id": self.run}
            if self.rpc == POLL_UPDATE:
                fields["update_ref"] = {"workflow_execution": execution, "update_id": "u"}
            elif self.rpc.startswith(("Signal", "RequestCancel", "Terminate", "Update")):
                fields["workflow_execution"] = execution
            else:
                fields["execution"] = execution
        return proto.message(f"temporal.api.workflowservice.v1.{self.rpc}Request")(**({"namespace": "default"} | fields))


START, SIGNAL_START, SIGNAL = "StartWorkflowExecution", "SignalWithStartWorkflowExecution", "SignalWorkflowExecution"
CANCEL, TERMINATE, QUERY_RPC = "RequestCancelWorkflowExecution", "TerminateWorkflowExecution", "QueryWorkflow"
DESCRIBE, HISTORY = "DescribeWorkflowExecution", "GetWorkflowExecutionHistory"
UPDATE, POLL_UPDATE, MULTI = "UpdateWorkflowExecution", "PollWorkflowExecutionUpdate", "ExecuteMultiOperation"
LIST, COUNT = "ListWorkflowExecutions", "CountWorkflowExecutions"
META, INPUT = {"update_id": "u"}, {"name": "n"}
ASKED = {"meta": META, "input": INPUT}
FIELDS: dict[str, dict[str, Any]] = {SIGNAL: {"signal_name": "s"}, QUERY_RPC: {"query": QUERY}, UPDATE: {"request": ASKED}}


def attribute(name: str, value: bytes) -> dict[str, Any]:
    return {"indexed_fields": {name: {"metadata": {"encoding": b"json/plain"}, "data": value}}}


def multi(name: str, start: dict[str, Any], update: dict[str, Any], workflow_id: str = "multi") -> Case:
    """An update-with-start, its two operations changed by `start` and `update`."""
    first = {
        "namespace": "default",
        "workflow_id": workflow_id,
        "workflow_type": {"name": "W"},
        "task_queue": {"name": "q"},
        "workflow_id_conflict_policy": 1,
    }
    second = {"namespace": "default", "workflow_execution": {"workflow_id": "multi"}, "request": ASKED}
    return Case(f"multi {name}", MULTI, {"operations": [{"start_workflow": first | start}, {"update_workflow": second | update}]})


def on_workflow(rpc: str) -> list[Case]:
    """The same mistakes for every call that names a workflow."""
    fields = FIELDS.get(rpc, {})
    cases = [
        Case(f"{rpc} missing", rpc, fields, "missing"),
        Case(f"{rpc} missing run", rpc, fields, "open", NOWHERE),
        Case(f"{rpc} no id", rpc, fields, ""),
        Case(f"{rpc} long id", rpc, fields, LONG),
        Case(f"{rpc} no execution", rpc, fields),
        Case(f"{rpc} bad run id", rpc, fields, "open", "not a uuid"),
        Case(f"{rpc} bad namespace", rpc, fields | {"namespace": "elsewhere"}, "missing"),
        Case(f"{rpc} no namespace", rpc, fields | {"namespace": ""}, "missing"),
    ]
    if rpc in (SIGNAL, CANCEL, TERMINATE):
        cases.append(Case(f"{rpc} closed", rpc, fields, "closed"))
    if rpc in (CANCEL, TERMINATE):
        cases.append(Case(f"{rpc} other chain", rpc, fields | {"first_execution_run_id": NOWHERE}, "open"))
    return cases


# Not here: an unknown search attribute, because the embedded engine has no registry of them and takes any; and a list's bad page
# token, which the real server reports as an internal error that clients retry until their own deadline.
CASES = [
    Case("start again", START, {}, "open"),
    Case("start closed, reject", START, {"workflow_id_reuse_policy": 3}, "closed"),
    Case("start completed, failed only", START, {"workflow_id_reuse_policy": 2}, "completed"),
    Case("start no id", START, {}, ""),
    Case("start long id", START, {}, LONG),
    Case("start no type", START, {"workflow_type": {}}, "missing"),
    Case("start long type", START, {"workflow_type": {"name": LONG}}, "missing"),
    Case("start no queue", START, {"task_queue": {}}, "missing"),
    Case("start long queue", START, {"task_queue": {"name": LONG}}, "missing"),
    Case("start long request id", START, {"request_id": LONG}, "missing"),
    Case("start bad namespace", START, {"namespace": "elsewhere"}, "missing"),
    Case("start no namespace", START, {"namespace": ""}, "missing"),
    Case("start huge", START, {"input": HUGE}, "missing"),
    Case("start huge memo", START, {"memo": {"fields": {"a": HUGE.payloads[0]}}}, "missing"),
    Case("start negative execution timeout", START, {"workflow_execution_timeout": {"seconds": -1}}, "missing"),
    Case("start negative run timeout", START, {"workflow_run_timeout": {"seconds": -1}}, "missing"),
    Case("start negative task timeout", START, {"workflow_task_timeout": {"seconds": -1}}, "missing"),
    Case("start negative delay", START, {"workflow_start_delay": {"seconds": -1}}, "missing"),
    Case("start bad coefficient", START, {"retry_policy": {"backoff_coefficient": 0.5}}, "missing"),
    Case("start bad attempts", START, {"retry_policy": {"maximum_attempts": -1}}, "missing"),
    Case("start bad interval", START, {"retry_policy": {"initial_interval": {"seconds": -1}}}, "missing"),
    Case("start bad maximum", START, {"retry_policy": {"initial_interval": {"seconds": 5}, "maximum_interval": {"seconds": 1}}}, "missing"),
    Case("start contradiction", START, {"workflow_id_reuse_policy": 4, "workflow_id_conflict_policy": 1}, "missing"),
    Case("start reject and terminate", START, {"workflow_id_reuse_policy": 3, "workflow_id_conflict_policy": 3}, "missing"),
    Case("start delay and cron", START, {"workflow_start_delay": {"seconds": 1}, "cron_schedule": "* * * * *"}, "missing", words=False),
    Case("signal no name", SIGNAL, {}, "open"),
    Case("signal long name", SIGNAL, {"signal_name": LONG}, "open"),
    Case("signal long request id", SIGNAL, {"signal_name": "s", "request_id": LONG}, "open"),
    Case("signal huge", SIGNAL, {"signal_name": "s", "input": HUGE}, "open"),
    Case("signal start no name", SIGNAL_START, {}, "missing"),
    Case("signal start no id", SIGNAL_START, {"signal_name": "s"}, ""),
    Case("signal start no type", SIGNAL_START, {"signal_name": "s", "workflow_type": {}}, "missing"),
    Case("signal start huge", SIGNAL_START, {"signal_name": "s", "signal_input": HUGE}, "missing"),
    Case("signal start conflict fail", SIGNAL_START, {"signal_name": "s", "workflow_id_conflict_policy": 1}, "open"),
    Case("signal start reject", SIGNAL_START, {"signal_name": "s", "workflow_id_reuse_policy": 3}, "closed"),
    Case("update no meta", UPDATE, {"request": {"input": INPUT}}, "open"),
    Case("update no request", UPDATE, {}, "open"),
    Case("update long update id", UPDATE, {"request": {"meta": {"update_id": LONG}, "input": INPUT}}, "open"),
    Case("update no input", UPDATE, {"request": {"meta": META}}, "open"),
    Case("update no name", UPDATE, {"request": {"meta": META, "input": {}}}, "open"),
    Case("update admitted", UPDATE, {"request": ASKED, "wait_policy": {"lifecycle_stage": 1}}, "open"),
    Case("update closed", UPDATE, {"request": ASKED}, "closed"),
    Case("update another chain", UPDATE, {"request": ASKED, "first_execution_run_id": NOWHERE}, "open"),
    Case("poll update no reference", POLL_UPDATE),
    Case("poll update unknown", POLL_UPDATE, {}, "open"),
    Case("poll update unknown in closed", POLL_UPDATE, {}, "closed"),
    Case("multi nothing", MULTI),
    Case("multi one", MULTI, {"operations": [{"update_workflow": {"request": ASKED}}]}),
    multi("no type", {"workflow_type": {}}, {}),
    multi("no namespace", {"namespace": ""}, {}),
    multi("cron", {"cron_schedule": "* * * * *"}, {}),
    multi("delay", {"workflow_start_delay": {"seconds": 1}}, {}),
    multi("eager", {"request_eager_execution": True}, {}),
    multi("no name", {}, {"request": {"meta": META, "input": {}}}),
    multi("run id", {}, {"workflow_execution": {"workflow_id": "multi", "run_id": NOWHERE}}),
    multi("first run id", {}, {"first_execution_run_id": NOWHERE}),
    multi("other workflow", {}, {}, "another"),
    multi("other namespace", {"namespace": "elsewhere"}, {}),
    multi("both bad", {"workflow_type": {}}, {"request": {"meta": META, "input": {}}}),
    Case("start unknown attribute", START, {"search_attributes": attribute("Nope", b"1")}, "missing"),
    Case("start mistyped attribute", START, {"search_attributes": attribute("BuildIds", b'"x"')}, "missing"),
    Case("start attribute of the service", START, {"search_attributes": attribute("WorkflowId", b'"x"')}, "missing"),
    Case("start long attribute", START, {"search_attributes": attribute("BatcherUser", b'"%s"' % (b"x" * 3000))}, "missing"),
    Case("terminate huge", TERMINATE, {"details": HUGE}, "missing"),
    Case("query none", QUERY_RPC, {}, "open"),
    Case("query no type", QUERY_RPC, {"query": {}}, "missing"),
    Case("query huge", QUERY_RPC, {"query": {"query_type": "state", "query_args": HUGE}}, "open"),
    Case("query rejected", QUERY_RPC, {"query": QUERY, "query_reject_condition": 2}, "closed"),
    Case("history bad token", HISTORY, {"next_page_token": b"junk"}, "open"),
    Case("history negative page", HISTORY, {"maximum_page_size": -1}, "open"),
    *(case for rpc in (SIGNAL, CANCEL, TERMINATE, QUERY_RPC, DESCRIBE, HISTORY, UPDATE, POLL_UPDATE) for case in on_workflow(rpc)),
    *(
        case
        for rpc in (LIST, COUNT)
        for case in (
            Case(f"{rpc} bad namespace", rpc, {"namespace": "elsewhere"}),
            Case(f"{rpc} no namespace", rpc, {"namespace": ""}),
            Case(f"{rpc} bad query", rpc, {"query": "this is not sql"}, words=False),
            Case(f"{rpc} unknown attribute", rpc, {"query": "Nope = 'x'"}),
            Case(f"{rpc} bad status", rpc, {"query": "ExecutionStatus = 'Nope'"}),
            Case(f"{rpc} bad time", rpc, {"query": "StartTime > 'yesterday'"}),
            Case(f"{rpc} half a comparison", rpc, {"query": "WorkflowId"}),
            Case(f"{rpc} like", rpc, {"query": "WorkflowId LIKE 'x'"}),
            Case(f"{rpc} list with a range", rpc, {"query": "TemporalChangeVersion BETWEEN 'a' AND 'b'"}),
            Case(f"{rpc} greater list", rpc, {"query": "TemporalChangeVersion > 'a'"}),
            Case(f"{rpc} number for a keyword", rpc, {"query": "WorkflowType = 5"}),
        )
    ),
    # Of counts only: that embedded lists can be sorted is meant.
    Case("count ordered", COUNT, {"query": "WorkflowId = 'x' ORDER BY StartTime"}),
    # No case for a negative page size: a server that other tests have filled then reads its store one by one until it refuses itself.
    Case("describe namespace", "DescribeNamespace", {"namespace": "elsewhere"}),
    Case("describe queue", "DescribeTaskQueue", {}),
    *(
        case
        for rpc in (
            "RespondWorkflowTaskCompleted",
            "RespondWorkflowTaskFailed",
            "RespondQueryTaskCompleted",
            "RespondActivityTaskCompleted",
        )
        for case in (
            Case(f"{rpc} no token", rpc, {}),
            Case(f"{rpc} bad token", rpc, {"task_token": b"\xff\xff\xff"}, words=False),
        )
    ),
    *(
        case
        for rpc in (
            "RespondActivityTaskCompleted",
            "RespondActivityTaskFailed",
            "RespondActivityTaskCanceled",
            "RecordActivityTaskHeartbeat",
        )
        for case in (
            Case(f"{rpc} no token", rpc, {}),
            Case(f"{rpc} bad token", rpc, {"task_token": b"\xff\xff\xff"}, words=False),
        )
    ),
    Case("cancel again", CANCEL, {"request_id": "1"}, "open"),
    Case("cancel a third time", CANCEL, {"request_id": "2"}, "open"),
    Case("poll no queue", "PollWorkflowTaskQueue", {}),
    Case("poll long queue", "PollActivityTaskQueue", {"task_queue": {"name": LONG}}),
    Case("poll bad namespace", "PollWorkflowTaskQueue", {"namespace": "elsewhere", "task_queue": {"name": "q"}}),
]


@dataclass
class Outcome:
    code: str
    details: list[str]
    words: str

    def same_as(self, real: Outcome) -> bool:
        """Equal, except that the embedded engine may say more after the real server's words: sizes, limits, hints."""
        return (self.code, self.details) == (real.code, real.details) and self.words.startswith(real.words.rstrip("."))


async def complete(client: Client, unique: str) -> None:
    """Plays the worker for a workflow that completes."""
    queue = {"name": f"completing-{unique}"}
    await client._core.call(START, Case("make completed", START, {"task_queue": queue}, "completed").request(unique))
    poll = proto.message("temporal.api.workflowservice.v1.PollWorkflowTaskQueueRequest")(namespace="default", task_queue=queue)
    task = await client._core.call("PollWorkflowTaskQueue", poll)
    command = {"command_type": "COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION", "complete_workflow_execution_command_attributes": {}}
    answer = proto.message("temporal.api.workflowservice.v1.RespondWorkflowTaskCompletedRequest")
    await client._core.call("RespondWorkflowTaskCompleted", answer(namespace="default", task_token=task.task_token, commands=[command]))


async def outcome(client: Client, case: Case, unique: str) -> Outcome:
    try:
        await client._core.call(case.rpc, case.request(unique), timeout=5)
    except RPCError as error:
        details = STATUS.FromString(error.details).details if error.details else []
        words = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "UUID", error.message.replace(unique, "U"))
        return Outcome(error.status.name, sorted(detail.type_url.rpartition("/")[2] for detail in details), words if case.words else "")
    return Outcome("OK", [], "")


@pytest.fixture
async def both(unique: str) -> AsyncIterator[tuple[Client, Client]]:
    """The embedded engine and the real server, with an open and a closed workflow in each."""
    async with WorkflowEnvironment.time_skipping() as environment, Client.connect(SERVER) as real:
        for client in (environment.client, real):
            for name in ("open", "closed"):
                await client._core.call(START, Case(f"make {name}", START, {}, name).request(unique))
            await complete(client, unique)
            await client._core.call(TERMINATE, Case("close", TERMINATE, {}, "closed").request(unique))
        yield environment.client, real


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_same_errors(both: tuple[Client, Client], unique: str) -> None:
    embedded, real = both
    different = {}
    for case in CASES:
        ours, theirs = await outcome(embedded, case, unique), await outcome(real, case, unique)
        if not ours.same_as(theirs):
            different[case.name] = f"\n  real:     {theirs}\n  embedded: {ours}"
    if different:
        pytest.fail("\n".join(f"{name}: {text}" for name, text in different.items()), pytrace=False)
