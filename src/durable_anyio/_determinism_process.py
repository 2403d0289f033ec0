"""The fresh process of `check_determinism`: replays a history there, evicted after every workflow task, and says where it differs.

`COMMAND` starts it with two files: that of the question, the import path and a `Question`, pickled, and that of its `Answer`.
"""

from __future__ import annotations

import importlib
import importlib.util
import pickle
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ._bridge.proto import message
from ._history import WorkflowHistory
from ._recording import Comparison, Difference, Recording
from ._replayer import Replayer
from .converter import PayloadConverter

__all__ = ["COMMAND", "Answer", "Importable", "Question", "ask"]

_History = message("temporal.api.history.v1.History")

COMMAND = [sys.executable, "-c", f"import sys; from {__name__} import main; main(*sys.argv[1:])"]

_STAND_IN = "__durable_main__"


@dataclass(frozen=True)
class Importable:
    """A class by where it is found: its module, the module's file, its name in it."""

    module: str
    file: str | None
    qualname: str

    def load(self) -> Any:
        """The class.

        :raises ImportError, AttributeError: it is not there.
        """
        found: Any = self._module()
        for name in self.qualname.split("."):
            found = getattr(found, name)
        return found

    def _module(self) -> Any:
        if self.module != "__main__":
            try:
                return importlib.import_module(self.module)
            except ModuleNotFoundError as error:
                if self.file is None or error.name is None or not f"{self.module}.".startswith(f"{error.name}."):
                    raise
        name = _STAND_IN if self.module == "__main__" else self.module
        if name in sys.modules:
            return sys.modules[name]
        spec = importlib.util.spec_from_file_location(name, str(self.file))
        if spec is None or spec.loader is None:
            raise ImportError(f"{self.file} is no module")
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module


@dataclass(frozen=True)
class Question:
    """A recorded run and its history."""

    workflows: list[Importable]
    workflow_id: str
    events: bytes
    recording: Recording
    converter: PayloadConverter | None


@dataclass(frozen=True)
class Answer:
    """One of them, or none: nothing differs."""

    difference: Difference | None = None
    unusable: str = ""
    """The workflow could not be imported."""
    failed: str = ""
    """The replay failed without a difference in the commands."""


def ask(question: Question) -> Answer:
    """Replays the history up to each of its completed workflow tasks, each time from its beginning."""
    try:
        workflows = [one.load() for one in question.workflows]
    except Exception as error:
        return Answer(unusable=f"{type(error).__name__}: {error}")
    replayer = Replayer(workflows=workflows, data_converter=question.converter)
    history = WorkflowHistory(question.workflow_id, list(_History.FromString(question.events).events))
    completed = {event.workflow_task_completed_event_attributes.started_event_id for event in history.events}
    for index, event in enumerate(history.events):
        if event.event_id not in completed:
            continue
        comparison = Comparison(question.recording)
        part = WorkflowHistory(question.workflow_id, history.events[: index + 1])
        failure = replayer._replay(part, recorder=comparison)
        comparison.finish()
        if comparison.difference is not None:
            return Answer(difference=comparison.difference)
        if failure is not None:
            return Answer(failed=str(failure))
    return Answer()


def main(question: str, answer: str) -> None:
    """Reads the question, writes the answer."""
    with Path(question).open("rb") as file:
        # The converter may be a class of the author's: the path is needed to read the rest.
        sys.path[:] = pickle.load(file)
        asked: Question = pickle.load(file)
    Path(answer).write_bytes(pickle.dumps(ask(asked)))
