"""Random programs on Trio and on the durable backend: what happens here must be something that can happen there.

AnyIO's own tests alone prove little: backends that ignore shields or run tasks in random order pass nearly all of them. `DURABLE_SEED`
repeats a run, `DURABLE_PROGRAMS` sets how many programs it has, `DURABLE_SHRINK=0` leaves a failing program as it is.
"""

from __future__ import annotations

import os
import time
from random import Random, SystemRandom

import pytest

from .interpreter import Interpreter
from .outcomes import Comparison, compare, report, trio_time
from .programs import BRANCHES, LEAVES, SCOPES, Body, make, number, walk
from .shrinking import shrink

PROGRAMS = int(os.environ.get("DURABLE_PROGRAMS", "500"))
SEED = int(os.environ.get("DURABLE_SEED") or SystemRandom().randrange(10**9))
SHRINK = os.environ.get("DURABLE_SHRINK", "1") != "0"

SECONDS_A_PROGRAM = 0.1
"""Some twenty times what one takes."""

# Programs that found something once; each line says what.
KNOWN: list[tuple[str, Body]] = [
    ("leaving a group is a schedule point and no cancellation point", [("scope", -1, False, [("group", [], [[]])]), ("checkpoint",)]),
    ("deadlines that end together", [("scope", 1, False, [("scope", 1, False, [("group", [("forever",)], [[("sleep", 3)]])])])]),
    (
        "a shield that goes while its scope waits",
        [("scope", 1, False, [("group", [("sleep", 2), ("shield", 2, False), ("sleep", 3)], [[("scope", -2, True, [("sleep", 3)])]])])],
    ),
    (
        "a deadline that passes by being moved",
        [("group", [("scope", 2, False, [("start", True, [], True, [("limit", 0, [("deadline", 0, 0)])])])], [[], []])],
    ),
    (
        "a shield put up while a task is on its way to its cancellation, where Trio breaks",
        [("group", [], [[("raise",)], [("group", [("notify", 0, False)], [[("scope", 0, False, [("shield", 1, True)])]])]])],
    ),
    (
        "a scope looked at through its shield when its deadline has just passed",
        [("scope", -2, False, [("deadline", 0, 0), ("shield", 0, False), ("look", 0)])],
    ),
    ("a scope cancelled before it is entered", [("cancel", 0), ("scope", -2, True, [("checkpoint",)]), ("look", 0)]),
    (
        "a group cancelled while it waits for its children",
        [("group", [], [[("sleep", 1), ("cancel", 0), ("if_cancelled",)], [("finally", [("forever",)], True, [("sleep", 1)])]])],
    ),
]


def is_fine(seed: int) -> bool:
    """Choose the scale of waiting times: the fine one leaves fewer right outcomes, the coarse one lets more things meet."""
    return seed % 3 != 0


async def _compare_many(seed: int, count: int) -> tuple[list[Comparison], str | None]:
    """Compare programs until one fails; return what was found, and a report of the failure."""
    chance = Random(seed)
    results = []
    for index in range(count):
        program_seed = chance.getrandbits(48)
        program, fine = make(program_seed), is_fine(program_seed)
        found = await compare(program, fine=fine)
        results.append(found)
        if found.problem is not None:

            async def fails(candidate: Body, fine: bool = fine) -> bool:
                return (await compare(candidate, fine=fine, most_orders=300)).problem is not None

            title = f"program {index} of DURABLE_SEED={seed}, made from {program_seed}: {program!r}"
            if not SHRINK:
                return results, f"{title}\n{report(found)}"
            small = await compare(await shrink(program, fails), fine=fine)
            return results, f"{title}\n{report(found)}\n\nmade smaller:\n{report(small)}"
    return results, None


@pytest.mark.timeout(120 + PROGRAMS * SECONDS_A_PROGRAM)
def test_random_programs_end_as_they_may_on_trio() -> None:
    began = time.perf_counter()
    results, failure = trio_time(_compare_many, SEED, PROGRAMS)
    seconds = time.perf_counter() - began
    races = sum(len(found.trio) > 1 for found in results)
    same = sum(found.same_log for found in results)
    operations = sum(number(found.program)[1] for found in results)
    print(
        f"\nDURABLE_SEED={SEED}: {len(results)} programs of {operations} operations, {races} of them with several outcomes, "
        f"{sum(len(found.durable) for found in results)} outcomes here among {sum(len(found.trio) for found in results)} on Trio "
        f"in {sum(found.asked for found in results)} orders; {same} with the same first-in first-out log; "
        f"{sum(found.trio_broke for found in results)} on which Trio broke, {sum(found.unsettled for found in results)} unsettled; "
        f"{seconds:.1f} s"
    )
    assert failure is None, failure
    assert sum(found.unsettled for found in results) <= 5 + len(results) // 100, "too many programs prove nothing"
    # Trio's own first-in first-out order differs where it iterates over a set: when it cancels several tasks at once.
    assert same >= 0.9 * len(results), "tasks do not run first-in first-out"


@pytest.mark.parametrize("fine", [True, False])
@pytest.mark.parametrize(("what", "program"), KNOWN, ids=[what for what, _ in KNOWN])
def test_known_programs_end_as_they_may_on_trio(what: str, program: Body, fine: bool) -> None:
    async def main() -> Comparison:
        return await compare(program, fine=fine, orders=20)

    found = trio_time(main)
    assert found.problem is None, report(found)


def test_the_generator_makes_every_operation_and_the_interpreter_knows_it() -> None:
    made = {op[0] for seed in range(300) for _, op in walk(number(make(seed))[0])}
    known = {name.removeprefix("op_") for name in dir(Interpreter) if name.startswith("op_")}
    assert made == known == set(LEAVES) | set(BRANCHES)
    assert known >= SCOPES


def test_a_failing_program_is_made_smaller() -> None:
    async def has_a_cancel_in_a_group(program: Body) -> bool:
        return any(op[0] == "group" and "cancel" in repr(op) for _, op in walk(number(program)[0]))

    async def main() -> Body:
        for seed in range(300):
            if await has_a_cancel_in_a_group(make(seed)):
                return await shrink(make(seed), has_a_cancel_in_a_group)
        raise AssertionError("no such program")

    assert repr(trio_time(main)) in ("[('group', [('cancel', 0)], [])]", "[('group', [], [[('cancel', 0)]])]")


def test_a_difference_is_reported_with_both_outcomes() -> None:
    found = Comparison([("sleep", 1)], True, problem="1 of 1 outcomes are not among the 1 that Trio has")
    found.durable[(("root", ((0.0, "ours"),)),)] = 0
    found.trio[(("root", ((0.0, "theirs"),)),)] = 0
    text = report(found)
    assert "PROGRAM = [('sleep', 1)]" in text
    assert "ours" in text
    assert "theirs" in text
