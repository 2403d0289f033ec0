"""The failures that are meant, as the documentation lists them, and what a run of AnyIO's tests says about the list."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from packaging.specifiers import SpecifierSet

DOCUMENT = Path(__file__).parents[2] / "docs" / "anyio-tests.md"

MIN_ON_DURABLE = 350
"""Fewer tests than this on the durable backend mean that the backend was not used, not that AnyIO lost its tests."""

_ROW = re.compile(r"\| `(?P<test>[^`|]+)` \| (?P<versions>[^|]+) \| (?P<reason>[^|]+) \|")


@dataclass(frozen=True)
class Known:
    """One row: a test that fails on purpose, or that cannot pass."""

    test: str
    versions: SpecifierSet
    reason: str


@dataclass(frozen=True)
class Result:
    """How one of AnyIO's tests ended."""

    test: str
    outcome: str
    durable: bool
    """Whether the scheduler ran at least one step for it."""
    why: str = ""
    nested: bool = False
    """Whether it failed because it starts a loop of its own where one runs already."""


def read(text: str) -> list[Known]:
    """Read the rows of the documentation's table.

    :raises ValueError: for a row whose middle column names no versions, or has no reason
    """
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.startswith("| `"):
            continue
        match = _ROW.fullmatch(line.strip())
        if match is None:
            raise ValueError(f"line {number} is no row of the form `| test | versions | reason |`: {line}")
        versions = match["versions"].strip()
        rows.append(Known(match["test"], SpecifierSet("" if versions == "all" else versions), match["reason"].strip()))
    return rows


def complaints(known: list[Known], version: str, results: list[Result]) -> list[str]:
    """Compare a run with the list; the answer is empty when both agree."""
    expected = {row.test for row in known if row.versions.contains(version, prereleases=True)}
    found: list[str] = []
    for result in results:
        if result.outcome == "failed" and result.test not in expected:
            found.append(f"{result.test} fails and is not on the list: {result.why}")
        elif result.outcome != "failed" and result.test in expected:
            found.append(f"{result.test} is on the list of failures but {result.outcome}: take it off")
    found += [f"{test} is on the list but there is no such test" for test in sorted(expected - {result.test for result in results})]
    on_durable = sum(result.durable for result in results)
    if on_durable < MIN_ON_DURABLE:
        found.append(f"only {on_durable} tests ran on the backend `durable`, at least {MIN_ON_DURABLE} were expected")
    return found
