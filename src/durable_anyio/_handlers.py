"""The decorators of a workflow's handlers: signals, queries, updates, and the `__init__` that takes the arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, overload

from ._definitions import INIT, QUERY, SIGNAL, UPDATE, HandlerDefinition, WorkflowHandlers, caller_locals

__all__ = ["UpdateMethod", "check_init", "collect", "init", "query", "signal", "update"]

F = TypeVar("F", bound=Callable[..., Any])
S = TypeVar("S")
P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
T = TypeVar("T")


class UpdateMethod(Generic[S, P, R]):
    """A method decorated with `@workflow.update`: called on an instance it is the plain method."""

    def __init__(self, definition: HandlerDefinition) -> None:
        self.fn: Callable[..., Any] = definition.fn
        self.__doc__ = definition.fn.__doc__
        self.__name__ = definition.fn.__name__
        self.__qualname__ = definition.fn.__qualname__
        setattr(self, UPDATE, definition)

    def __call__(self, instance: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        result: R = self.fn(instance, *args, **kwargs)
        return result

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> UpdateMethod[S, P, R]: ...
    @overload
    def __get__(self, instance: object, owner: type | None = None) -> Callable[P, R]: ...
    def __get__(self, instance: object | None, owner: type | None = None) -> Any:
        return self if instance is None else self.fn.__get__(instance, owner)

    def validator(self, fn: Callable[Concatenate[S, P], None]) -> Callable[Concatenate[S, P], None]:
        """Marks the method that may refuse an update before it is accepted: by raising. It gets the same arguments, reads the workflow's
        state and changes nothing. A refused update leaves no trace in the history. A replay does not call it again."""
        definition: HandlerDefinition = getattr(self, UPDATE)
        if inspect.iscoroutinefunction(fn):
            raise TypeError(f"the validator {fn.__qualname__} is `async def`\nhint: a validator answers at once; make it a plain `def`")
        if definition.validator is not None:
            raise TypeError(f"the update {definition.label} has a validator already: {definition.validator.__qualname__}")
        taken, given = list(inspect.signature(fn).parameters.values())[1:], definition.parameters
        if [parameter.kind for parameter in taken] != [parameter.kind for parameter in given]:
            raise TypeError(
                f"the validator {fn.__qualname__} takes other arguments than its update {definition.label} ({definition.signature_text})"
            )
        definition.validator = fn
        return fn


class _UpdateDecorator(Protocol):
    def __call__(self, fn: Callable[Concatenate[S, P], R], /) -> UpdateMethod[S, P, R]: ...


@overload
def signal(fn: F, /) -> F: ...
@overload
def signal(*, name: str | None = None, dynamic: bool = False) -> Callable[[F], F]: ...
def signal(fn: Any = None, /, *, name: str | None = None, dynamic: bool = False) -> Any:
    """Marks a method, `def` or `async def`, that handles signals of its name. Each signal is a task of its own beside `run`.

    :param dynamic: handle every signal that has no handler of its own; the method takes the signal's name, then `*args`.
    """
    return _decorate(SIGNAL, fn, name, dynamic)


@overload
def query(fn: F, /) -> F: ...
@overload
def query(*, name: str | None = None, dynamic: bool = False) -> Callable[[F], F]: ...
def query(fn: Any = None, /, *, name: str | None = None, dynamic: bool = False) -> Any:
    """Marks a plain `def` method that answers queries of its name. It reads the workflow's state and changes nothing.

    :param dynamic: answer every query that has no handler of its own; the method takes the query's name, then `*args`.
    """
    return _decorate(QUERY, fn, name, dynamic)


@overload
def update(fn: Callable[Concatenate[S, P], R], /) -> UpdateMethod[S, P, R]: ...
@overload
def update(*, name: str | None = None, dynamic: bool = False) -> _UpdateDecorator: ...
def update(fn: Any = None, /, *, name: str | None = None, dynamic: bool = False) -> Any:
    """Marks a method, `def` or `async def`, that handles updates of its name: its caller waits for what it returns or raises.

    Each update is a task of its own beside `run`. What it raises goes to its caller and does not fail the workflow.

    :param dynamic: handle every update that has no handler of its own; the method takes the update's name, then `*args`.
    """
    return _decorate(UPDATE, fn, name, dynamic)


def _decorate(kind: str, fn: Any, name: str | None, dynamic: bool) -> Any:
    local_names = caller_locals(2)

    def decorate(decorated: Any) -> Any:
        definition = make_handler(kind, name, decorated, dynamic=dynamic, skips_self=True, local_names=local_names)
        if kind == UPDATE:
            return UpdateMethod(definition)
        setattr(decorated, kind, definition)
        return decorated

    return decorate if fn is None else decorate(fn)


def make_handler(
    kind: str, name: str | None, fn: Any, *, dynamic: bool, skips_self: bool, local_names: dict[str, Any] | None = None
) -> HandlerDefinition:
    """The definition of a handler, checked.

    :raises TypeError: it cannot handle what it is for; the message says why.
    """
    if not hasattr(fn, "__qualname__"):
        raise TypeError(f"{fn!r} cannot be a handler\nhint: pass a function or a method")
    if kind == QUERY and inspect.iscoroutinefunction(fn):
        raise TypeError(f"the query {fn.__qualname__} is `async def`\nhint: a query answers at once; make it a plain `def`")
    definition = HandlerDefinition(name or fn.__name__, fn, skips_self=skips_self, local_names=local_names, dynamic=dynamic)
    if dynamic:
        if name is not None:
            raise TypeError(f"the dynamic handler {definition.label} has the name {name!r}\nhint: a dynamic handler has no name of its own")
        kinds = [parameter.kind for parameter in definition.parameters]
        if len(kinds) < 2 or kinds[-1] is not inspect.Parameter.VAR_POSITIONAL:
            raise TypeError(
                f"the dynamic handler {definition.label} must take a name and then any arguments\nhint: (name: str, *args: Any)"
            )
    return definition


def init(fn: F) -> F:
    """Marks an `__init__` that takes the arguments of the workflow: they are known before any signal or update is handled."""
    if getattr(fn, "__name__", "") != "__init__":
        raise TypeError(f"@workflow.init decorates `__init__`, not {fn!r}")
    setattr(fn, INIT, True)
    return fn


def collect(cls: type, members: Iterable[Any], kind: str) -> WorkflowHandlers:
    """The handlers of one kind of a workflow class.

    :raises TypeError: two have one name.
    """
    named: dict[str, HandlerDefinition] = {}
    dynamic: HandlerDefinition | None = None
    for member in members:
        handler = getattr(member, kind, None)
        if not isinstance(handler, HandlerDefinition):
            continue
        if handler.dynamic:
            if dynamic is not None:
                raise TypeError(f"{cls.__qualname__} has two dynamic handlers of one kind: {dynamic.label} and {handler.label}")
            dynamic = handler
        elif handler.name in named:
            both = f"{named[handler.name].label} and {handler.label}"
            raise TypeError(f"{cls.__qualname__} has two handlers named {handler.name!r}: {both}")
        else:
            named[handler.name] = handler
    return WorkflowHandlers(named, dynamic)


def check_init(cls: type, run: HandlerDefinition) -> bool:
    """Whether the class's `__init__` takes the arguments of `run`.

    :raises TypeError: it says so, and takes others.
    """
    method: Any = cls.__dict__.get("__init__")
    if not getattr(method, INIT, False):
        return False
    taken = list(inspect.signature(method).parameters.values())[1:]
    if [(parameter.kind, parameter.annotation) for parameter in taken] != [(p.kind, p.annotation) for p in run.parameters]:
        raise TypeError(
            f"{cls.__qualname__}.__init__ is marked with @workflow.init, but takes other arguments than {run.label} ({run.signature_text})"
        )
    return True
