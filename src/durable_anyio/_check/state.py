"""State that is not the run's own: module globals, class attributes, shared primitives, caches."""

from __future__ import annotations

import ast
from collections.abc import Callable

from .module import ClassInfo, Module, is_mutable
from .names import Function, Names, walk_scope

__all__ = ["CACHES", "SharedState", "is_primitive"]

CACHES = {"functools.lru_cache", "functools.cache", "anyio.functools.lru_cache", "anyio.functools.cache"}

_PRIMITIVES = {f"anyio.{name}" for name in ("Event", "Lock", "Condition", "Semaphore", "CapacityLimiter", "create_memory_object_stream")}
_HOST_PRIMITIVES = {
    *(f"asyncio.{name}" for name in ("Event", "Lock", "Condition", "Semaphore", "BoundedSemaphore", "Queue", "Barrier")),
    *(f"trio.{name}" for name in ("Event", "Lock", "Condition", "Semaphore", "CapacityLimiter", "open_memory_channel")),
}
_CHANGES = {
    "append", "extend", "insert", "remove", "pop", "clear", "sort", "reverse", "add", "discard", "update", "setdefault", "popitem",
    "appendleft", "popleft", "extendleft", "rotate", "subtract", "intersection_update", "difference_update", "symmetric_difference_update",
}  # fmt: skip

Report = Callable[[str, ast.AST, str], None]


def is_primitive(value: ast.AST, names: Names) -> str | None:
    """The name of the synchronization primitive that an expression makes; None for other expressions."""
    target = value.value if isinstance(value, ast.Subscript) else value
    if not isinstance(target, ast.Call):
        return None
    function = target.func.value if isinstance(target.func, ast.Subscript) else target.func
    dotted = names.dotted(function)
    return dotted if dotted in _PRIMITIVES | _HOST_PRIMITIVES else None


class SharedState:
    """Looks for changes of what other runs see too."""

    def __init__(self, module: Module, names: Names, owner: list[ClassInfo], report: Report) -> None:
        self._module = module
        self._names = names
        self._owner = owner
        self._report = report
        self._class_attributes: dict[str, ast.expr] = {}
        for info in reversed(owner):
            self._class_attributes.update(info.attributes)
        self._of_instances = {name for info in owner for name in info.of_instances}

    def check_globals(self, function: Function) -> None:
        """Find `global` names that a function assigns."""
        if isinstance(function, ast.Lambda):
            return
        nodes = list(walk_scope(function.body))
        stored = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del)}
        for node in nodes:
            if isinstance(node, ast.Global):
                for name in sorted(stored & set(node.names)):
                    self._report("global-write", node, f"the global {name} is assigned")

    def check_target(self, target: ast.AST) -> None:
        """Look at what an assignment or `del` changes."""
        if isinstance(target, ast.Tuple | ast.List):
            for element in target.elts:
                self.check_target(element)
        elif isinstance(target, ast.Starred):
            self.check_target(target.value)
        elif isinstance(target, ast.Attribute):
            self._check_attribute(target)
        elif isinstance(target, ast.Subscript):
            self._check_changed(target.value, target)

    def check_call(self, call: ast.Call) -> None:
        """Look at a call that may change what it is called on, or steps an iterator."""
        if isinstance(call.func, ast.Attribute) and call.func.attr in _CHANGES:
            self._check_changed(call.func.value, call)
        elif self._names.dotted(call.func) == "next" and call.args:
            self._check_changed(call.args[0], call)

    def _check_attribute(self, target: ast.Attribute) -> None:
        if self._is_class(target.value):
            self._report("class-attribute", target, f"the class attribute {ast.unparse(target)} is assigned")
        elif isinstance(target.value, ast.Name) and not self._names.is_local(target.value.id):
            self._report("global-write", target, f"{ast.unparse(target)} is assigned, and {target.value.id} is the module's")

    def _check_changed(self, container: ast.AST, node: ast.AST) -> None:
        if isinstance(container, ast.Name) and not self._names.is_local(container.id):
            if is_mutable(self._module.values.get(container.id), self._module.names()):
                self._report("global-write", node, f"the module's {container.id} is changed")
        elif isinstance(container, ast.Attribute):
            is_own = isinstance(container.value, ast.Name) and container.value.id == "self"
            value = self._class_attributes.get(container.attr)
            shared = is_own and container.attr not in self._of_instances and is_mutable(value, self._module.names())
            if shared or self._is_class(container.value):
                self._report("class-attribute", node, f"{ast.unparse(container)}, which the class holds, is changed")

    def _is_class(self, node: ast.AST) -> bool:
        if isinstance(node, ast.Name):
            return node.id in self._module.classes and not self._names.is_local(node.id)
        if isinstance(node, ast.Call):
            return self._names.dotted(node.func) == "type" and len(node.args) == 1
        return isinstance(node, ast.Attribute) and node.attr == "__class__"
