"""`check_determinism`: every kind of difference is found and shown with the line, and nothing else is."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from durable_anyio import workflow
from durable_anyio.client import WorkflowHandle
from durable_anyio.exceptions import ApplicationError, ForbiddenCallError, NondeterminismError, WorkflowFailureError
from durable_anyio.testing import WorkflowEnvironment, check_determinism
from durable_anyio.worker import WorkerError

from . import undetermined as code

pytestmark = pytest.mark.anyio


def line_of(text: str) -> str:
    number = next(n for n, line in enumerate(inspect.getsource(code).splitlines(), 1) if text in line)
    return f"{code.__file__}:{number} in "


async def test_nothing_differs() -> None:
    names = ["Ada", "Grace"]
    assert await check_determinism(code.Greetings.run, names, activities=[code.greet], processes=1) == ["hello Ada", "hello Grace"]


async def test_signals_from_outside() -> None:
    async with WorkflowEnvironment.time_skipping() as env:
        start = await env.get_current_time()

        async def drive(handle: WorkflowHandle[code.Greetings, list[str]]) -> None:
            await env.sleep(10)
            await handle.signal(code.Greetings.start)

        result = await check_determinism(code.Greetings.run, ["Ada"], activities=[code.greet], drive=drive, environment=env, processes=1)
        assert result == ["hello Ada"]
        assert (await env.get_current_time() - start).total_seconds() < 60


async def test_the_order_of_a_set() -> None:
    with pytest.raises(NondeterminismError) as caught:
        await check_determinism(code.OrderOfASet.run, activities=[code.greet])
    error = caught.value
    assert error.source is not None
    assert error.source.startswith(line_of("in the order of hashes"))
    assert error.stack.count("in the order of hashes") == 2
    assert error.expected != error.actual
    assert "schedule_activity" in str(error.expected)
    assert error.event_id is not None
    assert error.event_id > 3
    for part in ("PYTHONHASHSEED", "OrderOfASet", str(error.expected), str(error.actual), error.source, "first run:", "replayed:"):
        assert part in str(error)


@pytest.mark.parametrize(
    ("cls", "text", "command"),
    [
        (code.ModuleCounter, "await anyio.sleep(runs)", "start_timer"),
        (code.Identity, "async def run(self) -> int", "complete_workflow_execution"),
        (code.OnlyWhenCached, "only the first time", "schedule_activity"),
    ],
)
async def test_what_differs(cls: type, text: str, command: str) -> None:
    code.runs = 41
    code.cached_names.clear()
    with pytest.raises(NondeterminismError) as caught:
        await check_determinism(cls.run, activities=[code.greet], processes=1)  # type: ignore[attr-defined]
    assert command in str(caught.value.expected)
    assert text in caught.value.stack
    assert caught.value.source is not None
    assert caught.value.source.startswith(f"{code.__file__}:")


async def test_a_command_that_is_missing_shows_where_the_tasks_wait() -> None:
    code.runs_of_forgetful.clear()
    with pytest.raises(NondeterminismError) as caught:
        await check_determinism(code.ForgetsACommand.run, activities=[code.greet], processes=1)
    assert caught.value.actual == "no command"
    assert "# for ever" in caught.value.stack


async def test_the_time_of_the_day() -> None:
    """Refused at once, and found where the refusal is switched off."""
    with pytest.raises((ForbiddenCallError, ExceptionGroup, WorkerError)):
        await check_determinism(code.WallClock.run, processes=1)
    async with WorkflowEnvironment.time_skipping(forbidden_calls="off") as env:
        with pytest.raises(NondeterminismError, match="WallClock"):
            await check_determinism(code.WallClock.run, environment=env, processes=1)


async def test_a_workflow_that_fails_everywhere() -> None:
    with pytest.raises(WorkflowFailureError) as caught:
        await check_determinism(code.Fails.run, activities=[code.greet], processes=1)
    assert isinstance(caught.value.cause, ApplicationError)


async def test_all_runs_of_a_chain() -> None:
    assert await check_determinism(code.Continues.run, 2, activities=[code.greet], processes=1) == "done"


async def test_a_workflow_that_cannot_be_imported() -> None:
    @workflow.defn
    class Local:
        @workflow.run
        async def run(self) -> None: ...

    with pytest.raises(ValueError, match="top level of a module"):
        await check_determinism(Local.run)


async def test_no_processes() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        await check_determinism(code.Fails.run, processes=0)


def test_in_a_program_s_own_file(tmp_path: Path) -> None:
    """A workflow of `__main__`: the fresh process reads its file, without running the program."""
    program = tmp_path / "program.py"
    program.write_text(
        "import anyio, sys\n"
        "from durable_anyio import workflow\n"
        "from durable_anyio.testing import check_determinism\n"
        "@workflow.defn\n"
        "class Main:\n"
        "    @workflow.run\n"
        "    async def run(self, kind: str) -> str:\n"
        "        await anyio.sleep(1)\n"
        "        return str(hash(kind)) if kind == 'bad' else kind\n"
        "if __name__ == '__main__':\n"
        "    print(anyio.run(check_determinism, Main.run, sys.argv[1]))\n"
    )
    good = subprocess.run([sys.executable, program, "good"], capture_output=True, text=True, check=False)
    assert (good.stdout, good.stderr) == ("good\n", "")
    bad = subprocess.run([sys.executable, program, "bad"], capture_output=True, text=True, check=False)
    assert "NondeterminismError" in bad.stderr
    assert f"{program}:7 in Main.run: async def run(self, kind: str) -> str:" in bad.stderr
