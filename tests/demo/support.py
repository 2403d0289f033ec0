"""Runs the demo in processes of its own, reads its ledger and kills it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

DEADLINE_SECONDS = 60.0
COMMAND = [sys.executable, "-m", "durable_anyio.cli", "demo"]


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def make_tree(root: Path, files: int, directories: int = 20) -> None:
    """Small files of different content, in nested directories."""
    for number in range(files):
        directory = root / f"d{number % directories:03}" / f"e{number % 3}"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"f{number:06}").write_bytes(b"%d\n" % number * (number % 50 + 1))


@dataclass
class Demo:
    """One demo: its tree, database, manifest and ledger."""

    work: Path
    tree: Path
    backend: str
    concurrency: int = 8

    @property
    def manifest(self) -> Path:
        return self.work / "SUMS"

    @property
    def ledger(self) -> Path:
        return self.work / "ledger"

    def command(self) -> list[str]:
        return [
            *COMMAND,
            str(self.tree),
            "--db",
            str(self.work / "demo.db"),
            "--output",
            str(self.manifest),
            "--backend",
            self.backend,
            "--concurrency",
            str(self.concurrency),
        ]

    def environment(self) -> dict[str, str]:
        return {**os.environ, "DURABLE_DEMO_LEDGER": str(self.ledger), "PYTHONUNBUFFERED": "1"}

    @contextmanager
    def start(self) -> Iterator[subprocess.Popen[str]]:
        process = subprocess.Popen(
            self.command(),
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A shell lets its background jobs ignore Ctrl-C, and children inherit that.
            preexec_fn=_heed_interrupts,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def run(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(), env=self.environment(), capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False)

    def ledger_lines(self) -> list[tuple[int, str]]:
        """(attempt, path) of every execution of the hashing activity, in order."""
        if not self.ledger.exists():
            return []
        lines = []
        for line in self.ledger.read_text().splitlines():
            event, attempt, path = line.split(" ", 2)
            assert event == "run"
            lines.append((int(attempt), path))
        return lines

    def ledger_bytes(self) -> int:
        return self.ledger.stat().st_size if self.ledger.exists() else 0

    def check_manifest(self, files: int) -> None:
        """The manifest names every file once, and coreutils finds it right."""
        names = [line.split("  ", 1)[1] for line in self.manifest.read_text().splitlines()]
        assert max(Counter(names).values()) == 1
        assert len(names) == files
        sha256sum(self.tree, self.manifest)


def sha256sum(tree: Path, manifest: Path) -> None:
    checked = subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet", str(manifest)], cwd=tree, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def wait_for_growth(demo: Demo, process: subprocess.Popen[str], target_bytes: int) -> bool:
    """Waits until the ledger has grown to a size; False if the process ended before."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while demo.ledger_bytes() < target_bytes:
        if process.poll() is not None:
            return False
        if time.monotonic() > deadline:
            process.kill()
            raise TimeoutError("the demo makes no progress:\n" + "".join(process.communicate()))
        time.sleep(0.002)
    return True
