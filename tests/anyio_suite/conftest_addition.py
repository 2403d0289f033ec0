"""Appended to the `conftest.py` of AnyIO's tests: runs them on the backend `durable`, and notes which of them really did.

Many of AnyIO's tests are tied to one event loop, or are no coroutines at all: a run in which nothing fails says nothing until one knows
how many tests came through the scheduler.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from typing import Any

import pytest

from durable_anyio._backend import Scheduler, register

register()

_steps = 0


def _counted(run: Any) -> Any:
    def counting(*args: Any, **kwargs: Any) -> Any:
        global _steps
        _steps += 1
        return run(*args, **kwargs)

    return counting


Scheduler.run = _counted(Scheduler.run)  # type: ignore[method-assign]


@pytest.fixture(params=["durable"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call" or report.outcome != "passed":
        line = {
            "test": item.nodeid,
            "outcome": report.outcome,
            "durable": _steps > 0,
            "why": _last_line(report),
            "nested": _is_nested(call),
        }
        with open(os.environ["DURABLE_SUITE_REPORT"], "a") as file:
            file.write(json.dumps(line) + "\n")
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    global _steps
    _steps = 0
    yield


def _is_nested(call: pytest.CallInfo[None]) -> bool:
    """Whether a test failed because it wants to run a loop of its own, inside a host that runs already."""
    error = None if call.excinfo is None else call.excinfo.value
    while error is not None and not str(error).startswith("Already running "):
        error = error.__cause__ or error.__context__
    return error is not None


def _last_line(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    text = str(report.longrepr or "") if crash is None else str(crash.message)
    return next((line for line in text.splitlines() if line.strip()), "")[:200]
