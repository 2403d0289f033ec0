"""What is encoded by hand is what protobuf writes."""

from __future__ import annotations

import pytest

from durable_anyio._bridge import core
from durable_anyio._bridge.core import Core
from durable_anyio._bridge.proto import message

Commands = message("durable_anyio.bridge.v1.Commands")


@pytest.mark.anyio
@pytest.mark.parametrize("worker", [1, 127, 128, 70_000, 2**40])
@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 3_000_000])
async def test_a_completion(monkeypatch: pytest.MonkeyPatch, worker: int, size: int) -> None:
    completion = bytes(number % 251 for number in range(size))
    expected = Commands()
    command = expected.commands.add().workflow_completion
    command.worker, command.completion = worker, completion
    sent: list[bytes] = []
    opened = await Core.open()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(core.native, "core_submit", lambda _core, commands: sent.append(commands))
            opened.post_workflow_completion(worker, completion)
    finally:
        await opened.close()
    assert [Commands.FromString(one) for one in sent] == [expected]
