"""The demo's workflow: pages of files, each hashed in parallel, and a manifest that grows page by page."""

from __future__ import annotations

from dataclasses import dataclass, field

import anyio

from durable_anyio import workflow
from durable_anyio._demo import tree
from durable_anyio._demo.activities import Digest, Entry, count_files, finish_manifest, hash_file, list_page, write_page
from durable_anyio.exceptions import ActivityError, ApplicationError

PAGE_FILES = 250
HISTORY_EVENTS = 2_000
"""Continue as new after the page that crosses this. A page adds at most six events a file, so a history stays below 4,000."""

PROBLEMS_KEPT = 200
"""How many problems are carried along in full; beyond that they are counted. Payloads are limited to 2 MiB."""


@dataclass(frozen=True)
class Job:
    """What to hash. Paths are absolute and in the text form of ``tree.to_text``."""

    directory: str
    output: str
    exclusions: tree.Exclusions
    concurrency: int


@dataclass
class Progress:
    """How far the work is; also what a run hands to the run that continues it."""

    total: int | None = None
    done: int = 0
    failed: int = 0
    size_bytes: int = 0
    problems: list[tree.Problem] = field(default_factory=list)
    after: str | None = None
    manifest_bytes: int = 0


def _reason(error: ActivityError) -> str:
    """What the activity said, without the type it was raised as."""
    cause = error.__cause__
    return cause.message if isinstance(cause, ApplicationError) else str(cause or error)


@workflow.defn(name="HashTree")
class HashTree:
    """Hashes the files below a directory into a manifest."""

    def __init__(self) -> None:
        self._progress = Progress()

    @workflow.run
    async def run(self, job: Job, progress: Progress) -> Progress:
        # The client may ask before the first step: the object it sees is replaced as a whole.
        self._progress = progress
        if progress.total is None:
            progress.total = await count_files(job.directory, job.exclusions)
        more = True
        while more:
            page = await list_page(job.directory, job.exclusions, progress.after, PAGE_FILES)
            for problem in page.problems:
                self._record(problem)
            entries = await self._hash_page(job, page.paths)
            progress.manifest_bytes = await write_page(job.output, progress.manifest_bytes, entries)
            progress.after = page.last
            more = page.last is not None
            if more and workflow.info().history_length > HISTORY_EVENTS:
                workflow.continue_as_new(job, progress)
        await finish_manifest(job.output, progress.manifest_bytes)
        return progress

    async def _hash_page(self, job: Job, paths: list[str]) -> list[Entry]:
        limiter = anyio.CapacityLimiter(job.concurrency)
        digests: dict[str, Digest] = {}

        async def hash_one(path: str) -> None:
            async with limiter:
                try:
                    digest = await hash_file(job.directory, path)
                except ActivityError as error:
                    self._record(tree.Problem(path, _reason(error)))
                    return
            digests[path] = digest
            self._progress.done += 1
            self._progress.size_bytes += digest.size_bytes

        async with anyio.create_task_group() as group:
            for path in paths:
                group.start_soon(hash_one, path)
        return [Entry(path, digests[path].sha256) for path in paths if path in digests]

    def _record(self, problem: tree.Problem) -> None:
        self._progress.failed += 1
        if len(self._progress.problems) < PROBLEMS_KEPT:
            self._progress.problems.append(problem)

    @workflow.query
    def progress(self) -> Progress:
        """How far the work is."""
        return self._progress
