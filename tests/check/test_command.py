"""The command: what it takes, what it prints, how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from durable_anyio import cli

BAD = """\
import time
from durable_anyio import workflow

raise SystemExit("nothing of this is run")

@workflow.defn
class Sample:
    @workflow.run
    async def run(self) -> float:
        return time.time()
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    package = tmp_path / "the_package"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('nothing of this is run')\n")
    (package / "inner" / "__init__.py").write_text("")
    (package / "inner" / "flows.py").write_text(BAD)
    (package / "clean.py").write_text(BAD.replace("time.time()", "workflow.time()"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "target", ["the_package", "the_package.inner", "the_package.inner.flows", "the_package/inner/flows.py", "the_package/inner", "."]
)
def test_targets(here: Path, target: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", target]) == 1
    out, err = capsys.readouterr()
    first, second = out.splitlines()
    assert first == "the_package/inner/flows.py:10:16: clock: time.time() in Sample.run: a replay reads another time"
    assert second.startswith("    use workflow.now()")
    assert "1 finding in" in err


def test_a_file_named_twice_is_checked_once(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "the_package/inner/flows.py", "the_package/inner/flows.py"]) == 1
    assert "1 finding in 1 workflow in 1 file" in capsys.readouterr().err


def test_nothing_found(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "the_package.clean"]) == 0
    assert capsys.readouterr() == ("", "durable-anyio check: nothing found in 1 workflow in 1 file\n")


def test_json(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "--format", "json", "the_package/inner/flows.py", "the_package/clean.py"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert (answer["version"], answer["files"], answer["workflows"]) == (1, 2, 2)
    (finding,) = answer["findings"]
    assert finding.keys() == {"file", "line", "column", "end_line", "rule", "message", "why", "instead"}
    assert (finding["file"], finding["line"], finding["rule"]) == ("the_package/inner/flows.py", 10, "clock")


BAD_INPUT = {
    "no_such_module": "there is no module 'no_such_module' in the current directory or on Python's path",
    "the_package.nothing": "there is no module 'the_package.nothing' in the_package",
    "the_package.clean.deeper": "there is no module 'the_package.clean.deeper' in the_package.clean",
    "no/such/file.py": "there is no file 'no/such/file.py'",
    "nothing.py": "there is no file 'nothing.py'",
    "not a name": "there is no file 'not a name'",
    "empty": "the directory 'empty' has no Python files",
    "broken.py": "broken.py:1:7: not Python 3: ",
    "latin.py": "latin.py:",
    "nul.py": "nul.py:",
    "deep.py": "deep.py:",
    "sys": "there is no module 'sys'",
}


@pytest.mark.parametrize("target", BAD_INPUT)
def test_bad_input(here: Path, target: str, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "empty").mkdir()
    (here / "broken.py").write_text("class :\n")
    (here / "latin.py").write_bytes(b"x = '\xe9'\n")
    (here / "nul.py").write_bytes(b"x = 1\0\n")
    (here / "deep.py").write_text("x = " + "(" * 5000 + ")" * 5000)
    assert cli.main(["check", "the_package.clean", target]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"durable-anyio: error: {BAD_INPUT[target]}")
    assert err.count("\n") == 1


def test_no_target_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["check"])
    assert caught.value.code == 2
    assert "MODULE_OR_FILE" in capsys.readouterr().err


@pytest.mark.parametrize(("file", "table"), [("pyproject.toml", "project"), ("rust/Cargo.toml", "workspace.package")])
def test_the_version_is_the_projects(file: str, table: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Known without the metadata of an installed package, so the command also works in a checkout."""
    settings = tomllib.loads((Path(__file__).parents[2] / file).read_text())
    for name in table.split("."):
        settings = settings[name]
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"durable-anyio {settings['version']}\n"


def test_the_installed_command(here: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "durable_anyio.cli", "check", "the_package"], capture_output=True, text=True, check=False, cwd=here
    )
    assert result.returncode == 1, result.stderr
    assert "flows.py:10:16: clock" in result.stdout


def test_our_own_workflows_are_clean(capsys: pytest.CaptureFixture[str]) -> None:
    root = Path(__file__).parents[2]
    assert cli.main(["check", str(root / "src"), *([str(root / "examples")] if (root / "examples").is_dir() else [])]) == 0
    assert "nothing found in" in capsys.readouterr().err
