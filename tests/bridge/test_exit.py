"""Interpreters that end without closing anything, in every way there is."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from .conftest import HOSTS

# Each process goes through the host's start and end several times before the interpreter ends.
PROGRAM = """
import os, random, signal, sys, warnings
import anyio
from durable_anyio._bridge import proto
from durable_anyio._bridge.core import Core

warnings.simplefilter("ignore", ResourceWarning)  # that nothing is closed is the point
host, how, seed, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
chance = random.Random(seed)
kept = []

async def wait(core):
    await core.connect("sqlite::memory:")
    request = proto.message("temporal.api.workflowservice.v1.PollWorkflowTaskQueueRequest")(namespace="default")
    request.task_queue.name = "nobody"
    await core.call("PollWorkflowTaskQueue", request)

async def main():
    core = await Core.open()
    kept.append(core)
    async with anyio.create_task_group() as group:
        group.start_soon(wait, core)
        await anyio.sleep(chance.random() * 0.02)
        if how == "exit":
            sys.exit(3)
        if how == "return":
            group.cancel_scope.cancel()
        if how == "signal":
            os.kill(os.getpid(), signal.SIGINT)
            await anyio.sleep_forever()
        if how == "raise":
            raise ValueError("a bug of the user's")
        if how == "wait":
            print("up", flush=True)

for _ in range(rounds):
    try:
        anyio.run(main, backend=host)
    except* (SystemExit, ValueError):
        pass
    except* KeyboardInterrupt:
        if how == "wait":
            raise
print("end", flush=True)
"""


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("how", ["exit", "return", "signal", "raise"])
def test_an_interpreter_ends_without_close(host: str, how: str) -> None:
    for seed in range(2):
        command = [sys.executable, "-X", "dev", "-c", PROGRAM, host, how, str(seed), "10"]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert (ended.returncode, ended.stdout) == (0, "end\n"), ended.stderr
        assert ended.stderr == ""


@pytest.mark.parametrize("host", HOSTS)
def test_ctrl_c_of_a_process_that_waits(host: str) -> None:
    command = [sys.executable, "-c", PROGRAM, host, "wait", "0", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode in (1, -signal.SIGINT), errors
    assert "KeyboardInterrupt" in errors


@pytest.mark.parametrize(
    "names", [("durable_anyio._bridge.core", "temporalio.client"), ("temporalio.client", "durable_anyio._bridge.core")]
)
def test_temporalio_imports_beside_us(names: tuple[str, str]) -> None:
    pytest.importorskip("temporalio", reason="install the extra `interop`")
    text = f"import {names[0]}, {names[1]}, temporalio.api.workflowservice.v1; print('both')"
    ended = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60, check=False)
    assert ended.stdout == "both\n", ended.stderr
