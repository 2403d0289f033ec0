"""The official core's replayer as a subprocess: what it activates for a history, step by step."""

from __future__ import annotations

import os
import struct
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

from durable_anyio._bridge import proto

CRATE = Path(__file__).parent.parent / "oracle"
ACTIVATION = proto.message("coresdk.workflow_activation.WorkflowActivation")
HISTORY = proto.message("temporal.api.history.v1.History")


def build() -> Path:
    """Builds the oracle (two minutes when nothing is built) and answers its program."""
    # In its own directory, wherever the other crates are built.
    environment = {name: value for name, value in os.environ.items() if name != "CARGO_TARGET_DIR"}
    subprocess.run(["cargo", "build", "--quiet", "--locked"], cwd=CRATE, check=True, env=environment)
    return CRATE / "target" / "debug" / "replay-oracle"


class Oracle:
    """One process that replays one history after another."""

    def __init__(self, program: Path) -> None:
        self._process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def _write(self, frame: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(struct.pack("<I", len(frame)) + frame)
        self._process.stdin.flush()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        header = self._process.stdout.read(4)
        assert len(header) == 4, "the oracle ended: its error output says why"
        return ACTIVATION.FromString(self._process.stdout.read(struct.unpack("<I", header)[0]))

    def open(self, workflow_id: str, events: list[Any]) -> Any:
        """Starts a history; answers its first activation."""
        self._write(workflow_id.encode())
        self._write(HISTORY(events=events).SerializeToString())
        return self._read()

    def step(self, completion: bytes) -> Any:
        """Answers the last activation; gives the next."""
        self._write(completion)
        return self._read()

    def finish(self, completion: bytes) -> None:
        """Answers the eviction that ends a history."""
        self._write(completion)

    def __enter__(self) -> Oracle:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()
