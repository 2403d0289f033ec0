"""Breaks the scheduler on purpose, one way at a time, and demands that some test notices.

    python -m tests.mutants [part of a name ...]

Each mutant is a copy of the package in a temporary directory, put first on the path of a pytest of its own. A mutant that survives means
that a test is missing; one whose text no longer applies, or that does not even import, means that the mutant must be changed.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import durable_anyio

from .table import BACKEND, MUTANTS, Mutant

ROOT = Path(__file__).parents[2]
PACKAGE = Path(durable_anyio.__file__).parent
"""The one that is installed: in the repository, or made from it."""

MOST_SECONDS = 300
"""A mutant may loop for ever. The tests take a twentieth of this without one, on a machine that does nothing else."""

TEST_SECONDS = 30
"""And each of them much less: whoever takes longer hangs, and has noticed."""

PROGRAMS = 300
"""How many random programs a mutant must survive to survive."""


def _segments(source: str, function: str) -> Iterator[tuple[int, int]]:
    """Find a function by its qualified name; a property has two. Yields first and last line, from 0, the end excluded."""
    found: list[tuple[str, ast.AST]] = [("", ast.parse(source))]
    while found:
        path, node = found.pop()
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                name = f"{path}.{child.name}".lstrip(".")
                found.append((name, child))
                if name == function:
                    assert child.end_lineno is not None
                    yield child.lineno - 1, child.end_lineno
            else:
                found.append((path, child))


def apply(mutant: Mutant, source: str) -> str:
    """Return the source with the mistake in it.

    :raises ValueError: if the text to replace does not occur exactly once
    """
    lines = source.splitlines(keepends=True)
    places = [
        (first, last, "".join(lines[first:last]))
        for first, last in _segments(source, mutant.function)
        if mutant.old in "".join(lines[first:last])
    ]
    count = sum(text.count(mutant.old) for _, _, text in places)
    if count != 1:
        raise ValueError(
            f"mutant {mutant.name!r}: its text occurs {count} times in {mutant.function} of {mutant.file}, not once: {mutant.old!r}\n"
            "hint: change the mutant in tests/mutants/table.py so that it makes the same mistake in the new code"
        )
    ((first, last, text),) = places
    return "".join([*lines[:first], text.replace(mutant.old, mutant.new), *lines[last:]])


@contextmanager
def broken_package(mutant: Mutant | None) -> Iterator[Path]:
    """Make a copy of the package with a mistake in it; the compiled library, which is large, stays where it is.

    Bytecode is copied too: only the file with the mistake is compiled anew.
    """
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / PACKAGE.name
        shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("durable_core"))
        library = PACKAGE / "durable_core"
        if library.exists():
            (copy / "durable_core").symlink_to(library)
        if mutant is not None:
            target = copy / mutant.file
            target.write_text(apply(mutant, target.read_text()))
        yield Path(directory)


def run_tests(package: Path, tests: tuple[str, ...]) -> tuple[int, str]:
    """Run tests against a copy of the package; return pytest's exit code, 124 for a hang, and what it printed."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(package),
        "DURABLE_SEED": "1",
        "DURABLE_PROGRAMS": str(PROGRAMS),
        "DURABLE_SHRINK": "0",
    }
    command = [sys.executable, "-m", "pytest", "-v", "-rfE", "-x", "--tb=line", "-p", "no:cacheprovider", "--numprocesses=0"]
    command += [f"--timeout={TEST_SECONDS}", "--timeout-method=thread", *tests]
    try:
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=MOST_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        return 124, (error.stdout or b"").decode(errors="replace") if isinstance(error.stdout, bytes) else str(error.stdout)
    return done.returncode, done.stdout + done.stderr


def noticed_by(output: str) -> list[str]:
    """Return the names of the tests that failed, or of the one that did not come back."""
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", output, re.MULTILINE)
    if not failed:  # the process was ended: the tests before tell
        started = re.findall(r"^(tests/\S+::.*?) *(?:$|(PASSED|SKIPPED|XFAIL|FAILED|ERROR)\b|\++ Timeout)", output, re.MULTILINE)
        failed = [name for name, outcome in started if outcome in ("FAILED", "ERROR")]
        failed += [f"{name} (hangs)" for name, outcome in started[-1:] if not outcome]
    return list(dict.fromkeys(name.rpartition("/")[2] for name in failed))


def check(mutant: Mutant) -> tuple[bool, str]:
    """Run one mutant; return whether it was noticed, and by which tests, or what was wrong with it."""
    with broken_package(mutant) as package:
        code, output = run_tests(package, mutant.tests)
    names = noticed_by(output)
    if code == 0:
        return False, "SURVIVES: a test is missing"
    if not names or "errors during collection" in output or "ImportError while loading conftest" in output:
        return False, f"DOES NOT RUN:\n{output[-2000:]}"
    return True, ", ".join(names)


def main(arguments: list[str]) -> int:
    chosen = [mutant for mutant in MUTANTS if not arguments or any(part in mutant.name for part in arguments)]
    if not chosen:
        print(f"no mutant's name has any of {', '.join(arguments)} in it")
        return 2
    for mutant in chosen:
        apply(mutant, (PACKAGE / mutant.file).read_text())
    began = time.perf_counter()
    with broken_package(None) as package:
        code, output = run_tests(package, tuple(dict.fromkeys([*BACKEND, *(path for mutant in chosen for path in mutant.tests)])))
    if code != 0:
        print(f"the tests fail without any mutant:\n{output[-4000:]}")
        return 1
    survivors = []
    width = max(len(mutant.name) for mutant in chosen)
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for mutant, (killed, text) in zip(chosen, pool.map(check, chosen), strict=True):
            print(f"{mutant.name:<{width}}  {text}", flush=True)
            if not killed:
                survivors.append(mutant.name)
    seconds = time.perf_counter() - began
    print(f"\n{len(chosen) - len(survivors)} of {len(chosen)} mutants were noticed, in {seconds:.0f} s")
    for name in survivors:
        print(f"NOT NOTICED: {name}")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
