"""A real server with a file, on a port of its own, that can be killed and started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import anyio
from anyio.abc import Process
from anyio.streams.text import TextReceiveStream

START = Path(__file__).parents[1] / "real_server" / "start"
#: The directory that `start` keeps its programs in.
PROGRAMS = Path(os.environ.get("DURABLE_ANYIO_TEST_SERVER_PROGRAMS", Path(__file__).parents[2] / ".real-server"))
#: What the server listens on beside its port.
OFFSETS = (0, 1, 2, 3, 10, 1000, 1001, 1002, 1003)


def free_ports() -> int:
    """A port that is free together with all others that a server takes."""
    chance = Random()
    while True:
        port = chance.randrange(12_000, 30_000)
        if all(map(_is_free, (port + offset for offset in OFFSETS))):
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as one:
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


class Server:
    """Runs until `kill`; `start` runs it again on the same file and port."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._port = free_ports()
        self._starter: Process | None = None
        self._pid = 0

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Returns when the server answers."""
        command = [str(START), str(self._port), str(PROGRAMS), "--database", str(self._file)]
        self._starter = await anyio.open_process(command, stderr=subprocess.DEVNULL)
        assert self._starter.stdout is not None
        told = ""
        async for text in TextReceiveStream(self._starter.stdout):
            told += text
            if "ready " in told:
                self._pid = int(told.split()[1])
                return
        raise RuntimeError(f"the server did not start: {told!r}")

    async def kill(self) -> None:
        assert self._starter is not None
        os.kill(self._pid, signal.SIGKILL)
        await self._starter.wait()
        await self._starter.aclose()
        self._starter = None

    async def stop(self) -> None:
        if self._starter is not None:
            self._starter.terminate()
            await self._starter.wait()
            await self._starter.aclose()


@asynccontextmanager
async def running_server(file: Path) -> AsyncIterator[Server]:
    server = Server(file)
    try:
        await server.start()
        yield server
    finally:
        with anyio.CancelScope(shield=True):
            await server.stop()
