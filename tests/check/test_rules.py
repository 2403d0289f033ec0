"""Every rule: the examples of docs/checks.md, and what lies next to them."""

from __future__ import annotations

import ast
import re
import textwrap
from pathlib import Path

import pytest

from durable_anyio._check import RULES, Finding, check

DOCS = Path(__file__).parents[2] / "docs" / "checks.md"
IMPORTS = """\
import asyncio, concurrent.futures, datetime as dt, functools, itertools, os, random, secrets, signal, socket, subprocess, time, uuid
from datetime import datetime, timedelta
from pathlib import Path
from time import time as clock
import anyio, anyio.to_thread, httpx, trio
from durable_anyio import activity, workflow
"""
WORKFLOW = """
@workflow.defn
class Sample:
    @workflow.run
    async def run(self, names: set[str], order: object, orders: list[object]) -> None:
"""


def found(tmp_path: Path, code: str) -> list[Finding]:
    """The findings in a workflow's body, or in a module that has its own workflow."""
    body = code if "@workflow.defn" in code else WORKFLOW + textwrap.indent(code, " " * 8)
    source = IMPORTS + body
    ast.parse(source)
    file = tmp_path / "sample.py"
    file.write_text(source)
    return check([str(file)]).findings


def rules(tmp_path: Path, code: str) -> list[str]:
    return [finding.rule for finding in found(tmp_path, code)]


def _examples() -> list[tuple[str, str, str]]:
    sections = re.split(r"^### ", DOCS.read_text(), flags=re.MULTILINE)[1:]
    return [
        (section.split("\n", 1)[0], kind, code)
        for section in sections
        for kind, code in re.findall(r"^```python (bad|good)\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    ]


EXAMPLES = _examples()


def test_the_documentation_has_every_rule_with_both_examples() -> None:
    assert [(rule, kind) for rule, kind, _ in EXAMPLES] == [(rule, kind) for rule in RULES for kind in ("bad", "good")]


@pytest.mark.parametrize(("rule", "kind", "code"), EXAMPLES, ids=[f"{rule}-{kind}" for rule, kind, _ in EXAMPLES])
def test_an_example_of_the_documentation(tmp_path: Path, rule: str, kind: str, code: str) -> None:
    assert set(rules(tmp_path, code)) == ({rule} if kind == "bad" else set())


BAD = [
    ("clock", "clock()"),
    ("clock", "dt.datetime.now(dt.UTC)"),
    ("clock", "dt.date.today()"),
    ("clock", "functools.partial(time.monotonic)"),
    ("clock", "from time import perf_counter as p\np()"),
    ("clock", "def inner():\n    return time.time_ns()\ninner()"),
    ("clock", "x = lambda: time.time()"),
    ("clock", "def inner(at=time.time()): ..."),
    ("random", "random.Random()"),
    ("random", "random.SystemRandom()"),
    ("random", "list(map(random.choice, orders))"),
    ("uuid", "from uuid import uuid1\nuuid1()"),
    ("entropy", "os.urandom(4)"),
    ("file", "open('x')"),
    ("file", "with open('x') as f: ..."),
    ("file", "os.path.exists('x')"),
    ("file", "p = Path('x')\np.exists()"),
    ("file", "(Path('x') / 'y').stat()"),
    ("file", "await anyio.open_file('x')"),
    ("network", "socket.create_connection(('a', 1))"),
    ("network", "async with await anyio.connect_tcp('a', 1): ..."),
    ("process", "os.execv('a', [])"),
    ("process", "await anyio.run_process(['a'])"),
    ("environment", "os.environ.get('x')"),
    ("environment", "os.getpid()"),
    ("thread", "concurrent.futures.ThreadPoolExecutor()"),
    ("host-loop", "async with asyncio.TaskGroup(): ..."),
    ("host-loop", "async with trio.open_nursery(): ..."),
    ("set-order", "for name in names: ..."),
    ("set-order", "[n for n in names]"),
    ("set-order", "list(names)"),
    ("set-order", "', '.join(names)"),
    ("set-order", "print(*names)"),
    ("set-order", "names.pop()"),
    ("set-order", "s = set(orders) | {1}\nfor x in s: ..."),
    ("set-order", "next(iter(frozenset(orders)))"),
    ("set-order", "for i, n in enumerate(names): ..."),
    ("identity", "sorted(orders, key=hash)"),
    ("identity", "x = id(order)"),
    ("global-write", "global WHAT\nWHAT = 1"),
    ("class-attribute", "type(self).count = 1"),
    ("class-attribute", "self.__class__.count += 1"),
    ("class-attribute", "Sample.count = 1"),
    ("swallowed-cancellation", "try:\n    await anyio.sleep(1)\nexcept:\n    pass"),
    ("swallowed-cancellation", "try:\n    await anyio.sleep(1)\nexcept anyio.get_cancelled_exc_class():\n    pass"),
    ("swallowed-cancellation", "try:\n    async with order: ...\nexcept (ValueError, BaseException): ..."),
    ("missing-await", "anyio.sleep(1)"),
    ("missing-await", "workflow.wait_condition(lambda: True)"),
    ("missing-await", "self.run(names, order, orders)"),
]


@pytest.mark.parametrize(("rule", "code"), BAD)
def test_found(tmp_path: Path, rule: str, code: str) -> None:
    assert rules(tmp_path, code) == [rule]


GOOD = [
    "workflow.now(); workflow.time(); workflow.random().random(); workflow.uuid4()",
    "random.Random(4).random()",
    "workflow.unsafe.call(time.perf_counter)",
    "workflow.unsafe.call(lambda: (time.time(), open('x')))",
    "await workflow.step(lambda: Path('x').read_text())",
    "await workflow.step(time.time)",
    "time = order\ntime.time()",
    "open = order\nopen('x')",
    "def inner(time):\n    return time.time()",
    "x: dict[str, asyncio.Event] = {}",
    "def inner(at: asyncio.Event) -> trio.Event: ...",
    "asyncio.iscoroutinefunction(order)",
    "try:\n    order.go()\nexcept subprocess.CalledProcessError: ...",
    "socket.AF_INET",
    "Path('a') / 'b'\nPath('a').name",
    "for name in sorted(names): ...",
    "sorted(n for n in names)",
    "{n for n in names}",
    "len(names), sum(1 for n in names), 'a' in names, names == {'b'}",
    "names = sorted(names)\nfor n in names: ...",
    "for name in orders: ...",
    "for key in {'a': 1}: ...",
    "try:\n    order.go()\nexcept BaseException: ...",
    "try:\n    await anyio.sleep(1)\nexcept Exception: ...",
    "try:\n    await anyio.sleep(1)\nexcept anyio.get_cancelled_exc_class():\n    raise\nexcept BaseException: ...",
    "orders.append(1)\nself.items = []\nself.items.append(1)",
    "handle = workflow.start_activity('a')",
    "x = anyio.sleep(1)\nawait x",
    "print(order, order.id, order.hash())",
    "dt.datetime(2026, 1, 1); dt.datetime.fromisoformat('2026-01-01'); timedelta(1)",
    "uuid.uuid5(uuid.NAMESPACE_DNS, 'a'); uuid.UUID(int=1)",
]


@pytest.mark.parametrize("code", GOOD)
def test_not_found(tmp_path: Path, code: str) -> None:
    assert found(tmp_path, code) == []


def test_what_a_workflow_leads_to_is_looked_at_and_nothing_else(tmp_path: Path) -> None:
    code = """
def unused(): return time.time()
def helper(): return deeper()
def deeper(): return time.time()
async def task(): time.sleep(1)
@activity.defn
async def charge() -> float: return time.time()
class Price:
    def __init__(self): self.at = time.time()
class Unused:
    def __init__(self): self.at = time.time()
class Base:
    def shared(self): return time.time()
@workflow.defn
class Sample(Base):
    @workflow.run
    async def run(self):
        helper()
        Price()
        await charge()
        async with anyio.create_task_group() as tg:
            tg.start_soon(task)
"""
    places = {(finding.rule, finding.message.rpartition(" in ")[2]) for finding in found(tmp_path, code)}
    assert places == {("clock", "deeper"), ("sleep", "task"), ("clock", "Price.__init__"), ("clock", "Base.shared")}


def test_a_class_inside_a_function_is_looked_at(tmp_path: Path) -> None:
    code = """
def test():
    @workflow.defn
    class Sample:
        @workflow.run
        async def run(self):
            return time.time()
"""
    assert rules(tmp_path, code) == ["clock"]


def test_a_hash_method_may_hash(tmp_path: Path) -> None:
    code = """
class Key:
    def __hash__(self): return hash("a")
@workflow.defn
class Sample:
    @workflow.run
    async def run(self): Key()
"""
    assert rules(tmp_path, code) == []


def test_a_module_without_workflows_has_no_findings(tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text("import time\ntime.time()  # durable: ignore[nonsense]\n")
    report = check([str(tmp_path / "plain.py")])
    assert (report.findings, report.files, report.workflows) == ([], 1, 0)


@pytest.mark.parametrize(
    "imports",
    [
        "import durable_anyio as d",
        "from durable_anyio.workflow import defn, run",
        "from durable_anyio import workflow as w",
    ],
)
def test_the_decorator_is_found_under_any_name(tmp_path: Path, imports: str) -> None:
    prefix = "d.workflow." if "as d" in imports else "w." if "as w" in imports else ""
    file = tmp_path / "sample.py"
    file.write_text(f"{imports}\nimport time\n@{prefix}defn(name='x')\nclass A:\n    @{prefix}run\n    async def run(self): time.time()\n")
    assert [finding.rule for finding in check([str(file)]).findings] == ["clock"]


def test_places_are_those_of_the_call(tmp_path: Path) -> None:
    (finding,) = found(tmp_path, "x = 1; y = time.time()")
    line = IMPORTS.count("\n") + WORKFLOW.count("\n") + 1
    assert (finding.line, finding.column, finding.end_line) == (line, 20, line)


@pytest.mark.parametrize(
    ("comment", "left"),
    [
        ("# durable: ignore", []),
        ("# durable: ignore[clock]", []),
        ("# durable: ignore[file, clock]", []),
        ("# because # durable: ignore[clock]", []),
        ("# durable: ignore[file]", ["clock"]),
        ("# durable: ignore[nonsense]", ["bad-ignore", "clock"]),
    ],
)
def test_silenced_by_a_comment(tmp_path: Path, comment: str, left: list[str]) -> None:
    assert sorted(rules(tmp_path, f"time.time()  {comment}")) == left
    assert sorted(rules(tmp_path, f"print(\n    time.time(\n    )  {comment}\n)")) == left
