"""Run AnyIO's own tests, unmodified, on the backend `durable`, for the lowest and the newest AnyIO we support.

    python -m tests.anyio_suite [--anyio VERSION ...] [--directory DIR]

Fetches AnyIO's source distribution (its tests are in it) and installs that AnyIO in a directory put in front of the import path. Needs the
package index, as pip does. Compares the outcome with the list in docs/anyio-tests.md, and fails on any difference. Then runs our own tests
of the backend with that AnyIO.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path

from . import known

ROOT = Path(__file__).parents[2]

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"

FILES = [
    *(f"tests/test_{name}.py" for name in ("taskgroups", "synchronization", "itertools", "functools", "futures", "contextmanagers")),
    *(f"tests/test_{name}.py" for name in ("eventloop", "concurrency_utils", "lowlevel", "debugging")),
    *(f"tests/streams/test_{name}.py" for name in ("memory", "stapled", "buffered", "text")),
]
"""What needs no I/O. Files that a version does not have yet are left out."""

TOLERATED = ["-W", "ignore:_pytest.python.CallSpec2 has been renamed"]
"""Older AnyIOs meet a newer pytest, which warns of what their plugin imports; their configuration makes errors of warnings."""

HOSTS = [None, "asyncio", "trio"]
"""Where the steps run: by themselves, and inside a running loop, as in a worker."""

NEEDED_BY_THE_TESTS = ["pytest-mock", "trustme"]


def main() -> int:
    """Run for every version asked for; 1 if any differs from the list."""
    parser = argparse.ArgumentParser(prog="python -m tests.anyio_suite", description="AnyIO's own tests on the backend `durable`")
    parser.add_argument("--anyio", action="append", metavar="VERSION", help="instead of the lowest and the newest; repeatable")
    parser.add_argument("--directory", type=Path, help="keep downloads and environments here, and use them again")
    options = parser.parse_args()
    requirements = [f"anyio=={version}" for version in options.anyio] if options.anyio else supported()
    with tempfile.TemporaryDirectory() as temporary:
        directory = (options.directory or Path(temporary)).absolute()
        differ = [requirement for requirement in requirements if not check(requirement, directory)]
    return 1 if differ else 0


def supported() -> list[str]:
    """Return requirements for the lowest and the newest AnyIO that our own metadata allow."""
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (requirement,) = [dependency for dependency in dependencies if re.match(r"anyio\b", dependency)]
    lowest = re.search(r">=\s*([\d.]+)", requirement)
    if lowest is None:
        raise SystemExit(f"pyproject.toml names no lowest AnyIO: {requirement}")
    return [f"anyio=={lowest[1]}", requirement]


def check(requirement: str, directory: Path) -> bool:
    """Run the tests of one AnyIO and print how they went; whether that is what the documentation says."""
    source = fetch(requirement, directory)
    version = source.name.removeprefix("anyio-")
    packages = environment(version, directory)
    rows = known.read(known.DOCUMENT.read_text())
    agrees = True
    for host in HOSTS:
        results = run(source, packages, directory / f"report-{version}.jsonl", host)
        print(
            f"AnyIO {version} on Python {sys.version_info.major}.{sys.version_info.minor}{_inside(host)}: {_summary(results)}", flush=True
        )
        for complaint in known.complaints(rows, version, results):
            agrees = False
            print(f"  {complaint}", flush=True)
    return run_our_own(packages) and agrees


def _inside(host: str | None) -> str:
    return f", inside {host}" if host else ""


def _summary(results: list[known.Result]) -> str:
    outcomes = ", ".join(f"{sum(result.outcome == one for result in results)} {one}" for one in ("passed", "failed", "skipped"))
    on_durable = [result for result in results if result.durable]
    passed = sum(result.outcome == "passed" for result in on_durable)
    return f"{len(results)} tests, {outcomes}; {len(on_durable)} ran on `durable`, {passed} of them passed"


def fetch(requirement: str, directory: Path) -> Path:
    """Download and unpack a source distribution."""
    downloads = directory / "sdist" / requirement.replace("==", "-").replace(">=", "-from-")
    if not list(downloads.glob("anyio-*.tar.gz")):
        _pip("download", "--no-binary", ":all:", "--no-deps", "--dest", str(downloads), requirement)
    (archive,) = downloads.glob("anyio-*.tar.gz")
    source = directory / archive.name.removesuffix(".tar.gz")
    shutil.rmtree(source, ignore_errors=True)
    with tarfile.open(archive) as packed:
        packed.extractall(directory, filter="data")
    prepare(source)
    return source


def environment(version: str, directory: Path) -> Path:
    """Install one AnyIO, and what its tests need, into a directory of their own."""
    target = directory / f"anyio-{version}-python{PYTHON}"
    if not target.exists():
        _pip("install", "--target", str(target), f"anyio=={version}", *NEEDED_BY_THE_TESTS)
    return target


def prepare(source: Path) -> None:
    """Make AnyIO's tests run on our backend: an addition to `conftest.py`, in a module of its own, and nothing else."""
    addition = Path(__file__).with_name("conftest_addition.py").read_text()
    (source / "tests" / "durable_addition.py").write_text(addition)
    with (source / "tests" / "conftest.py").open("a") as conftest:
        conftest.write("\n\nfrom .durable_addition import *  # noqa\n")


def run(source: Path, packages: Path, report: Path, host: str | None) -> list[known.Result]:
    """Run the test files, all tests without a host, and those of `durable` inside one.

    Inside a host, tests that call `anyio.run()` themselves cannot run, and are left out of the answer.
    """
    report.unlink(missing_ok=True)
    variables = {**_variables(packages), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "DURABLE_SUITE_REPORT": str(report)}
    files = [file for file in FILES if (source / file).exists()]
    options = ["--quiet", "--tb=no", "--no-summary", "-p", "no:cacheprovider", *TOLERATED, *files]
    start = ["-m", "pytest"] if host is None else [str(Path(__file__).with_name("inside_host.py")), host, "-k", "durable"]
    done = subprocess.run([sys.executable, *start, *options], cwd=source, env=variables, check=False, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise SystemExit(f"AnyIO's tests did not run (pytest ended with {done.returncode}):\n{done.stdout}\n{done.stderr}")
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    results = {line["test"]: known.Result(**{**line, "test": _name(line["test"])}) for line in lines}
    return [result for result in results.values() if host is None or not result.nested]


def run_our_own(packages: Path) -> bool:
    """Run our tests of the backend with the AnyIO in `packages`; whether they pass."""
    # Random programs compare Trio with us, whatever AnyIO stands between, and take their time.
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--quiet",
        "-p",
        "no:cacheprovider",
        *TOLERATED,
        "--ignore",
        "tests/backend/test_against_trio.py",
    ]
    done = subprocess.run([*command, "tests/backend"], cwd=ROOT, env=_variables(packages), check=False, capture_output=True, text=True)
    if done.returncode == 0:
        print(f"  our tests of the backend: {done.stdout.splitlines()[-1]}", flush=True)
    else:
        print(f"  our tests of the backend fail with it:\n{done.stdout}\n{done.stderr}", flush=True)
    return done.returncode == 0


def _variables(packages: Path) -> dict[str, str]:
    """The environment with `packages` in front of everything else that Python looks at."""
    inherited = [str(Path(entry).absolute()) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(packages), *inherited])}


def _name(test: str) -> str:
    """Cut what every name has in common."""
    return test.removeprefix("tests/")


def _pip(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", *arguments, "--quiet", "--disable-pip-version-check"], check=True)


if __name__ == "__main__":
    sys.exit(main())
