"""State that several runs of a process share: who holds it, and who changed it.

A primitive that is made while no event loop runs is a proxy of AnyIO's, which binds to the first run that uses it. What is held by a module
or a class is such a proxy, a stream or a cache; each is named as the mistake it is, with the place where it stands.
"""

from __future__ import annotations

import linecache
import re
import sys
import types
import weakref
from collections.abc import Callable
from typing import Any

import anyio.functools
from anyio._core import _synchronization
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from ._task import LOCAL

_INTERNAL = ("_internal_event", "_internal_lock", "_internal_semaphore", "_internal_limiter")
# What every use of a proxy comes by.
_PROXIES = {
    "EventAdapter": ("_event", "set", "is_set"),
    "LockAdapter": ("_lock", "locked"),
    "SemaphoreAdapter": ("_semaphore", "value"),
    "CapacityLimiterAdapter": ("_limiter", "total_tokens"),
}
IN_INIT = "make it inside the workflow, in __init__ or run, not at module or class level"

# A class with more attributes, or a container with more items, is not compared: a test must not become slow by it.
MAX_COMPARED = 10_000


def holder_of(wanted: object) -> str | None:
    """Where a module or a class holds an object, or the proxy around it, as "module.NAME (file:line)"."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in sys.stdlib_module_names or not isinstance(module, types.ModuleType):
            continue
        for key, value in list(vars(module).items()):
            if _is_or_wraps(value, wanted):
                return _described(module, key, key)
            if isinstance(value, type) and value.__module__ == name:
                for attribute, member in list(vars(value).items()):
                    if _is_or_wraps(member, wanted):
                        return _described(module, f"{value.__qualname__}.{attribute}", attribute)
    return None


def _is_or_wraps(value: object, wanted: object) -> bool:
    if value is wanted:
        return True
    return type(value).__module__ == _synchronization.__name__ and any(getattr(value, name, None) is wanted for name in _INTERNAL)


def _described(module: types.ModuleType, path: str, name: str) -> str:
    file = getattr(module, "__file__", None)
    assigned = re.compile(rf"\s*(?:async\s+def\s+|def\s+)?[\w\s,]*\b{re.escape(name)}\b[\w\s,]*(?:=[^=]|:|\()")
    lines = linecache.getlines(file) if file else []
    place = next((f" ({file}:{number})" for number, line in enumerate(lines, 1) if assigned.match(line)), "")
    return f"{module.__name__}.{path}{place}"


def foreign_primitive(primitive: object, kind: str) -> str:
    """The text of the error for a primitive of another run."""
    holder = holder_of(primitive)
    named = f"the {kind} {holder}" if holder else f"this {kind}"
    used = "and is used in a second one" if LOCAL.scheduler is not None else "and is used outside of it"
    return f"{named} belongs to another workflow run, {used}: {IN_INIT}"


class SharedUse:
    """What test environments look at when it is used: proxies, streams and sized caches that the module or the class holds."""

    def __init__(self) -> None:
        self._streams: weakref.WeakKeyDictionary[Any, weakref.ref[Any]] = weakref.WeakKeyDictionary()
        self.watched: dict[int, tuple[types.CodeType, Callable[[types.FrameType], str | None]]] = {}
        """By the identity of a function's code: what tells from its frame what is wrong, or None."""
        for adapter, names in _PROXIES.items():
            for name in names:
                member = vars(getattr(_synchronization, adapter, object)).get(name)
                self._watch(getattr(member, "fget", member), self._proxy)
        for method in (MemoryObjectSendStream.send_nowait, MemoryObjectReceiveStream.receive_nowait):
            self._watch(method, self._stream)
        self._watch(anyio.functools.AsyncLRUCacheWrapper.__call__, self._cache)

    def _watch(self, function: Any, judge: Callable[[types.FrameType], str | None]) -> None:
        code = getattr(function, "__code__", None)
        if code is not None:
            self.watched[id(code)] = (code, judge)

    def _proxy(self, frame: types.FrameType) -> str | None:
        proxy = frame.f_locals.get("self")
        kind = type(proxy).__name__.removesuffix("Adapter")
        return f"the {kind} {holder_of(proxy) or 'of the module'} is shared by all runs of the process: {IN_INIT}"

    def _stream(self, frame: types.FrameType) -> str | None:
        stream = frame.f_locals.get("self")
        state = getattr(stream, "_state", None)
        if state is None:
            return None
        owner = self._streams.get(state)
        if owner is None:
            self._streams[state] = weakref.ref(LOCAL.scheduler)
            return None
        if owner() is LOCAL.scheduler:
            return None
        holder = holder_of(stream)
        return f"the memory object stream {holder + ' ' if holder else ''}is used by a second workflow run: {IN_INIT}"

    def _cache(self, frame: types.FrameType) -> str | None:
        wrapper: Any = frame.f_locals.get("self")
        function = wrapper.__wrapped__
        # Made inside a function it may be the run's own; without a size AnyIO keeps what it caches by run.
        if not wrapper._maxsize or "<locals>" in function.__qualname__:
            return None
        return (
            f"the cache of {function.__module__}.{function.__qualname__} has a size that all runs of the process share: "
            "use anyio.functools.cache, which has none, or keep a dict in the workflow"
        )


class ClassWatch:
    """Compares the attributes of a run's class, and of its bases, before and after a step."""

    def __init__(self, cls: type) -> None:
        self._classes = [base for base in cls.__mro__ if base.__module__.partition(".")[0] not in sys.stdlib_module_names]
        self._before: list[dict[str, Any]] = []

    def look(self) -> None:
        """Remember how the classes are."""
        self._before = [_attributes(cls) for cls in self._classes]

    def changed(self) -> str | None:
        """What a step changed, None if nothing."""
        before, self._before = self._before, []
        for cls, old in zip(self._classes, before, strict=False):
            new = _attributes(cls)
            names = [name for name in {**old, **new} if old.get(name, _MISSING) != new.get(name, _MISSING)]
            if names:
                listed = ", ".join(f"{cls.__qualname__}.{name}" for name in names)
                noun = "the class attribute" if len(names) == 1 else "the class attributes"
                verb = "was" if len(names) == 1 else "were"
                return f"{noun} {listed} {verb} changed in a step, which all runs of the process see: set attributes of self in __init__"
        return None


_MISSING = object()


def _attributes(cls: type) -> dict[str, Any]:
    """The attributes of a class by identity, containers with their items'. Python sets names with two underscores when it likes."""
    members = [(name, value) for name, value in vars(cls).items() if not name.startswith("__")]
    return {name: _identity(value) for name, value in members[:MAX_COMPARED]}


def _identity(value: Any) -> Any:
    if isinstance(value, list | set | dict) and len(value) <= MAX_COMPARED:
        items = [item for pair in value.items() for item in pair] if isinstance(value, dict) else value
        found = list(map(id, items))
        return (id(value), frozenset(found) if isinstance(value, set) else tuple(found))
    return id(value)
