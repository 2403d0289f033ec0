"""What is done about forbidden calls, as an option of workers, test environments and the replayer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from ._backend import CallGuard

__all__ = ["ForbiddenCalls", "call_guard", "check_exempt_modules"]

ForbiddenCalls = Literal["off", "suspend", "raise"]
"""`off`: nobody looks. `suspend`: a forbidden call fails the workflow task, which is tried again as long as the code is what it is.
`raise`: that, and the worker ends with the error, so that a test fails instead of waiting."""


def call_guard(mode: ForbiddenCalls, exempt_modules: Sequence[str]) -> CallGuard | None:
    """The guard for these options; None for `off`.

    :raises ValueError, TypeError: for options that make no sense.
    """
    if mode not in get_args(ForbiddenCalls):
        raise ValueError(f"forbidden_calls must be one of {', '.join(map(repr, get_args(ForbiddenCalls)))}, not {mode!r}")
    check_exempt_modules(exempt_modules)
    return None if mode == "off" else CallGuard(exempt_modules)


def check_exempt_modules(exempt_modules: Sequence[str]) -> None:
    """Refuses what are no module names.

    :raises TypeError: naming the first.
    """
    if isinstance(exempt_modules, str):
        raise TypeError(f"exempt_modules takes a list of module names, not the text {exempt_modules!r}")
    for name in exempt_modules:
        if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
            raise TypeError(f"exempt_modules takes names of modules, such as 'package.module', not {name!r}")
