"""The rules: what each finds, why it matters, and what to do instead. docs/checks.md repeats them, and a test compares the two."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["RULES", "Finding", "Rule"]


@dataclass(frozen=True)
class Rule:
    """One kind of mistake."""

    name: str
    why: str
    instead: str


@dataclass(frozen=True, order=True)
class Finding:
    """One mistake and its place. Lines and columns count from 1."""

    file: str
    line: int
    column: int
    rule: str
    message: str
    instead: str
    end_line: int

    @property
    def why(self) -> str:
        return RULES[self.rule].why


_IN_ACTIVITY = "do it in an activity, or in workflow.step()"

_ALL = (
    Rule(
        "clock",
        "a replay reads another time",
        "use workflow.now() or workflow.time(); anyio.current_time() measures durations",
    ),
    Rule("sleep", "it blocks the worker and is not durable", "use anyio.sleep()"),
    Rule("random", "a replay draws other numbers", "use workflow.random()"),
    Rule("uuid", "a replay makes another id", "use workflow.uuid4()"),
    Rule("entropy", "a replay gets other bytes", "use workflow.random() for what a replay may repeat; make secrets in an activity"),
    Rule("file", "files change between a run and its replay, and file calls block the worker", _IN_ACTIVITY),
    Rule("network", "a replay gets another answer, and the call is made again", _IN_ACTIVITY),
    Rule("process", "a replay starts it again", _IN_ACTIVITY),
    Rule(
        "thread",
        "threads run in an order of their own",
        "start tasks in anyio.create_task_group(); make what needs a thread an activity (a plain def runs in one)",
    ),
    Rule("environment", "it differs from worker to worker", "take it as an argument of the workflow, or read it in an activity"),
    Rule("input", "it blocks the worker, and a replay asks again", "wait for a signal or an update"),
    Rule("process-signal", "a workflow lives longer than its process", "receive workflow signals (workflow.signal)"),
    Rule("host-loop", "inside a workflow no event loop of asyncio or Trio runs", "use anyio's own functions"),
    Rule("set-order", "the order of a set differs from process to process", "iterate over sorted(…), or keep a list or a dict"),
    Rule("identity", "ids and hashes differ from process to process", "compare or sort by a value of the object's own"),
    Rule(
        "shared-primitive",
        "all runs of the process share it, and it belongs to the first run that uses it",
        "make it in the workflow's __init__",
    ),
    Rule(
        "shared-cache",
        "what one run put into the cache is there for the next, but not in its replay",
        "keep a dict in the workflow's own attributes, or cache in an activity",
    ),
    Rule("class-attribute", "all runs of the process share the class", "set an attribute of self in __init__"),
    Rule("global-write", "all runs of the process share the module", "keep state in attributes of self"),
    Rule(
        "swallowed-cancellation",
        "the workflow, or its scope, cannot be cancelled any more",
        "catch Exception, or raise again at the end of the handler",
    ),
    Rule("missing-await", "it never runs", "put await in front, or start it in a task group"),
    Rule("bad-ignore", "it silences nothing", "name rules of docs/checks.md: # durable: ignore[clock]"),
)

RULES: dict[str, Rule] = {rule.name: rule for rule in _ALL}
