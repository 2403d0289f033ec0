"""What the pages say is there: links, the index, names of the package, options of the worker, and a kind for every block of code."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from pathlib import Path

import pytest

import durable_anyio
from durable_anyio import Worker, activity, exceptions, metrics, testing, workflow

from .test_tutorial import ROOT, blocks

PAGES = sorted((ROOT / "docs").rglob("*.md"))
DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "examples/README.md")] + PAGES
MODULES = {"workflow": workflow, "activity": activity, "testing": testing, "exceptions": exceptions}
RUN_BY_TESTS = {
    "program", "workflow",  # test_programs.py
    "bad", "good",  # the checker's tests
    "excerpt", "fragment",  # this file
    "sketch",  # signatures of a decision, no code
}  # fmt: skip


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _prose(document: Path) -> str:
    """A document without its code, in which brackets are no links."""
    return re.sub(r"```.*?```|`[^`\n]*`", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_links() -> None:
    missing = [
        f"{_name(document)}: {target}"
        for document in DOCUMENTS
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", _prose(document))
        if not (document.parent / target).exists()
    ]
    assert not missing, "\n".join(missing)


def test_the_index_has_every_page() -> None:
    index = ROOT / "docs/index.md"
    linked = {(index.parent / target).resolve() for target in re.findall(r"\]\(([^)#:]+)\)", _prose(index))}
    assert not [_name(page) for page in PAGES if page != index and page not in linked]


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_code_is_run_or_says_why_not(page: Path) -> None:
    kinds = {information.strip() for information, _ in blocks(_name(page))}
    assert not [kind for kind in kinds if kind not in RUN_BY_TESTS and not kind.startswith("file=")]


def _blocks_of(kind: str) -> list[object]:
    found = [(page, code) for page in PAGES for information, code in blocks(_name(page)) if information.strip() == kind]
    return [pytest.param(code, id=f"{page.stem}-{number}") for number, (page, code) in enumerate(found, 1)]


@pytest.mark.parametrize("code", _blocks_of("excerpt"))
def test_excerpts_are_of_examples(code: str) -> None:
    assert any(code in path.read_text(encoding="utf-8") for path in (ROOT / "examples").rglob("*.py"))


@pytest.mark.parametrize("code", _blocks_of("fragment"))
def test_fragments_are_python(code: str) -> None:
    compile(textwrap.dedent(code), "fragment", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_names_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    missing = [
        f"{name}.{attribute}"
        for name, module in MODULES.items()
        for attribute in re.findall(rf"(?<![\w./-]){name}\.(?!md\b|py\b)([A-Za-z_]\w*)", text)
        if not hasattr(module, attribute)
    ]
    assert not missing


def test_reference_names_exist() -> None:
    """A name without its module belongs to what stands before it in its row, or is the package's own."""
    package = [durable_anyio, durable_anyio.Client, durable_anyio.WorkflowHandle, Worker, metrics]
    owners = [*package, workflow, workflow.unsafe, activity, testing]
    owners += [durable_anyio.client.ScheduleHandle, workflow.NexusClient, durable_anyio.common]
    rows = re.findall(r"^\| (`[^|]*) \|", (ROOT / "docs/reference.md").read_text(encoding="utf-8"), re.MULTILINE)
    names = {name.rpartition(".")[2] for row in rows for name in re.findall(r"`([\w.]+)`", row)}
    assert not [name for name in names if not any(hasattr(owner, name) for owner in owners)]
    assert len(names) > 50


def test_worker_options() -> None:
    options = set(inspect.signature(Worker).parameters)
    table = (ROOT / "docs/services.md").read_text(encoding="utf-8").partition("## The worker's options")[2]
    named = {option for row in re.findall(r"^\| (`[^|]*) \|", table, re.MULTILINE) for option in re.findall(r"`(\w+)`", row)}
    assert named == options - {"client"}
    used = {option for page in PAGES for option in re.findall(r"\bWorker\((\w+)=", page.read_text(encoding="utf-8"))}
    assert used <= options
