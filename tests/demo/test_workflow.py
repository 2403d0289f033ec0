"""The demo's workflow, driven by hand: its pages, its failures and what it hands to the run after it."""

from __future__ import annotations

from typing import Any

from workflow.activations import Driver, close_all, failed, query, result

from durable_anyio import converter
from durable_anyio._demo import tree, workflows
from durable_anyio._demo.activities import Digest
from durable_anyio.exceptions import ApplicationError

JOB = workflows.Job("/tree", "/SUMS", tree.Exclusions(), concurrency=4)


def arguments(command: Any, *types: Any) -> list[Any]:
    return converter.default().from_payloads(list(command.schedule_activity.arguments), list(types))


def drive(driver: Driver, paths: list[str], unreadable: set[str], page_files: int) -> Any:
    """Answers activities until a command ends the run; that command is the answer."""
    waiting = driver.start()
    most = 0
    while True:
        most = max(most, len(waiting))
        command = waiting.pop(0)
        if command.WhichOneof("variant") != "schedule_activity":
            assert most <= JOB.concurrency
            return command
        waiting += driver.step(_answer(command, paths, unreadable, page_files))


def _answer(command: Any, paths: list[str], unreadable: set[str], page_files: int) -> Any:
    seq, name = command.schedule_activity.seq, command.schedule_activity.activity_type
    if name == "count_files":
        return result(seq, len(paths))
    if name == "list_page":
        after = arguments(command, str, tree.Exclusions, str | None, int)[2]
        begin = paths.index(after) + 1 if after is not None else 0
        page = paths[begin : begin + page_files]
        return result(seq, tree.Page(page, [], page[-1] if begin + page_files < len(paths) else None))
    if name == "hash_file":
        path = arguments(command, str, str)[1]
        return failed(seq, ApplicationError("Permission denied")) if path in unreadable else result(seq, Digest("00", 5))
    if name == "write_page":
        _, offset_bytes, entries = arguments(command, str, int, list[dict[str, str]])
        return result(seq, offset_bytes + len(entries))
    assert name == "finish_manifest"
    return result(seq, None)


def progress_of(payload: Any) -> workflows.Progress:
    (progress,) = converter.default().from_payloads([payload], [workflows.Progress])
    assert isinstance(progress, workflows.Progress)
    return progress


def test_pages_and_failures() -> None:
    paths = [f"f{number}" for number in range(10)]
    driver = Driver(workflows.HashTree, JOB, workflows.Progress())
    try:
        end = drive(driver, paths, {"f3", "f9"}, page_files=4)
        progress = progress_of(end.complete_workflow_execution.result)
        assert (progress.total, progress.done, progress.failed, progress.size_bytes) == (10, 8, 2, 40)
        assert progress.problems == [tree.Problem("f3", "Permission denied"), tree.Problem("f9", "Permission denied")]
        assert progress.manifest_bytes == 8
        (answer,) = driver.step(query("progress"))
        assert progress_of(answer.respond_to_query.succeeded.response) == progress
    finally:
        close_all()


def test_continues_as_new_with_what_is_done(monkeypatch: Any) -> None:
    monkeypatch.setattr(workflows, "HISTORY_EVENTS", 0)
    paths = [f"f{number}" for number in range(10)]
    progress = workflows.Progress()
    ends: list[str | None] = []
    try:
        while not ends or ends[-1] == "continue_as_new_workflow_execution":
            assert len(ends) < 10
            end = drive(Driver(workflows.HashTree, JOB, progress), paths, set(), page_files=4)
            ends.append(end.WhichOneof("variant"))
            if ends[-1] == "continue_as_new_workflow_execution":
                progress = progress_of(end.continue_as_new_workflow_execution.arguments[1])
    finally:
        close_all()
    assert ends == ["continue_as_new_workflow_execution"] * 2 + ["complete_workflow_execution"]
    assert progress_of(end.complete_workflow_execution.result).done == 10
