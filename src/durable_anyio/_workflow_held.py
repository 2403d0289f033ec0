"""Whether something that leaves a workflow's step takes the workflow's own object along."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["holds"]


def holds(workflow: object, fn: Callable[..., Any], args: Sequence[Any]) -> bool:
    """Looks at bound methods, partials, closures and the arguments themselves; what is deeper inside is not found."""
    if any(value is workflow for value in args):
        return True
    if isinstance(fn, functools.partial):
        return holds(workflow, fn.func, (*fn.args, *fn.keywords.values()))
    if getattr(fn, "__self__", None) is workflow:
        return True
    for cell in getattr(fn, "__closure__", None) or ():
        try:
            if cell.cell_contents is workflow:
                return True
        except ValueError:  # not filled yet
            continue
    return False
