"""One server for the tests that do not stop it."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

from .running import Running, running


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with a file, shared: tests use names of their own."""
    directory = tmp_path_factory.mktemp("server")
    with running(directory / "shared.db", log=directory / "log") as one:
        yield one
        assert one.process.poll() is None, one.logged()
    assert " ERROR " not in one.logged(), one.logged()


@pytest.fixture
def channel(server: Running) -> Iterator[grpc.Channel]:
    """A connection of an implementation that is not ours."""
    with grpc.insecure_channel(server.address) as one:
        yield one
