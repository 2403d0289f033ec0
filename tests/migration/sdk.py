"""Temporal's Python SDK in environments of its own, made once each, and its worker as a process."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_process
from anyio.streams.text import TextReceiveStream

HERE = Path(__file__).parent
#: Where the environments are kept.
ROOT = Path(os.environ.get("DURABLE_ANYIO_OFFICIAL_SDK", HERE.parent.parent / ".official-sdk"))
#: The newest and an older one.
VERSIONS = ("1.35.0", "1.31.0")


def interpreter(version: str) -> Path:
    """The Python of an environment with that version of the SDK; makes it if need be."""
    home = ROOT / version
    python = home / "bin" / "python"
    ROOT.mkdir(parents=True, exist_ok=True)
    with open(ROOT / f"{version}.lock", "w") as lock:  # tests run in several processes
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "complete").exists():
            subprocess.run([sys.executable, "-m", "venv", home], check=True)
            subprocess.run([python, "-m", "pip", "install", "--quiet", f"temporalio=={version}"], check=True)
            (home / "complete").touch()
    return python


@asynccontextmanager
async def official_worker(version: str, address: str, queue: str) -> AsyncIterator[None]:
    """Works on `queue` as long as the block runs; ends in order, so that what it had cached is given to others at once."""
    command = [str(interpreter(version)), str(HERE / "official_worker.py"), address, queue]
    process = await anyio.open_process(command, stdin=subprocess.PIPE, stderr=None)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async for text in TextReceiveStream(process.stdout):
            if "ready" in text:
                break
        yield
    finally:
        with anyio.CancelScope(shield=True):
            await process.stdin.aclose()
            await process.wait()
            await process.aclose()
