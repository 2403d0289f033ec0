"""Activations of a history that Temporal's Python SDK recorded: their jobs were applied in sets, with a run of the workflow after each.

That SDK lets the workflow run after the messages of an activation and again after the rest; here all jobs are applied before it runs. Both
orders are right for the histories recorded with them. The core says which one it is, for each activation of a replay.
"""

from __future__ import annotations

from typing import Any

__all__ = ["SINGLE_BATCH", "JobPair", "in_sets", "matters", "split"]

JobPair = tuple[str, Any]

#: The core's word for it, among the flags of an activation; never recorded.
_IN_SETS = 1 << 30
#: That SDK's flag for an activation whose jobs were applied together. Recorded where it matters, so that it replays our tasks so too.
SINGLE_BATCH = 2
_MESSAGES = {"signal_workflow", "do_update"}
_FIRST = {"initialize_workflow", "notify_has_patch", "update_random_seed", *_MESSAGES}
#: Whoever waits for these goes on one turn of that SDK's loop earlier than who waits for the rest.
_SHORT = {"resolve_child_workflow_execution_start", "resolve_signal_external_workflow", "resolve_request_cancel_external_workflow"}


def in_sets(activation: Any) -> bool:
    """True when its jobs are to be applied in sets."""
    return _IN_SETS in activation.available_internal_flags


def matters(jobs: list[JobPair]) -> bool:
    """True when it matters that all jobs are applied before the workflow runs: there are messages, and something else to go on with."""
    variants = {variant for variant, _ in jobs}
    return bool(variants & _MESSAGES) and bool(variants - _MESSAGES - {"notify_has_patch", "update_random_seed"})


def split(jobs: list[JobPair]) -> tuple[list[JobPair], list[JobPair]]:
    """The first set, and the rest in the order in which that SDK's workflows hear of it."""
    first = [pair for pair in jobs if pair[0] in _FIRST]
    rest = [pair for pair in jobs if pair[0] not in _FIRST]
    return first, sorted(rest, key=lambda pair: pair[0] not in _SHORT)
