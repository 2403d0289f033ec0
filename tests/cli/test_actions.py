"""`durable-anyio workflow …` and `durable-anyio schedule …`, on a file."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from durable_anyio import Client, Worker, cli, workflow
from durable_anyio.exceptions import ApplicationError

Run = Callable[..., str]


@workflow.defn
class Till:
    """Adds up until it is closed."""

    def __init__(self) -> None:
        self.cents = 0
        self.closed = False

    @workflow.run
    async def run(self, start: int) -> int:
        self.cents += start
        await workflow.wait_condition(lambda: self.closed)
        return self.cents

    @workflow.signal
    def close(self) -> None:
        self.closed = True

    @workflow.query
    def total(self) -> int:
        return self.cents

    @workflow.update
    async def add(self, cents: int) -> int:
        self.cents += cents
        return self.cents


@workflow.defn
class Greeting:
    @workflow.run
    async def run(self, name: str) -> dict[str, str]:
        if not name:
            raise ApplicationError("nobody to greet")
        return {"hello": name}


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command on one file and answers what it prints; it must succeed."""
    monkeypatch.setenv("DURABLE_ANYIO_TARGET", f"sqlite:{tmp_path / 'cli.db'}")

    def command(*arguments: str) -> str:
        code = cli.main(arguments)
        printed = capsys.readouterr()
        assert code == 0, printed.err
        return printed.out

    return command


@pytest.fixture
def worker(run: Run, tmp_path: Path) -> Iterator[None]:
    """A worker in this process, on a loop of its own: both sides share one engine."""
    started, stop = threading.Event(), threading.Event()

    async def serve() -> None:
        async with Client.connect(f"sqlite:{tmp_path / 'cli.db'}") as client, Worker(client, task_queue="q", workflows=[Till, Greeting]):
            started.set()
            await anyio.to_thread.run_sync(stop.wait)

    thread = threading.Thread(target=anyio.run, args=(serve,))
    thread.start()
    assert started.wait(30)
    yield
    stop.set()
    thread.join(30)
    assert not thread.is_alive()


@pytest.mark.usefixtures("worker")
def test_a_workflow_is_started_talked_to_and_waited_for(run: Run) -> None:
    out = run("workflow", "start", "--type", "Till", "--task-queue", "q", "--workflow-id", "till", "--input", "5")
    assert out.startswith("workflow id  till\nrun id")
    assert run("workflow", "update", "--workflow-id", "till", "--name", "add", "--input", "7") == "12\n"
    assert run("workflow", "query", "--workflow-id", "till", "--name", "total") == "12\n"
    assert "status       RUNNING" in run("workflow", "describe", "--workflow-id", "till")
    assert run("workflow", "signal", "--workflow-id", "till", "--name", "close") == ""
    assert run("workflow", "result", "--workflow-id", "till") == "12\n"
    shown = run("workflow", "show", "--workflow-id", "till").splitlines()
    assert shown[1].split()[0] == "1"
    assert shown[-1].endswith("workflow execution completed")
    assert json.loads(run("workflow", "show", "--workflow-id", "till", "--format", "json"))["events"]
    assert run("workflow", "execute", "--type", "Greeting", "--task-queue", "q", "--input", '"Ada"') == '{"hello": "Ada"}\n'
    assert run("workflow", "count") == "2\n"


@pytest.mark.usefixtures("worker")
def test_a_failed_workflow_says_why(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("workflow", "count") == "0\n"
    code = cli.main(["workflow", "execute", "--type", "Greeting", "--task-queue", "q", "--input", '""'])
    assert (code, "nobody to greet" in capsys.readouterr().err) == (1, True)


def test_workflows_without_a_worker(run: Run) -> None:
    for name in ("a", "b", "c"):
        run("workflow", "start", "--type", "T", "--task-queue", "q", "--workflow-id", name, "--run-timeout", "1h30m")
    assert run("workflow", "cancel", "--workflow-id", "a") == ""
    assert run("workflow", "terminate", "--workflow-id", "b", "--reason", "enough") == ""
    lines = [line.split()[:2] for line in run("workflow", "list").splitlines()]
    assert lines == [["STATUS", "WORKFLOW"], ["RUNNING", "c"], ["TERMINATED", "b"], ["RUNNING", "a"]]
    assert len(run("workflow", "list", "--limit", "1").splitlines()) == 2
    found = run("workflow", "list", "--query", "ExecutionStatus = 'Terminated'", "--format", "json").splitlines()
    assert [json.loads(line)["execution"]["workflowId"] for line in found] == ["b"]
    described = json.loads(run("workflow", "describe", "--workflow-id", "a", "--format", "json"))
    assert described["type"]["name"] == "T"
    assert "problem: no worker polls task queue 'q'" in run("workflow", "describe", "--workflow-id", "a")


def test_schedules(run: Run) -> None:
    create = ["schedule", "create", "--schedule-id", "s", "--type", "Greeting", "--task-queue", "q", "--input", '"Ada"']
    when = ["--cron", "0 12 * * *", "--interval", "5h/30m", "--time-zone", "Europe/Berlin", "--start-time", "2090-01-01", "--paused"]
    assert run(*create, *when, "--overlap-policy", "allow-all", "--notes", "not yet", "--remaining-actions", "3") == ""
    seen = run("schedule", "describe", "--schedule-id", "s")
    for line in ("state              paused", "starts             Greeting on q", "overlap policy     allow-all", "remaining actions  3"):
        assert line in seen
    assert "2090-01-01T00:30:00Z, 2090-01-01T05:30:00Z" in seen
    assert run("schedule", "unpause", "--schedule-id", "s", "--reason", "now") == ""
    assert run("schedule", "trigger", "--schedule-id", "s") == ""
    backfill = ["--start-time", "2024-01-01T00:00:00Z", "--end-time", "2024-01-01T06:00:00Z"]
    assert run("schedule", "backfill", "--schedule-id", "s", *backfill, "--overlap-policy", "allow-all") == ""
    described = json.loads(run("schedule", "describe", "--schedule-id", "s", "--format", "json"))
    assert described["info"]["actionCount"] == "1"  # the times of the backfill are before the schedule's start
    assert described["schedule"]["state"]["notes"] == "now"
    assert run("schedule", "list").splitlines()[1].split() == ["active", "s", "Greeting", "2090-01-01T00:30:00Z"]
    assert json.loads(run("schedule", "list", "--format", "json"))["scheduleId"] == "s"
    assert run("schedule", "pause", "--schedule-id", "s") == ""
    assert run("schedule", "list", "--query", "TemporalSchedulePaused = false").count("\n") == 1
    assert run("schedule", "delete", "--schedule-id", "s") == ""
    assert run("schedule", "list").count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["workflow", "describe", "--workflow-id", "none"], "workflow not found for ID: none"),
        (["workflow", "list", "--query", "nonsense"], "invalid query"),
        (["schedule", "pause", "--schedule-id", "none"], "schedule not found: none"),
        (
            ["schedule", "create", "--schedule-id", "s", "--type", "T", "--task-queue", "q", "--cron", "61 * * * *"],
            "Minute is not in range",
        ),
        (["workflow", "count", "--target", "nonsense"], "nonsense"),
    ],
)
def test_refusals(run: Run, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    assert cli.main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("durable-anyio: error: ")
    assert words in error


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["workflow", "start", "--type", "T", "--task-queue", "q", "--input", "Ada"], "'Ada' is no JSON"),
        (["workflow", "start", "--type", "T", "--task-queue", "q", "--run-timeout", "5"], "'5' is no length of time"),
        (["workflow", "list", "--limit", "0"], "must be a number above 0"),
        (["schedule", "backfill", "--schedule-id", "s", "--start-time", "noon", "--end-time", "2024-01-01"], "'noon' is no time"),
        (["schedule", "create", "--schedule-id", "s"], "the following arguments are required: --type, --task-queue"),
        (["workflow"], "the following arguments are required: ACTION"),
    ],
)
def test_usage(run: Run, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert words in capsys.readouterr().err


def test_a_target_is_needed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DURABLE_ANYIO_TARGET", raising=False)
    with pytest.raises(SystemExit):
        cli.main(["workflow", "list"])
    assert "the following arguments are required: --target" in capsys.readouterr().err
