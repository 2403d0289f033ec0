"""Every run that a test made is closed at its end: a suspended coroutine must not be left to the garbage collector."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from durable_anyio._backend import register

from . import recorder

register()


@pytest.fixture(autouse=True)
def close_runs() -> Iterator[None]:
    yield
    while recorder.RUNS:
        recorder.RUNS.pop().scheduler.close()
