"""What the tests of the backend share.

Tests that are `async def` run on `durable` under AnyIO's plugin, and on Trio with a virtual clock as the reference: what they expect is
then what AnyIO's own backend does, and not what ours happens to do. Plain tests drive a `Run` by hand, which is closed at the test's end:
a suspended coroutine must not be left to the garbage collector.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import trio.testing

from durable_anyio._backend import register

from . import recorder

register()


@pytest.fixture(params=["durable", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    if request.param == "trio":
        return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}
    return request.param


@pytest.fixture(autouse=True)
def close_runs() -> Iterator[None]:
    yield
    while recorder.RUNS:
        recorder.RUNS.pop().scheduler.close()
