"""Random durable programs: those of tests/backend with activities, children, signals and cancellations from outside."""

from __future__ import annotations

from random import Random

from backend.programs import BODY, BRANCHES, LEAVES, Body, Table
from backend.programs import make as make_program

KINDS = ("succeeds", "fails", "gives up", "times out", "never starts", "runs out", "heartbeats", "is stopped")
"""What an activity may do."""


def _kind(chance: Random) -> int:
    # Those that hold the clock up while they wait in real time are rare.
    return chance.choices(range(len(KINDS)), (10, 3, 2, 1, 2, 2, 3, 1))[0]


def _small(chance: Random) -> int:
    return chance.randrange(3)


DURABLE_LEAVES: Table = {
    **LEAVES,
    "activity": (40, (_kind, _small)),
    "activity_soon": (10, (_kind, _small)),
    "signal": (10, (_small, _small)),
    "stop": (2, ()),
    "child": (6, (_small, _small, _small)),
    "tell": (3, (_small,)),
    "until": (4, (_small,)),
    "random": (1, ()),
}
DURABLE_BRANCHES: Table = {
    **BRANCHES,
    "started": (8, (_kind, _small, BODY)),
}


RACING = frozenset({"child", "tell"})
"""Operations whose answers come at once, side by side with what else happens then: runs of a program that has one may differ in that."""


def make(seed: int) -> Body:
    """Return the program of a seed; always the same one."""
    return make_program(seed, DURABLE_LEAVES, DURABLE_BRANCHES)
