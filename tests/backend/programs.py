"""Random structured-concurrency programs, as data.

A body is a list of operations, an operation a tuple: its name, then small numbers, then bodies. `interpreter` says what each one means. A
program is made from a seed; its literal can be pasted into a test. Small numbers name events, locks and so on, and, counted modulo their
number, the scopes and groups of the whole program, so that every program is a valid one and stays so when parts are taken away.
"""

from __future__ import annotations

from random import Random
from typing import Any

Op = tuple[Any, ...]
Body = list[Op]
Numbered = list[tuple[int, Op]]
"""A body whose operations have their number: the identity of what they send, raise and spawn, and of the scopes they open."""

PAST = -1
"""A deadline that has passed."""
NEVER = -2
"""No deadline."""

SIZES = (5, 10, 16, 24, 36, 50)
"""How many operations a program may have at most. Most mistakes need few operations, in the right company."""

SCOPES = frozenset({"scope", "fail_after", "group", "start", "finally"})
"""The operations that open a cancel scope which others may cancel, shield or give a deadline."""


def _index(chance: Random) -> int:
    """Name one of three things, the first mostly: tasks must meet."""
    return chance.choice((0, 0, 0, 1, 2))


def _target(chance: Random) -> int:
    return chance.randrange(12)


def _length(chance: Random) -> int:
    return chance.choice((0, 1, 1, 2, 3))


def _deadline(chance: Random) -> int:
    return chance.choice((NEVER, NEVER, NEVER, 0, 1, 1, 2, 2, 3, PAST))


def _flag(chance: Random) -> bool:
    return chance.random() < 0.5


def _rarely(chance: Random) -> bool:
    return chance.random() < 0.25


Table = dict[str, tuple[int, tuple[Any, ...]]]

LEAVES: Table = {
    # name: how often, and what makes its arguments
    "sleep": (6, (_length,)),
    "checkpoint": (2, ()),
    "if_cancelled": (1, ()),
    "shielded": (1, ()),
    "idle": (1, ()),
    "forever": (1, ()),
    "wait": (3, (_index,)),
    "set": (3, (_index,)),
    "cancel": (4, (_target,)),
    "shield": (3, (_target, _flag)),
    "deadline": (3, (_target, _deadline)),
    "look": (2, (_target,)),
    "send": (3, (_index,)),
    "receive": (3, (_index,)),
    "send_nowait": (1, (_index,)),
    "receive_nowait": (1, (_index,)),
    "close": (1, (_index, _flag)),
    "raise": (2, ()),
    "raise_group": (1, (_flag,)),
    "notify": (2, (_index, _flag)),
    "wait_condition": (2, (_index,)),
    "try_lock": (1, (_index,)),
    "leak_lock": (1, (_index,)),
    "release_semaphore": (1, ()),
    "total_tokens": (1, (_index, _index)),
    "join": (2, (_target,)),
    "cancel_task": (1, (_target,)),
    "set_variable": (1, ()),
    "get_variable": (1, ()),
}

BODY: Any = object()
BODIES: Any = object()

BRANCHES: Table = {
    "group": (6, (BODY, BODIES)),
    "scope": (6, (_deadline, _rarely, BODY)),
    "fail_after": (2, (_length, BODY)),
    "start": (3, (_flag, BODY, _flag, BODY)),
    "spawn": (3, (_target, _flag, BODY)),
    "lock": (3, (_index, BODY)),
    "limit": (2, (_index, BODY)),
    "semaphore": (2, (BODY,)),
    "condition": (1, (_index, BODY)),
    "finally": (3, (BODY, _flag, BODY)),
    "catch": (3, (BODY,)),
    "catch_some": (1, (BODY,)),
    "swallow": (1, (BODY,)),
}

ALWAYS = {"sleep", "checkpoint", "group", "scope", "activity"}


class _Maker:
    """Makes one program. Each program knows only some of the operations, so that those it knows meet often."""

    def __init__(self, chance: Random, leaves: Table, branches: Table) -> None:
        self._chance = chance
        self._all_leaves, self._all_branches = leaves, branches
        share = chance.choice((0.3, 0.6, 1.0))
        self._leaves, self._leaf_weights = self._choose(leaves, share)
        self._branches, self._branch_weights = self._choose(branches, share)
        self._left = chance.choice(SIZES)

    def _choose(self, table: Table, share: float) -> tuple[list[str], list[int]]:
        names = [name for name in table if name in ALWAYS or self._chance.random() < share]
        return names, [table[name][0] for name in names]

    def body(self, depth: int = 0) -> Body:
        chance = self._chance
        length = chance.choice((2, 3, 4, 5)) if depth == 0 else chance.choice((0, 1, 1, 2, 2, 3))
        return [self._op(depth) for _ in range(length) if self._left > 0]

    def _op(self, depth: int) -> Op:
        chance = self._chance
        self._left -= 1
        if depth >= 6 or chance.random() > (0.9, 0.7, 0.5, 0.4, 0.3, 0.2)[depth]:
            (name,) = chance.choices(self._leaves, self._leaf_weights)
            return (name, *(make(chance) for make in self._all_leaves[name][1]))
        (name,) = chance.choices(self._branches, self._branch_weights)
        parts: list[Any] = []
        for make in self._all_branches[name][1]:
            if make is BODY:
                parts.append(self.body(depth + 1))
            elif make is BODIES:
                parts.append([self.body(depth + 1) for _ in range(chance.choice((0, 1, 2, 2, 3)))])
            else:
                parts.append(make(chance))
        return (name, *parts)


def make(seed: int, leaves: Table = LEAVES, branches: Table = BRANCHES) -> Body:
    """Return the program of a seed; always the same one."""
    return _Maker(Random(seed), leaves, branches).body()


def is_body(part: Any) -> bool:
    """Tell a body from the other arguments of an operation."""
    return isinstance(part, list) and (not part or isinstance(part[0], tuple))


def number(body: Body, start: int = 0) -> tuple[Numbered, int]:
    """Give every operation of a tree its number, in reading order; return the next number too."""
    result: Numbered = []
    for op in body:
        own, start = start, start + 1
        parts: list[Any] = []
        for part in op:
            if isinstance(part, list) and not is_body(part):
                bodies = []
                for inner in part:
                    numbered, start = number(inner, start)
                    bodies.append(numbered)
                part = bodies
            elif isinstance(part, list):
                part, start = number(part, start)
            parts.append(part)
        result.append((own, tuple(parts)))
    return result, start


def scopes(body: Numbered) -> list[int]:
    """Return the numbers of the operations that open a cancel scope, in reading order."""
    return sorted(n for n, op in walk(body) if op[0] in SCOPES)


def tasks(body: Numbered) -> list[int]:
    """Return the numbers of the operations that start a task with a handle."""
    return sorted(n for n, op in walk(body) if op[0] in {"spawn", "start"})


def walk(body: Numbered) -> Numbered:
    """Return all operations of a program, in reading order of those that enclose them."""
    found: Numbered = []
    for numbered in body:
        found.append(numbered)
        for part in numbered[1][1:]:
            if isinstance(part, list):
                for inner in part if part and isinstance(part[0], list) else [part]:
                    found += walk(inner)
    return found
