"""The tutorial's program does what the tutorial says, and the README's example runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def blocks(name: str) -> list[tuple[str, str]]:
    """(information, text) of the Python blocks of a document."""
    return re.findall(r"^```python([^\n]*)\n(.*?)^```$", (ROOT / name).read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_tutorial(backend: str, tmp_path: Path) -> None:
    ((information, program),) = blocks("docs/tutorial.md")
    name = information.strip().removeprefix("file=")
    (tmp_path / name).write_text(program)
    command = [sys.executable, name]
    environment = {**os.environ, "BACKEND": backend, "PYTHONUNBUFFERED": "1"}
    log = tmp_path / "fetched.log"
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "started\n"
        deadline = time.monotonic() + 30
        while not log.exists() or "\n" not in log.read_text():
            assert first.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        # The tutorial's "a second or two": well after the answer is on disk, well before the next city.
        wait_until = time.monotonic() + 0.4
        while time.monotonic() < wait_until:
            time.sleep(0.01)
        first.kill()
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "going on after ['oslo']\n3 reports stored\n"
    assert log.read_text() == "oslo\nlima\nrome\n"
    assert (tmp_path / "rome.txt").read_text() == "report of rome"


def test_readme_example(tmp_path: Path) -> None:
    ((_, program),) = blocks("README.md")
    (tmp_path / "shop.py").write_text(program)
    done = subprocess.run([sys.executable, "shop.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "receipt 7\n"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_service_example(backend: str, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "examples/service.py"), backend]
    for _ in range(2):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert sorted(done.stdout.splitlines()) == [f"order-{number} ['cup for {number}', 'tea for {number}']" for number in range(3)]
