"""A `durable-anyio server` in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

#: A stop waits for calls at most this long, and a start replays nothing.
SECONDS = 60


@dataclass
class Running:
    """A server that said where it listens."""

    process: subprocess.Popen[str]
    address: str
    log: Path

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ends it in order and answers its exit code."""
        self.process.send_signal(number)
        return self.process.wait(SECONDS)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(SECONDS)

    def logged(self) -> str:
        return self.log.read_text(encoding="utf-8")


def command(*options: str) -> list[str]:
    return [sys.executable, "-m", "durable_anyio.cli", "server", *options]


@contextmanager
def running(db: Path | str, *options: str, listen: str = "127.0.0.1:0", log: Path) -> Iterator[Running]:
    """Starts a server, waits until it listens, and ends it with the block."""
    with log.open("a", encoding="utf-8") as stderr:
        process = subprocess.Popen(
            command("--db", os.fspath(db), "--listen", listen, *options), stdout=subprocess.PIPE, stderr=stderr, text=True
        )
    with process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("listening on "), f"{line!r}\n{log.read_text(encoding='utf-8')}"
            yield Running(process, line.split()[-1], log)
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(SECONDS)
                finally:
                    process.kill()
