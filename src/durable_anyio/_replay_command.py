"""`durable-anyio replay`: recorded histories against a program's workflows."""

from __future__ import annotations

import importlib
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

import anyio

from ._definitions import workflow_definition
from ._history import WorkflowHistory
from ._replayer import Replayer, ReplayResult
from .client import Client

__all__ = ["ReplayInputError", "replay"]


class ReplayInputError(Exception):
    """The command line names something that cannot be replayed."""


def replay(modules: Sequence[str], paths: Sequence[str], *, target: str | None, namespace: str, query: str) -> int:
    """Replays files, directories, or what a service holds; prints a line for each history and answers how many do not fit.

    :raises ReplayInputError: a module, a file or the combination of them is not what it should be.
    """
    if bool(paths) == (target is not None):
        raise ReplayInputError("give either histories (files or directories), or --target with the place to fetch them from")
    replayer = Replayer(workflows=[cls for module in modules for cls in _workflows(module)], namespace=namespace)
    if target is not None:
        return anyio.run(_replay_from, replayer, target, namespace, query)
    try:
        return anyio.run(_replay_all, replayer, _read(paths))
    except (OSError, ValueError) as error:
        raise ReplayInputError(str(error)) from error


def _workflows(name: str) -> list[type]:
    directory = str(Path.cwd())
    if directory not in sys.path:
        sys.path.insert(0, directory)  # as `python -m` does: programs are run from where their modules are
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        raise ReplayInputError(f"the module {name!r} cannot be imported: {error}") from error
    found = list(_defined(module))
    if not found:
        raise ReplayInputError(f"the module {name!r} has no class decorated with @workflow.defn")
    return found


def _defined(module: ModuleType) -> Iterator[type]:
    for value in vars(module).values():
        if isinstance(value, type):
            try:
                workflow_definition(value)
            except TypeError:
                continue
            yield value


def _read(paths: Sequence[str]) -> Iterator[WorkflowHistory]:
    for path in paths:
        if Path(path).is_dir():
            yield from WorkflowHistory.from_directory(path)
        else:
            yield WorkflowHistory.from_file(path)


async def _replay_from(replayer: Replayer, target: str, namespace: str, query: str) -> int:
    async with Client.connect(target, namespace=namespace) as client:
        return await _replay_all(replayer, client.list_workflows(query).map_histories())


async def _replay_all(replayer: Replayer, histories: Iterable[WorkflowHistory] | AsyncIterator[WorkflowHistory]) -> int:
    count = failures = 0
    async for result in replayer.workflow_replay_iterator(histories):
        count += 1
        failures += result.failure is not None
        print(_line(result), flush=True)
    print(f"{count} {'history' if count == 1 else 'histories'}, {failures} {'does' if failures == 1 else 'do'} not fit", file=sys.stderr)
    return failures


def _line(result: ReplayResult) -> str:
    history = result.history
    name = f"{history.workflow_type} {history.workflow_id} (run {history.run_id or 'unknown'})"
    return f"ok    {name}" if result.failure is None else f"FAIL  {name}\n      {str(result.failure).replace(chr(10), chr(10) + '      ')}"
