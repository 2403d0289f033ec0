"""Looks at the code that runs in a workflow: each of its methods, and the functions of the module that they lead to."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .calls import alternative_for, rule_for
from .module import ClassInfo, Module, has_decorator, is_api
from .names import Function, walk_scope
from .rules import RULES, Finding
from .sets import ORDER_FREE, Sets, takes_order
from .state import CACHES, SharedState, is_primitive

__all__ = ["check_module"]

# They run the function that they are given elsewhere, or look the other way.
_ELSEWHERE = tuple(
    f"workflow.{name}"
    for name in (
        "step", "execute_activity", "start_activity", "execute_local_activity", "start_local_activity", "execute_child_workflow",
        "start_child_workflow", "unsafe.call",
    )
)  # fmt: skip
_MUST_AWAIT = tuple(
    f"workflow.{name}"
    for name in ("step", "execute_activity", "execute_local_activity", "execute_child_workflow", "start_child_workflow", "wait_condition")
)
_MUST_AWAIT_ANYIO = {"anyio.sleep", "anyio.sleep_until", "anyio.sleep_forever", "anyio.wait_all_tasks_blocked"} | {
    f"anyio.lowlevel.{name}" for name in ("checkpoint", "checkpoint_if_cancelled", "cancel_shielded_checkpoint")
}
_PATH_IO = {
    "read_text", "read_bytes", "write_text", "write_bytes", "open", "exists", "is_file", "is_dir", "stat", "lstat", "iterdir", "glob",
    "rglob", "mkdir", "rmdir", "unlink", "rename", "replace", "touch", "chmod", "resolve", "symlink_to", "hardlink_to", "readlink", "walk",
    "owner", "group", "samefile", "expanduser",
}  # fmt: skip
_CANCELLATIONS = {"BaseException", "asyncio.CancelledError", "asyncio.exceptions.CancelledError", "trio.Cancelled"}


def check_module(module: Module) -> list[Finding]:
    """All findings in a file, in the order of their places; none in a file without workflows."""
    checker = _Checker(module)
    for info in module.workflows():
        checker.check_class(info)
    return sorted(set(checker.findings))


class _Checker:
    """Follows the code of a file's workflows; each function is looked at once."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.findings: list[Finding] = []
        self._seen: set[ast.AST] = set()

    def check_class(self, info: ClassInfo) -> None:
        """Look at a class's methods and those of its bases."""
        if info.node in self._seen:
            return
        self._seen.add(info.node)
        owner = self.module.bases(info)
        names = self.module.names()
        for current in owner:
            for name, value in current.attributes.items():
                made = is_primitive(value, names)
                if made is not None:
                    self.report("shared-primitive", value, f"the class attribute {name} is {_article(made)} {made}", info.node.name)
            for method in current.methods.values():
                if not has_decorator(method, names, "activity.defn"):
                    self._check(method, f"{current.node.name}.{method.name}", owner)

    def reach(self, name: str, *, is_called: bool) -> None:
        """Follow a name of the module that workflow code uses."""
        function = self.module.functions.get(name)
        if function is not None and not has_decorator(function, self.module.names(), "activity.defn"):
            self._check(function, name, [])
        info = self.module.classes.get(name)
        if info is not None and is_called:
            self.check_class(info)
        value = self.module.values.get(name)
        made = None if value is None else is_primitive(value, self.module.names())
        if value is not None and made is not None:
            self.report("shared-primitive", value, f"{name} is {_article(made)} {made} of the module", "")

    def report(self, rule: str, node: ast.AST, message: str, label: str, instead: str | None = None) -> None:
        """Note a finding at a node."""
        line, column = getattr(node, "lineno", 1), getattr(node, "col_offset", 0) + 1
        is_simple = isinstance(node, ast.expr | ast.Global)
        end_line = (getattr(node, "end_lineno", None) or line) if is_simple else line
        where = f" in {label}" if label else ""
        self.findings.append(Finding(self.module.path, line, column, rule, message + where, instead or RULES[rule].instead, end_line))

    def _check(self, function: ast.FunctionDef | ast.AsyncFunctionDef, label: str, owner: list[ClassInfo]) -> None:
        if function not in self._seen:
            self._seen.add(function)
            _Body(self, label, owner).visit(function)


class _Body(ast.NodeVisitor):
    """The code of one function or method, and of the functions inside it."""

    def __init__(self, checker: _Checker, label: str, owner: list[ClassInfo]) -> None:
        self._checker = checker
        self._label = label
        self._owner = owner
        self._names = checker.module.names()
        self._sets = Sets(self._names, owner)
        self._state = SharedState(checker.module, self._names, owner, self._report)
        self._order_free: set[ast.AST] = set()
        self._paths: list[set[str]] = []

    def _report(self, rule: str, node: ast.AST, message: str, instead: str | None = None) -> None:
        self._checker.report(rule, node, message, self._label, instead)

    # -- functions

    def _function(self, node: Function) -> None:
        for default in [*node.args.defaults, *(item for item in node.args.kw_defaults if item is not None)]:
            self.visit(default)
        if not isinstance(node, ast.Lambda):
            for decorator in node.decorator_list:
                self._decorator(decorator, node)
            self._state.check_globals(node)
        self._names.enter(node)
        self._sets.enter(node)
        body = [node.body] if isinstance(node, ast.Lambda) else node.body
        self._paths.append(set(self._path_names(body)))
        for item in body:
            self.visit(item)
        self._paths.pop()
        self._sets.leave()
        self._names.leave()

    visit_FunctionDef = visit_AsyncFunctionDef = visit_Lambda = _function

    def _decorator(self, decorator: ast.expr, function: ast.AST) -> None:
        dotted = self._names.dotted(decorator.func if isinstance(decorator, ast.Call) else decorator)
        if dotted in CACHES:
            self._report("shared-cache", decorator, f"@{dotted} on {getattr(function, 'name', 'a function')}, which runs")

    def _path_names(self, body: list[ast.stmt] | list[ast.expr]) -> Iterator[str]:
        for node in walk_scope(body):
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and self._names.dotted(node.value.func) == "pathlib.Path":
                yield from (target.id for target in node.targets if isinstance(target, ast.Name))

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._state.check_target(node.target)
        if node.value is not None:
            self.visit(node.value)

    # -- calls and names

    def visit_Call(self, node: ast.Call) -> None:
        dotted = self._names.dotted(node.func)
        self._state.check_call(node)
        arguments: list[ast.AST] = [*node.args, *(keyword.value for keyword in node.keywords)]
        if is_api(dotted, *_ELSEWHERE):
            arguments = arguments[1:]
        elif dotted == "random.Random" and not arguments:
            self._report("random", node, "random.Random() without a seed", "give it a seed, or use workflow.random()")
        elif self._is_path(node.func):
            self._report("file", node, f"pathlib.Path.{node.func.attr}()")  # type: ignore[attr-defined]  # _is_path saw an Attribute
        elif not (dotted is not None and self._forbidden(dotted, node)):
            if isinstance(node.func, ast.Name) and not self._names.is_local(node.func.id):
                self._checker.reach(node.func.id, is_called=True)
            self.visit(node.func)
        self._check_order_of_arguments(node, dotted)
        for argument in arguments:
            self.visit(argument)

    def _forbidden(self, dotted: str, node: ast.AST) -> bool:
        rule = rule_for(dotted)
        if rule is None:
            return False
        if rule == "identity" and self._label.endswith(".__hash__"):
            return True
        shown = f"{dotted}()" if isinstance(node, ast.Call) else dotted
        self._report(rule, node, shown, alternative_for(dotted))
        return True

    def _is_path(self, function: ast.AST) -> bool:
        if not isinstance(function, ast.Attribute) or function.attr not in _PATH_IO:
            return False
        value = function.value
        while isinstance(value, ast.BinOp) and isinstance(value.op, ast.Div):
            value = value.left
        if isinstance(value, ast.Name):
            return any(value.id in paths for paths in self._paths)
        return isinstance(value, ast.Call) and self._names.dotted(value.func) == "pathlib.Path"

    def visit_Attribute(self, node: ast.Attribute) -> None:
        dotted = self._names.dotted(node)
        if dotted is None or not self._forbidden(dotted, node):
            self.visit(node.value)

    def visit_Name(self, node: ast.Name) -> None:
        if not isinstance(node.ctx, ast.Load):
            return
        dotted = self._names.dotted(node)
        if dotted is not None:
            self._forbidden(dotted, node)
        elif not self._names.is_local(node.id):
            self._checker.reach(node.id, is_called=False)

    # -- shared state

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            self._state.check_target(target)
            self.visit(target)
        self.visit(node.value)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._state.check_target(node.target)
        self.visit(node.target)
        self.visit(node.value)

    def visit_Delete(self, node: ast.Delete) -> None:
        for target in node.targets:
            self._state.check_target(target)

    # -- the order of sets

    def _check_order_of_arguments(self, node: ast.Call, dotted: str | None) -> None:
        if dotted in ORDER_FREE:
            self._order_free.update(node.args)
            return
        if isinstance(node.func, ast.Attribute) and node.func.attr == "pop" and not node.args and self._sets.is_set(node.func.value):
            self._report("set-order", node, f"{ast.unparse(node.func)}() takes any element of a set")
        for argument in node.args:
            if isinstance(argument, ast.Starred) and self._sets.is_set(argument.value):
                self._iterated(argument.value)
            elif takes_order(node, self._names) and self._sets.is_set(argument):
                self._iterated(argument)

    def _iterated(self, node: ast.AST) -> None:
        self._report("set-order", node, f"{_short(node)}, a set, is iterated")

    def visit_For(self, node: ast.For) -> None:
        if self._sets.is_set(node.iter):
            self._iterated(node.iter)
        self.generic_visit(node)

    def _comprehension(self, node: ast.ListComp | ast.GeneratorExp | ast.DictComp) -> None:
        for generator in node.generators:
            if node not in self._order_free and self._sets.is_set(generator.iter):
                self._iterated(generator.iter)
        self.generic_visit(node)

    visit_ListComp = visit_GeneratorExp = visit_DictComp = _comprehension

    # -- cancellation and awaiting

    def _try(self, node: ast.Try | ast.TryStar) -> None:
        awaits = any(isinstance(item, ast.Await | ast.AsyncWith | ast.AsyncFor) for item in walk_scope(node.body))
        for handler in node.handlers if awaits else []:
            caught = self._catches_cancellation(handler)
            if caught is None:
                continue
            if not any(isinstance(item, ast.Raise) for item in walk_scope(handler.body)):
                self._report("swallowed-cancellation", handler, f"{caught} swallows cancellation")
            break  # what comes after it does not see the cancellation any more
        self.generic_visit(node)

    visit_Try = visit_TryStar = _try

    def _catches_cancellation(self, handler: ast.ExceptHandler) -> str | None:
        if handler.type is None:
            return "a bare except"
        for item in handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]:
            dotted = self._names.dotted(item.func if isinstance(item, ast.Call) else item)
            if dotted in _CANCELLATIONS or dotted == "anyio.get_cancelled_exc_class":
                return f"except {ast.unparse(item)}"
        return None

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Call) and self._must_be_awaited(node.value.func):
            self._report("missing-await", node.value, f"{ast.unparse(node.value.func)}() is called without await")
        self.generic_visit(node)

    def _must_be_awaited(self, function: ast.AST) -> bool:
        dotted = self._names.dotted(function)
        if is_api(dotted, *_MUST_AWAIT) or dotted in _MUST_AWAIT_ANYIO:
            return True
        if isinstance(function, ast.Name) and not self._names.is_local(function.id):
            found = self._checker.module.functions.get(function.id)
            return isinstance(found, ast.AsyncFunctionDef) or (
                found is not None and has_decorator(found, self._checker.module.names(), "activity.defn")
            )
        if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) and function.value.id == "self":
            method = next((info.methods[function.attr] for info in self._owner if function.attr in info.methods), None)
            return isinstance(method, ast.AsyncFunctionDef) and not _is_generator(method)
        return False


def _is_generator(function: ast.AsyncFunctionDef) -> bool:
    return any(isinstance(node, ast.Yield) for node in walk_scope(function.body))


def _article(name: str) -> str:
    return "an" if name[0] in "aeiou" else "a"


def _short(node: ast.AST) -> str:
    text = ast.unparse(node)
    return text if len(text) <= 40 else text[:37] + "…"
