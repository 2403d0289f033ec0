"""Walking and writing, without a workflow."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_anyio._demo import manifest, tree

from .support import make_tree


def everything(root: Path, exclusions: tree.Exclusions | None = None) -> list[bytes]:
    found = list(tree.Walk(os.fsencode(root), exclusions or tree.Exclusions()))
    assert not [item for item in found if isinstance(item, tree.Problem)]
    return [item for item in found if isinstance(item, bytes)]


def test_pages_join_to_the_whole_walk(tmp_path: Path) -> None:
    make_tree(tmp_path, 100, directories=7)
    for name in ("a", "a.b", "d001.x", "d0010"):
        (tmp_path / name).touch()
    whole = [tree.to_text(path) for path in everything(tmp_path)]
    assert len(whole) == 104
    for limit in (1, 3, 104, 105):
        for fresh in (True, False):
            pages = tree.Pages()
            found: list[str] = []
            after: str | None = None
            while True:
                page = (tree.Pages() if fresh else pages).page(os.fsencode(tmp_path), tree.Exclusions(), after, limit)
                found += page.paths
                after = page.last
                if after is None:
                    break
            assert found == whole


def test_walk_goes_on_when_the_last_path_is_gone(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).touch()
    (tmp_path / "b").unlink()
    assert list(tree.Walk(os.fsencode(tmp_path), tree.Exclusions(), b"b")) == [b"c"]
    assert list(tree.Walk(os.fsencode(tmp_path), tree.Exclusions(), b"b/x")) == [b"c"]


def test_exclusions(tmp_path: Path) -> None:
    for name in ("x/skip/a", "x/b", "db", "db-wal", "skipnot"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    exclusions = tree.Exclusions(["skip"], [str(tmp_path / "db")], [str(tmp_path / "db-")])
    assert everything(tmp_path, exclusions) == [b"skipnot", b"x/b"]


def test_deep_tree(tmp_path: Path) -> None:
    # Deeper than Python's recursion limit, yet within the longest path that the system takes.
    depth = 1_500
    directory = os.open(tmp_path, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=directory)
        inner = os.open("d", os.O_RDONLY, dir_fd=directory)
        os.close(directory)
        directory = inner
    os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=directory))
    os.close(directory)
    try:
        assert everything(tmp_path) == [b"d/" * depth + b"f"]
    finally:
        # What pytest uses to clean up recurses.
        subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)


def test_a_page_stays_within_a_payload(tmp_path: Path) -> None:
    for number in range(2_000):
        (tmp_path / f"{number:04}{'x' * 200}").touch()
    page = tree.Pages().page(os.fsencode(tmp_path), tree.Exclusions(), None, 1_000_000)
    assert sum(map(len, page.paths)) <= tree.PAGE_BYTES + 300
    assert page.last is not None


@given(st.binary(min_size=1))
def test_any_name_travels_as_text(name: bytes) -> None:
    text = tree.to_text(name)
    assert text.isascii()
    assert text.isprintable()
    assert tree.to_bytes(text) == name


def test_parts_may_be_written_again(tmp_path: Path) -> None:
    output = os.fsencode(tmp_path / "S")
    first = manifest.write_part(output, 0, [("00", b"a")])
    second = manifest.write_part(output, first, [("01", b"b"), ("02", b"c")])
    assert manifest.write_part(output, first, [("01", b"b")]) < second
    assert manifest.write_part(output, first, [("01", b"b"), ("02", b"c")]) == second
    for _ in range(2):
        manifest.finish(output, second)
        assert (tmp_path / "S").read_bytes() == b"00  a\n01  b\n02  c\n"
    assert not (tmp_path / "S.part").exists()


def test_lost_parts_are_noticed(tmp_path: Path) -> None:
    output = os.fsencode(tmp_path / "S")
    with pytest.raises(manifest.PartMissingError):
        manifest.write_part(output, 10, [])
    with pytest.raises(manifest.PartMissingError):
        manifest.finish(output, 10)
