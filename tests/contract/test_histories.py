"""Histories recorded from the real server: they replay here for ever, and the official core sees the same activations in them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from durable_anyio import Replayer, WorkflowHistory
from durable_anyio._bridge import proto
from durable_anyio._bridge.core import native
from durable_anyio._definitions import workflow_definition
from durable_anyio._workflow_instance import WorkflowInstance
from durable_anyio.converter import default

from .oracle import Oracle, build
from .workflows import WORKFLOWS

# The first test that needs the official core builds it.
pytestmark = pytest.mark.timeout(1200)
HISTORIES = sorted((Path(__file__).parent.parent / "histories").glob("*.json"))
ACTIVATION = proto.message("coresdk.workflow_activation.WorkflowActivation")
COMPLETION = proto.message("coresdk.workflow_completion.WorkflowActivationCompletion")
HISTORY = proto.message("temporal.api.history.v1.History")
DEFINITIONS = {workflow_definition(cls)[0]: workflow_definition(cls)[1] for cls in WORKFLOWS}


@pytest.fixture(params=HISTORIES, ids=lambda path: path.stem)
def history(request: pytest.FixtureRequest) -> WorkflowHistory:
    return WorkflowHistory.from_json(request.param.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    if shutil.which("cargo") is None:
        pytest.skip("no cargo: the official core cannot be built")
    with Oracle(build()) as process:
        yield process


def test_enough_histories_are_kept() -> None:
    assert len(HISTORIES) >= 20


def test_replays(history: WorkflowHistory) -> None:
    Replayer(workflows=WORKFLOWS).replay(history)


#: With workflow tasks that only said that a local activity ran on. The official core merges such a task with the stretch before it when it
#: replays, and so shows the code a later time and a longer history than it saw live; ours shows what was seen.
HEARTBEATS = ("a_step_longer_than_its_workflow_task", "local_activities_with_deadlines")


def comparable(activation: Any, *, has_heartbeats: bool) -> Any:
    """An activation without what only its maker's version decides."""
    copy = ACTIVATION.FromString(activation.SerializeToString())
    if has_heartbeats:
        for field in ("timestamp", "history_length", "history_size_bytes"):
            copy.ClearField(field)
    copy.ClearField("available_internal_flags")
    copy.ClearField("deployment_version_for_current_task")
    return copy


def is_eviction(activation: Any) -> bool:
    return any(job.HasField("remove_from_cache") for job in activation.jobs)


def test_official_core_activates_alike(history: WorkflowHistory, oracle: Oracle) -> None:
    events = list(history.events)
    replay = native.replay_open(HISTORY(events=events).SerializeToString(), history.workflow_id, history.run_id)
    theirs = oracle.open(history.workflow_id, events)
    merges = re.sub(r"\W+", "_", history.workflow_id).startswith(HEARTBEATS)
    instance: WorkflowInstance | None = None
    completion = b""
    steps = 0
    try:
        while ours_bytes := native.replay_step(replay, completion):
            ours = ACTIVATION.FromString(ours_bytes)
            assert not is_eviction(ours), f"our core: {ours}"
            assert not is_eviction(theirs), f"the official core: {theirs}"
            assert str(comparable(ours, has_heartbeats=merges)) == str(comparable(theirs, has_heartbeats=merges))
            if instance is None:
                definition = DEFINITIONS[ours.jobs[0].initialize_workflow.workflow_type]
                assert definition is not None
                instance = WorkflowInstance(definition, ours, converter=default())
            completion = instance.activate(ours).SerializeToString()
            theirs = oracle.step(completion)
            steps += 1
        assert steps > 0
        assert is_eviction(theirs), f"the official core goes on: {theirs}"
        (job,) = theirs.jobs
        assert "nondeterminism" not in job.remove_from_cache.message.lower(), job.remove_from_cache.message
        oracle.finish(COMPLETION(run_id=history.run_id, successful={}).SerializeToString())
    finally:
        native.replay_close(replay)
        if instance is not None:
            instance.close()


def test_both_cores_report_a_spoiled_history(oracle: Oracle) -> None:
    """A history whose activity is of another type than the code's: nondeterminism here and there, ours with the event's id."""
    path = Path(__file__).parent.parent / "histories" / "one_activity.json"
    history = WorkflowHistory.from_json(path.read_text(encoding="utf-8").replace('"double"', '"triple"'))
    events = list(history.events)
    replay = native.replay_open(HISTORY(events=events).SerializeToString(), history.workflow_id, history.run_id)
    first = ACTIVATION.FromString(native.replay_step(replay, b""))
    oracle.open(history.workflow_id, events)
    definition = DEFINITIONS["OneActivity"]
    assert definition is not None
    instance = WorkflowInstance(definition, first, converter=default())
    completion = instance.activate(first).SerializeToString()
    try:
        ours = ACTIVATION.FromString(native.replay_step(replay, completion))
        theirs = oracle.step(completion)
        assert is_eviction(ours)
        assert is_eviction(theirs)
        message = ours.jobs[0].remove_from_cache.message
        assert "double" in message
        assert "triple" in message
        assert "event 5" in message
        assert "onDeterminis" in theirs.jobs[0].remove_from_cache.message or "ondeterminis" in theirs.jobs[0].remove_from_cache.message
    finally:
        oracle.finish(COMPLETION(run_id=history.run_id, successful={}).SerializeToString())
        native.replay_close(replay)
        instance.close()
