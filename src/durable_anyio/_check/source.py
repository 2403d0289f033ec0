"""From what is named on the command line to files, and from files to findings that nobody silenced."""

from __future__ import annotations

import ast
import importlib.machinery
import io
import os
import re
import sys
import tokenize
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .body import check_module
from .module import Module
from .rules import RULES, Finding

__all__ = ["BadInputError", "Report", "check"]

MAX_SOURCE_BYTES = 10 * 1024 * 1024
"""A larger file is no program that somebody wrote."""

_IGNORE = re.compile(r"#\s*durable:\s*ignore(?:\[(?P<rules>[^\]]*)\])?")


class BadInputError(Exception):
    """What was named cannot be checked; the message says why."""


@dataclass(frozen=True)
class Report:
    """What a check found."""

    findings: list[Finding]
    files: int
    workflows: int


def check(targets: Sequence[str]) -> Report:
    """Checks modules, packages, files and directories, without running anything of them.

    :raises BadInputError: for a target that does not exist or a file that is no Python.
    """
    findings: list[Finding] = []
    workflows = 0
    files = list(dict.fromkeys(file for target in targets for file in _files(target)))
    for file in files:
        found, count = _check_file(file)
        findings += found
        workflows += count
    return Report(sorted(findings), len(files), workflows)


def _files(target: str) -> Iterable[Path]:
    path = Path(target)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*.py") if not any(part.startswith(".") for part in file.relative_to(path).parts))
        if not files:
            raise BadInputError(f"the directory {target!r} has no Python files")
        return files
    if path.exists():
        return [path]
    if target.endswith(".py") or os.sep in target or not all(part.isidentifier() for part in target.split(".")):
        raise BadInputError(f"there is no file {target!r}; hint: name a file, a directory, or a module as in an import statement")
    return _module_files(target)


def _module_files(name: str) -> Iterable[Path]:
    """A module's file, or all files of a package; found as an import finds them, but nothing is imported."""
    search: list[str] | None = [os.getcwd(), *sys.path]
    spec: importlib.machinery.ModuleSpec | None = None
    so_far: list[str] = []
    for part in name.split("."):
        so_far.append(part)
        if search is not None:
            spec = importlib.machinery.PathFinder.find_spec(".".join(so_far), search)
        if spec is None or search is None:
            where = "in the current directory or on Python's path" if len(so_far) == 1 else f"in {'.'.join(so_far[:-1])}"
            raise BadInputError(f"there is no module {'.'.join(so_far)!r} {where}")
        search = None if spec.submodule_search_locations is None else list(spec.submodule_search_locations)
    if search is not None:
        return [_near(file) for location in search for file in _files(location)]
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise BadInputError(f"the module {name!r} has no Python source")
    return [_near(Path(spec.origin))]


def _near(path: Path) -> Path:
    """A path as one would write it here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _check_file(path: Path) -> tuple[list[Finding], int]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInputError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > MAX_SOURCE_BYTES:
        raise BadInputError(f"{path} has {len(data)} bytes: that is no source of a program")
    try:
        tree = ast.parse(data, filename=str(path))
        source = io.TextIOWrapper(io.BytesIO(data), tokenize.detect_encoding(io.BytesIO(data).readline)[0]).read()
    except SyntaxError as error:
        raise BadInputError(f"{path}:{error.lineno or 1}:{error.offset or 1}: not Python {sys.version_info[0]}: {error.msg}") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise BadInputError(f"{path}: not Python: {error or type(error).__name__}") from error
    module = Module(str(path), tree, _package(path))
    try:
        findings = check_module(module)
    except RecursionError as error:
        raise BadInputError(f"{path}: nested too deeply to be checked") from error
    ignores = _ignores(source)
    kept = [finding for finding in findings if not _is_silenced(finding, ignores)]
    count = len(module.workflows())
    return kept + (_bad_ignores(str(path), ignores) if count else []), count


def _package(path: Path) -> str:
    """The package that a file belongs to, for its relative imports."""
    parts: list[str] = []
    parent = path.absolute().parent
    while (parent / "__init__.py").is_file():
        parts.insert(0, parent.name)
        parent = parent.parent
    return ".".join(parts)


def _ignores(source: str) -> dict[int, set[str] | None]:
    """What comments silence, by line: names of rules, or None for all."""
    found: dict[int, set[str] | None] = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and (match := _IGNORE.search(token.string)):
            rules = match["rules"]
            found[token.start[0]] = None if rules is None else {rule.strip() for rule in rules.split(",")}
    return found


def _is_silenced(finding: Finding, ignores: dict[int, set[str] | None]) -> bool:
    for line in range(finding.line, finding.end_line + 1):
        if line in ignores:
            rules = ignores[line]
            if rules is None or finding.rule in rules:
                return True
    return False


def _bad_ignores(path: str, ignores: dict[int, set[str] | None]) -> list[Finding]:
    return [
        Finding(path, line, 1, "bad-ignore", f"there is no rule {rule!r}", RULES["bad-ignore"].instead, line)
        for line, rules in ignores.items()
        for rule in sorted((rules or set()) - RULES.keys())
    ]
