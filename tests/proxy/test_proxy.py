"""What this package's worker and Temporal's Python SDK's tell a real server, for the same programs and the same clients."""

from __future__ import annotations

import json
import os
from pathlib import Path

import anyio
import pytest

from durable_anyio import Client

from . import activity_scenarios, failure_scenarios, local_scenarios, message_scenarios
from .differences import unexplained
from .play import SERVER, Play, Scenario
from .recording import Recording, RecordingProxy
from .workers import OfficialProcess, OfficialWorkers, OwnWorkers, Workers

PARTS = (local_scenarios, message_scenarios, activity_scenarios, failure_scenarios)
SCENARIOS = [scenario for part in PARTS for scenario in part.SCENARIOS]
pytestmark = [
    pytest.mark.anyio,
    # The first test makes the other SDK's environment.
    pytest.mark.timeout(300),
    pytest.mark.skipif(not SERVER, reason="no real Temporal server: DURABLE_ANYIO_TEST_SERVER=HOST:PORT names one"),
]


async def played(scenario: Scenario, workers: Workers, path: Path) -> Recording:
    async with Client.connect(SERVER) as client:
        play = Play(client, workers, path)
        try:
            with anyio.fail_after(20):
                await scenario.act(play)
        finally:
            with anyio.CancelScope(shield=True):
                await workers.stop()
        return scenario.reduce(play.recording())


async def recordings(scenario: Scenario, official: OfficialProcess, tmp_path: Path) -> tuple[Recording, Recording]:
    queue = f"proxy-{os.urandom(6).hex()}"
    found: dict[str, Recording] = {}

    async def play(kind: str, workers: Workers) -> None:
        found[kind] = await played(scenario, workers, tmp_path / kind)

    with RecordingProxy(SERVER) as one, RecordingProxy(SERVER) as other:
        async with anyio.create_task_group() as group:
            group.start_soon(play, "official", OfficialWorkers(one, f"{queue}-official", official))
            group.start_soon(play, "own", OwnWorkers(other, f"{queue}-own", group))
    return found["official"], found["own"]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
async def test_the_same_is_told(scenario: Scenario, official: OfficialProcess, tmp_path: Path) -> None:
    theirs, ours = await recordings(scenario, official, tmp_path)
    kept = os.environ.get("DURABLE_ANYIO_RECORD_REQUESTS")
    if kept:
        for kind, recording in ("official", theirs), ("own", ours):
            (Path(kept) / f"{scenario.name}.{kind}.json").write_text(json.dumps(recording, indent=1))
    assert theirs["workflow"], "nothing was recorded"
    problems = unexplained(theirs, ours, scenario.differences)
    assert not problems, "\n".join(problems)
