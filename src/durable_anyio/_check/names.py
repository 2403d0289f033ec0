"""What a name stands for: import statements, and the local names that hide them."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

__all__ = ["Function", "Names", "bound_names", "imports_in", "parameters", "walk_scope"]

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


def walk_scope(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Every node below `nodes` that belongs to the same scope: nested functions and classes are named, not entered."""
    pending = list(nodes)[::-1]
    while pending:
        node = pending.pop()
        yield node
        if not isinstance(node, Function | ast.ClassDef):
            pending += reversed(list(ast.iter_child_nodes(node)))


def imports_in(nodes: Iterable[ast.AST], package: str) -> dict[str, str]:
    """The names that the import statements of one scope bind, with what they stand for, dotted."""
    found: dict[str, str] = {}
    for node in walk_scope(nodes):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.asname is None:
                    top = alias.name.partition(".")[0]
                    found[top] = top
                else:
                    found[alias.asname] = alias.name
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                parents = package.split(".")
                module = ".".join([*parents[: len(parents) - node.level + 1], module]).strip(".")
            for alias in node.names:
                found[alias.asname or alias.name] = f"{module}.{alias.name}" if module else alias.name
    return found


def parameters(function: Function) -> list[ast.arg]:
    """All parameters of a function."""
    args = function.args
    rest = [arg for arg in (args.vararg, args.kwarg) if arg is not None]
    return [*args.posonlyargs, *args.args, *args.kwonlyargs, *rest]


def bound_names(function: Function) -> set[str]:
    """The names that are local to a function, its imports excepted."""
    body = [function.body] if isinstance(function, ast.Lambda) else function.body
    found = {arg.arg for arg in parameters(function)}
    outer: set[str] = set()
    for node in walk_scope(body):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
            found.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.ExceptHandler):
            found.add(node.name or "")
        elif isinstance(node, ast.Global | ast.Nonlocal):
            outer.update(node.names)
    return found - outer


class Names:
    """The scopes around the code that is looked at, innermost last."""

    def __init__(self, imports: dict[str, str], bound: set[str], package: str) -> None:
        self._package = package
        self._scopes: list[tuple[set[str], dict[str, str]]] = [(bound, imports)]

    def enter(self, function: Function) -> None:
        """Go into a function."""
        body = [function.body] if isinstance(function, ast.Lambda) else function.body
        self._scopes.append((bound_names(function), imports_in(body, self._package)))

    def leave(self) -> None:
        """Come out of it."""
        self._scopes.pop()

    def is_local(self, name: str) -> bool:
        """Whether a name belongs to a function, not to the module."""
        return any(name in bound or name in imports for bound, imports in self._scopes[1:])

    def dotted(self, node: ast.AST) -> str | None:
        """The dotted name that an expression stands for: an import's, or a builtin's; None for anything else."""
        attributes: list[str] = []
        while isinstance(node, ast.Attribute):
            attributes.insert(0, node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return None
        for bound, imports in reversed(self._scopes):
            if node.id in imports:
                return ".".join([imports[node.id], *attributes])
            if node.id in bound:
                return None
        return ".".join([node.id, *attributes])
