"""The process: how it starts, what it refuses, how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
from pathlib import Path

import grpc
import pytest

from .calls import Api
from .running import SECONDS, command, running


def _refused(*options: str) -> str:
    done = subprocess.run(command(*options), capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 2, done
    assert done.stdout == ""
    assert "Traceback" not in done.stderr, done.stderr
    return done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_and_a_signal_ends_it_in_order(tmp_path: Path, number: signal.Signals) -> None:
    db, log = tmp_path / "own.db", tmp_path / "log"
    with running(db, log=log) as server:
        assert stat.S_IMODE(db.stat().st_mode) == 0o600
        api = Api(server.address)
        assert "durable-anyio" in api.call("GetSystemInfo").server_version
        assert server.stop(number) == 0
    lines = server.logged().splitlines()
    assert [line.split()[2] for line in lines] == ["serving", "stopping", "stopped"], lines
    assert f"db={db}" in lines[0]
    assert number.name in lines[1]


def test_a_stop_gives_up_polls_at_once(tmp_path: Path) -> None:
    with running(tmp_path / "own.db", log=tmp_path / "log") as server:
        api = Api(server.address)
        poll = api.future("PollWorkflowTaskQueue", timeout=60, namespace="default", task_queue={"name": "empty"})
        # Once the other call is answered the poll, sent before it, is there too: one connection keeps the order.
        api.call("GetSystemInfo")
        assert server.stop() == 0
        assert poll.code() == grpc.StatusCode.UNAVAILABLE
    assert "given up" not in server.logged()


def test_what_was_acknowledged_is_there_after_a_kill(tmp_path: Path) -> None:
    db, log = tmp_path / "own.db", tmp_path / "log"
    with running(db, log=log) as server:
        run_id = Api(server.address).start("kept", task_queue="nobody").run_id
        server.kill()
    with running(db, log=log) as server:
        described = Api(server.address).call("DescribeWorkflowExecution", namespace="default", execution={"workflow_id": "kept"})
        assert described.workflow_execution_info.execution.run_id == run_id


@pytest.mark.parametrize("listen", ["0.0.0.0:0", ":7233", "[::]:0", "example.org:7233"])
def test_other_machines_are_not_let_in(tmp_path: Path, listen: str) -> None:
    told = _refused("--db", str(tmp_path / "own.db"), "--listen", listen)
    assert "other machines" in told
    assert "hint:" in told


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        told = _refused("--db", str(tmp_path / "own.db"), "--listen", address)
    assert address in told
    assert "another process" in told


def test_a_file_in_use_is_named_with_its_owner(tmp_path: Path) -> None:
    db = tmp_path / "own.db"
    with running(db, log=tmp_path / "log") as server:
        told = _refused("--db", str(db), "--listen", "127.0.0.1:0")
        assert str(db) in told
        assert str(server.process.pid) in told


@pytest.mark.parametrize("listen", ["nonsense", "127.0.0.1:99999", "http://127.0.0.1:1"])
def test_an_address_that_is_none(tmp_path: Path, listen: str) -> None:
    assert "HOST:PORT" in _refused("--db", str(tmp_path / "own.db"), "--listen", listen)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("not a database, and nothing that may be lost\n" * 100)
    before = other.read_bytes()
    assert "notes.txt" in _refused("--db", str(other), "--listen", "127.0.0.1:0")
    assert other.read_bytes() == before


def test_the_log_can_be_json_and_can_have_every_call(tmp_path: Path) -> None:
    with running(":memory:", "--log-format", "json", "--log-level", "debug", log=tmp_path / "log") as server:
        Api(server.address).call("GetSystemInfo")
        with pytest.raises(grpc.RpcError):
            Api(server.address).call("DescribeNamespace", namespace="other")
        server.stop()
    records = [json.loads(line) for line in server.logged().splitlines()]
    calls = [record for record in records if record["message"].startswith("call ")]
    assert {record["level"] for record in calls} == {"debug"}
    told = [record["message"] for record in calls]
    assert any("method=GetSystemInfo code=Ok" in message for message in told), told
    assert any("method=DescribeNamespace code=NotFound" in message for message in told), told


def test_the_descriptor_limit_is_raised(tmp_path: Path) -> None:
    with running(":memory:", log=tmp_path / "log") as server:
        limits = Path(f"/proc/{server.process.pid}/limits")
        if not limits.exists():
            pytest.skip("no /proc here")
        soft, hard = next(line for line in limits.read_text().splitlines() if line.startswith("Max open files")).split()[3:5]
        assert soft == hard
    assert os.path.exists(server.log)
