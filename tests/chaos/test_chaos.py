"""The server and the workers are killed while workflows run: every workflow ends once, with the right result.

A short form runs each time where a real server's programs are; `DURABLE_ANYIO_CHAOS=full` runs the whole: 500 workflows, ten kills of the
server, twenty of a worker.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .running import Plan, run_chaos
from .server import PROGRAMS

IS_FULL = os.environ.get("DURABLE_ANYIO_CHAOS", "") == "full"
SECONDS = 1500 if IS_FULL else 100

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(
        not (PROGRAMS / "server").exists(),
        reason="no real server to kill: tests/real_server/start builds one, DURABLE_ANYIO_TEST_SERVER_PROGRAMS=DIR says where",
    ),
]


@pytest.mark.timeout(SECONDS + 60)
async def test_workflows_end_once_whatever_is_killed(anyio_backend: str, tmp_path: Path) -> None:
    if IS_FULL:
        plan = Plan(workflows=500, server_kills=10, worker_kills=20, backend=anyio_backend, seed=1)
    else:
        plan = Plan(workflows=20, server_kills=1, worker_kills=2, backend=anyio_backend, seed=1)
    summary = await run_chaos(plan, tmp_path, SECONDS)
    print(summary)
    assert summary.wrong == []
    assert (summary.server_kills, summary.worker_kills) == (plan.server_kills, plan.worker_kills)
    assert summary.lost_and_back["lost"] > 0
