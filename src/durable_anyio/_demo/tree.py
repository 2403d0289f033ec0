"""Walks a directory tree in one fixed order, from any point on, and names files so that any file name travels as text.

The order is that of the path's components compared as bytes, so that a page can begin after the last path of the page
before it, in another process, without a list of what was seen. Symbolic links are not followed and, like sockets,
devices and pipes, are left out: a manifest holds what ``sha256sum`` reads by name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import quote_from_bytes, unquote_to_bytes

# Everything printable but the percent sign stays as it is; control characters, "%" and all bytes above ASCII are
# written as %XX. File names are bytes and need not be text; JSON holds text only.
_PLAIN = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")

PAGE_BYTES = 256 * 1024
"""A page of paths ends here even if it has room for more files: payloads are limited to 2 MiB."""


@dataclass(frozen=True)
class Exclusions:
    """What the walk leaves out: names at any depth, and files by absolute path or by the beginning of it."""

    names: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Problem:
    """A file or directory that could not be read."""

    path: str
    reason: str


@dataclass(frozen=True)
class Page:
    """Some files in walk order; ``last`` is where the next page begins, None at the end of the tree."""

    paths: list[str]
    problems: list[Problem]
    last: str | None


def to_text(path: bytes) -> str:
    """Names a file in text; :func:`to_bytes` is the way back."""
    return quote_from_bytes(path, safe=_PLAIN)


def to_bytes(path: str) -> bytes:
    return unquote_to_bytes(path)


class Walk:
    """The files below ``root`` that come after ``after``, as paths relative to it."""

    def __init__(self, root: bytes, exclusions: Exclusions, after: bytes | None = None) -> None:
        self._root = root
        self._names = frozenset(to_bytes(name) for name in exclusions.names)
        self._files = frozenset(to_bytes(name) for name in exclusions.files)
        self._prefixes = tuple(to_bytes(name) for name in exclusions.prefixes)
        self._start = after.split(b"/") if after is not None else []

    def __iter__(self) -> Iterator[bytes | Problem]:
        # An explicit stack of sorted entries: a tree may be deeper than Python's recursion limit.
        stack = [self._open(b"", self._start)]
        while stack:
            item = next(stack[-1], None)
            if item is None:
                stack.pop()
            elif isinstance(item, _Directory):
                stack.append(self._open(item.path, item.after))
            else:
                yield item

    def _open(self, directory: bytes, after: list[bytes]) -> Iterator[bytes | Problem | _Directory]:
        """The entries of one directory in order; ``after`` holds the components that the last page ended with."""
        try:
            with os.scandir(os.path.join(self._root, directory)) as entries:
                found = sorted(((entry.name, entry) for entry in entries), key=lambda pair: pair[0])
        except OSError as error:
            # Reported once: a page that begins inside this directory was listed before it became unreadable.
            yield Problem(to_text(directory or b"."), error.strerror or str(error))
            return
        first = after[0] if after else b""
        for name, entry in found:
            if name < first or name in self._names:
                continue
            path = os.path.join(directory, name)
            try:
                if entry.is_dir(follow_symlinks=False):
                    yield _Directory(path, after[1:] if name == first else [])
                elif name != first and entry.is_file(follow_symlinks=False) and not self._excluded(path):
                    yield path
            except OSError as error:
                yield Problem(to_text(path), error.strerror or str(error))

    def _excluded(self, path: bytes) -> bool:
        if not self._files and not self._prefixes:
            return False
        full = os.path.join(self._root, path)
        return full in self._files or full.startswith(self._prefixes)


@dataclass(frozen=True)
class _Directory:
    path: bytes
    after: list[bytes]


class Pages:
    """Lists pages and keeps the walk of the last one open, so that the next need not read its directories again.

    Only a shortcut: after a restart the walk is opened anew from the path that the last page ended with.
    """

    def __init__(self) -> None:
        self._open: dict[tuple[bytes, str], Iterator[bytes | Problem]] = {}

    def page(self, root: bytes, exclusions: Exclusions, after: str | None, limit: int) -> Page:
        walk = self._open.pop((root, after), None) if after is not None else None
        if walk is None:
            walk = iter(Walk(root, exclusions, to_bytes(after) if after is not None else None))
        paths: list[str] = []
        problems: list[Problem] = []
        size_bytes = 0
        for item in walk:
            if isinstance(item, Problem):
                problems.append(item)
                size_bytes += len(item.path) + len(item.reason)
                continue
            paths.append(to_text(item))
            size_bytes += len(paths[-1])
            if len(paths) >= limit or size_bytes >= PAGE_BYTES:
                self._open.clear()
                self._open[root, paths[-1]] = walk
                return Page(paths, problems, paths[-1])
        return Page(paths, problems, None)


def count(root: bytes, exclusions: Exclusions, beat: Callable[[int], object]) -> int:
    """How many files the walk yields; ``beat`` is called with the number so far now and then."""
    files = 0
    for item in Walk(root, exclusions):
        if not isinstance(item, Problem):
            files += 1
            if files % 5_000 == 0:
                beat(files)
    return files
