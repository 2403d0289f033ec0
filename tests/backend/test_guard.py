"""The guard: every forbidden call of a step is seen, also a library's, and named with what to use instead."""

# ruff: noqa: ASYNC100, ASYNC105, SIM115, UP020 - what is done here is wrong on purpose

from __future__ import annotations

import _socket
import asyncio
import concurrent.futures
import cProfile
import datetime
import functools
import gc
import io
import logging
import os
import pathlib
import random
import secrets
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import types
import uuid
import zoneinfo
from collections.abc import Callable
from contextlib import suppress
from time import time as the_time
from typing import Any

import anyio
import pytest
import trio

from durable_anyio._backend import CallGuard, ForbiddenCallError, unguarded

from .recorder import Run


class OwnDate(datetime.datetime):
    """A subclass, as pendulum and others have."""


async def _timeout() -> None:
    async with asyncio.timeout(1):
        pass


def _run(body: Callable[[], Any], *, guard: CallGuard | None = None) -> tuple[Run, Any]:
    """Call `body` in a guarded step and await what it returns; the run and its task."""
    run = Run()
    run.scheduler.guard = guard or CallGuard()

    async def main() -> Any:
        result = body()
        return await result if hasattr(result, "__await__") else result

    task = run.spawn(main)
    run.scheduler.run()
    return run, task


def _refusal(body: Callable[[], Any], **options: Any) -> ForbiddenCallError:
    run, task = _run(body, **options)
    assert isinstance(run.scheduler.poison, ForbiddenCallError), f"not seen: {task.done and task.outcome()}"
    assert sys.getprofile() is None
    return run.scheduler.poison


FORBIDDEN: dict[str, tuple[Callable[[], Any], str]] = {
    "time.time": (lambda: time.time(), "workflow.time"),
    "time.time imported by name": (lambda: the_time(), "workflow.time"),
    "time.monotonic": (lambda: time.monotonic(), "anyio.current_time"),
    "time.perf_counter": (lambda: time.perf_counter(), "anyio.current_time"),
    "time.sleep": (lambda: time.sleep(1), "anyio.sleep"),
    "datetime.datetime.now": (lambda: datetime.datetime.now(), "workflow.now"),
    "datetime.datetime.today": (lambda: datetime.datetime.today(), "workflow.now"),
    "datetime.date.today": (lambda: datetime.date.today(), "workflow.now"),
    "OwnDate.now": (lambda: OwnDate.now(), "workflow.now"),
    "random.random": (lambda: random.random(), "workflow.random"),
    "random.randint": (lambda: random.randint(1, 6), "workflow.random"),
    "random.choice": (lambda: random.choice([1, 2]), "workflow.random"),
    "random.shuffle": (lambda: random.shuffle([1, 2]), "workflow.random"),
    "random.seed": (lambda: random.seed(5), "workflow.random"),
    "random.Random": (lambda: random.Random(), "workflow.random"),
    "random.SystemRandom.random": (lambda: random.SystemRandom().random(), "activity"),
    "uuid.uuid4": (lambda: uuid.uuid4(), "workflow.uuid4"),
    "uuid.uuid1": (lambda: uuid.uuid1(), "workflow.uuid4"),
    "secrets.token_hex": (lambda: secrets.token_hex(), "activity"),
    "os.urandom": (lambda: os.urandom(4), "workflow.random"),
    "os.getpid": (lambda: os.getpid(), "workflow.info"),
    "os.putenv": (lambda: os.environ.__setitem__("DURABLE_ANYIO_NEVER_SET", "1"), "attributes"),
    "os.system": (lambda: os.system("true"), "activity"),
    "os.open": (lambda: os.open("never", os.O_RDONLY), "activity"),
    "os.path.exists": (lambda: os.path.exists("never"), "activity"),
    "open": (lambda: open("never"), "activity"),
    "open by another name": (lambda: io.open("never"), "activity"),
    "pathlib.Path.read_text": (lambda: pathlib.Path("never").read_text(), "activity"),
    "tempfile.mkstemp": (lambda: tempfile.mkstemp(), "activity"),
    "socket.socket": (lambda: socket.socket(), "activity"),
    "socket.getaddrinfo": (lambda: socket.getaddrinfo("localhost", 1), "activity"),
    "ssl.create_default_context": (lambda: ssl.create_default_context(), "activity"),
    "subprocess.run": (lambda: subprocess.run(["true"]), "activity"),
    "threading.Thread.start": (lambda: threading.Thread(target=print).start(), "activity"),
    "threading.Event.wait": (lambda: threading.Event().wait(0), "anyio.Event"),
    "concurrent.futures.ThreadPoolExecutor": (lambda: concurrent.futures.ThreadPoolExecutor().submit(print), "create_task_group"),
    "asyncio.sleep": (lambda: asyncio.sleep(1), "anyio.sleep"),
    "asyncio.timeout": (_timeout, "anyio.fail_after"),
    "asyncio.Event": (lambda: asyncio.Event(), "anyio.Event"),
    "asyncio.Queue": (lambda: asyncio.Queue(), "memory_object_stream"),
    "asyncio.TaskGroup": (lambda: asyncio.TaskGroup(), "anyio.create_task_group"),
    "asyncio.get_running_loop": (lambda: asyncio.get_running_loop(), "anyio"),
    "trio.sleep": (lambda: trio.sleep(1), "anyio.sleep"),
    "trio.Event": (lambda: trio.Event(), "anyio.Event"),
    "trio.CancelScope": (lambda: trio.CancelScope(), "anyio.CancelScope"),
    "trio.fail_after": (lambda: trio.fail_after(1).__enter__(), "anyio.fail_after"),
    "input": (lambda: input(), "signal"),
    "anyio.to_thread.run_sync": (lambda: anyio.to_thread.run_sync(print), "activity"),
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_a_forbidden_call_is_refused_by_name(name: str) -> None:
    body, alternative = FORBIDDEN[name]
    error = _refusal(body)
    expected = name.partition(" ")[0]
    # Which function of a pool is first to do what is not allowed differs between Pythons.
    assert str(error).startswith(expected), error
    assert alternative in str(error)
    if not name.startswith("anyio"):
        assert str(error.call).startswith(expected)
        assert str(error.location).partition(":")[0] == __file__
        assert f"{__file__}:" in str(error)


def test_what_a_library_does_is_the_fault_of_who_called_it(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "site-packages" / "a_library.py").write_text("import time\n\ndef work():\n    return time.time()\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site-packages"))
    import a_library  # type: ignore[import-not-found]  # written above

    error = _refusal(lambda: a_library.work())
    assert str(error.location).startswith(f"{__file__}:")
    assert "a_library.py:4" in str(error)
    assert _run(lambda: a_library.work(), guard=CallGuard(["a_library"]))[0].scheduler.poison is None


ALLOWED: dict[str, Callable[[], Any]] = {
    "a seeded generator": lambda: random.Random(5).randint(1, 6),
    "another seeded one, seeded again": lambda: random.Random(5).seed(6),
    "logging": lambda: logging.getLogger("durable_anyio.tests").warning("seen"),
    "a traceback": lambda: traceback.format_stack(),
    "an import": lambda: __import__("colorsys"),
    "a time zone": lambda: zoneinfo.ZoneInfo.no_cache("UTC"),
    "a date made of numbers": lambda: datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC).isoformat(),
    "printing": lambda: print("hello"),
    "a path without looking": lambda: pathlib.Path("a") / "b",
    "a namespace UUID": lambda: uuid.uuid5(uuid.NAMESPACE_DNS, "a"),
    "an exempt call": lambda: unguarded(time.time),
    "an exempt Python function": lambda: unguarded(lambda: (time.time(), uuid.uuid4())),
    "AnyIO's own": lambda: anyio.Event().set(),
}


@pytest.mark.parametrize("name", ALLOWED)
def test_what_is_harmless_or_exempt_passes(name: str) -> None:
    sys.modules.pop("colorsys", None)
    run, task = _run(ALLOWED[name])
    assert run.scheduler.poison is None
    task.outcome()


def test_a_swallowed_refusal_poisons_the_step_all_the_same() -> None:
    made: list[float] = []

    def body() -> None:
        with suppress(RuntimeError):
            made.append(time.time())

    assert "time.time" in str(_refusal(body))
    assert not made


MADE_IN_C: dict[str, Callable[[], Any]] = {
    "open": lambda: functools.partial(open, "never")(),
    "open once more": lambda: list(map(open, ["never"])),
    "open of a type": lambda: io.FileIO("never"),
    "os.listdir": lambda: list(map(os.listdir, ["never"])),
    "time.sleep": lambda: functools.partial(time.sleep, 0)(),
    "socket.socket": lambda: _socket.socket(),
    "os.mkdir": lambda: functools.partial(os.mkdir, "/never/never")(),
}


@pytest.mark.parametrize("name", MADE_IN_C)
def test_what_c_code_does_to_the_world_is_seen_too(name: str) -> None:
    if name == "time.sleep" and sys.version_info < (3, 13):
        pytest.skip("before Python 3.13 the interpreter does not tell")
    error = _refusal(MADE_IN_C[name])
    assert str(error).startswith(f"{name.partition(' ')[0]}() is not possible inside a workflow")
    assert f"{__file__}:" in str(error)


def test_after_a_swallowed_refusal_the_world_is_still_out_of_reach(tmp_path: pathlib.Path) -> None:
    def body() -> None:
        with suppress(RuntimeError):
            time.time()
        with suppress(RuntimeError):
            open(tmp_path / "made", "w").close()

    assert "time.time" in str(_refusal(body))
    assert not (tmp_path / "made").exists()


def test_the_host_opens_files_as_it_likes(tmp_path: pathlib.Path) -> None:
    _refusal(lambda: io.FileIO("never"))
    (tmp_path / "made").write_text("seen")
    assert (tmp_path / "made").read_text() == "seen"


def test_an_error_that_nobody_caught_may_show_its_source() -> None:
    class Noisy:
        def __del__(self) -> None:
            raise ValueError("said while it went away")

    def body() -> None:
        before, sys.unraisablehook = sys.unraisablehook, sys.__unraisablehook__
        try:
            Noisy()
        finally:
            sys.unraisablehook = before

    run, task = _run(body)
    assert run.scheduler.poison is None
    task.outcome()


def test_what_others_do_around_a_collection_is_not_the_workflows_doing() -> None:
    """Callbacks of the collector may stand before ours and behind it: hypothesis measures each collection."""

    class Callback:
        def __call__(self, phase: str, info: dict[str, int]) -> None:
            time.perf_counter()

    def measure(phase: str, info: dict[str, int]) -> None:
        time.perf_counter()

    others: list[Any] = [measure, Callback()]
    for other in others:
        gc.callbacks.insert(0, other)
    gc.callbacks.append(measure)
    try:
        run, _ = _run(gc.collect)
    finally:
        for other in (*others, measure):
            gc.callbacks.remove(other)
    assert run.scheduler.poison is None


def test_what_the_garbage_collector_ends_is_not_the_workflows_doing(tmp_path: pathlib.Path) -> None:
    closed: list[bool] = []

    class Leftover:
        """Something of the host's, in a cycle, that happens to be collected during a step."""

        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            closed.append(pathlib.Path(tmp_path).exists())

    gc.collect()
    Leftover()
    run, task = _run(gc.collect)
    assert run.scheduler.poison is None
    assert closed == [True]
    task.outcome()
    assert "time.time" in str(_refusal(lambda: (gc.collect(), time.time())))


def test_without_a_guard_nothing_is_looked_at() -> None:
    run = Run()

    async def main() -> float:
        assert sys.getprofile() is None
        return time.time()

    task = run.spawn(main)
    run.step()
    assert task.outcome() > 0


def test_other_threads_and_the_host_are_left_alone() -> None:
    run = Run()
    run.scheduler.guard = CallGuard()

    async def main() -> None:
        assert sys.getprofile() is not None
        await anyio.sleep(1)

    run.spawn(main)
    assert run.step() == [("start", 1, 1.0)]
    assert sys.getprofile() is None
    assert time.time() > 0


def test_a_profiler_written_in_python_goes_on() -> None:
    seen: list[str] = []

    def profiler(frame: types.FrameType, event: str, arg: Any) -> None:
        seen.append(frame.f_code.co_name)

    def marked() -> float:
        return time.time()

    sys.setprofile(profiler)
    try:
        run, _ = _run(marked)
        assert sys.getprofile() is profiler
    finally:
        sys.setprofile(None)
    assert isinstance(run.scheduler.poison, ForbiddenCallError)
    assert "marked" in seen


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="cProfile is no profile function any more")
def test_a_profiler_written_in_c_keeps_the_guard_away(caplog: pytest.LogCaptureFixture) -> None:
    profile = cProfile.Profile()
    profile.enable()
    try:
        run, _ = _run(lambda: time.time())
    finally:
        profile.disable()
    assert run.scheduler.poison is None
    assert "a profiler is active" in caplog.text


def test_a_run_that_is_closed_is_not_watched() -> None:
    ended: list[float] = []

    async def main() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(time.time())

    run = Run()
    run.scheduler.guard = CallGuard()
    run.spawn(main)
    run.step()
    assert run.scheduler.close() == []
    assert ended
