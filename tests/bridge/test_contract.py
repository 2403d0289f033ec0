"""The functions of the contract, called as Python's side calls them."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

from durable_anyio._bridge.core import BridgeError, native, replay_close, replay_open, replay_step

ROOT = Path(__file__).parents[2]


def test_the_versions_are_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    workspace = tomllib.loads((ROOT / "rust/Cargo.toml").read_text())["workspace"]["package"]["version"]
    assert project == workspace == native.core_version()


def test_a_panic_arrives_as_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BridgeError.Panic, match=r"please report it: on purpose at .*lib\.rs"):
        native.core_panic_for_tests()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("handle", [0, 2**64 - 1])
def test_handles_that_are_none(handle: int) -> None:
    native.core_close(native.core_open())  # the answer is the same with and without a table of handles
    with pytest.raises(BridgeError.BadHandle):
        native.core_wake_fd(handle)
    with pytest.raises(BridgeError.BadHandle):
        native.core_drain(handle, 1)
    with pytest.raises(BridgeError.BadHandle):
        native.core_submit(handle, b"")
    with pytest.raises(BridgeError.BadHandle):
        replay_step(handle, b"")
    native.core_close(handle)
    replay_close(handle)


def test_bytes_that_are_no_message() -> None:
    core = native.core_open()
    try:
        with pytest.raises(BridgeError.BadMessage):
            native.core_submit(core, bytes([255, 255]))
    finally:
        native.core_close(core)
    with pytest.raises(BridgeError.BadHandle):
        native.core_drain(core, 1)
    with pytest.raises(BridgeError.BadMessage):
        replay_open(bytes([255]), "id", "run")
    with pytest.raises(BridgeError.BadMessage, match="WorkflowExecutionStarted"):
        replay_open(b"", "id", "run")


def test_close_all_closes_every_core() -> None:
    cores = [native.core_open() for _ in range(3)]
    native.core_close_all()
    for core in cores:
        with pytest.raises(BridgeError.BadHandle):
            native.core_wake_fd(core)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # forking with threads is what is tested
def test_a_fork_is_seen_by_rust_and_may_open_its_own() -> None:
    core = native.core_open()
    child = os.fork()
    if child == 0:  # the parent looks at how it ended
        try:
            native.core_drain(core, 1)
        except BridgeError.Forked:
            native.core_close(core)
            native.core_close_all()
            own = native.core_open()
            native.core_wake_fd(own)
            try:
                native.core_wake_fd(core)
            except BridgeError.Forked:
                native.core_close_all()
                os._exit(7)
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7
    native.core_drain(core, 1)
    native.core_close(core)


def test_the_committed_module_is_the_one_that_was_built() -> None:
    built = Path(str(native.__file__)).read_text().splitlines()
    committed = (ROOT / "generated/durable_core.py").read_text().splitlines()[1:]
    assert [line.rstrip() for line in built] == committed
