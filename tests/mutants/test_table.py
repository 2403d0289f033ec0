"""The mutants' texts apply to the code as it is; `nox -s mutants` then runs them."""

from __future__ import annotations

import pytest

from .__main__ import PACKAGE, apply, noticed_by
from .table import MUTANTS, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_applies_and_compiles(mutant: Mutant) -> None:
    broken = apply(mutant, (PACKAGE / mutant.file).read_text())
    compile(broken, mutant.file, "exec")


SOURCE = """
class A:
    def f(self):
        return 1

    def g(self):
        return 1 + 1
"""


def test_a_mutant_changes_one_function_only() -> None:
    assert apply(Mutant("example", "a.py", "A.f", "1", "2"), SOURCE) == SOURCE.replace("return 1\n\n", "return 2\n\n")


@pytest.mark.parametrize(("function", "text", "count"), [("A.f", "2", 0), ("A.g", "1", 2), ("A.h", "1", 0)])
def test_a_text_that_does_not_apply_is_an_error(function: str, text: str, count: int) -> None:
    with pytest.raises(ValueError, match=f"occurs {count} times in {function} of a.py"):
        apply(Mutant("example", "a.py", function, text, ""), SOURCE)


def test_names_are_used_once() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


def test_the_tests_that_notice_are_named() -> None:
    assert noticed_by("FAILED tests/backend/test_a.py::test_b[c] - x\nFAILED tests/backend/test_a.py::test_b[c] - x\n") == [
        "test_a.py::test_b[c]"
    ]
    assert noticed_by("tests/backend/test_a.py::test_b PASSED\ntests/backend/test_a.py::test_c \n") == ["test_a.py::test_c (hangs)"]
