"""The demo's activities: everything that touches files. Each may run again after a crash and then does no harm."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from durable_anyio import RetryPolicy, activity
from durable_anyio._demo import manifest, tree
from durable_anyio.exceptions import ApplicationError

READ_ATTEMPTS = 3
"""A file that cannot be read so often in a row is left out of the manifest and reported."""

_BLOCK_BYTES = 1024 * 1024
_BLOCKS_PER_HEARTBEAT = 64

# Attempts are not limited by the policy: an attempt that ended because the process was killed says nothing about the
# file. `hash_file` itself ends the retries when reading failed often enough.
_RETRIES = RetryPolicy(initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=5))


@dataclass(frozen=True)
class Digest:
    """A file's SHA-256 in hexadecimal and its size."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Entry:
    """A line of the manifest to be."""

    path: str
    sha256: str


def _ledger(event: str, path: str) -> None:
    """Notes what really ran, for tests: one line by one write, so that a kill leaves whole lines only."""
    name = os.environ.get("DURABLE_DEMO_LEDGER")
    if not name:
        return
    file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
    try:
        os.write(file, f"{event} {activity.info().attempt} {path}\n".encode())
    finally:
        os.close(file)


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _open_file(name: bytes) -> io.FileIO:
    """Opens a regular file; what stands there since the listing may be anything, and a pipe would never answer."""
    number = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise OSError(errno.EINVAL, "not a regular file any more")
        return io.FileIO(number)
    except BaseException:
        os.close(number)
        raise


@activity.defn(start_to_close_timeout=timedelta(hours=2), heartbeat_timeout=timedelta(seconds=60), retry_policy=_RETRIES)
def count_files(directory: str, exclusions: tree.Exclusions) -> int:
    """How many files there are to hash, for the progress bar."""
    return tree.count(tree.to_bytes(directory), exclusions, activity.heartbeat)


_pages = tree.Pages()


@activity.defn(start_to_close_timeout=timedelta(hours=1), retry_policy=_RETRIES)
def list_page(directory: str, exclusions: tree.Exclusions, after: str | None, limit: int) -> tree.Page:
    """The next files after a path."""
    root = tree.to_bytes(directory)
    if not os.path.isdir(root):
        raise ApplicationError(f"{directory} is no directory any more", non_retryable=True)
    return _pages.page(root, exclusions, after, limit)


@activity.defn(start_to_close_timeout=timedelta(hours=6), heartbeat_timeout=timedelta(seconds=60), retry_policy=_RETRIES)
def hash_file(directory: str, path: str) -> Digest:
    """The SHA-256 of one file."""
    _ledger("run", path)
    sha256 = hashlib.sha256()
    size_bytes = blocks = 0
    try:
        with _open_file(os.path.join(tree.to_bytes(directory), tree.to_bytes(path))) as file:
            while block := file.read(_BLOCK_BYTES):
                sha256.update(block)
                size_bytes += len(block)
                blocks += 1
                if blocks % _BLOCKS_PER_HEARTBEAT == 0:
                    activity.heartbeat(size_bytes)
    except OSError as error:
        final = activity.info().attempt >= READ_ATTEMPTS
        raise ApplicationError(_reason(error), type="UnreadableFile", non_retryable=final) from error
    return Digest(sha256.hexdigest(), size_bytes)


@activity.defn(start_to_close_timeout=timedelta(minutes=10), retry_policy=_RETRIES)
def write_page(output: str, offset_bytes: int, entries: list[Entry]) -> int:
    """Writes a page's lines at an offset and answers the offset after them."""
    try:
        lines = [(entry.sha256, tree.to_bytes(entry.path)) for entry in entries]
        return manifest.write_part(tree.to_bytes(output), offset_bytes, lines)
    except manifest.PartMissingError as error:
        raise ApplicationError(str(error), non_retryable=True) from error


@activity.defn(start_to_close_timeout=timedelta(minutes=10), retry_policy=_RETRIES)
def finish_manifest(output: str, size_bytes: int) -> None:
    """Renames the finished manifest into place."""
    try:
        manifest.finish(tree.to_bytes(output), size_bytes)
    except manifest.PartMissingError as error:
        raise ApplicationError(str(error), non_retryable=True) from error


ALL: list[Callable[..., Any]] = [count_files, list_page, hash_file, write_page, finish_manifest]
