"""What a workflow did, command by command, and where a second run of it does something else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from google.protobuf import text_format

from ._bridge import proto
from ._workflow_origins import describe_place, format_stack, waiting_stacks

__all__ = ["Command", "Comparison", "Difference", "Recorder", "Recording"]

_Command = proto.message("coresdk.workflow_commands.WorkflowCommand")
NO_COMMAND = "no command"
# A command may carry megabytes; what differs is shown with this much around it.
SHOWN_CHARACTERS = 300


@dataclass(frozen=True)
class Command:
    """One command: what it says, and the author's lines that led to it."""

    text: str
    source: str | None
    stack: str


@dataclass
class Recording:
    """The commands of one run. `counts` says how many there were up to a length of the history."""

    workflow_id: str
    workflow_type: str
    commands: list[Command] = field(default_factory=list)
    counts: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Difference:
    """The first command in which two runs differ. `history_length` is that of the workflow task that gave it."""

    workflow_type: str
    number: int
    history_length: int
    first: Command
    second: Command

    def texts(self) -> tuple[str, str]:
        """Both commands, cut down to where they differ."""
        first, second = self.first.text, self.second.text
        at = next((i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second)))
        return _around(first, at), _around(second, at)


class Recorder:
    """Takes down the runs of a worker: its `WorkflowHost` calls it with each completion."""

    def __init__(self) -> None:
        self.recordings: dict[str, Recording] = {}

    def __call__(self, instance: Any, activation: Any, completion: Any) -> None:
        recording = self.recordings.get(activation.run_id)
        if recording is None or any(job.HasField("initialize_workflow") for job in activation.jobs):
            recording = self.recordings[activation.run_id] = Recording(instance.info.workflow_id, instance.info.workflow_type)
        for command in completion.successful.commands:
            if not command.HasField("respond_to_query"):
                recording.commands.append(_describe(command, instance, len(recording.commands) + 1))
        recording.counts[activation.history_length] = len(recording.commands)


class Comparison:
    """Called like a recorder; compares a replay with a recording and keeps the first difference."""

    def __init__(self, first: Recording) -> None:
        self.difference: Difference | None = None
        self._first = first
        self._seen = 0
        self._waiting = ""
        self._length = 0

    def __call__(self, instance: Any, activation: Any, completion: Any) -> None:
        if self.difference is not None or any(job.HasField("remove_from_cache") for job in activation.jobs):
            return
        self._length = activation.history_length
        for command in completion.successful.commands:
            if command.HasField("respond_to_query"):
                continue
            self._seen += 1
            if self._differs(_describe(command, instance, self._seen)):
                return
        self._waiting = waiting_stacks(instance.scheduler)

    def finish(self) -> None:
        """The replay is over: commands that the recording has and the replay has not are a difference too."""
        if self.difference is None and self._first.counts.get(self._length, 0) > self._seen:
            self._seen += 1
            self._differs(Command(NO_COMMAND, None, self._waiting))

    def _differs(self, second: Command) -> bool:
        number = self._seen
        first = self._first.commands[number - 1] if number <= len(self._first.commands) else Command(NO_COMMAND, None, "")
        if first.text != second.text:
            self.difference = Difference(self._first.workflow_type, number, self._length, first, second)
        return self.difference is not None


def _describe(command: Any, instance: Any, number: int) -> Command:
    places = instance.origins.places(number)
    return Command(_text(command), describe_place(places[-1]) if places else None, format_stack(places))


def _text(command: Any) -> str:
    copy = _Command.FromString(command.SerializeToString())
    if copy.HasField("fail_workflow_execution"):
        _forget_traces(copy.fail_workflow_execution.failure)
    return str(text_format.MessageToString(copy, as_one_line=True, descriptor_pool=proto.pool))


def _forget_traces(failure: Any) -> None:
    """Tracebacks show the host's frames too, which are others in a replay."""
    failure.stack_trace = ""
    if failure.HasField("cause"):
        _forget_traces(failure.cause)


def _around(text: str, at: int) -> str:
    kind = text.partition(" ")[0]
    start = max(0, at - SHOWN_CHARACTERS // 2)
    end = start + SHOWN_CHARACTERS
    return (f"{kind} …" if start else "") + text[start:end] + ("…" if end < len(text) else "")
