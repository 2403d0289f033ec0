"""Everything that people do with this repository, one session a word. `nox --list` shows them."""

from __future__ import annotations

import nox

nox.needs_version = ">=2024.4.15"
nox.options.sessions = ["lint", "test"]
nox.options.reuse_existing_virtualenvs = True

RUST = ["--manifest-path", "rust/Cargo.toml"]


@nox.session
def demo(session: nox.Session) -> None:
    """Install the package and run its demonstration."""
    session.install(".[trio]")
    session.run("durable-anyio", "demo", *session.posargs)


@nox.session
def test(session: nox.Session) -> None:
    """The Rust tests and the Python tests."""
    session.install(".[dev]")
    session.run("cargo", "test", "--workspace", *RUST, external=True)
    session.run("pytest", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Style and types of both languages."""
    session.install(".[dev]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("pyright")
    session.run("cargo", "fmt", "--all", "--check", *RUST, external=True)
    session.run("cargo", "clippy", "--workspace", "--all-targets", *RUST, "--", "-D", "warnings", external=True)


@nox.session
def anyio(session: nox.Session) -> None:
    """AnyIO's own tests on the durable backend, for the lowest and the newest supported AnyIO."""
    session.install(".[dev]")
    session.run("python", "-m", "tests.anyio_suite", *session.posargs)


@nox.session
def mutants(session: nox.Session) -> None:
    """Break the scheduler on purpose, one way at a time: the tests must notice. Arguments are parts of the mutants' names."""
    session.install(".[dev]")
    session.run("python", "-m", "tests.mutants", *session.posargs)


@nox.session
def gen(session: nox.Session) -> None:
    """Write generated/ anew from udl/ and the protos (with --check: compare)."""
    session.run(".ci/gen", *session.posargs, external=True)


@nox.session
def bench(session: nox.Session) -> None:
    """The benchmarks: the scheduler against Trio, a run's memory and CPU, and the engine against DBOS in an environment of its own."""
    session.install(".[trio]")
    for program in ("scheduler", "memory", "activation"):
        session.run("python", f"benchmarks/{program}.py")
    session.run("python", "benchmarks/embedded.py", "--dbos", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Run the code in the documentation."""
    session.install(".[dev]")
    session.run("pytest", "tests/docs", *session.posargs)
