"""The embedded engine writes the history that the real server wrote: every stored history, played again and compared event by event."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

import pytest

from durable_anyio import Worker, WorkflowHistory
from durable_anyio.testing import WorkflowEnvironment

from .activities import ACTIVITIES
from .nexus_scenarios import NEXUS_SCENARIOS
from .normal_history import lines, unordered, without_tasks
from .scenario import Scenario
from .scenarios import SCENARIOS
from .workflows import WORKFLOWS

pytestmark = pytest.mark.anyio
HISTORIES = Path(__file__).parent.parent / "histories"


def path_of(scenario: Scenario) -> Path:
    return HISTORIES / f"{re.sub(r'[^a-zA-Z0-9_]+', '_', scenario.name)}.json"


STORED = [s for s in SCENARIOS if path_of(s).exists()]
#: Scenarios in which the order of events is decided by who is faster; the others are compared as they are.
RACES = {
    # The client's call and the first workflow task.
    "signals and a query": without_tasks,
    "a condition": without_tasks,
    "a cancelled workflow": without_tasks,
    "a workflow that survives its cancellation": without_tasks,
    "a terminated workflow": without_tasks,
    "patches in handlers": without_tasks,
    "a parent cancelled with its child": without_tasks,
    "a start with a signal": without_tasks,
    "a stack for people": without_tasks,
    "a workflow that is shared": without_tasks,
    "a workflow that takes another's place": without_tasks,
    "a reset of a running workflow": without_tasks,
    "a reset without its updates": without_tasks,
    "a reset within an update": without_tasks,
    "a child that is terminated": without_tasks,
    # The children of one workflow task.
    "children side by side": unordered,
    # A timer and the sign of life of a workflow task.
    "local activities with deadlines": without_tasks,
    "updates": without_tasks,
    "rejected updates": without_tasks,
    "an accepted update": without_tasks,
    "a failed update": without_tasks,
    "an update that outlives the workflow": without_tasks,
    "an update that is left behind": without_tasks,
    "updates side by side": unordered,
    # The activities of one workflow task.
    "activities side by side": unordered,
    "eager activities and others": unordered,
    # An activity's end and the signal that it sent.
    "an activity that signals its workflow": without_tasks,
    "a limited fan-out": unordered,
    "local activities side by side": unordered,
}


@pytest.mark.parametrize("scenario", STORED, ids=lambda scenario: scenario.name)
async def test_same_history(scenario: Scenario, unique: str) -> None:
    queue = f"contract-{unique}"
    recorded = WorkflowHistory.from_json(path_of(scenario).read_text(encoding="utf-8"))
    async with WorkflowEnvironment.time_skipping() as environment:
        client = environment.client
        async with Worker(client, task_queue=queue, workflows=WORKFLOWS, activities=ACTIVITIES):
            handle = await scenario.play(client, queue, f"{scenario.name}-{unique}")
        embedded = await client.get_workflow_handle(handle.id, run_id=handle.first_execution_run_id).fetch_history()
    form = RACES.get(scenario.name, lines)
    if found := "\n".join(difflib.unified_diff(form(recorded), form(embedded), "the real server", "the embedded engine", lineterm="", n=6)):
        pytest.fail(found, pytrace=False)


def test_every_history_belongs_to_a_scenario() -> None:
    names = [scenario.name for scenario in SCENARIOS] + [scenario.name for scenario in NEXUS_SCENARIOS]
    named = {re.sub(r"\W+", "_", name) for name in names}
    assert {path.stem for path in HISTORIES.glob("*.json")} <= named
