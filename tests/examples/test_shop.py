"""The two services of examples/shop as their own processes: real HTTP, real signals, one file over several lives."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

SHOP = Path(__file__).parents[2] / "examples/shop"
# Long enough to catch an order while it is packed.
PACKING_SECONDS = 1.0
PATIENCE_SECONDS = 60.0

SMALL = {"items": ["cup", "tea"], "cents": 1200}
LARGE = {"items": ["vase"], "cents": 20_000}

pytestmark = pytest.mark.parametrize("server", ["on_uvicorn.py", "on_hypercorn.py"])


class Service:
    """A running service."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{self._read_port()}"
        self.http = httpx.Client(base_url=self.url, timeout=PATIENCE_SECONDS)

    def _read_port(self) -> int:
        assert self.process.stderr is not None
        lines = []
        for line in self.process.stderr:
            lines.append(line)
            found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
            if found:
                return int(found.group(1))
        raise AssertionError("the service did not start:\n" + "".join(lines))

    def stage(self, number: int) -> str:
        return str(self.http.get(f"/orders/{number}").json().get("stage"))

    def wait_for_stage(self, number: int, stage: str) -> None:
        wait_until(lambda: self.stage(number) == stage)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def wait_for_end(self) -> None:
        """The process has ended as one that was asked to."""
        _, errors = self.process.communicate(timeout=PATIENCE_SECONDS)
        assert self.process.returncode in (0, -signal.SIGTERM), errors
        assert "Traceback" not in errors


def wait_until(happened: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not happened():
        assert time.monotonic() < give_up
        time.sleep(0.01)


@contextmanager
def running(server: str, directory: Path) -> Iterator[Service]:
    environment = {**os.environ, "PORT": "0", "SHOP_PACKING_SECONDS": str(PACKING_SECONDS), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, str(SHOP / server)], cwd=directory, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    try:
        service = Service(process)
        with service.http:
            yield service
    finally:
        process.kill()
        process.communicate()


def test_requests_start_await_query_and_signal(server: str, tmp_path: Path) -> None:
    with running(server, tmp_path) as service:
        answer = service.http.put("/orders/1", json=SMALL)
        assert (answer.status_code, answer.json()) == (200, {"packed": ["cup for order 1", "tea for order 1"]})
        assert service.stage(1) == "done"
        began = time.monotonic()
        assert service.http.put("/orders/1", json=SMALL).json() == answer.json()
        assert time.monotonic() - began < PACKING_SECONDS, "an order that is put twice is packed once"

        answer = service.http.put("/orders/2", params={"wait": 0}, json=LARGE)
        assert answer.status_code == 202
        service.wait_for_stage(2, "waiting for approval")
        assert service.http.post("/orders/2/approval").status_code == 204
        assert service.http.put("/orders/2", json=LARGE).json() == {"packed": ["vase for order 2"]}
        service.terminate()
        service.wait_for_end()


def test_requests_that_make_no_sense(server: str, tmp_path: Path) -> None:
    with running(server, tmp_path) as service:
        assert service.http.get("/orders/9").status_code == 404
        assert service.http.post("/orders/9/approval").status_code == 404
        answer = service.http.put("/orders/9", json={"items": "cup", "cents": 1})
        assert (answer.status_code, "items" in answer.json()["error"]) == (400, True)


def test_sigterm_drains_requests_and_worker_and_a_restart_goes_on(server: str, tmp_path: Path) -> None:
    with ThreadPoolExecutor() as threads, running(server, tmp_path) as service:
        service.http.put("/orders/2", params={"wait": 0}, json=LARGE)
        service.wait_for_stage(2, "waiting for approval")
        request = threads.submit(service.http.put, "/orders/1", json=SMALL)
        service.wait_for_stage(1, "packing")
        service.terminate()
        answer = request.result(PATIENCE_SECONDS)
        assert (answer.status_code, answer.json()) == (200, {"packed": ["cup for order 1", "tea for order 1"]})
        service.wait_for_end()
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{service.url}/orders/1")
    with running(server, tmp_path) as service:
        assert (service.stage(1), service.stage(2)) == ("done", "waiting for approval")
        service.http.post("/orders/2/approval").raise_for_status()
        assert service.http.put("/orders/2", json=LARGE).json() == {"packed": ["vase for order 2"]}
        service.terminate()
        service.wait_for_end()


def test_a_process_that_is_killed_while_it_packs(server: str, tmp_path: Path) -> None:
    with running(server, tmp_path) as service:
        service.http.put("/orders/1", params={"wait": 0}, json=SMALL)
        service.wait_for_stage(1, "packing")
        service.process.kill()
    with running(server, tmp_path) as service:
        assert service.http.put("/orders/1", json=SMALL).json() == {"packed": ["cup for order 1", "tea for order 1"]}
