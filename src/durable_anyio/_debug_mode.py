"""Debug mode: for a person who steps through a workflow, and needs longer than a workflow task may take."""

from __future__ import annotations

import os
from datetime import timedelta

__all__ = ["DEBUG_TASK_TIMEOUT", "ENVIRONMENT_VARIABLE", "debug_mode_of_environment"]

ENVIRONMENT_VARIABLE = "DURABLE_ANYIO_DEBUG"

DEBUG_TASK_TIMEOUT = timedelta(hours=1)
"""How long a task of a workflow that is started in debug mode may take. A service may allow less, and then takes its own maximum."""

_ON = {"1", "true", "yes", "on"}
_OFF = {"", "0", "false", "no", "off"}


def debug_mode_of_environment() -> bool:
    """Whether the environment asks for debug mode.

    :raises ValueError: for a value that is neither yes nor no.
    """
    value = os.environ.get(ENVIRONMENT_VARIABLE, "").strip().lower()
    if value not in _ON | _OFF:
        raise ValueError(f"the environment variable {ENVIRONMENT_VARIABLE} must be 1 or 0, not {value!r}")
    return value in _ON
