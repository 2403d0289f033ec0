"""A worker that stops while a task is on its way to it: the task is worked on, and does not wait for its timeout."""

from __future__ import annotations

import threading
import uuid
from pathlib import Path
from typing import Any

import anyio
import pytest

from durable_anyio import Client

from .play import SERVER, Play
from .recording import RecordingProxy
from .workers import OwnWorkers

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not SERVER, reason="no real Temporal server: DURABLE_ANYIO_TEST_SERVER=HOST:PORT names one"),
]
#: Far beyond what the test needs: whoever waits for so long has failed.
LONG_SECONDS = 60


class SlowProxy(RecordingProxy):
    """Keeps the first workflow task back until the worker has said that it stops."""

    def __init__(self, target: str) -> None:
        super().__init__(target)
        self.on_its_way = threading.Event()
        self.stopping = threading.Event()
        self.alter("PollWorkflowTaskQueue", self._keep)
        self.alter("ShutdownWorker", lambda _request, _answer: self.stopping.set())

    def _keep(self, _request: Any, task: Any) -> None:
        if task.task_token and not self.on_its_way.is_set():
            self.on_its_way.set()
            self.stopping.wait(LONG_SECONDS)


async def test_a_task_on_its_way(tmp_path: Path) -> None:
    queue = f"proxy-{uuid.uuid4().hex[:12]}"
    async with Client.connect(SERVER) as client, anyio.create_task_group() as group:
        with SlowProxy(SERVER) as proxy:
            workers = OwnWorkers(proxy, queue, group)
            play = Play(client, workers, tmp_path / "none")
            await workers.start()
            await play.until_told("RecordWorkerHeartbeat")  # it has asked by then what the service can do
            await play.start("Failing", "for_good")
            assert await anyio.to_thread.run_sync(proxy.on_its_way.wait, LONG_SECONDS)
            await workers.stop()
            assert len(proxy.asked("RespondWorkflowTaskCompleted")) == 1
            await play.failure()
            history = await play.handle.fetch_history()
    assert not [event for event in history.events if event.HasField("workflow_task_timed_out_event_attributes")]
