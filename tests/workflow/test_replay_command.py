"""`durable-anyio replay`: what it prints and answers."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from durable_anyio import Client, Worker, WorkflowHistory, cli

SHOP = """
from datetime import timedelta
from durable_anyio import activity, workflow

@activity.defn(start_to_close_timeout=timedelta(seconds=10))
async def double(number: int) -> int:
    return number * 2

@workflow.defn
class Doubles:
    @workflow.run
    async def run(self, number: int) -> int:
        return await double(number){after}
"""


def write_module(directory: Path, name: str, after: str = "") -> None:
    (directory / f"{name}.py").write_text(SHOP.format(after=after), encoding="utf-8")


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file with one finished workflow, whose module lies where the command is run."""
    write_module(tmp_path, "replayed_shop")
    write_module(tmp_path, "replayed_other", after=" + await double(1)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    module = __import__("replayed_shop")

    async def play() -> None:
        async with (
            Client.connect("sqlite:shop.db") as client,
            Worker(client, task_queue="q", workflows=[module.Doubles], activities=[module.double]),
        ):
            await client.execute_workflow("Doubles", 4, id="d", task_queue="q")
            history: WorkflowHistory = await client.get_workflow_handle("d").fetch_history()
        histories = tmp_path / "histories"
        histories.mkdir()
        (histories / "d.json").write_text(history.to_json(), encoding="utf-8")

    anyio.run(play)
    return "sqlite:shop.db"


def test_a_directory(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["replay", "--module", "replayed_shop", "histories"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("ok    Doubles d (run ")
    assert "1 history, 0 do not fit" in said.err


def test_a_file_that_does_not_fit(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["replay", "--module", "replayed_other", "histories/d.json"]) == 1
    said = capsys.readouterr()
    assert said.out.startswith("FAIL  Doubles d (run ")
    assert "replayed_other.py" in said.out
    assert "1 history, 1 does not fit" in said.err


def test_a_target(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["replay", "--module", "replayed_shop", "--target", database, "--query", "WorkflowType = 'Doubles'"]) == 0
    assert capsys.readouterr().out.count("ok ") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--module", "replayed_shop"], "give either histories"),
        (["--module", "replayed_shop", "--target", "sqlite:shop.db", "histories"], "give either histories"),
        (["--module", "no_such_module", "histories"], "'no_such_module' cannot be imported"),
        (["--module", "json", "histories"], "no class decorated"),
        (["--module", "replayed_shop", "nowhere.json"], "nowhere.json"),
        (["--module", "replayed_shop", "replayed_shop.py"], "replayed_shop.py: the history is not JSON"),
    ],
)
def test_what_cannot_be_replayed(database: str, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    assert cli.main(["replay", *arguments]) == 2
    assert words in capsys.readouterr().err
