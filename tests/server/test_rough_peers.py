"""Peers that are broken, silent, hostile or many: the server keeps serving the others."""

from __future__ import annotations

import random
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import grpc
import pytest

from durable_anyio._bridge import proto

from .calls import WORKFLOW_SERVICE, Api
from .running import Running, running

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"


@pytest.fixture(scope="module")
def rough(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory: Path = tmp_path_factory.mktemp("rough")
    with running(directory / "own.db", log=directory / "log") as server:
        yield server
        assert server.process.poll() is None, server.logged()
    assert " ERROR " not in server.logged(), server.logged()


def _still_serves(server: Running) -> None:
    api = Api(server.address)
    assert "durable-anyio" in api.call("GetSystemInfo").server_version
    api.channel.close()


def _connect(server: Running) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=30)


def _closed_by_peer(one: socket.socket) -> bool:
    """Reads until the other side ends the connection."""
    with suppress(ConnectionError):
        while one.recv(65_536):
            pass
    return True


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


@pytest.mark.parametrize("seed", range(20))
def test_random_bytes(rough: Running, seed: int) -> None:
    with _connect(rough) as one:
        one.sendall(random.Random(seed).randbytes(4_096))
        assert _closed_by_peer(one)
    _still_serves(rough)


@pytest.mark.parametrize("seed", range(20))
def test_random_bytes_after_a_good_beginning(rough: Running, seed: int) -> None:
    with _connect(rough) as one:
        one.sendall(PREFACE + SETTINGS + random.Random(seed).randbytes(4_096))
        one.shutdown(socket.SHUT_WR)
        assert _closed_by_peer(one)
    _still_serves(rough)


@pytest.mark.parametrize("seed", range(20))
def test_random_frames(rough: Running, seed: int) -> None:
    source = random.Random(seed)
    frames = [
        _frame(source.randrange(12), source.randrange(256), source.randrange(8), source.randbytes(source.randrange(64))) for _ in range(50)
    ]
    with _connect(rough) as one:
        with suppress(OSError):  # closed while we were still writing
            one.sendall(PREFACE + SETTINGS + b"".join(frames))
            one.shutdown(socket.SHUT_WR)
        assert _closed_by_peer(one)
    _still_serves(rough)


@pytest.mark.parametrize("seed", range(30))
def test_mutated_messages(rough: Running, seed: int) -> None:
    source = random.Random(seed)
    api = Api(rough.address)
    request = proto.message("temporal.api.workflowservice.v1.StartWorkflowExecutionRequest")(
        namespace="default",
        workflow_id=f"mutated-{seed}",
        workflow_type={"name": "Any"},
        task_queue={"name": "mutated"},
        input={"payloads": [{"data": b"x" * 50, "metadata": {"encoding": b"json/plain"}}]},
        retry_policy={"maximum_attempts": 3, "initial_interval": {"seconds": 1}},
    )
    good = bytearray(request.SerializeToString())
    for _ in range(20):
        bad = bytearray(good)
        for _ in range(source.randrange(1, 6)):
            bad[source.randrange(len(bad))] = source.randrange(256)
        answer = api.future_raw(f"/{WORKFLOW_SERVICE}/StartWorkflowExecution", bytes(bad))
        assert answer.code() not in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED), answer.details()
    api.channel.close()
    _still_serves(rough)


def test_http1_is_not_spoken(rough: Running) -> None:
    with _connect(rough) as one:
        one.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        assert _closed_by_peer(one)
    _still_serves(rough)


def test_half_open_connections_are_dropped(rough: Running) -> None:
    """One says nothing, one stops in the middle of its first words; neither is waited for, for long."""
    with _connect(rough) as silent, _connect(rough) as slow:
        slow.sendall(PREFACE[:10])
        _still_serves(rough)
        assert _closed_by_peer(silent)
        assert _closed_by_peer(slow)


def test_a_thousand_connections(rough: Running) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 1_500
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"this system allows {hard} descriptors a process")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    try:
        with ExitStack() as stack:
            for _ in range(1_000):
                one = stack.enter_context(_connect(rough))
                one.sendall(PREFACE + SETTINGS)
            _still_serves(rough)
        _still_serves(rough)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
