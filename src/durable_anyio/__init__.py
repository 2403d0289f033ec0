"""Durable workflows as ordinary structured-concurrency code, inside any AnyIO program.

`Client` starts workflows and talks to them, `Worker` runs them, `workflow` and `activity` are what their code uses.
"""

from __future__ import annotations

from . import activity, exceptions, metrics, workflow
from ._history import WorkflowHistory
from ._replayer import Replayer, ReplayResult, ReplayResults
from .client import Client, WorkflowHandle
from .common import RetryPolicy, WorkflowExecutionStatus, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from .worker import Worker

__version__ = "0.1.0"

__all__ = [
    "Client",
    "ReplayResult",
    "ReplayResults",
    "Replayer",
    "RetryPolicy",
    "Worker",
    "WorkflowExecutionStatus",
    "WorkflowHandle",
    "WorkflowHistory",
    "WorkflowIDConflictPolicy",
    "WorkflowIDReusePolicy",
    "activity",
    "exceptions",
    "metrics",
    "workflow",
]
