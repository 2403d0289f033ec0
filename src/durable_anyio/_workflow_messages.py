"""Signals and updates of one run: which handler takes which message, the tasks they run in, and the answers to updates.

Handlers are tasks beside `run`, in the order in which the messages came. A signal without a handler is kept until one is set; an
update without a handler is rejected, because its caller waits.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextvars import copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import _commands
from ._backend import ForbiddenCallError, Task
from ._definitions import HandlerDefinition, WorkflowHandlers, check_arguments
from ._failure import failure_to_tell
from ._workflow_outcome import SuspendError, check_failing
from ._workflow_runtime import CURRENT_UPDATE, UpdateInfo
from .exceptions import ApplicationError, DataConversionError, NondeterminismError

if TYPE_CHECKING:
    from ._workflow_instance import WorkflowInstance

__all__ = ["Handlers", "Messages"]

_log = logging.getLogger("durable_anyio.workflow")


class Handlers:
    """The handlers of one kind: those of the class, and those that the run sets. None is the name of the dynamic one."""

    # An idle run has three of these: what it sets itself is made when it does.
    __slots__ = ("_defined", "_own", "kind")

    def __init__(self, kind: str, defined: WorkflowHandlers) -> None:
        self.kind = kind
        self._defined = defined
        self._own: dict[str | None, HandlerDefinition | None] | None = None

    def set(self, name: str | None, definition: HandlerDefinition | None) -> None:
        """Sets or, with None, takes away a handler; what is set is no method of the workflow's class."""
        if self._own is None:
            self._own = {}
        self._own[name] = definition

    def clear(self) -> None:
        """Takes all handlers away that the run set."""
        self._own = None

    def _get(self, name: str | None) -> tuple[HandlerDefinition, bool] | None:
        """The handler and whether it is a method of the class."""
        if self._own is not None and name in self._own:
            own = self._own[name]
            return None if own is None else (own, False)
        defined = self._defined.dynamic if name is None else self._defined.named.get(name)
        return None if defined is None else (defined, True)

    def find(self, name: str, instance: WorkflowInstance) -> BoundHandler | None:
        """The handler of `name`, else the dynamic one."""
        found = self._get(name) or self._get(None)
        if found is None:
            return None
        definition, is_method = found
        return BoundHandler(self.kind, name, definition, instance, is_method)

    def definitions(self) -> list[tuple[str, HandlerDefinition]]:
        """The handlers by their names; the dynamic one, whose name is empty, first."""
        names = {None, *self._defined.named, *(self._own or {})}
        found = [(name or "", self._get(name)) for name in names]
        return sorted(((name, handler[0]) for name, handler in found if handler is not None), key=lambda item: item[0])

    @property
    def names(self) -> str:
        """The names, for messages."""
        names = {*self._defined.named, *(self._own or {})}
        return ", ".join(sorted(name for name in names if name is not None and self._get(name))) or "none"


@dataclass(frozen=True)
class BoundHandler:
    """A handler with what it is called for and on."""

    kind: str
    name: str
    definition: HandlerDefinition
    instance: WorkflowInstance
    is_method: bool

    @property
    def label(self) -> str:
        return self.definition.label

    def decode(self, payloads: Sequence[Any]) -> list[Any]:
        """The arguments. :raises DataConversionError, TypeError: they do not fit."""
        handler, converter = self.definition, self.instance.converter
        before: list[Any] = [self.name] if handler.dynamic else []
        types = handler.types_for(len(payloads) + len(before))[len(before) :]
        try:
            arguments = before + converter.from_payloads(payloads, types)
        except DataConversionError as error:
            label = f"the arguments of the {self.kind} {handler.label}"
            raise error.at(label) from error
        check_arguments(handler, arguments)
        return arguments

    def call(self, arguments: Sequence[Any]) -> Any:
        """Calls the handler; what it returns may have to be awaited."""
        return self.definition.fn(*self._with_self(arguments))

    def validate(self, arguments: Sequence[Any]) -> None:
        """Calls the validator, if there is one."""
        if self.definition.validator is not None:
            self.definition.validator(*self._with_self(arguments))

    def _with_self(self, arguments: Sequence[Any]) -> Sequence[Any]:
        return (self.instance.object, *arguments) if self.is_method else arguments


class Messages:
    """What came for one run, and what runs because of it."""

    __slots__ = ("_emit", "_instance", "_running", "_waiting_signals", "queries", "signals", "updates")

    def __init__(self, instance: WorkflowInstance, emit: Callable[[Any], None]) -> None:
        self._instance = instance
        self._emit = emit
        self.signals = Handlers("signal", instance.definition.signals)
        self.queries = Handlers("query", instance.definition.queries)
        self.updates = Handlers("update", instance.definition.updates)
        self._running: list[tuple[str, Task]] = []
        self._waiting_signals: list[Any] = []

    def deliver(self, variant: str, job: Any) -> None:
        """Takes one message of an activation.

        :raises DataConversionError, TypeError: a signal's arguments do not fit its handler.
        """
        if variant == "signal_workflow":
            self._signal(job)
        else:
            self._spawn(f"update {job.name}", self._update, job, UpdateInfo(job.id, job.name))

    def handlers_changed(self) -> None:
        """A handler was set: signals that waited for it are delivered now, in the order in which they came."""
        waiting, self._waiting_signals = self._waiting_signals, []
        for signal in waiting:
            self._signal(signal, is_new=False)

    @property
    def all_finished(self) -> bool:
        return all(task.done for _, task in self._running)

    def take_ended(self) -> list[Task]:
        """The handlers that ended since the last call, in the order in which they began."""
        ended = [task for _, task in self._running if task.done]
        self._running = [(label, task) for label, task in self._running if not task.done]
        return ended

    def forget(self) -> None:
        """The run has ended: what its handlers raised is kept no longer."""
        for _, task in self._running:
            task.forget_outcome()
        self._running.clear()
        self._waiting_signals.clear()

    def release(self) -> None:
        """Lets go of the run, and of handlers that are methods of its object."""
        self.forget()
        for handlers in (self.signals, self.queries, self.updates):
            handlers.clear()
        del self._instance, self._emit

    @property
    def unfinished(self) -> list[str]:
        """Which handlers run."""
        return [label for label, task in self._running if not task.done]

    # -- signals

    def _signal(self, signal: Any, *, is_new: bool = True) -> None:
        instance = self._instance
        handler = self.signals.find(signal.signal_name, instance)
        if handler is None:
            self._waiting_signals.append(signal)
            if is_new and not instance.is_replaying:
                _log.warning(
                    "workflow %s (%s) keeps the signal %r, for which it has no handler; it has: %s",
                    instance.info.workflow_id, instance.info.workflow_type, signal.signal_name, self.signals.names,
                )  # fmt: skip
            return
        self._spawn(handler.label, _handle_signal, handler, handler.decode(signal.input))

    # -- updates

    async def _update(self, job: Any, info: UpdateInfo) -> None:
        try:
            handler, arguments = self._accept(job)
        except _Refused:
            return
        self._emit(_commands.update_accepted(job.protocol_instance_id))
        try:
            result = handler.call(arguments)
            if handler.definition.is_async:
                result = await result
        except Exception as error:
            self._fail_update(job, error)
        else:
            self._complete_update(job, handler, result)

    def _accept(self, job: Any) -> tuple[BoundHandler, list[Any]]:
        """Finds and validates. :raises _Refused: the update is rejected, or the step is spoiled."""
        try:
            handler = self.updates.find(job.name, self._instance)
            if handler is None:
                raise ApplicationError(
                    f"the workflow {self._instance.definition.name} has no update {job.name!r}; it has: {self.updates.names}",
                    type="UnknownUpdate",
                )
            arguments = handler.decode(job.input)
            if job.run_validator:
                self._validate(handler, arguments)
        except Exception as error:
            if not job.run_validator:
                text = f"the history has the update {job.name!r}, which the code cannot handle any more: {error}"
                self._suspend(NondeterminismError(text))
            elif isinstance(error, ForbiddenCallError):
                self._suspend(error)
            else:
                self._emit(_commands.update_rejected(job.protocol_instance_id, self._failure(error)))
            raise _Refused from error
        return handler, arguments

    def _validate(self, handler: BoundHandler, arguments: Sequence[Any]) -> None:
        scheduler = self._instance.scheduler
        scheduler.read_only = True
        try:
            # In a context of its own: what it sets there would be missing in a replay, which does not validate.
            copy_context().run(handler.validate, arguments)
        finally:
            scheduler.read_only = False

    def _fail_update(self, job: Any, error: Exception) -> None:
        try:
            check_failing(self._instance.definition, error)
        except SuspendError as suspend:
            self._suspend(suspend.reason)
            return
        self._emit(_commands.update_rejected(job.protocol_instance_id, self._failure(error)))

    def _complete_update(self, job: Any, handler: BoundHandler, result: Any) -> None:
        try:
            payload = self._instance.converter.to_payloads([result])[0]
        except DataConversionError as error:
            where = f"the result of {handler.label}"
            self._suspend(error.at(where))
            return
        self._emit(_commands.update_completed(job.protocol_instance_id, payload))

    def _failure(self, error: BaseException) -> Any:
        return failure_to_tell(error, self._instance.converter)

    def _suspend(self, reason: BaseException) -> None:
        scheduler = self._instance.scheduler
        scheduler.poison = scheduler.poison or reason

    def _spawn(self, label: str, func: Callable[..., Any], *args: Any) -> None:
        context = self._instance.scheduler.context.copy()
        if isinstance(args[-1], UpdateInfo):
            context.run(CURRENT_UPDATE.set, args[-1])
        self._running.append((label, self._instance.scheduler.spawn(func, args, name=label, context=context)))


class _Refused(Exception):
    """An update does not go on; why is said already."""


async def _handle_signal(handler: BoundHandler, arguments: Sequence[Any]) -> None:
    result = handler.call(arguments)
    if handler.definition.is_async:
        await result
