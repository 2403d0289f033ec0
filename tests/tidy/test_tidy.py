"""The rule book: what the repository promises about its own files."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINE_CHARACTERS = 140
FILE_LINES = 1_000

TEXT = {".py", ".rs", ".md", ".toml", ".proto", ".udl", ".yml", ".yaml", ".sh", ".sql", ""}

# Machine-made: they keep the form that their generator gives them.
GENERATED = ("src/durable_anyio/_generated/", "generated")

# Marks of one machine, and of how somebody works on it; written apart so that this file passes its own test.
FORBIDDEN = {
    "a path of one machine": re.compile(r"(?<![\w.~/-])/(?:wo" + r"rk|ro" + r"ot|ho" + r"me)/\w"),
    "a path beside the repository": re.compile(r"\.\./sha" + r"red"),
    "a registry's address": re.compile(r"https?://[^\s)]*(?:py" + r"pi\.org/simple|ind" + r"ex\.crates\.io|artif" + r"actory)"),
    "a leftover": re.compile(r"\b(?:FIX" + r"ME|X" + r"XX)\b|\bbreak" + r"point\(\)|<<<<" + r"<<<|>>>>" + r">>>"),
}


def _files() -> list[Path]:
    """The repository's own files; in a source distribution, which is no repository, none."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, check=False
    )
    if listed.returncode != 0:
        return []
    names = [name for name in listed.stdout.decode().split("\0") if name and not name.startswith(GENERATED)]
    paths = [ROOT / name for name in names]
    return [path for path in paths if path.is_file() and not path.is_symlink() and path.suffix in TEXT]


FILES = _files()


def test_there_are_files_to_check() -> None:
    assert len(FILES) > 50 or not (ROOT / ".git").exists()


def test_line_length() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{number}: {len(line)} characters"
        for path in FILES
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if len(line) > LINE_CHARACTERS and path.suffix in {".py", ".rs", ".sh", ".proto", ".udl"}
    ]
    assert not long, "\n".join(long)


def test_file_length() -> None:
    long = [f"{path.relative_to(ROOT)}: {lines} lines" for path in FILES if (lines := path.read_text().count("\n")) > FILE_LINES]
    assert not long, "\n".join(long)


@pytest.mark.parametrize("what", FORBIDDEN)
def test_forbidden_text(what: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {what}: {line.strip()}"
        for path in FILES
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if FORBIDDEN[what].search(line)
    ]
    assert not found, "\n".join(found)


def _dependencies(crate: str) -> set[str]:
    return set(tomllib.loads((ROOT / "rust" / crate / "Cargo.toml").read_text()).get("dependencies", {}))


def test_the_core_is_pure() -> None:
    assert not _dependencies("core") & {"tokio", "tonic", "rand", "rusqlite", "async-trait", "uniffi"}
    impure = re.compile(r"Instant::now|SystemTime::now|std::thread|std::net|std::fs|async fn")
    pure = [path for place in ("core/src", "engine/src/state", "engine/src/schedules") for path in (ROOT / "rust" / place).rglob("*.rs")]
    assert pure
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in pure
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if impure.search(line)
    ]
    assert not found, "\n".join(found)


def test_only_the_bridge_knows_python() -> None:
    crates = [path.parent.name for path in (ROOT / "rust").glob("*/Cargo.toml")]
    assert {crate for crate in crates if "uniffi" in _dependencies(crate)} <= {"bridge", "bindgen"}


def test_dependencies_between_crates_point_inwards() -> None:
    ours = re.compile(r"^durable[_-]")
    assert not [name for name in _dependencies("core") if ours.match(name)]
    assert not [name for name in _dependencies("engine") if re.match(r"durable[_-](worker|bridge|server)", name)]
    assert not [name for name in _dependencies("worker") if re.match(r"durable[_-](engine|bridge|server)", name)]


def test_the_scheduler_knows_nothing_of_the_bridge() -> None:
    backend = list((ROOT / "src/durable_anyio/_backend").rglob("*.py"))
    assert backend
    outward = re.compile(r"^\s*(?:from|import)\s+(?:\.\.\w|durable_anyio\.(?!_backend))", re.MULTILINE)
    found = [str(path.relative_to(ROOT)) for path in backend if outward.search(path.read_text())]
    assert not found, "\n".join(found)


def test_the_licence_is_there() -> None:
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")
