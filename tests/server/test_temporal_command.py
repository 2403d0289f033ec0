"""The `temporal` command against our server and the real one: it prints the same, but for ids, times and sizes.

DURABLE_ANYIO_TEMPORAL names the command where it is not on the path; without a real server its answers alone are looked at.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import uuid
from pathlib import Path

import pytest

from .running import SECONDS, Running

COMMAND = os.environ.get("DURABLE_ANYIO_TEMPORAL") or shutil.which("temporal")
REAL = os.environ.get("DURABLE_ANYIO_TEST_SERVER", "")

pytestmark = pytest.mark.skipif(not COMMAND, reason="no temporal command: DURABLE_ANYIO_TEMPORAL=FILE names one")

# One after the other on the same server; U is the test's own. What is compared: the exit code and both outputs.
SESSION = """
workflow start --type Any --task-queue q-U --workflow-id w-U --input 1
workflow describe --workflow-id w-U
workflow list --query "WorkflowId='w-U'"
workflow count --query "WorkflowId='w-U'"
workflow signal --workflow-id w-U --name s --input 5
workflow show --workflow-id w-U
workflow show --workflow-id w-U --output json
workflow start --type Any --task-queue q-U --workflow-id w-U
workflow start --type Any --task-queue q-U --workflow-id w-U --id-conflict-policy UseExisting
workflow cancel --workflow-id w-U
workflow describe --workflow-id w-U
workflow terminate --workflow-id w-U --reason because
workflow describe --workflow-id w-U
workflow show --workflow-id w-U
workflow query --workflow-id w-U --type t
workflow result --workflow-id w-U
workflow terminate --workflow-id w-U
workflow cancel --workflow-id w-U
workflow signal --workflow-id w-U --name s
workflow count --query "WorkflowId='w-U' AND ExecutionStatus='Terminated'"
workflow list --query "WorkflowId='w-U' AND ExecutionStatus='Running'"
workflow start --type Any --task-queue q-U --workflow-id w-U --id-reuse-policy RejectDuplicate
workflow start --type Any --task-queue q-U --workflow-id delayed-U --start-delay 1h --memo 'a="b"'
workflow describe --workflow-id delayed-U
workflow signal-with-start --workflow-id both-U --type Any --task-queue q-U --signal-name s --signal-input 1
workflow show --workflow-id both-U
workflow terminate --workflow-id both-U
workflow list --query "WorkflowId STARTS_WITH 'both-U'"
workflow execute --type Any --task-queue q-U --workflow-id short-U --execution-timeout 1s
workflow signal --workflow-id nobody-U --name s
workflow cancel --workflow-id nobody-U
workflow terminate --workflow-id nobody-U
workflow describe --workflow-id nobody-U
workflow show --workflow-id nobody-U
workflow result --workflow-id nobody-U
workflow query --workflow-id nobody-U --type t
workflow stack --workflow-id nobody-U
workflow update execute --workflow-id nobody-U --name u
workflow update start --workflow-id nobody-U --name u --wait-for-stage accepted
workflow update describe --workflow-id nobody-U --update-id u
task-queue describe --task-queue idle-U --task-queue-type workflow
task-queue describe --task-queue idle-U --legacy-mode
operator cluster health
operator namespace describe --namespace nobody-U
workflow list --namespace nobody-U
workflow start --namespace nobody-U --type Any --task-queue q --workflow-id w
""".strip().splitlines()


def _arguments(line: str, unique: str) -> list[str]:
    return [argument.replace("-U", f"-{unique}") for argument in shlex.split(line)]


def _run(address: str, line: str, unique: str, home: Path) -> tuple[int, str, str]:
    assert COMMAND is not None
    done = subprocess.run(
        [COMMAND, *_arguments(line, unique), "--address", address],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        env={"PATH": os.environ["PATH"], "HOME": os.fspath(home), "NO_COLOR": "1"},
    )
    return done.returncode, _normal(done.stdout), _normal(done.stderr)


def _normal(text: str) -> str:
    """Without ids, times, sizes and the width of columns."""
    for pattern, instead in (
        (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}", "RUN"),
        (r"\d{4}-\d\d-\d\dT[\d:.]+Z?", "TIME"),
        (r"\d+ (second|minute)s? (ago|from now)|\bnow\b", "SOON"),
        (r"(RunTime|StateTransitionCount|HistorySize) +\S+", r"\1 N"),
        (r'"taskId": "\d+"', '"taskId": N'),
        (r"\b\d+@[\w.-]+@?", "IDENTITY"),
        (r"[ \t]+", " "),
    ):
        text = re.sub(pattern, instead, text)
    return "\n".join(line.strip() for line in text.splitlines())


@pytest.mark.timeout(300)
def test_a_session(server: Running, tmp_path: Path) -> None:
    unique = uuid.uuid4().hex[:8]
    ours = [(line, *_run(server.address, line, unique, tmp_path)) for line in SESSION]
    assert not [line for line, code, _, _ in ours if code not in (0, 1)]
    assert not [(line, err) for line, _, _, err in ours if "unknown method" in err or "panic" in err]
    if REAL:
        real = [(line, *_run(REAL, line, unique, tmp_path)) for line in SESSION]
        differing = [f"{a[0]}\nours: {a[1:]}\nreal: {b[1:]}" for a, b in zip(ours, real, strict=True) if a != b]
        assert not differing, "\n\n".join(differing)
