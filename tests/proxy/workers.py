"""The two kinds of workers behind a recording proxy each: this package's, and Temporal's Python SDK's in a process of its own."""

from __future__ import annotations

import json
import subprocess
from abc import ABC, abstractmethod
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio.to_thread
from anyio.abc import TaskGroup
from migration.sdk import VERSIONS, interpreter

from durable_anyio import Client, Worker

from . import programs
from .recording import RecordingProxy

Options = dict[str, Any]


class OfficialProcess:
    """Answers orders one after the other; see `official_worker.py`."""

    def __init__(self) -> None:
        program = Path(__file__).parent / "official_worker.py"
        command = [str(interpreter(VERSIONS[0])), str(program)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def order(self, **order: Any) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        for line in self._process.stdout:  # its core logs there, too
            if line == "done\n":
                return
        raise AssertionError("the process with the official SDK has ended")

    def close(self) -> None:
        with self._process as process:
            assert process.stdin is not None
            process.stdin.close()


class Workers(ABC):
    """At most one worker on `queue` at a time."""

    def __init__(self, proxy: RecordingProxy, queue: str) -> None:
        self.proxy = proxy
        self.queue = queue

    @abstractmethod
    async def start(self, **options: Any) -> None:
        """`options` are those of `Worker` of either package; durations are seconds, and `changed` is the programs' next version."""

    @abstractmethod
    async def stop(self) -> None: ...


class OfficialWorkers(Workers):
    def __init__(self, proxy: RecordingProxy, queue: str, process: OfficialProcess) -> None:
        super().__init__(proxy, queue)
        self._process = process
        self._running = False

    async def start(self, **options: Any) -> None:
        self._running = True
        await anyio.to_thread.run_sync(lambda: self._process.order(start=self.queue, address=self.proxy.target, options=options))

    async def stop(self) -> None:
        if self._running:
            self._running = False
            await anyio.to_thread.run_sync(lambda: self._process.order(stop=self.queue))


class OwnWorkers(Workers):
    """In tasks of `group`."""

    def __init__(self, proxy: RecordingProxy, queue: str, group: TaskGroup) -> None:
        super().__init__(proxy, queue)
        self._group = group
        self._client: Client | None = None
        self._worker: Worker | None = None

    async def start(self, **options: Any) -> None:
        programs.CHANGED = options.pop("changed", False)
        for key in options:
            if key.endswith(("_interval", "_timeout")):
                options[key] = timedelta(seconds=options[key])
        self._client = await Client.connect(self.proxy.target)
        self._worker = Worker(self._client, task_queue=self.queue, workflows=programs.PROGRAMS, activities=programs.ACTIVITIES, **options)
        await self._group.start(self._worker.run)

    async def stop(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            await worker.shutdown()
        if self._client is not None:
            await self._client.close()
            self._client = None
