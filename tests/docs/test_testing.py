"""The example of the page on testing: what it finds, and that its remedy helps."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from .test_tutorial import blocks


def test_check_determinism(tmp_path: Path) -> None:
    ((information, program),) = (block for block in blocks("docs/testing.md") if "file=" in block[0])
    path = tmp_path / information.strip().removeprefix("file=")
    path.write_text(program)
    # With a seed of its own the first run could happen to order its set as the first replay does.
    environment = {**os.environ, "PYTHONHASHSEED": "2"}
    bad = subprocess.run(
        [sys.executable, path.name], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert bad.returncode == 1
    last = bad.stderr[bad.stderr.rindex("NondeterminismError: ") :]
    for line in (
        "workflow 'Picking' replayed in a fresh process (PYTHONHASHSEED=1), evicted after every workflow task: differs in command 1,",
        "check_picking.py:20 in Picking.run: await pick(item)",
        "first run: schedule_activity",
        "replayed: schedule_activity",
    ):
        assert line in last
    path.write_text(program.replace("set(items)", "sorted(set(items))"))
    good = subprocess.run([sys.executable, path.name], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (good.stdout, good.stderr) == ("7\n", "")
