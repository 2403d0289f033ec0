"""docs/features.md: every row that says that something is there names a test, and the test is there."""

from __future__ import annotations

import ast
import re

import pytest

from .test_tutorial import ROOT

ROWS = re.findall(
    r"^\| (?!feature|---)(.+?) \| (.+?) \| (.+?) \| (.+?) \|$", (ROOT / "docs/features.md").read_text(encoding="utf-8"), re.MULTILINE
)
SCENARIO_NAMES = {
    name
    for path in (ROOT / "tests/contract").glob("*.py")
    for name in re.findall(r'Scenario\(\s*"([^"]+)"', path.read_text(encoding="utf-8"))
}
PLACES = {"yes", "**not yet**", "no"}


def _tests(path: str) -> set[str]:
    source = ROOT / "tests" / path
    assert source.is_file(), f"tests/{path} is not there"
    if source.suffix == ".rs":
        return set(re.findall(r"fn (\w+)\(", source.read_text(encoding="utf-8")))
    tree = ast.parse(source.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize(("feature", "embedded", "service", "shown"), ROWS, ids=[row[0] for row in ROWS])
def test_a_row_names_a_test(feature: str, embedded: str, service: str, shown: str) -> None:
    assert {embedded.split(",")[0], service.split(",")[0]} <= PLACES, feature
    if "yes" not in (embedded[:3], service[:3]):
        assert shown == "–"
        return
    references = re.findall(r"`([^`]+)`", shown)
    assert references, f"{feature}: no test is named"
    for reference in references:
        if "::" in reference:
            path, name = reference.split("::")
            assert name in _tests(path), reference
        else:
            assert reference in SCENARIO_NAMES, f"{reference!r} is no scenario of tests/contract"


def test_the_table_is_there() -> None:
    assert len(ROWS) > 45
