"""A workflow that swallows everything: evicting it gives no command, does not hang, and the log says which and where."""

from __future__ import annotations

import logging
from contextlib import suppress

import anyio
import pytest

from durable_anyio import workflow

from .activations import Driver, evict


@workflow.defn
class NeverEnds:
    @workflow.run
    async def run(self) -> None:
        while True:
            with suppress(BaseException):
                await anyio.sleep(1)


def test_an_evicted_workflow_that_swallows_everything_is_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    driver = Driver(NeverEnds)
    assert len(driver.start()) == 1
    with caplog.at_level(logging.ERROR):
        assert driver.step(evict()) == []
    (record,) = caplog.records
    text = record.getMessage()
    assert text.startswith("workflow the-id (NeverEnds): NeverEnds.run does not end: it swallows GeneratorExit")
    assert "await anyio.sleep(1)" in text
    assert "hint:" in text
