"""Which expressions are sets, and where their order would be used."""

from __future__ import annotations

import ast

from .module import ClassInfo
from .names import Function, Names, parameters, walk_scope

__all__ = ["ORDER_FREE", "Sets", "takes_order"]

ORDER_FREE = {"sorted", "set", "frozenset", "len", "sum", "min", "max", "any", "all"}
"""Functions whose result does not depend on the order of what they are given."""

_TAKES_ORDER = {"list", "tuple", "enumerate", "iter", "zip", "map", "filter", "reversed", "dict.fromkeys", "itertools.chain"}
_SET_TYPES = {"set", "frozenset", "Set", "FrozenSet", "AbstractSet", "MutableSet"}
_SET_METHODS = {"union", "intersection", "difference", "symmetric_difference", "copy"}


def takes_order(call: ast.Call, names: Names) -> bool:
    """Whether a call uses the order of the iterables that it is given."""
    if isinstance(call.func, ast.Attribute) and call.func.attr in ("join", "extend"):
        return True
    return names.dotted(call.func) in _TAKES_ORDER


class Sets:
    """The sets that one piece of code knows: local names, one level per function, and attributes of `self`."""

    def __init__(self, names: Names, owner: list[ClassInfo]) -> None:
        self._names = names
        self._local: list[dict[str, bool]] = []
        self._attributes: dict[str, bool] = {}
        if owner and owner[0].sets is not None:
            self._attributes = owner[0].sets
            return
        for info in reversed(owner):
            self._attributes.update({name: self.is_set(value) for name, value in info.attributes.items()})
            for method in info.methods.values():
                self._note_attributes(method)
        if owner:  # every method of a class asks, and a class may have hundreds
            owner[0].sets = self._attributes

    def enter(self, function: Function) -> None:
        """Go into a function."""
        local = {arg.arg: _is_set_type(arg.annotation) for arg in parameters(function)}
        self._local.append(local)
        if isinstance(function, ast.Lambda):
            return
        for node in walk_scope(function.body):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                local[node.target.id] = _is_set_type(node.annotation)
            elif isinstance(node, ast.Assign):
                # A name that is a set here and a sorted list there is given the benefit of the doubt.
                for target in node.targets:
                    if isinstance(target, ast.Name):
                        local[target.id] = self.is_set(node.value) and local.get(target.id, True)
            elif isinstance(node, ast.For | ast.AsyncFor) and isinstance(node.target, ast.Name):
                local[node.target.id] = False

    def leave(self) -> None:
        """Come out of it."""
        self._local.pop()

    def is_set(self, node: ast.AST | None) -> bool:
        """Whether an expression is a set, as far as one can see."""
        if isinstance(node, ast.Set | ast.SetComp):
            return True
        if isinstance(node, ast.Call):
            if self._names.dotted(node.func) in ("set", "frozenset"):
                return True
            return isinstance(node.func, ast.Attribute) and node.func.attr in _SET_METHODS and self.is_set(node.func.value)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr | ast.BitAnd | ast.BitXor | ast.Sub):
            return self.is_set(node.left) or (self.is_set(node.right) and not isinstance(node.op, ast.Sub))
        if isinstance(node, ast.IfExp):
            return self.is_set(node.body) or self.is_set(node.orelse)
        if isinstance(node, ast.Name):
            return next((local[node.id] for local in reversed(self._local) if node.id in local), False)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
            return self._attributes.get(node.attr, False)
        return False

    def _note_attributes(self, method: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for node in ast.walk(method):
            if isinstance(node, ast.Assign):
                for name in filter(None, map(_own_attribute, node.targets)):
                    self._attributes[name] = self.is_set(node.value) and self._attributes.get(name, True)
            elif isinstance(node, ast.AnnAssign) and (own := _own_attribute(node.target)):
                self._attributes[own] = _is_set_type(node.annotation)


def _own_attribute(target: ast.AST) -> str | None:
    """The name of the attribute of `self` that is assigned."""
    is_own = isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id == "self"
    return target.attr if is_own and isinstance(target, ast.Attribute) else None


def _is_set_type(annotation: ast.AST | None) -> bool:
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return annotation.value.partition("[")[0].rpartition(".")[2] in _SET_TYPES
    if isinstance(annotation, ast.Subscript):
        annotation = annotation.value
    if isinstance(annotation, ast.Attribute):
        return annotation.attr in _SET_TYPES
    return isinstance(annotation, ast.Name) and annotation.id in _SET_TYPES
