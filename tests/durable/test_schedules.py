"""A process with a schedule is killed again and again: every second has its workflow, none has two."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from durable_anyio import Client
from durable_anyio.client import (
    Schedule,
    ScheduleActionExecutionStartWorkflow,
    ScheduleActionStartWorkflow,
    ScheduleDescription,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleState,
)
from durable_anyio.exceptions import ScheduleAlreadyRunningError

KILLS = 3
ACTIONS = 6


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_schedule_survives_kills(backend: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", __name__, str(tmp_path / "schedules.db"), backend]
    kills = 0
    while True:
        # Said after each new action: it is killed at a point of the schedule and not of the clock.
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]) as process:
            assert process.stdout is not None
            if process.stdout.readline() and kills < KILLS:
                process.kill()
                kills += 1
                continue
            process.stdout.read()
        break
    # On a slow machine what came due meanwhile is done before the next kill.
    assert process.returncode == 0
    assert kills > 0


async def _main(path: str) -> None:
    async with Client.connect(f"sqlite:{path}") as client:
        schedule = Schedule(
            ScheduleActionStartWorkflow("Never", id="tick", task_queue="nobody"),
            ScheduleSpec(intervals=[ScheduleIntervalSpec(timedelta(seconds=1))]),
            SchedulePolicy(ScheduleOverlapPolicy.ALLOW_ALL),
            ScheduleState(limited_actions=True, remaining_actions=ACTIONS),
        )
        try:
            handle = await client.create_schedule("ticks", schedule)
        except ScheduleAlreadyRunningError:
            handle = client.get_schedule_handle("ticks")
        seen = await handle.describe()
        while seen.schedule.state.remaining_actions:
            before = seen.info.num_actions
            with anyio.fail_after(30):
                while seen.info.num_actions == before:
                    seen = await handle.describe()
            print(seen.info.num_actions, flush=True)
        await _check(client, seen)


async def _check(client: Client, seen: ScheduleDescription) -> None:
    times = [result.scheduled_at for result in seen.info.recent_actions]
    assert times == [times[0] + timedelta(seconds=second) for second in range(ACTIONS)]
    ids = []
    for result in seen.info.recent_actions:
        assert isinstance(result.action, ScheduleActionExecutionStartWorkflow)
        ids.append((result.action.workflow_id, result.action.first_execution_run_id))
    assert sorted(ids) == sorted([(run.id, run.run_id) async for run in client.list_workflows()])


if __name__ == "__main__":
    anyio.run(_main, sys.argv[1], backend=sys.argv[2])
