"""Writes a manifest in the format of ``sha256sum``, part by part, so that every write may be repeated.

The parts go into one file beside the output, each at the offset that the part before it ended with: what a killed
process wrote beyond that offset is cut off and written again. The last step renames the file over the output.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

PART_SUFFIX = b".part"


class PartMissingError(Exception):
    """The file with the finished parts is gone or shorter than what was written to it."""


def line(digest: str, path: bytes) -> bytes:
    """One line of the manifest; names with a backslash or a line break are escaped as ``sha256sum`` escapes them."""
    # "-" would make sha256sum read its standard input.
    name = b"./-" if path == b"-" else path
    escaped = name.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
    mark = b"\\" if escaped != name else b""
    return mark + digest.encode("ascii") + b"  " + escaped + b"\n"


def write_part(output: bytes, offset_bytes: int, entries: Iterable[tuple[str, bytes]]) -> int:
    """Writes entries (digest, path) at the offset and answers the offset after them. On disk when it returns."""
    part = output + PART_SUFFIX
    data = b"".join(line(digest, path) for digest, path in entries)
    file = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        size_bytes = os.fstat(file).st_size
        if size_bytes < offset_bytes:
            raise PartMissingError(f"{os.fsdecode(part)} should hold {offset_bytes} bytes of finished work and holds {size_bytes}")
        os.ftruncate(file, offset_bytes)
        written = 0
        while written < len(data):
            written += os.pwrite(file, data[written:], offset_bytes + written)
        os.fsync(file)
    finally:
        os.close(file)
    return offset_bytes + len(data)


def finish(output: bytes, size_bytes: int) -> None:
    """Puts the finished manifest in place. A repetition after the rename finds its work done."""
    part = output + PART_SUFFIX
    try:
        if os.stat(part).st_size != size_bytes:
            raise PartMissingError(f"{os.fsdecode(part)} changed while the manifest was written")
        os.replace(part, output)
    except FileNotFoundError:
        if not os.path.exists(output) or os.stat(output).st_size != size_bytes:
            raise PartMissingError(f"{os.fsdecode(part)} was removed while the manifest was written") from None
    directory = os.open(os.path.dirname(output), os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
