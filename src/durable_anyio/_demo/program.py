"""``durable-anyio demo``: checks what it was given, starts or resumes the workflow and shows how it goes."""

from __future__ import annotations

import errno
import hashlib
import os
import sys
import sysconfig
from contextlib import suppress
from dataclasses import dataclass
from typing import TextIO

import anyio
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from durable_anyio import Client, Worker
from durable_anyio._demo import activities, tree, workflows
from durable_anyio._demo.manifest import PART_SUFFIX
from durable_anyio.client import WorkflowHandle
from durable_anyio.exceptions import ApplicationError, FailureError, RPCError, WorkflowAlreadyStartedError, WorkflowFailureError

TASK_QUEUE = "durable-anyio-demo"

_POLL_SECONDS = 0.1
_STALLED_SECONDS = 10.0
"""Ask the service for the reason when nothing moved for so long."""

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2


class InputError(Exception):
    """What the command was given cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class Options:
    """The command line."""

    directory: str | None = None
    db: str = "durable-demo.db"
    target: str | None = None
    output: str = "SHA256SUMS"
    backend: str = "asyncio"
    concurrency: int = 16


def make_job(options: Options) -> workflows.Job:
    """The workflow's argument; refuses a directory that cannot be read and an output that cannot be written."""
    names = [] if options.directory is not None else ["site-packages", "dist-packages", "__pycache__"]
    # Resolved, so that the same place under another name is the same job, and exclusions can be compared as bytes.
    root = os.path.realpath(os.fsencode(options.directory or sysconfig.get_paths()["stdlib"]))
    output_name = os.fsencode(options.output)
    output = os.path.join(os.path.realpath(os.path.dirname(output_name) or b"."), os.path.basename(output_name))
    _check_directory(root)
    _check_output(output)
    files = [output, output + PART_SUFFIX]
    prefixes = []
    if options.target is None:
        # SQLite's and the engine's companions: FILE-wal, FILE-shm, FILE.lock and their like.
        db = os.path.realpath(os.fsencode(options.db))
        files.append(db)
        prefixes += [db + b"-", db + b"."]
    if ledger := os.environ.get("DURABLE_DEMO_LEDGER"):
        files.append(os.path.realpath(os.fsencode(ledger)))
    exclusions = tree.Exclusions(names, [tree.to_text(file) for file in files], [tree.to_text(prefix) for prefix in prefixes])
    return workflows.Job(tree.to_text(root), tree.to_text(output), exclusions, options.concurrency)


def workflow_id(job: workflows.Job) -> str:
    """The same directory and output give the same id: this is how a second start finds the first one's work."""
    key = hashlib.sha256(f"{job.directory}\0{job.output}".encode()).hexdigest()
    return f"demo-{key[:16]}"


def _check_directory(root: bytes) -> None:
    name = os.fsdecode(root)
    try:
        with os.scandir(root):
            pass
    except FileNotFoundError:
        raise InputError(f"the directory {name!r} does not exist") from None
    except NotADirectoryError:
        raise InputError(f"{name!r} is not a directory") from None
    except OSError as error:
        raise InputError(f"the directory {name!r} cannot be read: {error.strerror}") from None


def _check_output(output: bytes) -> None:
    name = os.fsdecode(output)
    if not os.path.basename(output) or os.path.isdir(output):
        raise InputError(f"the output {name!r} is a directory; hint: give a file name with --output")
    directory = os.path.dirname(output)
    if not os.path.isdir(directory):
        raise InputError(f"the output's directory {os.fsdecode(directory)!r} does not exist")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise InputError(f"the output {name!r} cannot be written: {os.strerror(errno.EACCES)}; hint: name another place with --output")


async def demo(options: Options, job: workflows.Job, out: TextIO) -> int:
    """Runs the workflow to its end and answers the command's exit code."""
    target = options.target if options.target is not None else f"sqlite:{options.db}"
    identity = workflow_id(job)
    # The activities' worker starts only when the work already done has been counted: the number told is exact.
    async with (
        Client.connect(target) as client,
        Worker(client, task_queue=TASK_QUEUE, workflows=[workflows.HashTree], activities=[]),
    ):
        try:
            handle = await client.start_workflow(workflows.HashTree.run, job, workflows.Progress(), id=identity, task_queue=TASK_QUEUE)
        except WorkflowAlreadyStartedError:
            handle = client.get_workflow_handle_for(workflows.HashTree.run, identity)
            before = await handle.query(workflows.HashTree.progress)
            files = "1 file was" if before.done == 1 else f"{before.done:,} files were"
            print(f"{files} already done; going on", file=out, flush=True)
        slots = options.concurrency + 1
        async with Worker(client, task_queue=TASK_QUEUE, workflows=[], activities=activities.ALL, max_concurrent_activities=slots):
            try:
                result = await _watch(handle)
            except WorkflowFailureError as error:
                print(f"durable-anyio: error: the workflow {identity} failed: {_cause(error)}", file=sys.stderr)
                return EXIT_FAILED
    return _report(options, result, out)


def _cause(error: BaseException) -> str:
    """The innermost failure's message: the outer ones only name the layers it came through."""
    while isinstance(error.__cause__, FailureError):
        error = error.__cause__
    return error.message if isinstance(error, ApplicationError) else str(error)


async def _watch(handle: WorkflowHandle[workflows.HashTree, workflows.Progress]) -> workflows.Progress:
    """Waits for the result and shows the progress meanwhile."""
    async with anyio.create_task_group() as group:
        with _progress_bar() as bar:
            task = bar.add_task("counting", total=None)
            group.start_soon(_refresh, handle, bar, task)
            result = await handle.result()
            bar.update(task, description="hashed", completed=result.done, total=result.done)
        group.cancel_scope.cancel()
    return result


def _progress_bar() -> Progress:
    console = Console(stderr=True)
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("files"),
        TimeElapsedColumn(),
        console=console,
        # Without a terminal nobody watches, and the queries would only cost.
        disable=not console.is_terminal,
    )


async def _refresh(handle: WorkflowHandle[workflows.HashTree, workflows.Progress], bar: Progress, task: TaskID) -> None:
    last: tuple[int, int] | None = None
    moved = anyio.current_time()
    # Without a terminal only the watch for a standstill remains.
    interval = _STALLED_SECONDS / 2 if bar.disable else _POLL_SECONDS
    while True:
        await anyio.sleep(interval)
        # A question that is not answered in time is asked again; whether anything moves is looked at below.
        with suppress(RPCError), anyio.move_on_after(_STALLED_SECONDS):
            now = await handle.query(workflows.HashTree.progress)
            if (now.done, now.failed) != last:
                last, moved = (now.done, now.failed), anyio.current_time()
            if now.total is not None:
                bar.update(task, description="hashing", completed=now.done + now.failed, total=max(now.total, now.done + now.failed))
        if anyio.current_time() - moved > _STALLED_SECONDS:
            moved = anyio.current_time()
            for problem in (await handle.describe()).problems:
                bar.console.print(f"waiting: {problem}", markup=False)


def _report(options: Options, result: workflows.Progress, out: TextIO) -> int:
    files = "1 file" if result.done == 1 else f"{result.done:,} files"
    print(f"{files}, {result.size_bytes:,} bytes hashed; manifest: {options.output}", file=out, flush=True)
    if not result.failed:
        return EXIT_DONE
    print(f"durable-anyio: error: {result.failed:,} could not be read and are not in the manifest:", file=sys.stderr)
    for problem in result.problems:
        print(f"  {problem.path}: {problem.reason}", file=sys.stderr)
    if result.failed > len(result.problems):
        print(f"  … and {result.failed - len(result.problems):,} more", file=sys.stderr)
    return EXIT_FAILED


def run(options: Options) -> int:
    """The command: answers its exit code."""
    job = make_job(options)
    return anyio.run(demo, options, job, sys.stdout, backend=options.backend)
