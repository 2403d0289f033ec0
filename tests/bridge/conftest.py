"""Fixtures of the boundary's tests: both hosts, and no thread of ours left behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

HOSTS = ["asyncio", "trio"]


@pytest.fixture(params=HOSTS)
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def rust_threads() -> int:
    """How many threads of Rust this process has, by the names that they are given; 0 where the system does not say."""
    tasks = Path("/proc/self/task")
    if not tasks.exists():
        return 0
    names = []
    for task in tasks.iterdir():
        try:
            names.append((task / "comm").read_text())
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
    return sum(name.startswith("durable-") for name in names)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = rust_threads()
    yield
    assert rust_threads() == before
