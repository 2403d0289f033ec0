"""One source file: its workflows, and what they can reach in it."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

from .names import Names, imports_in, walk_scope

__all__ = ["ClassInfo", "Module", "is_api", "is_mutable"]

_CONTAINERS = {"list", "dict", "set", "bytearray"} | {
    f"collections.{name}" for name in ("defaultdict", "deque", "Counter", "OrderedDict", "ChainMap")
}
_COUNTERS = {"itertools.count", "itertools.cycle", "iter"}


def is_api(dotted: str | None, *names: str) -> bool:
    """Whether a dotted name is one of these functions of `durable_anyio.workflow` or `activity`, also when another module hands it on."""
    if dotted is None or dotted.startswith("temporalio."):
        return False
    return any(dotted == name or dotted.endswith(f".{name}") for name in names)


def is_mutable(value: ast.AST | None, names: Names) -> bool:
    """Whether an expression makes something that can be changed later."""
    if isinstance(value, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp):
        return True
    return isinstance(value, ast.Call) and names.dotted(value.func) in _CONTAINERS | _COUNTERS


@dataclass
class ClassInfo:
    """What the checker knows of a class."""

    node: ast.ClassDef
    methods: dict[str, ast.FunctionDef | ast.AsyncFunctionDef] = field(default_factory=dict)
    attributes: dict[str, ast.expr] = field(default_factory=dict)
    """Assigned in the class's body."""
    of_instances: set[str] = field(default_factory=set)
    """Assigned to `self` in a method."""
    sets: dict[str, bool] | None = None
    """Which attributes of the instances are sets; filled in by `Sets` when first asked for."""

    @classmethod
    def of(cls, node: ast.ClassDef) -> ClassInfo:
        info = cls(node)
        for statement in node.body:
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
                info.methods[statement.name] = statement
                info._note_instance_attributes(statement)
            for name, value in _assignments(statement):
                info.attributes[name] = value
        return info

    def _note_instance_attributes(self, method: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for node in ast.walk(method):
            if not (isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)):
                continue
            if isinstance(node.value, ast.Name) and node.value.id == "self":
                self.of_instances.add(node.attr)


def _assignments(statement: ast.AST) -> list[tuple[str, ast.expr]]:
    """The plain names that a statement assigns, with their values."""
    if isinstance(statement, ast.Assign):
        return [(target.id, statement.value) for target in statement.targets if isinstance(target, ast.Name)]
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value is not None:
        return [(statement.target.id, statement.value)]
    return []


class Module:
    """A parsed file."""

    def __init__(self, path: str, tree: ast.Module, package: str) -> None:
        self.path = path
        self.package = package
        self.functions: dict[str, ast.FunctionDef | ast.AsyncFunctionDef] = {}
        self.classes: dict[str, ClassInfo] = {}
        self.values: dict[str, ast.expr] = {}
        bound: set[str] = set()
        for node in walk_scope(tree.body):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                self.functions[node.name] = node
                bound.add(node.name)
            elif isinstance(node, ast.ClassDef):
                self.classes[node.name] = ClassInfo.of(node)
                bound.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                bound.add(node.id)
            for name, value in _assignments(node):
                self.values[name] = value
        everywhere = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
        at_top = {info.node: info for info in self.classes.values()}
        self._all_classes = [at_top.get(node) or ClassInfo.of(node) for node in everywhere]
        self._imports = imports_in(tree.body, package)
        self._bound = bound

    def names(self) -> Names:
        """Fresh scopes with this module as the outermost."""
        return Names(self._imports, self._bound, self.package)

    def workflows(self) -> list[ClassInfo]:
        """The classes decorated with `@workflow.defn`, also those made inside functions."""
        names = self.names()
        return [info for info in self._all_classes if has_decorator(info.node, names, "workflow.defn")]

    def bases(self, info: ClassInfo) -> list[ClassInfo]:
        """A class and its bases that this module has, nearest first."""
        found: list[ClassInfo] = []
        pending = [info]
        while pending:
            current = pending.pop(0)
            if current not in found:
                found.append(current)
                pending += [self.classes[base.id] for base in current.node.bases if isinstance(base, ast.Name) and base.id in self.classes]
        return found


def has_decorator(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, names: Names, *api: str) -> bool:
    """Whether a definition is decorated with one of these."""
    decorators = [item.func if isinstance(item, ast.Call) else item for item in node.decorator_list]
    return any(is_api(names.dotted(item), *api) for item in decorators)
