"""What an activation of a workflow that does nothing costs. `benchmarks/activation.py` measures its time; here its calls are counted."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

from durable_anyio import converter, workflow
from durable_anyio._definitions import workflow_definition
from durable_anyio._workflow_host import WorkflowHost

from .benchmark import load

MOST_CALLS = 300
"""Calls of Python and C functions in the activation that runs the workflow and the one that forgets it, measured with 256. Time on a busy
machine says less: this fails the day somebody makes a step more expensive by a fifth."""

benchmark = load("memory")


@workflow.defn
class Noop:
    @workflow.run
    async def run(self, number: int) -> int:
        return number


def _activations(number: int) -> list[bytes]:
    first = benchmark.first_activation(number)
    first.jobs[0].initialize_workflow.workflow_type = "Noop"
    last = type(first)(run_id=first.run_id)
    last.jobs.add().remove_from_cache.message = "it has ended"
    return [first.SerializeToString(), last.SerializeToString()]


def test_an_activation_makes_few_calls() -> None:
    definition = workflow_definition(Noop)[1]
    assert definition is not None
    answers: list[bytes] = []
    host = WorkflowHost(
        {"Noop": definition}, converter=converter.default(), namespace="default", task_queue="tests", send_completion=answers.append
    )
    calls = 0

    def count(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    for number in range(2):  # the first fills what is kept with the definition
        calls = 0
        for data in _activations(number):
            step = host.begin(data)
            before = sys.getprofile()
            sys.setprofile(count)
            try:
                assert step.advance(1.0)
            finally:
                sys.setprofile(before)
    assert len(answers) == 4
    assert calls <= MOST_CALLS, f"{calls} calls"
