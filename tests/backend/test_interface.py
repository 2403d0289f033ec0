"""The backend against AnyIO's interface: everything is there, takes the same arguments, and what is refused says what to do instead."""

from __future__ import annotations

import gc
import inspect
import re
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.to_process
import pytest
from anyio.abc import AsyncBackend

from durable_anyio._backend import DurableBackend, ForbiddenCallError

from .recorder import Run

ABSTRACT = sorted(AsyncBackend.__abstractmethods__)

HAND_OVER_AN_AWAITABLE = {"cancel_shielded_checkpoint", "checkpoint", "checkpoint_if_cancelled", "sleep"}
"""Plain functions here: AnyIO awaits what they return, and a coroutine around it would be one frame more in every wait."""

RUNS_IN_A_WORKFLOW = {
    "cancel_shielded_checkpoint",
    "cancelled_exception_class",
    "checkpoint",
    "checkpoint_if_cancelled",
    "create_cancel_scope",
    "create_capacity_limiter",
    "create_event",
    "create_lock",
    "create_semaphore",
    "create_task_group",
    "create_test_runner",
    "current_effective_deadline",
    "current_time",
    "current_token",
    "get_current_task",
    "get_running_tasks",
    "run",
    "sleep",
    "wait_all_tasks_blocked",
}
"""Everything else of the interface reaches out of the run."""

NEWER = {"run_sync_soon"}
"""What the oldest supported AnyIO does not have."""

ALTERNATIVE = re.compile(r"activity|workflow\.step|signal")


def in_step(call: Callable[[], Any]) -> tuple[BaseException | None, BaseException | None]:
    """Make a call, and await it if need be, inside a step: what it raised, and what the step was poisoned with."""

    async def main() -> None:
        answer = call()
        if inspect.isawaitable(answer):
            await answer
        elif hasattr(answer, "__aenter__"):
            async with answer:
                pass
        elif hasattr(answer, "__enter__"):
            with answer:
                pass

    run = Run()
    task = run.spawn(main)
    run.step()
    poison = run.scheduler.poison
    if not task.done:  # a poisoned step stops at once
        return poison, poison
    try:
        task.outcome()
    except BaseException as error:
        return error, poison
    return None, poison


def test_every_abstract_method_is_there_and_none_is_invented() -> None:
    assert not DurableBackend.__abstractmethods__
    missing = [name for name in ABSTRACT if getattr(DurableBackend, name).__func__ is getattr(AsyncBackend, name).__func__]
    assert not missing
    known = set(dir(AsyncBackend)) | NEWER | {"__module__", "_abc_impl"}
    assert {name for name in vars(DurableBackend) if not name.startswith("__")} <= known
    assert set(ABSTRACT) >= RUNS_IN_A_WORKFLOW - {"cancel_shielded_checkpoint", "checkpoint_if_cancelled"}


@pytest.mark.parametrize("name", sorted(RUNS_IN_A_WORKFLOW))
def test_it_takes_what_the_interface_says(name: str) -> None:
    ours = inspect.signature(getattr(DurableBackend, name)).parameters
    theirs = inspect.signature(getattr(AsyncBackend, name)).parameters
    assert [(p.name, p.kind, p.default) for p in ours.values()] == [(p.name, p.kind, p.default) for p in theirs.values()]
    if name not in HAND_OVER_AN_AWAITABLE:
        assert inspect.iscoroutinefunction(getattr(DurableBackend, name)) == inspect.iscoroutinefunction(getattr(AsyncBackend, name))


@pytest.mark.parametrize("name", [name for name in ABSTRACT if name not in RUNS_IN_A_WORKFLOW])
def test_what_reaches_out_of_the_run_is_refused_with_the_alternative(name: str) -> None:
    method = getattr(DurableBackend, name)
    required = [
        parameter
        for parameter in inspect.signature(getattr(AsyncBackend, name)).parameters.values()
        if parameter.default is inspect.Parameter.empty and parameter.kind is not inspect.Parameter.VAR_POSITIONAL
    ]
    positional = [None for parameter in required if parameter.kind is not inspect.Parameter.KEYWORD_ONLY]
    keywords = {parameter.name: None for parameter in required if parameter.kind is inspect.Parameter.KEYWORD_ONLY}
    error, poison = in_step(lambda: method(*positional, **keywords))
    assert isinstance(error, ForbiddenCallError)
    assert poison is error
    call, _, alternative = str(error).partition(" is not possible inside a workflow: ")
    assert call
    assert ALTERNATIVE.search(alternative)
    assert inspect.iscoroutinefunction(method) == inspect.iscoroutinefunction(getattr(AsyncBackend, name))


async def accepts() -> None:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        await listener.serve(lambda stream: stream.aclose())


async def uses_a_temporary_file() -> None:
    async with anyio.TemporaryFile():
        pass


async def watches_signals() -> None:
    with anyio.open_signal_receiver(signal.SIGTERM) as signals:
        async for _ in signals:
            pass


PUBLIC: dict[str, Callable[[], Awaitable[Any]]] = {
    "to_thread": lambda: anyio.to_thread.run_sync(print),
    "to_process": lambda: anyio.to_process.run_sync(print),
    "run_process": lambda: anyio.run_process(["true"]),
    "open_process": lambda: anyio.open_process(["true"]),
    "signals": watches_signals,
    "connect_tcp": lambda: anyio.connect_tcp("127.0.0.1", 9),
    "connect_unix": lambda: anyio.connect_unix("nothing.sock"),
    "tcp_listener": accepts,
    "unix_listener": lambda: anyio.create_unix_listener("nothing.sock"),
    "udp": lambda: anyio.create_udp_socket(local_host="127.0.0.1"),
    "connected_udp": lambda: anyio.create_connected_udp_socket("127.0.0.1", 9),
    "unix_datagram": lambda: anyio.create_unix_datagram_socket(),
    "getaddrinfo": lambda: anyio.getaddrinfo("localhost", 9),
    "getnameinfo": lambda: anyio.getnameinfo(("127.0.0.1", 9)),
    "wait_readable": lambda: anyio.wait_readable(socket.socket()),
    "open_file": lambda: anyio.open_file("nothing"),
    "path": lambda: anyio.Path("nothing").exists(),
    "temporary_file": uses_a_temporary_file,
}
if sys.version_info >= (3, 14):
    import anyio.to_interpreter

    PUBLIC["to_interpreter"] = lambda: anyio.to_interpreter.run_sync(print)


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.parametrize("name", PUBLIC)
def test_anyios_functions_are_refused_too(name: str) -> None:
    error, poison = in_step(PUBLIC[name])
    assert isinstance(error, ForbiddenCallError), repr(error)
    assert poison is error
    assert ALTERNATIVE.search(str(error))
    # AnyIO makes some sockets before it asks the backend, and leaves them to the collector: here, and not in somebody else's test.
    del error, poison
    gc.collect()


def test_running_another_loop_inside_is_refused() -> None:
    error, _ = in_step(lambda: anyio.run(anyio.sleep, 1))
    assert isinstance(error, RuntimeError)
    assert "durable" in str(error)
