"""The code in the documentation runs, on both hosts, and prints the `text` block below it.

A block marked `program` is a whole program. One marked `workflow` defines workflows and activities: the last workflow is started and its
result printed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python (program|workflow)\n(.*?)^```\n+(?:^```text\n(.*?)^```)?", re.MULTILINE | re.DOTALL)
BLOCKS = [
    pytest.param(kind, code, output, id=f"{path.stem}-{number}")
    for path in sorted((ROOT / "docs").rglob("*.md"))
    for number, (kind, code, output) in enumerate(BLOCK.findall(path.read_text(encoding="utf-8")), start=1)
]
BEFORE = """\
import os
from datetime import timedelta

import anyio
from durable_anyio import RetryPolicy, Worker, activity, workflow
from durable_anyio.activity import Activity
from durable_anyio.exceptions import *
from durable_anyio.testing import WorkflowEnvironment
TimeoutError = __builtins__.TimeoutError

"""
AFTER = """

async def main() -> None:
    workflows = [value for value in globals().values() if isinstance(value, type) and "__durable_workflow__" in vars(value)]
    activities = [value for value in globals().values() if isinstance(value, Activity)]
    async with WorkflowEnvironment.time_skipping() as env:
        async with Worker(env.client, task_queue="docs", workflows=workflows, activities=activities):
            print(await env.client.execute_workflow(workflows[-1].run, id="docs", task_queue="docs"))

anyio.run(main, backend=os.environ["BACKEND"])
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize(("kind", "code", "output"), BLOCKS)
def test_code(kind: str, code: str, output: str, backend: str, tmp_path: Path) -> None:
    program = code if kind == "program" else BEFORE + code + AFTER
    (tmp_path / "program.py").write_text(program, encoding="utf-8")
    command = [sys.executable, "program.py"]
    environment = {**os.environ, "BACKEND": backend}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == output
