"""The list of AnyIO tests that fail on purpose: read, and compared with a run."""

from __future__ import annotations

import pytest
from packaging.specifiers import SpecifierSet

from . import known
from .__main__ import supported
from .known import Known, Result, complaints, read

MANY = [Result(f"test_many.py::test_{number}", "passed", durable=True) for number in range(known.MIN_ON_DURABLE)]
LISTED = [
    Known("test_a.py::test_always", SpecifierSet(""), "never works"),
    Known("test_a.py::test_old", SpecifierSet("<4.15"), "until 4.15"),
]


def fails(test: str) -> Result:
    return Result(test, "failed", durable=True, why="assert 1 == 2")


def test_a_run_that_is_as_listed_gives_no_complaint() -> None:
    assert complaints(LISTED, "4.14.0", [*MANY, fails("test_a.py::test_always"), fails("test_a.py::test_old")]) == []
    assert complaints(LISTED, "4.16.0", [*MANY, fails("test_a.py::test_always"), Result("test_a.py::test_old", "passed", True)]) == []


def test_an_unlisted_failure_is_named_with_its_reason() -> None:
    (complaint,) = complaints([], "4.16.0", [*MANY, fails("test_a.py::test_new")])
    assert complaint == "test_a.py::test_new fails and is not on the list: assert 1 == 2"


@pytest.mark.parametrize("outcome", ["passed", "skipped"])
def test_a_listed_test_that_does_not_fail_is_named(outcome: str) -> None:
    (complaint,) = complaints(LISTED[:1], "4.16.0", [*MANY, Result("test_a.py::test_always", outcome, durable=True)])
    assert complaint.startswith("test_a.py::test_always is on the list")
    assert outcome in complaint


def test_a_listed_test_that_is_gone_is_named() -> None:
    (complaint,) = complaints(LISTED[:1], "4.16.0", MANY)
    assert complaint == "test_a.py::test_always is on the list but there is no such test"


def test_a_run_that_did_not_use_the_backend_is_no_success() -> None:
    results = [Result(result.test, "passed", durable=False) for result in MANY]
    (complaint,) = complaints([], "4.16.0", results)
    assert "only 0 tests ran on the backend `durable`" in complaint


def test_the_documented_list_is_readable_and_every_row_has_a_reason() -> None:
    rows = read(known.DOCUMENT.read_text())
    assert rows
    assert all(row.reason for row in rows)
    assert len({row.test for row in rows}) == len(rows)


def test_a_broken_row_is_refused_with_its_line() -> None:
    with pytest.raises(ValueError, match="line 2 is no row"):
        read("# Title\n| `test_a.py::test_always` | no reason |")


def test_the_lowest_version_is_pinned_and_the_newest_is_not() -> None:
    lowest, newest = supported()
    assert lowest.startswith("anyio==4.")
    assert "==" not in newest
