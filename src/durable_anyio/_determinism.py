"""`testing.check_determinism`: a workflow run once and replayed elsewhere, evicted after every workflow task."""

from __future__ import annotations

import os
import pickle
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import anyio.to_thread

from ._bridge.proto import message
from ._definitions import WorkflowDefinition, workflow_definition
from ._determinism_process import COMMAND, Answer, Importable, Question
from ._history import WorkflowHistory
from ._recording import Difference, Recorder, Recording
from .client import WorkflowHandle
from .exceptions import NondeterminismError, WorkflowFailureError
from .worker import Worker

__all__ = ["check"]

_History = message("temporal.api.history.v1.History")
# A replay of a test's history takes milliseconds, starting Python below a second.
PROCESS_TIMEOUT_SECONDS = 120


async def check(
    environment: Any,
    workflow: Any,
    args: Sequence[Any],
    *,
    workflows: Sequence[type],
    activities: Sequence[Callable[..., Any]],
    drive: Callable[[WorkflowHandle[Any, Any]], Awaitable[object]] | None,
    processes: int,
) -> Any:
    """See `testing.check_determinism`."""
    definition = workflow_definition(workflow)[1]
    if definition is None:
        raise TypeError(f"check_determinism takes the `run` method of a workflow class, not the name {workflow!r}")
    definitions = {definition.name: definition}
    for cls in workflows:
        name, other = workflow_definition(cls)
        if other is None:
            raise TypeError(f"check_determinism(workflows=…) takes classes, not the name {name!r}")
        definitions[name] = other
    importable = [_importable(one) for one in definitions.values()]
    if processes < 1:
        raise ValueError(f"processes must be at least 1, not {processes}")
    recorder = Recorder()
    identifier = f"check-{uuid4()}"
    client = environment.client
    classes = [one.cls for one in definitions.values()]
    worker = Worker(client, task_queue=identifier, workflows=classes, activities=activities)
    worker._host.recorder = recorder
    failure: WorkflowFailureError | None = None
    result: Any = None
    histories: dict[str, WorkflowHistory] = {}
    async with worker:
        handle = await client.start_workflow(workflow, *args, id=identifier, task_queue=identifier)
        if drive is not None:
            await drive(handle)
        try:
            result = await handle.result()
        except WorkflowFailureError as error:
            failure = error
        for run_id in recorder.recordings:
            one = client.get_workflow_handle(recorder.recordings[run_id].workflow_id, run_id=run_id)
            histories[run_id] = await one.fetch_history()
    for run_id, recording in recorder.recordings.items():
        await _compare(histories[run_id], recording, importable, client.data_converter, processes)
    if failure is not None:
        raise failure
    return result


def _importable(definition: WorkflowDefinition) -> Importable:
    cls = definition.cls
    module = sys.modules.get(cls.__module__)
    found: Any = module
    for name in cls.__qualname__.split("."):
        found = getattr(found, name, None)
    file = getattr(module, "__file__", None)
    if found is not cls or (cls.__module__ == "__main__" and file is None):
        raise ValueError(
            f"the workflow {cls.__qualname__} of the module {cls.__module__} cannot be imported by a fresh process\n"
            "hint: define the class at the top level of a module, and give check_determinism that class"
        )
    return Importable(cls.__module__, file, cls.__qualname__)


async def _compare(history: WorkflowHistory, recording: Recording, workflows: list[Importable], converter: Any, processes: int) -> None:
    question = Question(workflows, history.workflow_id, _History(events=history.events).SerializeToString(), recording, converter)
    try:
        data = pickle.dumps(list(sys.path)) + pickle.dumps(question)
    except Exception as error:
        raise ValueError(
            f"the data converter cannot be given to a fresh process: {error}\nhint: make it an object that pickle can store"
        ) from error
    own = os.environ.get("PYTHONHASHSEED", "")
    seeds = [seed for seed in map(str, range(1, processes + 2)) if seed != own][:processes]
    answers: dict[str, Answer] = {}
    with tempfile.TemporaryDirectory(prefix="durable-anyio-") as directory:
        path = Path(directory) / "question"
        path.write_bytes(data)

        async def ask(seed: str) -> None:
            answers[seed] = await _ask(path, seed)

        async with anyio.create_task_group() as group:
            for seed in seeds:
                group.start_soon(ask, seed)
    for seed in seeds:
        _judge(answers[seed], seed, history)


async def _ask(question: Path, seed: str) -> Answer:
    answer = question.with_name(f"answer{seed}")
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    with anyio.fail_after(PROCESS_TIMEOUT_SECONDS):
        done = await anyio.run_process([*COMMAND, str(question), str(answer)], env=environment, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"the process that replays the workflow ended with {done.returncode}:\n{done.stderr.decode(errors='replace')}")
    found = pickle.loads(answer.read_bytes())
    assert isinstance(found, Answer)
    return found


def _judge(answer: Answer, seed: str, history: WorkflowHistory) -> None:
    if answer.unusable:
        raise ValueError(
            f"the workflow cannot be imported by a fresh process: {answer.unusable}\n"
            "hint: a module that the test puts together itself, or that needs the test's set-up, is not there"
        )
    label = f"workflow {history.workflow_type!r} replayed in a fresh process (PYTHONHASHSEED={seed}), evicted after every workflow task"
    if answer.failed:
        raise NondeterminismError(f"{label}: {answer.failed}")
    if answer.difference is not None:
        raise _error(answer.difference, label)


def _error(difference: Difference, label: str) -> NondeterminismError:
    expected, actual = difference.texts()
    first, second = difference.first, difference.second
    at = f"command {difference.number}, given by the workflow task of event {difference.history_length}"
    where = second.source or first.source
    stack = f"first run:\n{first.stack or '  not known'}\nreplayed:\n{second.stack or '  not known'}"
    text = "\n".join(
        [
            f"{label}: differs in {at}" + (f", at {where}" if where else ""),
            f"first run: {expected}",
            f"replayed: {actual}",
            stack.rstrip(),
            "hint: the order of a set, id(), the time of the day, random numbers that are not workflow.random() and state outside the "
            "workflow object differ between processes",
        ]
    )
    return NondeterminismError(
        text, expected=expected, actual=actual, event_id=difference.history_length, source=second.source, stack=stack.rstrip()
    )
