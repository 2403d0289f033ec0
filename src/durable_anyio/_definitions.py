"""What the decorators leave behind: names, signatures and types of workflows, their handlers and activities.

The client checks arguments against these before anything is stored; the worker decodes payloads with them.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from typing import Any

from .common import Priority, RetryPolicy

__all__ = [
    "ActivityDefinition",
    "ActivityOptions",
    "HandlerDefinition",
    "WorkflowDefinition",
    "WorkflowHandlers",
    "activity_call",
    "activity_definition",
    "caller_locals",
    "check_arguments",
    "query_name",
    "signal_name",
    "update_name",
    "workflow_definition",
]

WORKFLOW = "__durable_workflow__"
RUN = "__durable_run__"
SIGNAL = "__durable_signal__"
QUERY = "__durable_query__"
UPDATE = "__durable_update__"
INIT = "__durable_init__"
LOCALS = "__durable_locals__"
ACTIVITY = "__durable_activity__"


def caller_locals(depth: int) -> dict[str, Any]:
    """The local names `depth` frames above the caller: annotations of nested classes and functions may need them."""
    frame = sys._getframe(depth + 1)
    return dict(frame.f_locals) if frame.f_locals is not frame.f_globals else {}


class HandlerDefinition:
    """A function with its name on the wire, its parameters and their types (resolved at first use)."""

    def __init__(
        self,
        name: str,
        fn: Callable[..., Any],
        *,
        skips_self: bool,
        local_names: dict[str, Any] | None = None,
        dynamic: bool = False,
    ) -> None:
        self.name = name
        self.fn = fn
        self.dynamic = dynamic
        self.validator: Callable[..., Any] | None = None
        self.is_async = inspect.iscoroutinefunction(fn)
        self.parameters = [*inspect.signature(fn).parameters.values()][1 if skips_self else 0 :]
        self._local_names = local_names or {}
        for parameter in self.parameters:
            needed = parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty
            if needed or parameter.kind is parameter.VAR_KEYWORD:
                raise TypeError(
                    f"{self.label} takes the keyword argument {parameter.name!r}, but arguments travel by position\n"
                    "hint: make it positional, or put the options into a dataclass"
                )

    @cached_property
    def label(self) -> str:
        """The function's name as its author knows it, without the places it is nested in."""
        return str(self.fn.__qualname__).rsplit("<locals>.", 1)[-1]

    @cached_property
    def hints(self) -> dict[str, Any]:
        """The resolved annotations. :raises TypeError: when one names something that cannot be found."""
        try:
            return typing.get_type_hints(self.fn, localns=self._local_names or None, include_extras=True)
        except NameError as error:
            raise TypeError(
                f"an annotation of {self.label} cannot be resolved: {error}\nhint: define the type at the module's top level"
            ) from error

    @property
    def return_type(self) -> Any | None:
        return self.hints.get("return")

    @cached_property
    def arg_types(self) -> list[Any | None]:
        """The type of each positional parameter, None where it has no annotation."""
        return [self.hints.get(parameter.name) for parameter in self.parameters if parameter.kind in _POSITIONAL]

    @cached_property
    def arity(self) -> tuple[list[inspect.Parameter], int, bool]:
        """The positional parameters, how many of them need an argument, and whether more arguments are taken."""
        positional = [parameter for parameter in self.parameters if parameter.kind in _POSITIONAL]
        least = sum(parameter.default is parameter.empty for parameter in positional)
        return positional, least, any(parameter.kind is parameter.VAR_POSITIONAL for parameter in self.parameters)

    def types_for(self, count: int) -> list[Any | None]:
        """The types with which `count` payloads are decoded."""
        if count == len(self.arg_types):
            return self.arg_types
        known = self.arg_types[:count]
        rest = next((p for p in self.parameters if p.kind is p.VAR_POSITIONAL), None)
        filler = self.hints.get(rest.name) if rest else None
        return known + [filler] * (count - len(known))

    @property
    def signature_text(self) -> str:
        positional = [str(parameter) for parameter in self.parameters if parameter.kind is not parameter.KEYWORD_ONLY]
        return ", ".join(positional)


_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclasses.dataclass(frozen=True)
class WorkflowHandlers:
    """The handlers of one kind: by name, and the one for every other name."""

    named: dict[str, HandlerDefinition] = dataclasses.field(default_factory=dict)
    dynamic: HandlerDefinition | None = None


@dataclasses.dataclass(frozen=True)
class WorkflowDefinition:
    """A decorated workflow class."""

    name: str
    cls: type
    run: HandlerDefinition
    signals: WorkflowHandlers
    queries: WorkflowHandlers
    updates: WorkflowHandlers
    init_takes_arguments: bool = False
    failure_exception_types: tuple[type[BaseException], ...] | None = None

    @property
    def arg_types(self) -> list[Any | None]:
        return self.run.arg_types

    @property
    def return_type(self) -> Any | None:
        return self.run.return_type


@dataclasses.dataclass(frozen=True)
class ActivityOptions:
    """The options with which a direct call of an activity schedules it. None: the service's default."""

    activity_id: str | None = None
    task_queue: str | None = None
    schedule_to_close_timeout: timedelta | None = None
    schedule_to_start_timeout: timedelta | None = None
    start_to_close_timeout: timedelta | None = None
    heartbeat_timeout: timedelta | None = None
    retry_policy: RetryPolicy | None = None
    cancellation_type: Any = None
    summary: str | None = None
    priority: Priority | None = None
    disable_eager_execution: bool | None = None

    def merged(self, other: ActivityOptions) -> ActivityOptions:
        """These options, overridden by those that `other` sets."""
        changes = {f.name: value for f in dataclasses.fields(other) if (value := getattr(other, f.name)) is not None}
        return dataclasses.replace(self, **changes)


@dataclasses.dataclass(frozen=True)
class ActivityDefinition:
    """A decorated activity function."""

    name: str
    handler: HandlerDefinition
    options: ActivityOptions = ActivityOptions()

    @property
    def fn(self) -> Callable[..., Any]:
        return self.handler.fn

    @property
    def arg_types(self) -> list[Any | None]:
        return self.handler.arg_types

    @property
    def return_type(self) -> Any | None:
        return self.handler.return_type


def workflow_definition(obj: Any) -> tuple[str, WorkflowDefinition | None]:
    """The type name and, when known, the definition for a workflow class, its `run` method or a plain name.

    :raises TypeError: for anything else; the message says which decorator is missing.
    """
    if isinstance(obj, str):
        return obj, None
    found = obj.__dict__.get(WORKFLOW) if isinstance(obj, type) else getattr(obj, WORKFLOW, None)
    if isinstance(found, WorkflowDefinition):
        return found.name, found
    what = getattr(obj, "__qualname__", repr(obj))
    raise TypeError(f"{what} is no workflow\nhint: pass the `run` method of a class decorated with @workflow.defn, or its type name")


def signal_name(obj: Any) -> str:
    """The name of a signal, given as a name or as a method decorated with `@workflow.signal`."""
    return _handler_name(obj, SIGNAL, "signal")


def query_name(obj: Any) -> str:
    """The name of a query, given as a name or as a method decorated with `@workflow.query`."""
    return _handler_name(obj, QUERY, "query")


def update_name(obj: Any) -> str:
    """The name of an update, given as a name or as a method decorated with `@workflow.update`."""
    return _handler_name(obj, UPDATE, "update")


def _handler_name(obj: Any, attribute: str, kind: str) -> str:
    if isinstance(obj, str):
        return obj
    found = getattr(obj, attribute, None)
    if isinstance(found, HandlerDefinition):
        if found.dynamic:
            raise TypeError(f"{found.label} is a dynamic {kind}\nhint: pass the name of the {kind} as a string")
        return found.name
    what = getattr(obj, "__qualname__", repr(obj))
    raise TypeError(f"{what} is no {kind}\nhint: decorate the method with @workflow.{kind}, or pass its name")


def activity_definition(obj: Any) -> ActivityDefinition | None:
    """The definition behind a decorated activity (function, method, bound method), None for anything else."""
    found = getattr(obj, "definition", None)
    return found if isinstance(found, ActivityDefinition) else None


def activity_call(
    activity: Any, args: Sequence[Any], options: Mapping[str, Any], result_type: Any | None
) -> tuple[str, ActivityOptions, Any | None]:
    """The name of an activity that is called, the options with its own as defaults, and the type of its result.

    :raises TypeError: it is no activity, or the arguments do not fit it.
    """
    given = ActivityOptions(**options)
    if isinstance(activity, str):
        return activity, given, result_type
    definition = activity_definition(activity)
    if definition is None:
        what = getattr(activity, "__qualname__", repr(activity))
        raise TypeError(f"{what} is no activity\nhint: decorate it with @activity.defn, pass its name, or call it with workflow.step")
    check_arguments(definition, args)
    return definition.name, definition.options.merged(given), result_type or definition.handler.return_type


def _handler_of(target: Any) -> HandlerDefinition | None:
    if isinstance(target, HandlerDefinition):
        return target
    if isinstance(target, WorkflowDefinition):
        return target.run
    if isinstance(target, ActivityDefinition):
        return target.handler
    for attribute in (SIGNAL, QUERY, UPDATE, WORKFLOW, "definition"):
        found = getattr(target, attribute, None)
        if found is not None and found is not target:
            return _handler_of(found)
    return None


def check_arguments(target: Any, args: Sequence[Any]) -> None:
    """Checks number and types of arguments against a definition or a decorated function; unknown targets pass.

    Types are checked as far as that is cheap: containers are looked into, a value's own fields are not.

    :raises TypeError: naming the function, its parameters and what was given.
    """
    handler = _handler_of(target)
    if handler is None:
        return
    positional, least, open_ended = handler.arity
    if len(args) < least or (len(args) > len(positional) and not open_ended):
        most = len(positional)
        wanted = f"at least {least}" if open_ended else str(least) if least == most else f"{least} to {most}"
        noun = "argument" if wanted.endswith("1") else "arguments"
        given = ", ".join(type(value).__name__ for value in args)
        listed = f" ({handler.signature_text})" if handler.parameters else ""
        raise TypeError(f"{handler.label} takes {wanted} {noun}{listed}, got {len(args)}" + (f" ({given})" if given else ""))
    for index, (value, hint) in enumerate(zip(args, handler.types_for(len(args)), strict=True)):
        if hint is not None and not _fits(value, hint, 0):
            name = positional[index].name if index < len(positional) else f"#{index + 1}"
            raise TypeError(f"{handler.label}: the argument {name!r} must be {_type_text(hint)}, got {type(value).__name__}")


# Deeper values are the converter's business: it names the path of what it refuses.
_CHECK_DEPTH = 4


def _fits(value: Any, hint: Any, depth: int) -> bool:
    if hint is Any or depth > _CHECK_DEPTH or isinstance(hint, typing.TypeVar | str):
        return True
    if hint is None or hint is type(None):
        return value is None
    if isinstance(hint, typing.NewType):
        return _fits(value, hint.__supertype__, depth)
    origin, parameters = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, member, depth) for member in parameters)
    if origin is typing.Literal:
        return value in parameters
    if origin in (typing.Annotated, typing.Final, typing.ClassVar):
        return _fits(value, parameters[0], depth)
    if typing.is_typeddict(hint):
        return isinstance(value, dict)
    kind = origin or hint
    if not isinstance(kind, type):
        return True
    if kind is float:
        return isinstance(value, int | float)
    try:
        if not isinstance(value, kind):
            return False
    except TypeError:  # a Protocol that is not runtime-checkable
        return True
    return _members_fit(value, parameters, depth + 1)


def _members_fit(value: Any, parameters: tuple[Any, ...], depth: int) -> bool:
    if not parameters:
        return True
    if isinstance(value, dict):
        keys, values = (*parameters, Any)[:2]
        return all(_fits(key, keys, depth) and _fits(item, values, depth) for key, item in value.items())
    if isinstance(value, tuple) and not (len(parameters) == 2 and parameters[1] is Ellipsis):
        return len(value) == len(parameters) and all(_fits(item, hint, depth) for item, hint in zip(value, parameters, strict=True))
    if isinstance(value, list | set | frozenset | tuple):
        return all(_fits(item, parameters[0], depth) for item in value)
    return True


def _type_text(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint).replace("typing.", "")
